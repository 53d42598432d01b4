//! Endpoint table: the ledger.

use axum::routing::get;
use serde_json::{Value, json};

use crate::serve::api::endpoint::{Endpoint, EndpointPath, Operation};
use crate::serve::api::schema::{named, text};
use crate::serve::ledger::written::{RepoReport, TopReport};
use crate::serve::ledger::{self, FEWEST_DAYS, MOST_DAYS, MOST_TOP};

const BY: &str = "Which figure; `prs` are pull requests opened";

pub(super) fn all() -> Vec<Endpoint> {
    let svg = EndpointPath::Form("/repo/{owner}/{name}.svg");
    vec![
        Endpoint::public("/repo/{owner}/{name}", get(ledger::repo)).on(series()),
        Endpoint::public(svg, get(ledger::repo)).on(picture()),
        Endpoint::public("/top", get(ledger::top)).on(top()),
    ]
}

fn by() -> Value {
    json!({ "type": "string", "enum": ["stars", "forks", "prs", "pushes"], "default": "stars" })
}

fn series() -> Operation {
    let since = "From which day on: a day, RFC 3339, or how long ago, as 90d; 30 days without";
    let until = "Up to which day, that day included; today without. An answer holds 731 days";
    Operation::get("A repository by UTC day: stars, forks, pull requests, issues, releases, pushes")
        .parameter("since", since, text())
        .parameter("until", until, text())
        .json_or_csv(
            "Its days, with how much of each was seen",
            named::<RepoReport<'_>>(),
            "A line for each day",
        )
        .cached()
        .refuses(400, "A time that cannot be read, or too many days")
        .refuses(404, "No event of a repository of that name was counted here")
        .refuses(503, "The ledger cannot be read now")
}

fn picture() -> Operation {
    let style = json!({ "type": "string", "enum": ["chart", "badge"], "default": "chart" });
    let days = json!({
        "type": "integer", "minimum": FEWEST_DAYS, "maximum": MOST_DAYS, "default": 90,
    });
    Operation::get("A chart or a badge of a repository's last days, for a README")
        .parameter("by", BY, by())
        .parameter("style", "A chart, or a badge of one line", style)
        .parameter("days", "The last days, today included", days)
        .says(200, "The picture", "image/svg+xml")
        .cached()
        .refuses(400, "A value that is not listed")
        .refuses(404, "No event of a repository of that name was counted here")
        .refuses(503, "The ledger cannot be read now")
}

fn top() -> Operation {
    let window = json!({ "type": "string", "enum": ["24h", "7d", "30d"], "default": "24h" });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": MOST_TOP, "default": 25 });
    Operation::get("The repositories with the most stars, forks, pull requests or pushes")
        .parameter("by", BY, by())
        .parameter("window", "How long; it ends with the current hour", window)
        .parameter("language", "Of one language, as GitHub names it", text())
        .parameter("limit", "How many", limit)
        .json_or_csv(
            "In descending order, with when it was computed",
            named::<TopReport<'_>>(),
            "A line for each repository",
        )
        .cached()
        .refuses(400, "A value that is not listed")
        .refuses(503, "The ledger cannot be read now")
}
