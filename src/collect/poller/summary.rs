//! Reports of the poller: log messages and metrics.

use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::coverage::{Lag, Report, Trouble, TroubleKind};

/// Lines about problems that begin, and that end: one may come and go with each response.
static BEGUN: LineLimit = LineLimit::per_minute(10);
static ENDED: LineLimit = LineLimit::per_minute(10);

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

/// Logs each problem once when it begins and once when it ends.
pub(super) fn troubles(before: &[Trouble], now: &[Trouble]) {
    let is_in = |all: &[Trouble], one: &Trouble| {
        all.iter().any(|other| (other.kind, other.of) == (one.kind, one.of))
    };
    for trouble in now.iter().filter(|trouble| !is_in(before, trouble)) {
        BEGUN.log(|left_out| {
            tracing::warn!(trouble = trouble.kind.name(), left_out, "{}", trouble.text);
        });
    }
    for trouble in before.iter().filter(|trouble| !is_in(now, trouble)) {
        let since = trouble.since;
        ENDED.log(|left_out| {
            let trouble_name = trouble.kind.name();
            tracing::info!(trouble = trouble_name, %since, left_out, "over: {}", trouble.text);
        });
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
