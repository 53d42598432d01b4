//! Keys of figures that come from TiDB: its answers, and our own counts since the last query.
//!
//! The sums of a year are stored under its first day, distinguished by their metrics.

use super::part::{KeyPart, numbered};
use super::{CounterKey, keys};
use crate::model::names::names;
use crate::model::window::{Day, Year};

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

names!(HistoryMetric {
    Developers: "developers",
    Opened: "opened",
    Closed: "closed",
    Merged: "merged",
    YearDevelopers: "year_developers",
    YearRepositories: "year_repositories",
    YearAdditions: "year_additions",
    YearDeletions: "year_deletions",
});

impl HistoryMetric {
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
}

impl KeyPart for HistoryFigure {
    fn push(&self, out: &mut Vec<u8>) {
        self.day.push(out);
        self.metric.push(out);
    }

    fn take(rest: &mut &[u8]) -> Option<Self> {
        Some(Self { day: KeyPart::take(rest)?, metric: KeyPart::take(rest)? })
    }
}

numbered! { HistoryMetric }

keys! {
    HistoryKey History (0);
    SinceKey Since (0);
}

impl CounterKey for HistoryKey {}
impl CounterKey for SinceKey {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::keys::Key as _;

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
