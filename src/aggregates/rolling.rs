//! What is always counted by name: pull-request events by language, all events by type.

use super::active::Active;
use super::member::{Member, reading};
use crate::hub::{Hub, WINDOWS};
use crate::model::position::Cursor;
use crate::model::tally::{BucketLayout, Buckets};
use crate::model::window::Second;
use crate::script::rule::{BUCKETS, Subject};

/// How many of the windows are counted by seconds, those of up to an hour; the day by 24 of them.
const BY_SECONDS: usize = 2;

/// What an event is counted under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Languages,
    Types,
}

/// Counts of one kind in windows of one resolution.
pub(super) struct Rolling {
    what: What,
    windows: &'static [(&'static str, u32)],
    buckets: Buckets,
    left_out: u64,
    ticked_at: Option<Second>,
}

/// Everything that is always counted.
pub(super) fn members() -> Vec<Member> {
    const SHORT: &[(&str, u32)] = WINDOWS.split_at(BY_SECONDS).0;
    const LONG: &[(&str, u32)] = WINDOWS.split_at(BY_SECONDS).1;
    let mut members = Vec::new();
    for windows in [SHORT, LONG] {
        for what in [What::Languages, What::Types] {
            members.push(Member::rolling(Rolling::new(what, windows)));
        }
        members.push(Member::active(Active::new(windows)));
    }
    members
}

impl Rolling {
    fn new(what: What, windows: &'static [(&'static str, u32)]) -> Self {
        let step = longest(windows).div_ceil(BUCKETS);
        let buckets = Buckets::with_layout(BucketLayout { step, ..BucketLayout::USUAL });
        Self { what, windows, buckets, left_out: 0, ticked_at: None }
    }

    pub(super) fn span(&self) -> i64 {
        longest(self.windows).into()
    }

    pub(super) fn count(&mut self, event: &Subject<'_>) {
        let kind;
        let name = match self.what {
            What::Languages => event.facts().counted_language(),
            What::Types => {
                kind = event.kind();
                kind.as_deref().filter(|kind| !kind.is_empty())
            }
        };
        let Some(name) = name else { return };
        let second = event.facts().received_at.second();
        self.left_out += u64::from(self.buckets.add(second, name, 1).is_err());
    }

    pub(super) fn tick(&mut self, hub: &Hub, now: Second, cursor: Cursor, since: Second) {
        if self.ticked_at.replace(now) == Some(now) {
            return;
        }
        let whole = self.buckets.window(now, longest(self.windows));
        self.buckets.expire_window(whole.from, whole.until);
        for (name, seconds) in self.windows {
            let window = self.buckets.window(now, *seconds);
            let value = self.buckets.snapshot(window).sum();
            let sheet = match self.what {
                What::Languages => format!("languages/{name}"),
                What::Types => format!("types/{name}"),
            };
            let reading = reading(window, cursor, since, self.left_out, value);
            hub.rolling().open(&sheet).publish(reading);
        }
    }
}

/// The seconds of the longest window.
pub(super) fn longest(windows: &[(&str, u32)]) -> u32 {
    windows.iter().map(|(_, seconds)| *seconds).max().unwrap_or(0)
}
