//! Endpoint table: the ledger.

use axum::routing::get;
use serde_json::{Value, json};

use crate::serve::api::endpoint::{ApiResponse, Endpoint, EndpointPath, Operation};
use crate::serve::api::schema::{named, text};
use crate::serve::ledger::written::{RepoReport, TopReport};
use crate::serve::ledger::{self, FEWEST_DAYS, MOST_DAYS, MOST_TOP};

const CSV: &str = "text/csv; charset=utf-8";
const SINCE: &str = "From which day on: a day, RFC 3339, or how long ago, as 90d; 30 days without";
const UNTIL: &str = "Up to which day, that day included; today without. An answer holds 731 days";
const FORM: &str = "Which form; without it by `Accept`, else JSON";
const BY: &str = "Which figure; `prs` are pull requests opened";

/// The endpoints of the ledger.
pub(super) fn all() -> Vec<Endpoint> {
    vec![
        Endpoint::public(EndpointPath::At("/repo/{owner}/{name}"), get(ledger::repo)).on(series()),
        Endpoint::public(EndpointPath::Form("/repo/{owner}/{name}.svg"), get(ledger::repo))
            .on(picture()),
        Endpoint::public(EndpointPath::At("/top"), get(ledger::top)).on(top()),
    ]
}

fn form() -> Value {
    json!({ "type": "string", "enum": ["json", "csv"] })
}

fn by() -> Value {
    json!({ "type": "string", "enum": ["stars", "forks", "prs", "pushes"], "default": "stars" })
}

/// An answer that a client may keep.
fn kept(mut operation: Operation) -> Operation {
    let meaning = "`If-None-Match` names what would be sent";
    operation.answers.push(ApiResponse { status: 304, meaning, content: Vec::new() });
    operation.refuses(503, "The ledger cannot be read now")
}

fn series() -> Operation {
    let what = "A repository by UTC day: stars, forks, pull requests, issues, releases, pushes";
    kept(
        Operation::get(what)
            .parameter("since", SINCE, &text())
            .parameter("until", UNTIL, &text())
            .parameter("format", FORM, &form())
            .json("Its days, with how much of each was seen", named::<RepoReport<'_>>())
            .says(200, "A line for each day", CSV)
            .refuses(400, "A time that cannot be read, or too many days")
            .refuses(404, "No event of a repository of that name was counted here")
            .refuses(406, "Neither JSON nor CSV is taken"),
    )
}

fn picture() -> Operation {
    let style = json!({ "type": "string", "enum": ["chart", "badge"], "default": "chart" });
    let days = json!({
        "type": "integer", "minimum": FEWEST_DAYS, "maximum": MOST_DAYS, "default": 90,
    });
    kept(
        Operation::get("A chart or a badge of a repository's last days, for a README")
            .parameter("by", BY, &by())
            .parameter("style", "A chart, or a badge of one line", &style)
            .parameter("days", "The last days, today included", &days)
            .says(200, "The picture", "image/svg+xml")
            .refuses(400, "A value that is not listed")
            .refuses(404, "No event of a repository of that name was counted here"),
    )
}

fn top() -> Operation {
    let window = json!({ "type": "string", "enum": ["24h", "7d", "30d"], "default": "24h" });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": MOST_TOP, "default": 25 });
    kept(
        Operation::get("The repositories with the most stars, forks, pull requests or pushes")
            .parameter("by", BY, &by())
            .parameter("window", "How long; it ends with the current hour", &window)
            .parameter("language", "Of one language, as GitHub names it", &text())
            .parameter("limit", "How many", &limit)
            .parameter("format", FORM, &form())
            .json("In descending order, with when it was computed", named::<TopReport<'_>>())
            .says(200, "A line for each repository", CSV)
            .refuses(400, "A value that is not listed")
            .refuses(406, "Neither JSON nor CSV is taken"),
    )
}
