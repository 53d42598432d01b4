//! One struct for each kind of key. Their bytes never change; golden tests check them.
//!
//! Fixed-width parts come first, big-endian (signed ones with the sign bit flipped), so that bytes
//! sort as the values do. A key has at most one string, at its end.

pub mod activity;
pub mod audit;
pub mod entity;
pub mod history;
pub mod ledger;
pub(super) mod part;

use xxhash_rust::xxh3::xxh3_128;

use self::part::{KeyPart, numbered};
use super::families::Family;
use crate::model::event::{EventId, EventKey};
use crate::model::names::names;
use crate::model::position::{BusTag, Position};
use crate::model::window::{Day, Hour, Minute, Second};

/// A key of the rows of one family.
pub trait Key: Sized {
    /// The family of its rows.
    const FAMILY: Family;
    /// Appends its bytes.
    fn encode(&self, out: &mut Vec<u8>);
    /// Decodes a key; `None` for other bytes.
    fn decode(bytes: &[u8]) -> Option<Self>;
    /// Its bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(48);
        self.encode(&mut out);
        out
    }
}

/// Implements [`Key`]: the bytes of its fields, in this order. A text must be the last.
macro_rules! keys {
    ($($key:ident $family:ident ($($field:tt),+);)*) => {$(
        impl $crate::store::keys::Key for $key {
            const FAMILY: $crate::store::families::Family =
                $crate::store::families::Family::$family;

            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::store::keys::part::KeyPart::push(&self.$field, out);)+
            }

            fn decode(mut bytes: &[u8]) -> Option<Self> {
                let key = Self {
                    $($field: $crate::store::keys::part::KeyPart::take(&mut bytes)?),+
                };
                bytes.is_empty().then_some(key)
            }
        }
    )*};
}
pub(super) use keys;

/// Implements [`Key`] for an enum: the number of the variant, and the bytes of its parts, in this
/// order. A text must be the last.
macro_rules! tagged_keys {
    ($($key:ident $family:ident {
        $($number:literal $variant:ident $(($($part:ident),+))?;)+
    })+) => {$(
        impl $crate::store::keys::Key for $key {
            const FAMILY: $crate::store::families::Family =
                $crate::store::families::Family::$family;

            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant $(($($part),+))? => {
                        out.push($number);
                        $($($crate::store::keys::part::KeyPart::push($part, out);)+)?
                    })+
                }
            }

            fn decode(mut bytes: &[u8]) -> Option<Self> {
                let number: u8 = $crate::store::keys::part::KeyPart::take(&mut bytes)?;
                let key = match number {
                    $($number => {
                        $($(let $part = $crate::store::keys::part::KeyPart::take(&mut bytes)?;)+)?
                        Self::$variant $(($($part),+))?
                    })+
                    _ => return None,
                };
                bytes.is_empty().then_some(key)
            }
        }
    )+};
}
pub(super) use tagged_keys;

/// A key whose value is a whole number.
pub trait CounterKey: Key {}

/// A named value of [`Family::Meta`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetaKey(pub String);

/// A named position of [`Family::Cursors`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CursorKey(pub String);

/// An event that was admitted, by the day it was received.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeenKey {
    /// The day it was received.
    pub day: Day,
    /// The event.
    pub event: EventKey,
}

/// An event that was applied, by the day it was received.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AppliedKey(pub SeenKey);

/// The body of an admitted event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BodyKey(pub u64);

/// An admitted event that waits to be enriched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct InboxKey(pub u64);

/// An enriched event that waits for the bus.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct OutboxKey(pub u64);

/// A repository, by GitHub's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RepoKey(pub u64);

/// The kind of a first-time set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Developers, by UTC day.
    DeveloperDay = 1,
    /// Developers, by UTC year.
    DeveloperYear = 2,
    /// Repositories, by UTC year.
    RepositoryYear = 3,
}

/// A developer or repository that was seen in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FirstKey {
    /// The kind of the set.
    pub scope: Scope,
    /// The day or the year.
    pub period: i32,
    /// GitHub's id of the developer or repository.
    pub id: u64,
}

impl FirstKey {
    /// The size of its set.
    #[must_use]
    pub fn size(self) -> SizeKey {
        SizeKey { scope: self.scope, period: self.period }
    }
}

/// The size of a first-time set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeKey {
    /// The kind of the set.
    pub scope: Scope,
    /// The day or the year.
    pub period: i32,
}

/// Pull-request events of one language received in one second.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BucketKey {
    /// The second they were received.
    pub second: Second,
    /// The language, up to [`NAME_BYTES`] of it.
    pub language: String,
}

/// The source of an hour's counts. A later source replaces an earlier one for the whole hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HourSource {
    /// The live feed.
    Live = 1,
    /// An imported hour of an archive. It always has [`HourMetric::Events`].
    Archive = 2,
}

/// A count by the hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HourMetric {
    /// Pull requests opened.
    Opened = 1,
    /// Pull requests merged.
    Merged = 2,
    /// Pull requests closed without a merge.
    Closed = 3,
    /// Lines added by merged pull requests.
    Additions = 4,
    /// Lines deleted by merged pull requests.
    Deletions = 5,
    /// Pull-request events of any action.
    PullRequests = 6,
    /// Events of any type. Only imported hours have it, where it is never 0 and marks the import.
    Events = 7,
}

/// A count of one hour of `created_at`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourKey {
    /// The hour.
    pub hour: Hour,
    /// The source of the count.
    pub origin: HourSource,
    /// What is counted.
    pub metric: HourMetric,
}

/// An applied event of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct JournalKey {
    /// The bus that delivered it.
    pub tag: BusTag,
    /// Its position there.
    pub position: Position,
}

/// The beginning of a minute in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinuteKey {
    /// The bus.
    pub tag: BusTag,
    /// The minute in which events were received.
    pub minute: Minute,
}

/// An entry of the reject log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct RejectKey(pub u64);

/// An entry of the dead-letter queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadKey(pub u64);

/// The longest name that a key holds as it is, in bytes.
pub const NAME_BYTES: usize = 128;

/// The name, or its hash when it is too long for a key.
#[must_use]
pub fn short_name(name: &str) -> String {
    if name.len() <= NAME_BYTES {
        name.to_owned()
    } else {
        format!("#{:032x}", xxh3_128(name.as_bytes()))
    }
}

impl SeenKey {
    /// The key of an event on a day. Names that are too long are replaced by their hash.
    #[must_use]
    pub fn new(day: Day, event: &EventKey) -> Self {
        let id = match &event.id {
            EventId::Text(text) => EventId::Text(short_name(text)),
            EventId::Number(number) => EventId::Number(*number),
        };
        Self { day, event: EventKey { id, kind: short_name(&event.kind) } }
    }

    /// The least key of a day.
    #[must_use]
    pub fn first_of(day: Day) -> Self {
        Self { day, event: EventKey { id: EventId::Number(0), kind: String::new() } }
    }
}

/// The first bytes of a key that begins with a day.
pub(super) fn day_bytes(day: i32) -> [u8; 4] {
    (day.cast_unsigned() ^ (1 << 31)).to_be_bytes()
}

keys! {
    SeenKey Seen (day, event);
    AppliedKey Applied (0);
    BodyKey Bodies (0);
    InboxKey Inbox (0);
    OutboxKey Outbox (0);
    RepoKey Repos (0);
    RejectKey Rejects (0);
    DeadKey Dead (0);
    MetaKey Meta (0);
    CursorKey Cursors (0);
    FirstKey Firsts (scope, period, id);
    SizeKey Sizes (scope, period);
    BucketKey Buckets (second, language);
    HourKey Hours (hour, origin, metric);
    JournalKey Journal (tag, position);
    MinuteKey Minutes (tag, minute);
}

numbered! { Scope HourSource HourMetric }

impl CounterKey for MetaKey {}
impl CounterKey for SizeKey {}
impl CounterKey for BucketKey {}
impl CounterKey for HourKey {}

impl KeyPart for SeenKey {
    fn push(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        Self::decode(std::mem::take(rest))
    }
}

impl Scope {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::DeveloperDay, Self::DeveloperYear, Self::RepositoryYear];
}

names!(HourSource { Live: "live", Archive: "archive" });

names!(HourMetric {
    Opened: "opened",
    Merged: "merged",
    Closed: "closed",
    Additions: "additions",
    Deletions: "deletions",
    PullRequests: "pull_requests",
    Events: "events",
});

#[cfg(test)]
mod tests;
