//! One struct for each kind of key. Their bytes never change; golden tests check them.
//!
//! Fixed-width parts come first, big-endian (signed ones with the sign bit flipped), so that bytes
//! sort as the values do. A key has at most one string, at its end.

pub mod activity;
pub mod audit;
pub mod entity;
pub mod history;
pub mod ledger;

use xxhash_rust::xxh3::xxh3_128;

use super::families::Family;
use crate::model::event::{EventId, EventKey};
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

fn push_i32(out: &mut Vec<u8>, number: i32) {
    out.extend_from_slice(&(number.cast_unsigned() ^ (1 << 31)).to_be_bytes());
}

fn push_i64(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(&(number.cast_unsigned() ^ (1 << 63)).to_be_bytes());
}

/// Splits the parts of a key off its front.
struct KeyParts<'a>(&'a [u8]);

impl<'a> KeyParts<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (part, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*part)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.u32().map(|bits| (bits ^ (1 << 31)).cast_signed())
    }

    fn i64(&mut self) -> Option<i64> {
        self.u64().map(|bits| (bits ^ (1 << 63)).cast_signed())
    }

    fn text(&mut self, length: usize) -> Option<&'a str> {
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn rest(mut self) -> Option<&'a str> {
        self.text(self.0.len())
    }

    fn end<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

impl Key for SeenKey {
    const FAMILY: Family = Family::Seen;

    fn encode(&self, out: &mut Vec<u8>) {
        push_i32(out, self.day.0);
        match &self.event.id {
            EventId::Number(number) => {
                out.push(0);
                out.extend_from_slice(&number.to_be_bytes());
            }
            EventId::Text(text) => {
                out.push(1);
                let length = u32::try_from(text.len()).expect("ids in keys are short");
                out.extend_from_slice(&length.to_be_bytes());
                out.extend_from_slice(text.as_bytes());
            }
        }
        out.extend_from_slice(self.event.kind.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let day = Day(parts.i32()?);
        let id = match parts.u8()? {
            0 => EventId::Number(parts.u64()?),
            1 => {
                let length = usize::try_from(parts.u32()?).ok()?;
                EventId::Text(parts.text(length)?.to_owned())
            }
            _ => return None,
        };
        Some(Self { day, event: EventKey { id, kind: parts.rest()?.to_owned() } })
    }
}

impl Key for AppliedKey {
    const FAMILY: Family = Family::Applied;

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        SeenKey::decode(bytes).map(Self)
    }
}

macro_rules! numbered {
    ($($key:ident $family:ident;)*) => {$(
        impl Key for $key {
            const FAMILY: Family = Family::$family;

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.0.to_be_bytes());
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                let mut parts = KeyParts(bytes);
                let number = parts.u64()?;
                parts.end(Self(number))
            }
        }
    )*};
}

numbered! {
    BodyKey Bodies;
    InboxKey Inbox;
    OutboxKey Outbox;
    RepoKey Repos;
    RejectKey Rejects;
    DeadKey Dead;
}

macro_rules! named {
    ($($key:ident $family:ident;)*) => {$(
        impl Key for $key {
            const FAMILY: Family = Family::$family;

            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(self.0.as_bytes());
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                KeyParts(bytes).rest().map(|name| Self(name.to_owned()))
            }
        }
    )*};
}

named! {
    MetaKey Meta;
    CursorKey Cursors;
}

impl CounterKey for MetaKey {}

impl Scope {
    fn decode(byte: u8) -> Option<Self> {
        [Self::DeveloperDay, Self::DeveloperYear, Self::RepositoryYear]
            .into_iter()
            .find(|scope| *scope as u8 == byte)
    }
}

impl Key for FirstKey {
    const FAMILY: Family = Family::Firsts;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.scope as u8);
        push_i32(out, self.period);
        out.extend_from_slice(&self.id.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let scope = Scope::decode(parts.u8()?)?;
        let (period, id) = (parts.i32()?, parts.u64()?);
        parts.end(Self { scope, period, id })
    }
}

impl Key for SizeKey {
    const FAMILY: Family = Family::Sizes;

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.scope as u8);
        push_i32(out, self.period);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let scope = Scope::decode(parts.u8()?)?;
        let period = parts.i32()?;
        parts.end(Self { scope, period })
    }
}

impl CounterKey for SizeKey {}

impl Key for BucketKey {
    const FAMILY: Family = Family::Buckets;

    fn encode(&self, out: &mut Vec<u8>) {
        push_i64(out, self.second.0);
        out.extend_from_slice(self.language.as_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let second = Second(parts.i64()?);
        Some(Self { second, language: parts.rest()?.to_owned() })
    }
}

impl CounterKey for BucketKey {}

impl HourSource {
    /// All sources.
    pub const ALL: [Self; 2] = [Self::Live, Self::Archive];
}

impl HourMetric {
    /// All counts.
    pub const ALL: [Self; 7] = [
        Self::Opened,
        Self::Merged,
        Self::Closed,
        Self::Additions,
        Self::Deletions,
        Self::PullRequests,
        Self::Events,
    ];
}

impl Key for HourKey {
    const FAMILY: Family = Family::Hours;

    fn encode(&self, out: &mut Vec<u8>) {
        push_i64(out, self.hour.0);
        out.push(self.origin as u8);
        out.push(self.metric as u8);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let hour = Hour(parts.i64()?);
        let origin = parts.u8()?;
        let origin = HourSource::ALL.into_iter().find(|known| *known as u8 == origin)?;
        let metric = parts.u8()?;
        let metric = HourMetric::ALL.into_iter().find(|known| *known as u8 == metric)?;
        parts.end(Self { hour, origin, metric })
    }
}

impl CounterKey for HourKey {}

impl Key for JournalKey {
    const FAMILY: Family = Family::Journal;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tag.0.to_be_bytes());
        out.extend_from_slice(&self.position.to_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let tag = BusTag(parts.u32()?);
        let position = Position::from_bytes(parts.take()?);
        parts.end(Self { tag, position })
    }
}

impl Key for MinuteKey {
    const FAMILY: Family = Family::Minutes;

    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.tag.0.to_be_bytes());
        push_i64(out, self.minute.0);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let tag = BusTag(parts.u32()?);
        let minute = Minute(parts.i64()?);
        parts.end(Self { tag, minute })
    }
}

#[cfg(test)]
mod tests;
