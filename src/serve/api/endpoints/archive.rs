//! Endpoint table: the archive's hours as files.

use axum::routing::get;
use serde_json::json;

use crate::model::activity::written::WrittenCompleteness;
use crate::model::hour_file::FileKind;
use crate::serve::api::endpoint::{Endpoint, Operation};
use crate::serve::api::schema::{derived, text};
use crate::serve::archive::{self, directory::ListedHours};

/// What a 200 holds: of a status, the documents have the first meaning for all media types.
const FILE: &str = "The file";

pub(super) fn all() -> Vec<Endpoint> {
    vec![
        Endpoint::public("/archive", get(archive::list)).on(listed()),
        Endpoint::public("/archive/{name}", get(archive::file)).on(file()),
    ]
}

fn listed() -> Operation {
    let since = "From which time on, or how long ago; the last 31 days without";
    Operation::get("The archive's hours, newest first (`archive.dir`)")
        .parameter("since", since, text())
        .parameter("until", "Up to which time; one answer holds 31 days", text())
        .json_or_page("The hours and their files", derived::<ListedHours>())
        .empty(308, "To `/archive/`, which links are relative to")
        .refuses(400, "A time that cannot be read, or more than 31 days")
        .refuses(404, "This server has no archive")
}

fn file() -> Operation {
    let what = "An hour of events, named as by GH Archive: `2026-11-29-5.json.gz`; also \
                `2026-11-29-5.parquet` and `2026-11-29-5.coverage.json`. The same names are served \
                below `/` too. `X-Coverage` is the part of all events of the known minutes that \
                was seen, `X-Minutes-Known` how many minutes of the hour these are, `X-Cut` \
                whether the beginning of the hour may be missing";
    let operation = Operation::get(what)
        .json(FILE, derived::<WrittenCompleteness>())
        .empty(304, "The client's copy is current")
        .refuses(404, "No such file, or this server has no archive")
        .refuses(412, "Not the file that `If-Match` or `If-Unmodified-Since` names")
        .refuses(416, "The range begins behind the end of the file");
    let kinds = [FileKind::Rows, FileKind::Columns].map(FileKind::media_type);
    kinds.into_iter().fold(operation, |operation, kind| {
        let bytes = json!({ "type": "string", "contentMediaType": "application/octet-stream" });
        operation.answers(200, FILE, kind, bytes.clone()).answers(
            206,
            "The part that `Range` names",
            kind,
            bytes,
        )
    })
}
