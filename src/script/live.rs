//! The live window in the form in which a running appliance sends it to `ghpulse script check`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::tally::{Buckets, WindowSnapshot};
use crate::model::window::Second;

/// A window and the previous one: the seconds that have counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveWindow {
    /// The last second, since 1970.
    last: i64,
    /// Seconds of the window.
    seconds: u32,
    /// Counts by name, oldest first.
    buckets: Vec<(i64, BTreeMap<String, i64>)>,
}

impl LiveWindow {
    /// Converts a snapshot.
    #[must_use]
    pub fn of(snapshot: &WindowSnapshot) -> Self {
        let window = snapshot.window();
        let buckets = snapshot.previous().iter().chain(snapshot.buckets()).map(|bucket| {
            let named = bucket.counts().iter().filter_map(|(id, count)| {
                snapshot.name(*id).map(|name| (name.to_string(), *count))
            });
            (bucket.at().0, named.collect())
        });
        Self {
            last: window.until.0 - 1,
            seconds: u32::try_from(window.until.0 - window.from.0).unwrap_or(0),
            buckets: buckets.collect(),
        }
    }

    /// Restores the snapshot. Names beyond its limits are left out.
    #[must_use]
    pub fn snapshot(&self) -> WindowSnapshot {
        let mut buckets = Buckets::default();
        for (second, counts) in &self.buckets {
            for (name, count) in counts {
                // Invalid names are skipped.
                let _ = buckets.add(Second(*second), name, *count);
            }
        }
        buckets.snapshot(buckets.window(Second(self.last), self.seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_that_travels_stays_as_it_is() {
        let mut buckets = Buckets::default();
        for second in 0..40 {
            buckets.add(Second(1_000 + second), "Rust", second + 1).unwrap();
            buckets.add(Second(1_000 + second), "a \"name\"", 1).unwrap();
        }
        let snapshot = buckets.snapshot(buckets.window(Second(1_039), 20));
        let text = serde_json::to_string(&LiveWindow::of(&snapshot)).unwrap();
        let live: LiveWindow = serde_json::from_str(&text).unwrap();
        let again = live.snapshot();
        assert_eq!(again.window(), snapshot.window());
        assert_eq!(again.sum(), snapshot.sum());
        assert_eq!(again.previous().len(), 20);
        assert_eq!(LiveWindow::of(&again), live);
    }
}
