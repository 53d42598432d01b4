//! Built-in counts by name: pull-request events by language, all events by type.

use crate::hub::{GaugeSnapshot, Hub};
use crate::model::position::Cursor;
use crate::model::tally::{BucketLayout, Buckets, Tally};
use crate::model::window::{Second, Window};
use crate::script::rule::{BUCKETS, Subject};

/// The name under which an event is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountedBy {
    Language,
    Type,
}

/// Counts of one kind in windows of one resolution.
pub(super) struct RollingCounter {
    by: CountedBy,
    windows: &'static [(&'static str, u32)],
    buckets: Buckets,
    left_out: u64,
}

impl RollingCounter {
    pub(super) fn new(by: CountedBy, windows: &'static [(&'static str, u32)]) -> Self {
        let step = longest(windows).div_ceil(BUCKETS);
        let buckets = Buckets::with_layout(BucketLayout { step, ..BucketLayout::default() });
        Self { by, windows, buckets, left_out: 0 }
    }

    pub(super) fn span(&self) -> i64 {
        longest(self.windows).into()
    }

    pub(super) fn count(&mut self, event: &Subject<'_>) {
        let kind;
        let name = match self.by {
            CountedBy::Language => event.facts().counted_language(),
            CountedBy::Type => {
                kind = event.kind();
                kind.as_deref().filter(|kind| !kind.is_empty())
            }
        };
        let Some(name) = name else { return };
        let second = event.facts().received_at.second();
        self.left_out += u64::from(self.buckets.add(second, name, 1).is_err());
    }

    pub(super) fn tick(&mut self, hub: &Hub, now: Second, cursor: Cursor, since: Second) {
        let whole = self.buckets.window(now, longest(self.windows));
        self.buckets.expire_window(whole.from, whole.until);
        for (name, seconds) in self.windows {
            let window = self.buckets.window(now, *seconds);
            let value = self.buckets.snapshot(window).sum();
            let topic = match self.by {
                CountedBy::Language => format!("languages/{name}"),
                CountedBy::Type => format!("types/{name}"),
            };
            let snapshot = snapshot_of(window, cursor, since, self.left_out, value);
            hub.rolling.open(&topic).publish(snapshot);
        }
    }
}

/// A snapshot with its window.
pub(super) fn snapshot_of(
    window: Window,
    cursor: Cursor,
    counted_from: Second,
    left_out: u64,
    value: Tally,
) -> GaugeSnapshot {
    let to = Second(window.until.0 - 1);
    GaugeSnapshot { cursor, from: window.from, to, counted_from, left_out, value }
}

/// Length of the longest window in seconds.
pub(super) fn longest(windows: &[(&str, u32)]) -> u32 {
    windows.iter().map(|(_, seconds)| *seconds).max().unwrap_or(0)
}
