//! A history without TiDB.

use std::time::Duration;

use ghpulse::alerts::Alerts;
use ghpulse::clock::Clock;
use ghpulse::config::IntervalConfig;
use ghpulse::store::Store;
use ghpulse::tidb::{History, Setup};

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
