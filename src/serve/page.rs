//! The pages: `/`, what this is, how it is, and the events passing; `/play`, to try the stream.
//!
//! Each is one document without anything from elsewhere. What changes from start to start is put
//! into it as data, which its script only ever shows as text.

use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::{Request, header};
use serde::Serialize;

use super::operate::{Part, ScriptState};
use super::public;
use super::server::Server;
use crate::secrets;

static PAGE: LazyLock<String> = LazyLock::new(|| whole(include_str!("ui/index.html")));
static PLAY: LazyLock<String> = LazyLock::new(|| whole(include_str!("ui/play.html")));
/// Where a page wants its data and the word that its script is known by.
const ABOUT: &str = "{{about}}";
const NONCE: &str = "{{nonce}}";

/// A page with what both have in common.
fn whole(page: &str) -> String {
    page.replace("{{style}}", include_str!("ui/shared.css"))
        .replace("{{script}}", include_str!("ui/shared.js"))
}

#[derive(Serialize)]
struct About {
    version: &'static str,
    simulated: bool,
    base: String,
    script: ScriptState,
    parts: Vec<Part>,
}

pub(super) async fn show(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    written(&PAGE, &server, &request)
}

pub(super) async fn play(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    written(&PLAY, &server, &request)
}

fn written(page: &str, server: &Server, request: &Request<Body>) -> Response {
    let (mut script, mut parts) = (server.operate.script(), server.operate.parts());
    if !public::sees_details(server, request) {
        (script, parts) = (public::script(&script), public::parts(parts));
    }
    let about = About {
        version: env!("CARGO_PKG_VERSION"),
        simulated: server.operate.simulated(),
        base: server.options.base_path.clone().unwrap_or_default(),
        script,
        parts,
    };
    let about = serde_json::to_string(&about).unwrap_or_default();
    // Inside a script element only `<` could end it.
    let about = about.replace('<', "\\u003c");
    // The policy lets only this answer's own script and style run; nobody else can know the word.
    let nonce = secrets::word();
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; \
         connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    let page = page.replace(NONCE, &nonce).replace(ABOUT, &about);
    ([(header::CONTENT_SECURITY_POLICY, policy)], Html(page)).into_response()
}
