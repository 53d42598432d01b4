//! Endpoint table: kept counts.

use axum::routing::get;
use serde_json::json;

use crate::serve::api::endpoint::{Endpoint, Operation};
use crate::serve::api::schema::{derived, text};
use crate::serve::history;
use crate::serve::history::written::{
    ChartReport, CompletenessReport, HoursReport, NowReport, YearReport,
};

const HOURS: &str = "Hours, oldest first";

pub(super) fn all() -> Vec<Endpoint> {
    vec![
        Endpoint::public("/history", get(history::history)).on(chart()),
        Endpoint::public("/days", get(history::days)).on(days()),
        Endpoint::public("/now", get(history::now)).on(now()),
        Endpoint::public("/completeness", get(history::completeness)).on(completeness()),
        Endpoint::public("/hours", get(history::hours)).on(hours()),
    ]
}

fn chart() -> Operation {
    let what = "Events received by type over time, and the part of all that was seen by minute";
    let span = json!({ "type": "string", "enum": ["15m", "24h"], "default": "15m" });
    Operation::get(what)
        .parameter("span", "How long: by ten seconds, or by ten minutes", span)
        .json("Counts of each step, oldest first; null is not known", derived::<ChartReport>())
        .refuses(400, "No such span")
        .refuses(503, "The counts cannot be read now")
}

fn days() -> Operation {
    Operation::get("Pull requests of this UTC year by day, as in the first message of `/sampling`")
        .json("Days with counts, oldest first, and the sums of the year", derived::<YearReport>())
        .refuses(503, "The counts cannot be read now")
}

fn now() -> Operation {
    let what = "The latest values: events of the last minute, the day's pull requests, languages \
                with the window before, the hour's busiest repositories, each aggregate";
    Operation::get(what)
        .json("The values", derived::<NowReport>())
        .refuses(503, "The counts cannot be read now")
}

fn ranged(what: &'static str) -> Operation {
    let since = "From which time on: RFC 3339, a day, or how long ago, as 24h or 7d; 24h without";
    let until = "Up to which time, that hour included; now without. One answer holds 31 days";
    Operation::get(what)
        .parameter("since", since, text())
        .parameter("until", until, text())
        .refuses(400, "A time that cannot be read, or more than 31 days")
        .refuses(503, "The counts cannot be read now")
}

fn completeness() -> Operation {
    ranged("How complete the events are, by hour of receiving and type").json_or_csv(
        HOURS,
        derived::<CompletenessReport<'_>>(),
        "A line for each hour and type",
    )
}

fn hours() -> Operation {
    ranged("What was counted, by hour of `created_at` and origin: live, or an imported archive")
        .json_or_csv(HOURS, derived::<HoursReport>(), "A line for each hour and origin")
}
