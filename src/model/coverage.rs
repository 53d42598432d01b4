//! How complete the events are, as reported by `/status`, metrics, the log and alerts: coverage of
//! GitHub's feed, and enrichment.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::activity::MinuteSample;
use super::window::Timestamp;

/// How the missed events are estimated, in one sentence, beside the figures.
pub const METHOD: &str = "ids are drawn in order: the ids between two reads that do not meet, \
     times the events an id on the pages, over ten minutes; 95 % interval; what GitHub never \
     shows is in no figure";

/// What is wrong with the feed.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// GitHub answers, and nothing new comes.
    FrozenFeed,
    /// A token is shown old pages.
    StaleToken,
    /// A page lacks what it used to show, or is not there.
    PageMissing,
}

impl TroubleKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::FrozenFeed, Self::StaleToken, Self::PageMissing];

    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FrozenFeed => "frozen_feed",
            Self::StaleToken => "stale_token",
            Self::PageMissing => "page_missing",
        }
    }
}

/// Something that is wrong with the feed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// What.
    pub kind: TroubleKind,
    /// The token's place or the page's number; 0 for the whole feed.
    pub of: usize,
    /// When it began, as far as the answers show.
    pub since: Timestamp,
    /// What, for a person.
    pub text: String,
}

/// How many events were missed, with the 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
pub struct Missed {
    /// Distinct events seen in the window, approximately.
    pub seen: f64,
    /// Lower end of the interval.
    pub low: f64,
    /// Most likely number.
    pub estimate: f64,
    /// Upper end of the interval.
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
    /// Enriched events by all that had missing fields, 0 to 1; `None` when there was none.
    pub share: Option<f64>,
}

/// How late events are shown, seconds behind `created_at`, of the newest ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lag {
    /// Half of them are sooner.
    pub p50: f64,
    /// Nine of ten are sooner.
    pub p90: f64,
    /// The latest one.
    pub max: f64,
}

/// The part that one type has of all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Share {
    /// Events of the last minute.
    pub now: f64,
    /// Events a minute as usual before; `None` while that is not known.
    pub usual: Option<f64>,
}

/// Figures of a page, or of all. What is not known is `None`, never 0: while pages are not
/// answered, stand still, or do not show what they should.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Figures {
    /// New events a minute, of the last minute; `None` also in the first ten seconds.
    pub events_a_minute: Option<f64>,
    /// Missed events of the last ten minutes.
    pub missed: Option<Missed>,
    /// The missed part of all events: lower end, most likely, upper end; 0 to 1.
    pub missed_share: Option<[f64; 3]>,
    /// How late events are.
    pub lag_seconds: Option<Lag>,
    /// Events by type, lately and before.
    pub types: BTreeMap<Cow<'static, str>, Share>,
}

impl Figures {
    /// The same with nothing known but the events by type.
    #[must_use]
    pub fn unknown(self) -> Self {
        let Self { types, .. } = self;
        Self { events_a_minute: None, missed: None, missed_share: None, lag_seconds: None, types }
    }
}

/// How one page does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PageReport {
    /// Its number, from 1.
    pub page: usize,
    /// Events on it when it was last read.
    pub events: usize,
    /// When it last came.
    pub read_at: Option<Timestamp>,
    /// The part of it that the read before showed too, 0 to 1; `None` until it was read twice.
    pub overlap: Option<f64>,
    /// Its figures. Missed on a page is what passed it and no other page showed either.
    #[serde(flatten)]
    pub figures: Figures,
}

/// How one token does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TokenReport {
    /// Its place in the configuration, from 1; 0 for requests without one.
    pub token: usize,
    /// By how much its last page was older than what another token had been shown, seconds.
    pub behind_seconds: f64,
    /// Whether it is shown old pages and rests.
    pub stale: bool,
}

/// A report that is not renewed for so long says nothing of now.
const AGED: Duration = Duration::from_secs(60);

/// How complete the feed is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// When this was put together.
    pub at: Timestamp,
    /// What the last minutes came to, oldest first; not shown.
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
    /// What is wrong.
    pub troubles: Vec<Trouble>,
}

impl Report {
    /// The report as it is to be shown at this time: without figures when it is old, as on a
    /// collector that does not poll any more.
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
