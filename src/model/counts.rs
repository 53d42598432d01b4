//! Pull-request counts of a year and its days, which `/sampling` sends first.
//!
//! Counts are added up. Where two sources count the same thing, our own events and TiDB, the larger
//! count is used, so that neither source makes a figure smaller.

use std::collections::BTreeMap;

use super::window::{Day, Year};

/// The most lines, added or deleted, that one event counts. The largest pull requests have tens of
/// millions; a larger number is wrong, and must not saturate the sum of a year.
pub const MOST_LINES: i64 = 1_000_000_000;

/// The counted lines of one event: at most [`MOST_LINES`], and 0 when they are unknown.
#[must_use]
pub fn counted_lines(lines: Option<u64>) -> i64 {
    i64::try_from(lines.unwrap_or(0)).unwrap_or(MOST_LINES).min(MOST_LINES)
}

/// Pull-request events of one UTC day, by action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DayCounts {
    /// Opened.
    pub open: i64,
    /// Merged.
    pub merge: i64,
    /// Closed without a merge.
    pub close: i64,
    /// Distinct developers of pull-request events of any action.
    pub developers: i64,
}

/// Pull-request figures of one UTC year.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct YearCounts {
    /// Lines added by merged pull requests.
    pub additions: i64,
    /// Lines deleted by merged pull requests.
    pub deletions: i64,
    /// Distinct developers of pull-request events.
    pub developers: i64,
    /// Distinct repositories of pull-request events.
    pub repositories: i64,
}

/// The counts of one UTC year: its days, and its sums.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PullRequestCounts {
    /// The year.
    pub year: Year,
    /// Its days, ascending; days without data may be missing.
    pub days: BTreeMap<Day, DayCounts>,
    /// The sums of the year.
    pub sums: YearCounts,
}

impl DayCounts {
    /// Opened, merged and closed together.
    #[must_use]
    pub fn events(self) -> i64 {
        self.open.saturating_add(self.merge).saturating_add(self.close)
    }

    /// Whether all counts are 0.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

/// The maximum of a struct of counts, field by field.
macro_rules! field_by_field {
    ($counts:ident { $($field:ident),* }) => {
        impl $counts {
            /// The larger of each count.
            #[must_use]
            pub fn at_least(self, other: Self) -> Self {
                Self { $($field: self.$field.max(other.$field)),* }
            }
        }
    };
}

field_by_field!(DayCounts { open, merge, close, developers });
field_by_field!(YearCounts { additions, deletions, developers, repositories });

impl PullRequestCounts {
    /// A year without counts.
    #[must_use]
    pub fn of(year: Year) -> Self {
        Self { year, ..Self::default() }
    }

    /// The days that have data and lie in the year, ascending.
    pub fn filled_days(&self) -> impl Iterator<Item = (Day, DayCounts)> + Clone {
        let inside = self.year.days();
        self.days
            .iter()
            .map(|(&day, &counts)| (day, counts))
            .filter(move |(day, counts)| inside.contains(&day.0) && !counts.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_each_figure_is_taken_and_not_of_the_whole() {
        let ours = DayCounts { open: 5, merge: 1, close: 0, developers: 3 };
        let theirs = DayCounts { open: 2, merge: 4, close: 0, developers: 9 };
        let both = ours.at_least(theirs);
        assert_eq!(both, DayCounts { open: 5, merge: 4, close: 0, developers: 9 });
        assert_eq!(both.events(), 9);
    }

    #[test]
    fn only_days_of_the_year_with_data_are_returned() {
        let mut counts = PullRequestCounts::of(Year(2026));
        let first = Year(2026).first_day();
        let one = DayCounts { developers: 1, ..DayCounts::default() };
        counts.days.insert(Day(first.0 - 1), one);
        counts.days.insert(Day(first.0 + 3), one);
        counts.days.insert(Day(first.0 + 1), DayCounts::default());
        counts.days.insert(first, one);
        let told: Vec<i32> = counts.filled_days().map(|(day, _)| day.0 - first.0).collect();
        assert_eq!(told, [0, 3]);
    }

    #[test]
    fn figures_at_the_end_of_their_range_stay_there() {
        let most = DayCounts { open: i64::MAX, merge: i64::MAX, close: 1, developers: i64::MAX };
        assert_eq!(most.events(), i64::MAX);
    }
}
