//! Endpoint table: the archive's hours as files.

use axum::routing::get;
use serde_json::json;

use crate::model::activity::written::WrittenCompleteness;
use crate::model::hour_file::FileKind;
use crate::serve::api::endpoint::{ApiResponse, Endpoint, EndpointPath, HTML, Operation};
use crate::serve::api::schema::{derived, text};
use crate::serve::archive::{self, directory::ListedHours};

/// The endpoints of the archive.
pub(super) fn all() -> Vec<Endpoint> {
    vec![
        Endpoint::public(EndpointPath::At("/archive"), get(archive::list)).on(listed()),
        Endpoint::public(EndpointPath::At("/archive/{name}"), get(archive::file)).on(file()),
    ]
}

fn listed() -> Operation {
    let form = json!({ "type": "string", "enum": ["json", "html"] });
    let mut operation = Operation::get("The archive's hours, newest first (`archive.dir`)")
        .parameter(
            "since",
            "From which time on, or how long ago; the last 31 days without",
            &text(),
        )
        .parameter("until", "Up to which time; one answer holds 31 days", &text())
        .parameter("format", "Which form; without it by `Accept`, else JSON", &form)
        .json("The hours and their files", derived::<ListedHours>())
        .says(200, "The hours and their files", HTML)
        .refuses(400, "A time that cannot be read, or more than 31 days")
        .refuses(404, "This server has no archive");
    let meaning = "To `/archive/`, which links are relative to";
    operation.answers.push(ApiResponse { status: 308, meaning, content: Vec::new() });
    operation
}

fn file() -> Operation {
    let binary = || json!({ "type": "string", "contentMediaType": "application/octet-stream" });
    let kinds = [FileKind::Rows, FileKind::Columns].map(FileKind::media_type);
    let bytes = |operation: Operation, status, meaning| {
        kinds
            .into_iter()
            .fold(operation, |operation, kind| operation.answers(status, meaning, kind, binary()))
    };
    let what = "An hour of events, named as by GH Archive: `2026-11-29-5.json.gz`; also \
                `2026-11-29-5.parquet` and `2026-11-29-5.coverage.json`. The same names are served \
                below `/` too. `X-Coverage` is the part of all events that was seen, `X-Cut` \
                whether the beginning of the hour may be missing";
    let operation = bytes(Operation::get(what), 200, "The file");
    let operation = operation.json("How complete the hour is", derived::<WrittenCompleteness>());
    let mut operation = bytes(operation, 206, "The part that `Range` names")
        .refuses(404, "No such file, or this server has no archive")
        .refuses(412, "Not the file that `If-Match` or `If-Unmodified-Since` names")
        .refuses(416, "The range begins behind the end of the file");
    let meaning = "The client's copy is current";
    operation.answers.push(ApiResponse { status: 304, meaning, content: Vec::new() });
    operation
}
