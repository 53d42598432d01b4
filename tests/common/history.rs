//! The apply stage of a node without TiDB.

use std::sync::Arc;
use std::time::Duration;

use ghpulse::alerts::Alerts;
use ghpulse::apply::numbers::NodeCounters;
use ghpulse::apply::stage::Apply;
use ghpulse::clock::Clock;
use ghpulse::config::IntervalConfig;
use ghpulse::hub::Hub;
use ghpulse::store::Store;
use ghpulse::tidb::{History, Setup};

/// How long an event is recognized as a duplicate.
pub const SEEN_FOR: Duration = Duration::from_secs(72 * 3_600);

/// The apply stage on this store, which leaves nothing out and queries no database.
pub fn apply_stage(store: &Store, hub: &Arc<Hub>, clock: Clock) -> Apply {
    Apply {
        store: store.clone(),
        numbers: Arc::new(NodeCounters::load(store, 3_600, clock).unwrap()),
        history: no_history(store, clock),
        hub: Arc::clone(hub),
        seen_for: SEEN_FOR,
        clock,
    }
}

/// A history that shows only what this node has counted, and queries no database.
pub fn no_history(store: &Store, clock: Clock) -> History {
    let every = Duration::from_secs(3_600);
    let interval = IntervalConfig {
        daily: every,
        day_count: every,
        year_count: every,
        retry: 1,
        retry_wait: every,
        latest: Duration::from_secs(1),
        latest_during: 3_600,
    };
    let setup = Setup { tidb: None, interval, on_request: false };
    History::load(store, setup, Alerts::off(), clock).unwrap().0
}
