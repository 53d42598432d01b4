//! The first messages of `/sampling` and `/language/watch`, in the form that OSSInsight's front end
//! reads: days and names as keys, counts of days as text.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};

use crate::hub::fanout::frame::Frame;
use crate::model::counts::{DayCounts, PullRequestCounts, YearCounts};
use crate::model::tally::Tally;

/// The first message of `/sampling`: pull requests of this UTC year.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirstOfSampling<'a> {
    #[schemars(extend("const" = true))]
    first_message_tag: bool,
    api_version: u64,
    event_map: TextByDay<'a>,
    open_map: TextByDay<'a>,
    merge_map: TextByDay<'a>,
    close_map: TextByDay<'a>,
    /// Developers who were not seen before in this year.
    dev_map: TextByDay<'a>,
    sum_map: YearTexts,
}

/// The first message of `/language/watch`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirstOfWatch<'a> {
    #[schemars(extend("const" = true))]
    first_message_tag: bool,
    api_version: u64,
    /// Pull-request events by language, at the last tick.
    #[schemars(with = "std::collections::BTreeMap<String, u64>")]
    language_map: &'a Tally,
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

    pub(super) fn frame(&self) -> Frame {
        encoded(self)
    }
}

impl<'a> FirstOfWatch<'a> {
    pub(super) fn new(api_version: u64, language_map: &'a Tally) -> Self {
        Self { first_message_tag: true, api_version, language_map }
    }

    pub(super) fn frame(&self) -> Frame {
        encoded(self)
    }
}

fn encoded(message: &impl Serialize) -> Frame {
    Frame::text(&[&serde_json::to_string(message).expect("texts and numbers can be written")])
}

impl Serialize for TextByDay<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let days = self.counts.filled_days();
        serializer.collect_map(
            days.map(|(day, counts)| (day.to_string(), (self.figure)(counts).to_string())),
        )
    }
}

impl JsonSchema for TextByDay<'_> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "TextByDay".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "additionalProperties": { "type": "string", "pattern": "^-?[0-9]+$" },
        })
    }
}
