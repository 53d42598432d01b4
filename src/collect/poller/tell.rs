//! What the poller has to say, to the log and in metrics.

use crate::collect::completeness::{Report, Trouble, TroubleKind};
use crate::metrics;

/// Says once that something is wrong, and once that it no longer is.
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

pub(super) fn publish(report: &Report) {
    let [low, share, high] = report.all.missed_share;
    for (bound, value) in [("low", low), ("estimate", share), ("high", high)] {
        metrics::FEED_MISSED.set_for(bound, value);
    }
    if let Some(lag) = report.all.lag_seconds {
        for (quantile, value) in [("p50", lag.p50), ("p90", lag.p90), ("max", lag.max)] {
            metrics::EVENT_LAG_SECONDS.set_for(quantile, value);
        }
    }
    metrics::FEED_EVENTS_MINUTE.set(report.all.events_a_minute);
    for kind in TroubleKind::ALL {
        let count = report.troubles.iter().filter(|trouble| trouble.kind == kind).count();
        metrics::FEED_TROUBLES.set_for(kind.name(), f64::from(u32::try_from(count).unwrap_or(0)));
    }
}

/// The least part that a page has in common with the read before it.
pub(super) fn overlap(share: f64) {
    metrics::FEED_OVERLAP.set(share);
}
