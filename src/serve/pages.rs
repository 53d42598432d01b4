//! Pages: `/` with the state and live events, `/play` to try the stream, and the HTML of `/status`
//! and `/topics`.
//!
//! Each is one document without external resources. Data are inserted as JSON, which the script
//! shows only as text.

pub(crate) mod clients;
pub(crate) mod docs;
pub(crate) mod robots;
pub(crate) mod static_file;
pub(crate) mod topics;

use std::sync::LazyLock;

use axum::extract::{Request, State};
use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};
use serde::Serialize;

use self::static_file::StaticFile;
use crate::manual;
use crate::model::part::Part;
use crate::secrets;
use crate::serve::admin::operate::ScriptState;
use crate::serve::admin::redaction;
use crate::serve::server::{ServerState, SharedServer};

/// The icon of all pages.
pub(crate) const ICON: StaticFile = StaticFile::new("image/svg+xml", manual::ICON_FILE);

static PAGE: LazyLock<String> = LazyLock::new(|| {
    let about =
        "GitHub's public events, live: counts, languages, repositories, and how much was seen";
    whole(include_str!("pages/ui/index.html"), "ghpulse", about)
});
static PLAY: LazyLock<String> = LazyLock::new(|| {
    let about = "Queries of the stream of GitHub's public events, tried in the browser";
    whole(include_str!("pages/ui/play.html"), "ghpulse: try the stream", about)
});
static SCRIPTS: LazyLock<String> = LazyLock::new(|| {
    let about = "The scripts of this server: what they count, their output, their errors";
    whole(include_str!("pages/ui/scripts.html"), "ghpulse: scripts", about)
});
static ARCHIVE: LazyLock<String> = LazyLock::new(|| {
    let about = "Hours of GitHub's public events as files, named and shaped like GH Archive's";
    whole(include_str!("pages/ui/archive.html"), "ghpulse: archive", about)
});
static TEXT: LazyLock<String> = LazyLock::new(|| {
    whole(include_str!("pages/ui/text.html"), "ghpulse: {{small}}", "{{description}}")
});
static ERROR: LazyLock<String> = LazyLock::new(|| {
    whole(include_str!("pages/ui/error.html"), "ghpulse: {{heading}}", "{{heading}}")
});
/// Where a page's data and its script's nonce are inserted.
const ABOUT: &str = "{{about}}";
const NONCE: &str = "{{nonce}}";
/// The link to the archive, in the navigation of a server that has one.
const ARCHIVE_LINK: &str = "<a href=\"{{root}}archive/\" data-to=\"archive/\">Archive</a>\n";
/// Fragments of the pages, inserted at their placeholders.
const PIECES: [(&str, &str); 13] = [
    ("{{head}}", include_str!("pages/ui/head.html")),
    ("{{style}}", include_str!("pages/ui/shared.css")),
    ("{{table-style}}", include_str!("pages/ui/table.css")),
    ("{{wall-style}}", include_str!("pages/ui/wall.css")),
    ("{{nav}}", manual::NAVIGATION),
    ("{{truth}}", include_str!("pages/ui/truth.html")),
    ("{{script}}", include_str!("pages/ui/shared.js")),
    ("{{charts}}", include_str!("pages/ui/charts.js")),
    ("{{wall}}", include_str!("pages/ui/wall.js")),
    ("{{list}}", include_str!("pages/ui/list.js")),
    ("{{ranked}}", include_str!("pages/ui/ranked.js")),
    ("{{start}}", include_str!("pages/ui/start.js")),
    ("{{status}}", include_str!("pages/ui/status.js")),
];

/// Inserts its fragments, title, description and icon into a page.
fn whole(page: &str, title: &str, description: &str) -> String {
    let page = page.to_owned();
    let page = PIECES.iter().fold(page, |page, (name, piece)| page.replace(name, piece));
    page.replace("{{title}}", title)
        .replace("{{description}}", description)
        .replace("{{icon}}", &manual::ICON)
}

#[derive(Serialize)]
struct PageData {
    version: &'static str,
    simulated: bool,
    base: String,
    script: ScriptState,
    parts: Vec<Part>,
}

pub(crate) async fn show(State(server): SharedServer, request: Request) -> Response {
    written(&PAGE, &server, &request)
}

pub(crate) async fn play(State(server): SharedServer, request: Request) -> Response {
    written(&PLAY, &server, &request)
}

fn written(page: &str, server: &ServerState, request: &Request) -> Response {
    let (mut script, mut parts) = (server.operate.script(), server.operate.parts());
    if !redaction::sees_details(server, request) {
        (script, parts) = (redaction::script(&script), redaction::parts(parts));
    }
    let about = PageData {
        version: env!("CARGO_PKG_VERSION"),
        simulated: server.operate.simulated(),
        base: server.options.config.base_path.clone().unwrap_or_default(),
        script,
        parts,
    };
    sent(server, page, &about)
}

/// The page of `/scripts`.
pub(crate) fn scripts(server: &ServerState) -> Response {
    sent(server, &SCRIPTS, &serde_json::json!({ "simulated": server.operate.simulated() }))
}

/// A page of plain text.
pub(crate) struct TextPage<'a> {
    /// `Status` or `Topics`.
    pub(crate) title: &'static str,
    /// What the page shows, for search engines and previews of links.
    pub(crate) description: &'static str,
    /// The state in one line, and its class: `ok`, `warn`, `bad`, or none.
    pub(crate) verdict: (&'a str, &'static str),
    /// The text.
    pub(crate) body: &'a str,
    /// Whether the page refreshes and shows completeness.
    pub(crate) is_live: bool,
}

/// Renders plain text as a page.
pub(crate) fn text(server: &ServerState, shown: &TextPage<'_>) -> Response {
    let (verdict, class) = shown.verdict;
    let page = TEXT
        .replace("{{heading}}", shown.title)
        .replace("{{small}}", &shown.title.to_lowercase())
        .replace("{{description}}", shown.description)
        .replace("{{live}}", if shown.is_live { "" } else { "hidden" })
        .replace("{{class}}", class)
        .replace("{{verdict}}", &escaped(verdict));
    let simulated = server.operate.simulated();
    let about = serde_json::json!({ "simulated": simulated, "live": shown.is_live });
    // The text comes from outside, so it is inserted last: nothing in it is taken for a
    // placeholder.
    let (before, after) = page.split_once("{{text}}").unwrap_or((&page, ""));
    answer(&about, |nonce, about| {
        let [before, after] =
            [before, after].map(|part| filled(part, server, "", nonce).replace(ABOUT, about));
        format!("{before}{}{after}", escaped(shown.body))
    })
}

/// The page of the archive's hours; `rows` and `others` are HTML of ours, `range` text.
pub(crate) fn archive(server: &ServerState, rows: &str, range: &str, others: &str) -> Response {
    answer(&serde_json::json!({}), |nonce, _| {
        filled(&ARCHIVE, server, "../", nonce)
            .replace("{{range}}", &escaped(range))
            .replace("{{others}}", others)
            .replace("{{empty}}", if rows.is_empty() { "hidden" } else { "" })
            .replace("{{rows}}", rows)
    })
}

/// The page of an error. `root` leads from the requested path to `/`.
pub(crate) fn error(
    server: &ServerState,
    status: StatusCode,
    detail: &str,
    root: &str,
) -> Response {
    let reason = status.canonical_reason().unwrap_or("Refused");
    let heading = format!("{} {reason}", status.as_u16());
    answer(&serde_json::json!({}), |nonce, _| {
        filled(&ERROR, server, root, nonce)
            .replace("{{heading}}", &heading)
            .replace("{{detail}}", &escaped(detail))
    })
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn sent(server: &ServerState, page: &str, about: &impl Serialize) -> Response {
    answer(about, |nonce, about| filled(page, server, "", nonce).replace(ABOUT, about))
}

/// Inserts what depends on the server: the links, of which `root` leads to `/`, whether the events
/// are simulated, and the nonce.
fn filled(page: &str, server: &ServerState, root: &str, nonce: &str) -> String {
    let archive = if server.options.archive.is_some() { ARCHIVE_LINK } else { "" };
    let simulated = if server.operate.simulated() { "" } else { "hidden" };
    page.replace("{{archive}}", archive)
        .replace("{{root}}", root)
        .replace("{{simulated}}", simulated)
        .replace(NONCE, nonce)
}

fn answer(about: &impl Serialize, page: impl FnOnce(&str, &str) -> String) -> Response {
    let about = serde_json::to_string(about).unwrap_or_default();
    // Only `<` could end a script element.
    let about = about.replace('<', "\\u003c");
    // The policy allows only this response's script and style; the nonce cannot be guessed.
    let nonce = secrets::word();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self' ws: wss:; img-src 'self' data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let page = page(&nonce, &about);
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}
