//! Reports of the poller: log messages, metrics and its status.

use std::time::Duration;

use super::{PollRule, Poller};
use crate::collect::outage::SHORTEST;
use crate::collect::status::{LastError, SourceMode, SourceState};
use crate::github::tokens::TokenMode;
use crate::metrics;
use crate::model::coverage::{Lag, Report, Trouble, TroubleKind};

/// A source that had answered is down after this time without a response.
const DOWN_AFTER: Duration = Duration::from_secs(30);
/// Number of intervals without a response that make an outage, which is at least [`SHORTEST`].
const SILENT_INTERVALS: u32 = 3;

/// A summary of some responses, for the status.
#[derive(Default)]
pub(super) struct Summary {
    /// Whether a page arrived or GitHub reported it as unchanged.
    pub(super) answered: bool,
    /// Whether GitHub applied a limit or refused a token: it is available.
    pub(super) limited: bool,
    pub(super) simulated: Option<bool>,
    pub(super) trouble: Option<String>,
}

impl Poller {
    /// Updates the status after some responses.
    pub(super) fn report(&mut self, summary: &Summary) {
        let (now, wall) = (self.clock.instant(), self.clock.now());
        let interval = match self.rule() {
            PollRule::Tokens => self.loop_break,
            PollRule::Every(interval) => interval,
        };
        if summary.answered {
            let before = self.last_answer.replace((now, wall));
            let long = SHORTEST.max(interval * SILENT_INTERVALS);
            let silent = before.filter(|(last, _)| now - *last >= long);
            self.silent_since = silent.map(|(_, wall)| wall).or(self.silent_since);
        }
        let census = self.pool.census();
        let lately = self.last_answer.is_some_and(|(last, _)| now - last < DOWN_AFTER);
        let all_refused = census.tokens > 0 && census.mode == TokenMode::Anonymous;
        let state = if !(summary.answered || summary.limited || lately) {
            SourceState::Down
        } else if !summary.answered
            || summary.trouble.is_some()
            || !self.schedule.is_well()
            || all_refused
        {
            SourceState::Degraded
        } else {
            SourceState::Ok
        };
        let known = self.status.borrow().overlap.iter().flatten().copied().reduce(f64::min);
        if let Some(share) = known {
            overlap(share);
        }
        self.status.send_modify(|status| {
            status.simulated = summary.simulated.unwrap_or(status.simulated);
            let turned = status.turn(state, wall);
            if let Some(message) = &summary.trouble {
                let again = status.last_error.as_ref().is_some_and(|last| last.message == *message);
                if turned || !again {
                    tracing::warn!(state = state.name(), "{message}");
                }
                status.last_error = Some(LastError { at: wall, message: message.clone() });
            } else if turned {
                tracing::info!(
                    state = state.name(),
                    simulated = status.simulated,
                    "GitHub answers"
                );
            }
            status.mode = mode(census.mode);
            status.tokens_usable = census.usable;
            status.tokens_quarantined = census.quarantined;
            status.accounts = census.accounts;
            status.poll_interval = interval;
            if summary.answered {
                status.last_poll_at = Some(wall);
            }
        });
    }
}

/// Logs each problem once when it begins and once when it ends.
pub(super) fn troubles(before: &[Trouble], now: &[Trouble]) {
    let is_in = |all: &[Trouble], one: &Trouble| {
        all.iter().any(|other| (other.kind, other.of) == (one.kind, one.of))
    };
    for trouble in now.iter().filter(|trouble| !is_in(before, trouble)) {
        tracing::warn!(trouble = trouble.kind.name(), "{}", trouble.text);
    }
    for trouble in before.iter().filter(|trouble| !is_in(now, trouble)) {
        let since = trouble.since;
        tracing::info!(trouble = trouble.kind.name(), %since, "over: {}", trouble.text);
    }
}

/// Publishes the figures as metrics; unknown ones are NaN, as in Prometheus.
pub fn publish(report: &Report) {
    let unknown = f64::NAN;
    let [low, share, high] = report.all.missed_share.unwrap_or([unknown; 3]);
    for (bound, value) in [("low", low), ("estimate", share), ("high", high)] {
        metrics::FEED_MISSED.set_for(bound, value);
    }
    let lag = report.all.lag_seconds.unwrap_or(Lag { p50: unknown, p90: unknown, max: unknown });
    for (point, value) in [("p50", lag.p50), ("p90", lag.p90), ("max", lag.max)] {
        metrics::EVENT_LAG_SECONDS.set_for(point, value);
    }
    for kind in TroubleKind::ALL {
        let count = report.troubles.iter().filter(|trouble| trouble.kind == kind).count();
        metrics::FEED_TROUBLES.set_for(kind.name(), f64::from(u32::try_from(count).unwrap_or(0)));
    }
}

/// Records the smallest overlap of a page with the read before it.
pub(super) fn overlap(share: f64) {
    metrics::FEED_OVERLAP.set(share);
}

pub(super) fn mode(mode: TokenMode) -> SourceMode {
    match mode {
        TokenMode::Anonymous => SourceMode::Anonymous,
        TokenMode::Tokens => SourceMode::Tokens,
    }
}
