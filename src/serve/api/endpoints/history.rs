//! Endpoint table: kept counts.

use axum::routing::get;
use serde_json::json;

use crate::serve::api::endpoint::{Endpoint, EndpointPath, Operation};
use crate::serve::api::schema::{derived, text};
use crate::serve::history;
use crate::serve::history::written::{
    ChartReport, CompletenessReport, HoursReport, NowReport, YearReport,
};

const CSV: &str = "text/csv; charset=utf-8";
const SINCE: &str =
    "From which time on: RFC 3339, a day, or how long ago, as 24h or 7d; 24h without";
const UNTIL: &str = "Up to which time, that hour included; now without. One answer holds 31 days";
const FORM: &str = "Which form; without it by `Accept`, else JSON";

/// The endpoints of kept counts.
pub(super) fn all() -> Vec<Endpoint> {
    vec![
        Endpoint::public(EndpointPath::At("/history"), get(history::history)).on(chart()),
        Endpoint::public(EndpointPath::At("/days"), get(history::days)).on(days()),
        Endpoint::public(EndpointPath::At("/now"), get(history::now)).on(Operation::get(
            "The latest values: events of the last minute, the day's pull requests, languages \
             with the window before, the hour's busiest repositories, each aggregate",
        )
        .json("The values", derived::<NowReport>())
        .refuses(503, "The counts cannot be read now")),
        Endpoint::public(EndpointPath::At("/completeness"), get(history::completeness))
            .on(completeness()),
        Endpoint::public(EndpointPath::At("/hours"), get(history::hours)).on(hours()),
    ]
}

fn chart() -> Operation {
    let span = json!({ "type": "string", "enum": ["15m", "24h"], "default": "15m" });
    Operation::get("Events received by type over time, and the part of all that was seen by minute")
        .parameter("span", "How long: by ten seconds, or by ten minutes", &span)
        .json("Counts of each step, oldest first; null is not known", derived::<ChartReport>())
        .refuses(400, "No such span")
        .refuses(503, "The counts cannot be read now")
}

fn days() -> Operation {
    Operation::get("Pull requests of this UTC year by day, as in the first message of `/sampling`")
        .json("Days with counts, oldest first, and the sums of the year", derived::<YearReport>())
        .refuses(503, "The counts cannot be read now")
}

fn ranged(operation: Operation) -> Operation {
    let form = json!({ "type": "string", "enum": ["json", "csv"] });
    operation
        .parameter("since", SINCE, &text())
        .parameter("until", UNTIL, &text())
        .parameter("format", FORM, &form)
        .refuses(400, "A time that cannot be read, or more than 31 days")
        .refuses(406, "Neither JSON nor CSV is taken")
        .refuses(503, "The counts cannot be read now")
}

fn completeness() -> Operation {
    let what = "How complete the events are, by hour of receiving and type";
    ranged(
        Operation::get(what).json("Hours, oldest first", derived::<CompletenessReport<'_>>()).says(
            200,
            "A line for each hour and type",
            CSV,
        ),
    )
}

fn hours() -> Operation {
    let what = "What was counted, by hour of `created_at` and origin: live, or an imported archive";
    ranged(Operation::get(what).json("Hours, oldest first", derived::<HoursReport>()).says(
        200,
        "A line for each hour and origin",
        CSV,
    ))
}
