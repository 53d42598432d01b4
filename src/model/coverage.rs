//! How complete the events are, as reported by `/status`, metrics, the log and alerts: coverage of
//! GitHub's feed, and enrichment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::activity::MinuteSample;
use super::names::names;
use super::window::Timestamp;

/// How the missed events are estimated, in one sentence shown next to the figures.
pub const METHOD: &str = "ids are drawn in order: the ids between two reads that do not meet, \
     times the events an id on the pages, over ten minutes; 95 % interval; what GitHub never \
     shows is in no figure";

names! {
    /// A kind of problem with the feed.
    #[derive(PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
    #[serde(rename_all = "snake_case")]
    pub enum TroubleKind {
        /// GitHub responds, but shows nothing new.
        FrozenFeed = "frozen_feed",
        /// A token receives old pages.
        StaleToken = "stale_token",
        /// A page does not show what it used to show, or is missing.
        PageMissing = "page_missing",
    }
}

/// A problem with the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// The kind of problem.
    pub kind: TroubleKind,
    /// The token's or the page's number; 0 for the whole feed.
    pub of: usize,
    /// When it began, as far as the responses show.
    pub since: Timestamp,
    /// A description for people.
    pub text: String,
}

/// How many events were missed, with a 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Missed {
    /// Distinct events seen in the window, approximately.
    pub seen: f64,
    /// Lower bound of the interval.
    pub low: f64,
    /// Most likely number.
    pub estimate: f64,
    /// Upper bound of the interval.
    pub high: f64,
}

/// Enrichment of the last ten minutes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Enriched {
    /// Length of the window, seconds.
    pub window_seconds: u64,
    /// Events with missing fields that were enriched before they were published.
    pub enriched: u64,
    /// Events published without enrichment, by reason.
    pub unenriched: BTreeMap<Cow<'static, str>, u64>,
    /// Enriched events as a fraction of those with missing fields, 0 to 1; `None` without any.
    pub share: Option<f64>,
}

/// How late the newest events are, in seconds behind `created_at`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lag {
    /// The median.
    pub p50: f64,
    /// The 90th percentile.
    pub p90: f64,
    /// The maximum.
    pub max: f64,
}

/// How often one type occurs, now and usually.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// Events of the last minute.
    pub now: f64,
    /// The usual number of events per minute before; `None` while unknown.
    pub usual: Option<f64>,
}

/// Figures of a page, or of all pages. Unknown figures are `None`, never 0: while pages get no
/// response, do not change, or do not show what they should.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// New events per minute, in the last minute; `None` also in the first ten seconds.
    pub events_a_minute: Option<f64>,
    /// Missed events of the last ten minutes.
    pub missed: Option<Missed>,
    /// The missed fraction of all events: lower bound, estimate, upper bound; 0 to 1.
    pub missed_share: Option<[f64; 3]>,
    /// How late events are.
    pub lag_seconds: Option<Lag>,
    /// Events by type, now and usually.
    pub types: BTreeMap<Cow<'static, str>, Share>,
}

impl Figures {
    /// Figures in which only the events by type are known.
    #[must_use]
    pub fn unknown(self) -> Self {
        let Self { types, .. } = self;
        Self { events_a_minute: None, missed: None, missed_share: None, lag_seconds: None, types }
    }
}

/// The state of one page.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageReport {
    /// Its number, from 1.
    pub page: usize,
    /// Events on it when it was last read.
    pub events: usize,
    /// When it was last received.
    pub read_at: Option<Timestamp>,
    /// The fraction of it that the previous read also showed, 0 to 1; `None` until the second read.
    pub overlap: Option<f64>,
    /// Its figures. Events missed on a page passed it unseen, and appeared on no other page.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The state of one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenReport {
    /// Its number in the configuration, from 1; 0 for requests without a token.
    pub token: usize,
    /// By how many seconds its last page was older than one that another token had received.
    pub behind_seconds: f64,
    /// Whether it receives old pages and is quarantined.
    pub stale: bool,
}

/// A report older than this says nothing about the present.
const AGED: Duration = Duration::from_secs(60);

/// How complete the feed is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// When this report was made.
    pub at: Timestamp,
    /// The results of the last minutes, oldest first; not shown.
    #[serde(skip)]
    pub minutes: Vec<MinuteSample>,
    /// How the missed events are estimated.
    pub method: Cow<'static, str>,
    /// All pages together.
    pub all: Figures,
    /// Each page.
    pub pages: Vec<PageReport>,
    /// Each token that was used.
    pub tokens: Vec<TokenReport>,
    /// The current problems.
    pub troubles: Vec<Trouble>,
}

impl Report {
    /// The report as shown at this time: without figures if it is outdated, as on a collector that
    /// no longer polls.
    #[must_use]
    pub fn shown_at(&self, now: Timestamp) -> Cow<'_, Self> {
        if now.since(self.at) <= AGED {
            return Cow::Borrowed(self);
        }
        let mut report = self.clone();
        report.all = report.all.unknown();
        for page in &mut report.pages {
            page.figures = page.figures.clone().unknown();
        }
        Cow::Owned(report)
    }
}
