//! Counts of received and missed events by time and type: the data of charts and `/completeness`.
//!
//! Times are times of receipt. A span is a minute or an hour, divided into [`SLOTS`] equal slots.

pub mod written;

use schemars::JsonSchema;
use serde::Serialize;

use super::bytes::take;
use super::kinds::{COLUMNS, KINDS, sequence};
use super::varint;
use super::window::{Hour, Minute, Second, Timestamp};

/// Slots of a span: ten seconds each in a minute, ten minutes each in an hour.
pub const SLOTS: usize = 6;

/// The length of a span of kept counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// A minute, with slots of ten seconds.
    Minute = 1,
    /// An hour, with slots of ten minutes.
    Hour = 2,
}

/// Counts by type, in the order of [`KINDS`].
pub type Columns = [u32; COLUMNS];

/// Events received in a span, by slot and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity(pub [Columns; SLOTS]);

/// An estimate of the number of missed events, with a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct MissedRange {
    /// The lower bound.
    pub low: f64,
    /// The most likely number.
    pub estimate: f64,
    /// The upper bound.
    pub high: f64,
}

/// How complete the received events of a span are.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Coverage {
    /// Minutes of the span during which this node ran.
    pub watched: u16,
    /// Minutes for which the number of missed events is known.
    pub known: u16,
    /// Events received in the known minutes, by id sequence.
    pub seen: [u64; 2],
    /// Events missed in the known minutes, by id sequence.
    pub missed: [MissedRange; 2],
    /// The median lag behind `created_at` in milliseconds; for an hour, the mean over its minutes.
    pub lag: Option<u32>,
}

/// The result of one minute of polling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinuteSample {
    /// The minute.
    pub minute: Minute,
    /// Events missed in this minute, by id sequence.
    pub missed: [MissedRange; 2],
    /// The median lag in milliseconds.
    pub lag: Option<u32>,
}

/// The completeness of one hour, as `/completeness` reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HourCompleteness {
    /// The hour of receipt.
    pub hour: Hour,
    /// Events received, by type.
    pub counts: [u64; COLUMNS],
    /// How complete this hour is.
    pub coverage: Coverage,
}

/// One slot of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChartSlot {
    /// Seconds of the slot during which this node counted; more than 0.
    pub seconds: u32,
    /// Events received in those seconds, by type.
    pub counts: [u64; COLUMNS],
}

/// Kept counts over a range of time, for a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// The start of the first slot.
    pub from: Second,
    /// Seconds per slot.
    pub step: i64,
    /// The slots in order; `None` where nothing is known.
    pub slots: Vec<Option<ChartSlot>>,
    /// The first minute of `seen`.
    pub first_minute: Minute,
    /// The fraction of all events that was received, 0 to 1, by minute; `None` where unknown.
    pub seen: Vec<Option<f64>>,
    /// Hours of `created_at` in the range whose counts were imported.
    pub imported: Vec<Hour>,
}

/// The counts of one hour of `created_at` from one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, JsonSchema)]
#[schemars(inline)]
pub struct HourCounts {
    /// Events of any type; `None` for hours counted by an earlier version.
    pub events: Option<i64>,
    /// Pull-request events of any action.
    pub pull_requests: i64,
    /// Pull requests opened.
    pub opened: i64,
    /// Pull requests merged.
    pub merged: i64,
    /// Pull requests closed without a merge.
    pub closed: i64,
    /// Lines added by merged pull requests.
    pub additions: i64,
    /// Lines deleted by merged pull requests.
    pub deletions: i64,
}

/// The counts of one hour of `created_at`, by origin. An import replaces the live counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedHour {
    /// The hour.
    pub hour: Hour,
    /// The live counts; `None` without any.
    pub live: Option<HourCounts>,
    /// The counts of an imported archive; `None` without an import.
    pub import: Option<HourCounts>,
}

impl Span {
    /// All spans.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// The length of the span in seconds.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    /// The length of a slot in seconds.
    #[must_use]
    pub fn slot_seconds(self) -> i64 {
        self.seconds() / 6
    }

    /// Returns the span that contains an instant, numbered since 1970, and its slot.
    #[must_use]
    pub fn locate(self, at: Timestamp) -> (i64, usize) {
        let second = at.second().0;
        let slot = second.rem_euclid(self.seconds()) / self.slot_seconds();
        (second.div_euclid(self.seconds()), usize::try_from(slot).unwrap_or(0))
    }
}

impl Activity {
    /// Sums all slots, by type.
    #[must_use]
    pub fn totals(&self) -> [u64; COLUMNS] {
        let mut totals = [0; COLUMNS];
        for slot in &self.0 {
            for (total, count) in totals.iter_mut().zip(slot) {
                *total += u64::from(*count);
            }
        }
        totals
    }

    /// Sums all slots, by id sequence.
    #[must_use]
    pub fn by_sequence(&self) -> [u64; 2] {
        let mut sums = [0; 2];
        for (kind, total) in KINDS.iter().zip(self.totals()) {
            sums[sequence(kind)] += total;
        }
        sums
    }

    /// Encodes the counts for the store. Per slot: a bit for each type that has events, then the
    /// counts of these types as LEB128 numbers.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        for slot in &self.0 {
            let bits = slot.iter().enumerate().filter(|(_, count)| **count > 0);
            varint::push(&mut out, bits.fold(0, |bits, (at, _)| bits | 1 << at));
            for count in slot.iter().filter(|count| **count > 0) {
                varint::push(&mut out, u64::from(*count));
            }
        }
        out
    }

    /// Decodes the output of [`Self::encode`]; `None` for invalid bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[1])?;
        let mut activity = Self::default();
        for slot in &mut activity.0 {
            let bits = varint::take(&mut rest)?;
            if bits >> COLUMNS != 0 {
                return None;
            }
            for (at, count) in slot.iter_mut().enumerate() {
                if bits & 1 << at != 0 {
                    *count = u32::try_from(varint::take(&mut rest)?).ok()?;
                }
            }
        }
        rest.is_empty().then_some(activity)
    }
}

impl MissedRange {
    /// Adds two estimates. The bounds are added too: errors of neighbouring times are not
    /// independent, so the interval is wider than 95 % rather than narrower.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            estimate: self.estimate + other.estimate,
            high: self.high + other.high,
        }
    }

    /// Multiplies the estimate and its bounds by `share`.
    #[must_use]
    pub fn times(self, share: f64) -> Self {
        self.map(|number| number * share)
    }

    /// Rounds the estimate and its bounds to tenths.
    #[must_use]
    pub fn rounded(self) -> Self {
        self.map(|number| (number * 10.0).round() / 10.0)
    }

    fn map(self, of: impl Fn(f64) -> f64) -> Self {
        Self { low: of(self.low), estimate: of(self.estimate), high: of(self.high) }
    }

    /// Returns the missed fraction of all events, 0 to 1, given the number of seen events.
    #[must_use]
    pub fn shares(self, seen: u64) -> [f64; 3] {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let seen = seen as f64;
        let share = |missed: f64| if missed > 0.0 { missed / (missed + seen) } else { 0.0 };
        [share(self.low), share(self.estimate), share(self.high)]
    }
}

impl Coverage {
    /// Missed events of both sequences; `None` while no minute is known.
    #[must_use]
    pub fn missed(&self) -> Option<MissedRange> {
        (self.known > 0).then(|| self.missed[0].plus(self.missed[1]))
    }

    /// Adds a minute, with the events received in it, to an hour.
    pub fn add_minute(&mut self, minute: &Self, received: &Activity) {
        self.watched += minute.watched;
        if minute.known == 0 {
            return;
        }
        let known = u64::from(self.known);
        self.lag = match (self.lag, minute.lag) {
            (Some(mean), Some(lag)) => {
                let sum = u64::from(mean) * known + u64::from(lag);
                u32::try_from(sum / (known + 1)).ok()
            }
            (mean, lag) => mean.or(lag),
        };
        self.known += 1;
        let received = received.by_sequence();
        for sequence in [0, 1] {
            self.seen[sequence] += received[sequence];
            self.missed[sequence] = self.missed[sequence].plus(minute.missed[sequence]);
        }
    }

    /// Encodes the coverage for the store.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        out.extend_from_slice(&self.watched.to_be_bytes());
        out.extend_from_slice(&self.known.to_be_bytes());
        out.extend_from_slice(&self.lag.unwrap_or(u32::MAX).to_be_bytes());
        for sequence in [0, 1] {
            out.extend_from_slice(&self.seen[sequence].to_be_bytes());
            let MissedRange { low, estimate, high } = self.missed[sequence];
            for number in [low, estimate, high] {
                out.extend_from_slice(&number.to_be_bytes());
            }
        }
        out
    }

    /// Decodes the output of [`Self::encode`]; `None` for invalid bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[1])?;
        let watched = u16::from_be_bytes(take(&mut rest)?);
        let known = u16::from_be_bytes(take(&mut rest)?);
        let lag = Some(u32::from_be_bytes(take(&mut rest)?)).filter(|lag| *lag != u32::MAX);
        let mut coverage = Self { watched, known, lag, ..Self::default() };
        for sequence in [0, 1] {
            coverage.seen[sequence] = u64::from_be_bytes(take(&mut rest)?);
            let mut number = || take(&mut rest).map(f64::from_be_bytes).filter(|n| n.is_finite());
            let (low, estimate, high) = (number()?, number()?, number()?);
            coverage.missed[sequence] = MissedRange { low, estimate, high };
        }
        rest.is_empty().then_some(coverage)
    }
}

impl HourCompleteness {
    /// Of an hour of which nothing is kept.
    #[must_use]
    pub fn unknown(hour: Hour) -> Self {
        Self { hour, counts: [0; COLUMNS], coverage: Coverage::default() }
    }

    /// Estimates the missed events of one type: those of its id sequence, multiplied by the type's
    /// fraction of the events received in that sequence. `None` while unknown.
    #[must_use]
    pub fn missed_of(&self, column: usize) -> Option<MissedRange> {
        if self.coverage.known == 0 {
            return None;
        }
        let of = sequence(KINDS[column]);
        let same = KINDS.iter().zip(self.counts).filter(|(kind, _)| sequence(kind) == of);
        let all: u64 = same.map(|(_, count)| count).sum();
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let part = if all > 0 { self.counts[column] as f64 / all as f64 } else { 0.0 };
        Some(self.coverage.missed[of].times(part))
    }
}

#[cfg(test)]
mod tests;
