//! Keys of figures that come from TiDB: its answers, and our own counts since the last query.
//!
//! The sums of a year are stored under its first day, distinguished by their metrics.

use super::{CounterKey, Key, KeyParts, push_i32};
use crate::model::window::{Day, Year};
use crate::store::families::Family;

/// The subject of a figure. The first four are of a UTC day, the others of a UTC year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HistoryMetric {
    /// Distinct developers of a day.
    Developers = 1,
    /// Pull requests opened on a day.
    Opened = 2,
    /// Pull requests closed without a merge on a day.
    Closed = 3,
    /// Pull requests merged on a day.
    Merged = 4,
    /// Distinct developers of a year.
    YearDevelopers = 5,
    /// Distinct repositories of a year.
    YearRepositories = 6,
    /// Lines added by merged pull requests of a year.
    YearAdditions = 7,
    /// Lines deleted by merged pull requests of a year.
    YearDeletions = 8,
}

/// One figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryFigure {
    /// The UTC day; the first day of the year for a year's metric.
    pub day: Day,
    /// The subject.
    pub metric: HistoryMetric,
}

/// TiDB's value of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HistoryKey(pub HistoryFigure);

/// Our own count of a figure since the last query to TiDB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SinceKey(pub HistoryFigure);

impl HistoryMetric {
    /// All metrics.
    pub const ALL: [Self; 8] = [
        Self::Developers,
        Self::Opened,
        Self::Closed,
        Self::Merged,
        Self::YearDevelopers,
        Self::YearRepositories,
        Self::YearAdditions,
        Self::YearDeletions,
    ];

    /// Whether it is of a day, not of a year.
    #[must_use]
    pub fn is_daily(self) -> bool {
        self <= Self::Merged
    }
}

impl HistoryFigure {
    /// The first of all figures.
    pub const FIRST: Self = Self { day: Day(i32::MIN), metric: HistoryMetric::Developers };

    /// A figure of a day.
    #[must_use]
    pub fn of_day(day: Day, metric: HistoryMetric) -> Self {
        debug_assert!(metric.is_daily());
        Self { day, metric }
    }

    /// A figure of a year.
    #[must_use]
    pub fn of_year(year: Year, metric: HistoryMetric) -> Self {
        debug_assert!(!metric.is_daily());
        Self { day: year.first_day(), metric }
    }

    fn encode(self, out: &mut Vec<u8>) {
        push_i32(out, self.day.0);
        out.push(self.metric as u8);
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = KeyParts(bytes);
        let (day, metric) = (Day(parts.i32()?), parts.u8()?);
        let metric = HistoryMetric::ALL.into_iter().find(|known| *known as u8 == metric)?;
        parts.end(Self { day, metric })
    }
}

macro_rules! figures {
    ($($key:ident $family:ident;)*) => {$(
        impl Key for $key {
            const FAMILY: Family = Family::$family;

            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(bytes: &[u8]) -> Option<Self> {
                HistoryFigure::decode(bytes).map(Self)
            }
        }

        impl CounterKey for $key {}
    )*};
}

figures! {
    HistoryKey History;
    SinceKey Since;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_once_assigned_never_change() {
        let opened = HistoryFigure::of_day(Day(1), HistoryMetric::Opened);
        assert_eq!(HistoryKey(opened).to_bytes(), [0x80, 0, 0, 1, 2]);
        let lines = HistoryFigure::of_year(Year(2026), HistoryMetric::YearDeletions);
        assert_eq!(SinceKey(lines).to_bytes(), [0x80, 0, 0x4f, 0xe6, 8]);
    }

    proptest! {
        #[test]
        fn keys_come_back_sorted_and_any_bytes_decode(
            (a, b) in any::<(i32, i32)>(), (i, j) in (0_usize..8, 0_usize..8),
            bytes in any::<Vec<u8>>()
        ) {
            let figure = |day, at| HistoryFigure { day: Day(day), metric: HistoryMetric::ALL[at] };
            let (first, second) = (HistoryKey(figure(a, i)), HistoryKey(figure(b, j)));
            prop_assert_eq!(HistoryKey::decode(&first.to_bytes()), Some(first));
            prop_assert_eq!(SinceKey::decode(&first.to_bytes()), Some(SinceKey(first.0)));
            prop_assert_eq!(first.to_bytes().cmp(&second.to_bytes()), first.cmp(&second));
            prop_assert!(HistoryKey(HistoryFigure::FIRST) <= first);
            let _ = (HistoryKey::decode(&bytes), SinceKey::decode(&bytes));
        }
    }
}
