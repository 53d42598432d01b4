//! Updates the status of the poller.

use std::time::Duration;

use super::summary::Summary;
use super::{PollRule, Poller};
use crate::collect::outage::SHORTEST;
use crate::github::tokens::TokenMode;
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::part::{ErrorReport, PartState};

/// A source that had answered is down after this time without a response.
const DOWN_AFTER: Duration = Duration::from_secs(30);
/// Number of intervals without a response that make an outage, which is at least [`SHORTEST`].
const SILENT_INTERVALS: u32 = 3;
/// Lines about GitHub's state, bad and good: it may change with each response.
static TROUBLES: LineLimit = LineLimit::per_minute(10);
static ANSWERS: LineLimit = LineLimit::per_minute(10);

impl Poller {
    /// Updates the status after some responses.
    pub(super) fn report(&mut self, summary: &Summary) {
        let (now, wall) = (self.clock.instant(), self.clock.now());
        let interval = match self.rule() {
            PollRule::Tokens => self.loop_break,
            PollRule::Every(interval) => interval,
        };
        if summary.answered {
            let received_at = self.witness.stamp();
            let before = self.last_answer.replace((now, received_at));
            let long = SHORTEST.max(interval * SILENT_INTERVALS);
            // While the machine is suspended, only the time of day advances. A clock that was set
            // forward does no harm: pages that join what was admitted show that nothing is missing.
            let silent = before.filter(|(last, at)| {
                now.saturating_duration_since(*last) >= long || received_at.since(*at) >= long
            });
            self.outage_since = silent.map(|(_, at)| at).or(self.outage_since);
        }
        let census = self.pool.census();
        let lately = self.last_answer.is_some_and(|(last, _)| now - last < DOWN_AFTER);
        let all_refused = census.tokens > 0 && census.mode == TokenMode::Anonymous;
        let state = if !(summary.answered || summary.limited || lately) {
            PartState::Down
        } else if !summary.answered
            || summary.trouble.is_some()
            || !self.schedule.is_well()
            || all_refused
        {
            PartState::Degraded
        } else {
            PartState::Ok
        };
        let known = self.status.borrow().overlap.iter().flatten().copied().reduce(f64::min);
        if let Some(share) = known {
            metrics::FEED_OVERLAP.set(share);
        }
        self.status.send_modify(|status| {
            status.simulated = summary.simulated.unwrap_or(status.simulated);
            let turned = status.turn(state, wall);
            let report = &mut status.report;
            if let Some(message) = &summary.trouble {
                let again = report.last_error.as_ref().is_some_and(|last| last.message == *message);
                if turned || !again {
                    TROUBLES.log(|left_out| {
                        tracing::warn!(state = state.name(), left_out, "polling GitHub: {message}");
                    });
                }
                report.last_error = Some(ErrorReport { at: wall, message: message.clone() });
            } else if turned {
                let simulated = status.simulated;
                ANSWERS.log(|left_out| {
                    tracing::info!(state = state.name(), simulated, left_out, "GitHub answers");
                });
            }
            report.mode = census.mode.name().into();
            report.tokens_usable = census.usable;
            report.tokens_benched = census.quarantined;
            report.accounts = census.accounts;
            report.poll_interval_seconds = interval.as_secs_f64();
            if summary.answered {
                report.last_poll_at = Some(wall);
            }
        });
    }
}
