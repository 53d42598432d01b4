//! The ledger: what is counted of each repository by UTC day, and the rows that hold it.
//!
//! A row is a list of counts by slot. The slot of a day's row names the origin, the hour of
//! `created_at` and the metric; that of a month's row names the day and the metric. The hours are
//! there because an imported hour replaces the live counts of that hour.

mod slots;

pub use self::slots::SlotCounts;

use std::borrow::Cow;
use std::collections::BTreeMap;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::envelope::Flags;
use super::names::names;
use super::window::{Day, Timestamp};

/// What the ledger counts of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LedgerMetric {
    /// Stars given. GitHub shows no event when one is taken away.
    Stars = 0,
    /// Forks.
    Forks = 1,
    /// Pull requests opened.
    PullsOpened = 2,
    /// Pull requests merged.
    PullsMerged = 3,
    /// Pull requests closed without a merge.
    PullsClosed = 4,
    /// Issues opened.
    IssuesOpened = 5,
    /// Issues closed.
    IssuesClosed = 6,
    /// Releases published.
    Releases = 7,
    /// Pushes.
    Pushes = 8,
}

/// Number of metrics.
pub const METRICS: usize = 9;

/// Counts by [`LedgerMetric`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerCounts(pub [u64; METRICS]);

/// The origin of the counts of a day's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerOrigin {
    /// The live feed.
    Live = 0,
    /// An imported hour.
    Archive = 1,
    /// A database that knows the whole day. Its slot has no hour, which is 0.
    Database = 2,
}

/// A slot of a day's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DaySlot {
    /// The origin of the count.
    pub origin: LedgerOrigin,
    /// The hour of the day, 0 to 23.
    pub hour: u8,
    /// What is counted.
    pub metric: LedgerMetric,
}

/// The hours of a day that were imported, and those that are final: one bit for each hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DayHours {
    /// Hours whose imported counts replace the live ones.
    pub imported: u32,
    /// Hours with counts that were folded into a month. They cannot be replaced any more.
    pub folded: u32,
    /// Whether the day was filled from a database. Its counts stand for the whole day until an hour
    /// of the day is imported.
    pub is_filled: bool,
}

/// How much of the public feed was seen in a day, or in several.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, JsonSchema)]
#[schemars(rename = "LedgerCoverage")]
pub struct DaySeen {
    /// The fraction of all public events that was seen in the known minutes, estimated from event
    /// ids, 0 to 1; null while it is unknown.
    #[serde(serialize_with = "thousandths")]
    pub seen: Option<f64>,
    /// Minutes for which it is known.
    pub minutes_known: u32,
    /// Hours whose counts come from an imported archive instead.
    pub hours_imported: u32,
    /// Days whose counts come from a database (`tidb.sql.repoDays`) instead.
    pub days_filled: u32,
}

/// What `tidb.sql.repoDays` has filled: days are asked for one by one, the latest first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct FilledDays {
    /// Days that were filled.
    pub days: u64,
    /// Rows of repositories in them.
    pub rows: u64,
    /// The oldest of these days; null before the first.
    pub oldest: Option<String>,
    /// The latest of these days; null before the first.
    pub latest: Option<String>,
    /// The next day to ask for; null when the database has no earlier one.
    pub next: Option<String>,
    /// The latest day that was looked at; later ones are asked for as they pass.
    #[serde(default)]
    pub looked_at: Option<String>,
    /// Days without rows since the last one that has some.
    pub empty: u32,
    /// The day that failed last and is not postponed; null while there is none.
    #[serde(default)]
    pub failing: Option<String>,
    /// How often that day failed; at three times it is skipped or postponed.
    #[serde(default)]
    pub failures: u32,
    /// Days that were stepped over.
    #[serde(default)]
    pub skipped: u64,
    /// The last of them; null before the first.
    #[serde(default)]
    pub last_skipped: Option<String>,
    /// Days that were not answered several times; each is asked for again once a day.
    #[serde(default)]
    pub postponed: Vec<PostponedDay>,
    /// A hash of the query. Another query begins anew.
    pub query: u64,
}

/// A day that the database did not answer.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct PostponedDay {
    /// The day.
    pub day: String,
    /// The day before yesterday when it was last asked for.
    pub tried: String,
}

/// One day of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, JsonSchema)]
#[schemars(rename = "DayReport")]
pub struct RepoDay {
    /// The UTC day.
    #[schemars(with = "String")]
    pub day: Day,
    /// What was counted.
    pub counts: LedgerCounts,
    /// How much of the day was seen.
    #[serde(rename = "coverage")]
    pub seen: DaySeen,
}

/// The totals of a repository that GitHub states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct StatedTotals {
    /// Stars it has.
    pub stars: u64,
    /// Forks it has.
    pub forks: u64,
    /// When GitHub stated them.
    pub at: Timestamp,
}

/// The days of a repository.
#[derive(Debug, Clone, PartialEq)]
pub struct RepoSeries {
    /// GitHub's id.
    pub id: u64,
    /// The current name, `owner/name`.
    pub name: String,
    /// The language, when it is known.
    pub language: Option<String>,
    /// The totals that GitHub states, when they are known.
    pub stated: Option<StatedTotals>,
    /// The fraction of the stars and forks that it gained over the audit's last looks which was
    /// counted, 0 to 1, when it is known.
    pub seen: Option<f64>,
    /// The days in order, also those without events.
    pub days: Vec<RepoDay>,
}

/// A figure by which repositories are ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RankedBy {
    /// Stars given.
    Stars,
    /// Forks.
    Forks,
    /// Pull requests opened.
    Prs,
    /// Pushes.
    Pushes,
}

/// A window over which repositories are ranked. It ends with the current hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RankedWindow {
    /// 24 hours.
    Day,
    /// 7 days.
    Week,
    /// 30 days.
    Month,
}

/// A repository of a ranking.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct RankedRepo {
    /// GitHub's id.
    pub id: u64,
    /// Its current name; null when no event named it validly.
    pub name: Option<String>,
    /// Its language; null when it is unknown.
    pub language: Option<String>,
    /// The figure it is ranked by.
    pub count: u64,
    /// The totals that GitHub states; null unless the audit asks for those of the repository.
    pub stated: Option<StatedTotals>,
    /// The fraction of the stars and forks that it gained over the audit's last 24 looks which was
    /// seen, 0 to 1; null until it is known.
    pub seen: Option<f64>,
}

/// The most repositories of one list of a ranking.
pub const MOST_RANKED: usize = 100;

/// The first repositories of a window.
#[derive(Debug, Clone, PartialEq)]
pub struct TopRepos {
    /// The start of the window.
    pub from: Timestamp,
    /// When it was computed.
    pub computed_at: Timestamp,
    /// How much of the window's days was seen.
    pub seen: DaySeen,
    /// In descending order of count, then by id.
    pub repos: Vec<RankedRepo>,
}

names!(LedgerMetric {
    Stars: "stars",
    Forks: "forks",
    PullsOpened: "prs_opened",
    PullsMerged: "prs_merged",
    PullsClosed: "prs_closed",
    IssuesOpened: "issues_opened",
    IssuesClosed: "issues_closed",
    Releases: "releases",
    Pushes: "pushes",
});

impl LedgerMetric {
    /// What an event of this type counts as; `None` for events that are not counted. `action` reads
    /// `payload.action`, and is called for the few types that need it.
    #[must_use]
    pub fn of<A: AsRef<str>>(
        kind: &str,
        flags: Flags,
        action: impl FnOnce() -> Option<A>,
    ) -> Option<Self> {
        match kind {
            "WatchEvent" => Some(Self::Stars),
            "ForkEvent" => Some(Self::Forks),
            "PushEvent" => Some(Self::Pushes),
            "PullRequestEvent" if flags.open => Some(Self::PullsOpened),
            "PullRequestEvent" if flags.merge => Some(Self::PullsMerged),
            "PullRequestEvent" if flags.close => Some(Self::PullsClosed),
            "IssuesEvent" => match action()?.as_ref() {
                "opened" => Some(Self::IssuesOpened),
                "closed" => Some(Self::IssuesClosed),
                _ => None,
            },
            "ReleaseEvent" => (action()?.as_ref() == "published").then_some(Self::Releases),
            _ => None,
        }
    }
}

impl LedgerCounts {
    /// One count.
    #[must_use]
    pub fn get(&self, metric: LedgerMetric) -> u64 {
        self.0[metric as usize]
    }

    /// Adds to one count, up to the largest number.
    pub fn add(&mut self, metric: LedgerMetric, n: u64) {
        let count = &mut self.0[metric as usize];
        *count = count.saturating_add(n);
    }

    /// Adds all counts of `other`.
    pub fn add_all(&mut self, other: &Self) {
        for metric in LedgerMetric::ALL {
            self.add(metric, other.get(metric));
        }
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; METRICS]
    }
}

/// Serializes all counts by the names of the metrics.
impl Serialize for LedgerCounts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(LedgerMetric::ALL.map(|metric| (metric.name(), self.get(metric))))
    }
}

impl JsonSchema for LedgerCounts {
    fn schema_name() -> Cow<'static, str> {
        "LedgerFigures".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (names, count) =
            (LedgerMetric::ALL.map(LedgerMetric::name), u64::json_schema(generator));
        let properties = BTreeMap::from(names.map(|name| (name, count.clone())));
        json_schema!({ "type": "object", "properties": properties, "required": names })
    }
}

/// Serializes a fraction with three digits.
#[expect(clippy::ref_option, reason = "serde passes a field by reference")]
fn thousandths<S: Serializer>(share: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    share.map(rounded).serialize(serializer)
}

/// A fraction with three digits.
#[must_use]
pub fn rounded(share: f64) -> f64 {
    (share * 1e3).round() / 1e3
}

/// Bits of the metric in a slot.
const METRIC_BITS: u32 = 4;
/// Bits of the hour in a slot.
const HOUR_BITS: u32 = 5;
/// The bits of the hour in a slot of a database, which has the bit of an archive too.
const NO_HOUR: u8 = 31;

impl DaySlot {
    /// Its number in a row.
    #[must_use]
    pub fn number(self) -> u16 {
        let (of, hour) = match self.origin {
            LedgerOrigin::Database => (LedgerOrigin::Archive, NO_HOUR),
            origin => (origin, self.hour),
        };
        let of = (of as u16) << (HOUR_BITS + METRIC_BITS);
        of | u16::from(hour) << METRIC_BITS | self.metric as u16
    }

    /// The slot of a number; `None` for other numbers.
    #[must_use]
    pub fn of_number(number: u16) -> Option<Self> {
        let origin = match number >> (HOUR_BITS + METRIC_BITS) {
            0 => LedgerOrigin::Live,
            1 => LedgerOrigin::Archive,
            _ => return None,
        };
        let (hour, metric) = (u8::try_from(number >> METRIC_BITS & 0x1f).ok()?, metric_of(number)?);
        if (origin, hour) == (LedgerOrigin::Archive, NO_HOUR) {
            return Some(Self { origin: LedgerOrigin::Database, hour: 0, metric });
        }
        (hour < 24).then_some(Self { origin, hour, metric })
    }
}

/// The number of a slot in a month's row; `day` is 1 to 31.
#[must_use]
pub fn month_slot(day: u8, metric: LedgerMetric) -> u16 {
    u16::from(day) << METRIC_BITS | metric as u16
}

/// The day and metric of a slot in a month's row; `None` for other numbers.
#[must_use]
pub fn of_month_slot(number: u16) -> Option<(u8, LedgerMetric)> {
    let day = u8::try_from(number >> METRIC_BITS).ok().filter(|day| (1..=31).contains(day))?;
    Some((day, metric_of(number)?))
}

fn metric_of(number: u16) -> Option<LedgerMetric> {
    LedgerMetric::ALL.get(usize::from(number & 0xf)).copied()
}

impl DayHours {
    /// Whether the counts of a database are those of the day.
    #[must_use]
    pub fn are_filled(self) -> bool {
        self.is_filled && self.imported == 0
    }

    /// Whether a slot of a day's row counts: imported hours replace live ones, and a database those
    /// of the whole day that nothing was imported of.
    #[must_use]
    pub fn counts(self, slot: DaySlot) -> bool {
        if self.are_filled() || slot.origin == LedgerOrigin::Database {
            return self.are_filled() && slot.origin == LedgerOrigin::Database;
        }
        (slot.origin == LedgerOrigin::Archive) == (self.imported & 1 << slot.hour != 0)
    }

    /// Sums the slots of a day's row that count.
    #[must_use]
    pub fn sum(self, row: &SlotCounts) -> LedgerCounts {
        let mut sum = LedgerCounts::default();
        for (number, n) in row.iter() {
            if let Some(slot) = DaySlot::of_number(number).filter(|slot| self.counts(*slot)) {
                sum.add(slot.metric, n);
            }
        }
        sum
    }
}

impl DaySeen {
    /// The same of a day whose counts come from there.
    #[must_use]
    pub fn with(self, hours: DayHours) -> Self {
        let days_filled = u32::from(hours.are_filled());
        Self { hours_imported: hours.imported.count_ones(), days_filled, ..self }
    }

    /// What was seen of several days: the mean over the known minutes.
    #[must_use]
    pub fn mean(days: impl IntoIterator<Item = Self>) -> Self {
        let (mut sum, mut seen) = (Self::default(), 0.0);
        for day in days {
            sum.hours_imported += day.hours_imported;
            sum.days_filled += day.days_filled;
            if let Some(share) = day.seen {
                sum.minutes_known += day.minutes_known;
                seen += share * f64::from(day.minutes_known);
            }
        }
        sum.seen = (sum.minutes_known > 0).then(|| seen / f64::from(sum.minutes_known));
        sum
    }
}

names!(RankedBy { Stars: "stars", Forks: "forks", Prs: "prs", Pushes: "pushes" });

impl RankedBy {
    /// The metric it is.
    #[must_use]
    pub fn metric(self) -> LedgerMetric {
        match self {
            Self::Stars => LedgerMetric::Stars,
            Self::Forks => LedgerMetric::Forks,
            Self::Prs => LedgerMetric::PullsOpened,
            Self::Pushes => LedgerMetric::Pushes,
        }
    }
}

names!(RankedWindow { Day: "24h", Week: "7d", Month: "30d" });

impl RankedWindow {
    /// Its length.
    #[must_use]
    pub fn hours(self) -> i64 {
        match self {
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 30 * 24,
        }
    }
}

/// Whether a text is a repository's name, as far as the ledger uses it: two non-empty parts of
/// letters, digits, `-`, `_` and `.`, with a slash between them.
#[must_use]
pub fn is_repo_name(name: &str) -> bool {
    let is_part = |part: &str| {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        !part.is_empty() && part.len() <= 128 && part.bytes().all(allowed)
    };
    name.split_once('/').is_some_and(|(owner, name)| is_part(owner) && is_part(name))
}

#[cfg(test)]
mod tests;
