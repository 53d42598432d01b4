//! How many events came when, by type, and how many were missed: what charts and `/completeness`
//! are made of.
//!
//! Times are those of receiving. A span is a minute or an hour, cut into [`SLOTS`] equal slots.

pub mod written;

use super::kinds::{COLUMNS, KINDS, sequence};
use super::window::{Hour, Minute, Second, Timestamp};

/// Slots of a span: ten seconds of a minute, ten minutes of an hour.
pub const SLOTS: usize = 6;

/// How long a span of kept counts is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// A minute; its slots are of ten seconds.
    Minute = 1,
    /// An hour; its slots are of ten minutes.
    Hour = 2,
}

/// Counts by type, in the order of [`KINDS`].
pub type Columns = [u32; COLUMNS];

/// Events received in a span, by slot and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity(pub [Columns; SLOTS]);

/// How many events were missed: the most likely number and a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MissedRange {
    /// The lower end.
    pub low: f64,
    /// The most likely number.
    pub estimate: f64,
    /// The upper end.
    pub high: f64,
}

/// What is known of the completeness of a span.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Coverage {
    /// Minutes of it through which this node ran.
    pub watched: u16,
    /// Minutes of it for which the number of missed events is known.
    pub known: u16,
    /// Events received in the known minutes, by sequence of ids.
    pub seen: [u64; 2],
    /// Events missed in the known minutes, by sequence of ids.
    pub missed: [MissedRange; 2],
    /// The median lag behind `created_at`, milliseconds; the mean of its minutes for an hour.
    pub lag: Option<u32>,
}

/// What one minute of polling came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MinuteSample {
    /// The minute.
    pub minute: Minute,
    /// Events missed in it, by sequence of ids.
    pub missed: [MissedRange; 2],
    /// The median lag, milliseconds.
    pub lag: Option<u32>,
}

/// The completeness of one hour, as `/completeness` reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HourCompleteness {
    /// The hour of receiving.
    pub hour: Hour,
    /// Events received, by type.
    pub counts: [u64; COLUMNS],
    /// What is known of it.
    pub coverage: Coverage,
}

/// A slot of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChartSlot {
    /// Seconds of it during which this node counted; more than 0.
    pub seconds: u32,
    /// Events received in them, by type.
    pub counts: [u64; COLUMNS],
}

/// Kept counts over a time, for a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Where the first slot begins.
    pub from: Second,
    /// Seconds of a slot.
    pub step: i64,
    /// The slots in order; `None` is a slot of which nothing is known.
    pub slots: Vec<Option<ChartSlot>>,
    /// The minute that `seen` begins with.
    pub first_minute: Minute,
    /// The part of all events that was seen, 0 to 1, by minute; `None` where it is not known.
    pub seen: Vec<Option<f64>>,
    /// Hours of `created_at` within it whose counts were imported.
    pub imported: Vec<Hour>,
}

/// What was counted of one hour of `created_at`, from one origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HourCounts {
    /// Events of any type; `None` in hours that an earlier version counted.
    pub events: Option<i64>,
    /// Pull-request events of any action.
    pub pull_requests: i64,
    /// Pull requests opened.
    pub opened: i64,
    /// Pull requests merged.
    pub merged: i64,
    /// Pull requests closed without a merge.
    pub closed: i64,
    /// Lines added by merged ones.
    pub additions: i64,
    /// Lines deleted by merged ones.
    pub deletions: i64,
}

/// One hour of `created_at` by origin. Where it was imported, these counts stand for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CountedHour {
    /// The hour.
    pub hour: Hour,
    /// What was counted live; `None` when nothing was.
    pub live: Option<HourCounts>,
    /// What an imported archive has; `None` when none was imported.
    pub import: Option<HourCounts>,
}

impl Span {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// Seconds of it.
    #[must_use]
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
        }
    }

    /// Seconds of one slot.
    #[must_use]
    pub fn slot_seconds(self) -> i64 {
        self.seconds() / 6
    }

    /// The number of the span that an instant lies in, since 1970, and the slot.
    #[must_use]
    pub fn locate(self, at: Timestamp) -> (i64, usize) {
        let second = at.second().0;
        let slot = second.rem_euclid(self.seconds()) / self.slot_seconds();
        (second.div_euclid(self.seconds()), usize::try_from(slot).unwrap_or(0))
    }
}

impl Activity {
    /// All slots together, by type.
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

    /// All slots together, by sequence of ids.
    #[must_use]
    pub fn by_sequence(&self) -> [u64; 2] {
        let mut sums = [0; 2];
        for (kind, total) in KINDS.iter().zip(self.totals()) {
            sums[sequence(kind)] += total;
        }
        sums
    }

    /// Bytes for the store. Per slot: a bit for each type that has events, then their counts as
    /// LEB128 numbers.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![1];
        for slot in &self.0 {
            let bits = slot.iter().enumerate().filter(|(_, count)| **count > 0);
            push_number(&mut out, bits.fold(0, |bits, (at, _)| bits | 1 << at));
            for count in slot.iter().filter(|count| **count > 0) {
                push_number(&mut out, u64::from(*count));
            }
        }
        out
    }

    /// Reads what [`Self::encode`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.strip_prefix(&[1])?;
        let mut activity = Self::default();
        for slot in &mut activity.0 {
            let bits = take_number(&mut rest)?;
            if bits >> COLUMNS != 0 {
                return None;
            }
            for (at, count) in slot.iter_mut().enumerate() {
                if bits & 1 << at != 0 {
                    *count = u32::try_from(take_number(&mut rest)?).ok()?;
                }
            }
        }
        rest.is_empty().then_some(activity)
    }
}

impl MissedRange {
    /// Both added. The ends are added too: errors of neighbouring times are not independent, so
    /// the interval is wider than 95 % rather than narrower.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            low: self.low + other.low,
            estimate: self.estimate + other.estimate,
            high: self.high + other.high,
        }
    }

    /// This, times a share.
    #[must_use]
    pub fn times(self, share: f64) -> Self {
        let Self { low, estimate, high } = self;
        Self { low: low * share, estimate: estimate * share, high: high * share }
    }

    /// The missed part of all events, 0 to 1, when so many were seen.
    #[must_use]
    pub fn shares(self, seen: u64) -> [f64; 3] {
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
        let seen = seen as f64;
        let share = |missed: f64| if missed > 0.0 { missed / (missed + seen) } else { 0.0 };
        [share(self.low), share(self.estimate), share(self.high)]
    }
}

impl Coverage {
    /// Missed events of both sequences; `None` while no minute of it is known.
    #[must_use]
    pub fn missed(&self) -> Option<MissedRange> {
        (self.known > 0).then(|| self.missed[0].plus(self.missed[1]))
    }

    /// Adds a minute to an hour: what is known of it and what was received in it.
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

    /// Bytes for the store.
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

    /// Reads what [`Self::encode`] wrote; `None` for anything else.
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

    /// Missed events of one type: its sequence's, by the type's part of what was received of that
    /// sequence. `None` while it is not known.
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

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (part, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*part)
}

fn push_number(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let byte = u8::try_from(number & 0x7f).unwrap_or(0);
        number >>= 7;
        if number == 0 {
            return out.push(byte);
        }
        out.push(byte | 0x80);
    }
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for place in 0..5 {
        let [byte] = take(rest)?;
        number |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests;
