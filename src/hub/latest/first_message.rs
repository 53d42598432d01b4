//! The first message of `/sampling`, in the form that OSSInsight's front end reads: days as keys,
//! counts as text.

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::hub::latest::language_message::{CountText, TextMap};
use crate::model::counts::{DayCounts, PullRequestCounts, YearCounts};

/// The first message of `/sampling`: pull requests of this UTC year.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirstOfSampling<'a> {
    #[schemars(extend("const" = true))]
    first_message_tag: bool,
    api_version: u64,
    #[schemars(with = "TextMap")]
    event_map: TextByDay<'a>,
    #[schemars(with = "TextMap")]
    open_map: TextByDay<'a>,
    #[schemars(with = "TextMap")]
    merge_map: TextByDay<'a>,
    #[schemars(with = "TextMap")]
    close_map: TextByDay<'a>,
    /// Developers who were not seen before in this year.
    #[schemars(with = "TextMap")]
    dev_map: TextByDay<'a>,
    sum_map: YearTexts,
}

/// Sums of the year as text.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct YearTexts {
    additions: String,
    deletions: String,
    /// Different developers.
    dev: String,
    /// Different repositories.
    repo: String,
}

/// One figure of each day that has events, as text.
struct TextByDay<'a> {
    counts: &'a PullRequestCounts,
    figure: fn(DayCounts) -> i64,
}

impl<'a> FirstOfSampling<'a> {
    pub(super) fn new(api_version: u64, counts: &'a PullRequestCounts) -> Self {
        let by_day = |figure| TextByDay { counts, figure };
        let YearCounts { additions, deletions, developers, repositories } = counts.sums;
        Self {
            first_message_tag: true,
            api_version,
            event_map: by_day(DayCounts::events),
            open_map: by_day(|day| day.open),
            merge_map: by_day(|day| day.merge),
            close_map: by_day(|day| day.close),
            dev_map: by_day(|day| day.developers),
            sum_map: YearTexts {
                additions: additions.to_string(),
                deletions: deletions.to_string(),
                dev: developers.to_string(),
                repo: repositories.to_string(),
            },
        }
    }
}

impl Serialize for TextByDay<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let days = self.counts.filled_days();
        serializer.collect_map(
            days.map(|(day, counts)| (day.to_string(), CountText::of((self.figure)(counts)))),
        )
    }
}
