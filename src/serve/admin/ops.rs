//! Endpoints for operators: readiness, metrics, sync, archives, the store.
//!
//! A POST to the ops listener needs the secret of the data directory, since a local address is not
//! an identity. Pages in browsers cannot send one: they have an `Origin`, and JSON needs a CORS
//! permission that is never given.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use serde::de::DeserializeOwned;

use super::operate::{ArchiveRequest, OpsError, StoreAnswer, StoreRequest};
use super::redaction;
use super::report::is_ready;
use crate::metrics;
use crate::serve::http::identity;
use crate::serve::http::negotiation;
use crate::serve::http::problem::Problem;
use crate::serve::server::ServerState;

/// Most bytes of a request.
const ASKED_BYTES: usize = 64 << 10;

/// Says in `/readyz` that the events are simulated, with the header of the simulated GitHub.
const SIMULATED: HeaderName = HeaderName::from_static("x-simulated");

/// `/readyz`: the state of each part.
pub(crate) async fn ready(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    let parts = server.operate.parts();
    let status = if is_ready(&parts) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let sees_details = redaction::sees_details(&server, &request);
    let parts = if sees_details { parts } else { redaction::parts(parts) };
    let mut response = (status, axum::Json(parts)).into_response();
    if server.operate.simulated() {
        response.headers_mut().insert(SIMULATED, HeaderValue::from_static("ghpulse"));
    }
    response
}

/// `/metrics`: the metrics as Prometheus text.
pub(crate) async fn exposition() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, metrics::render()).into_response()
}

/// `server.syncEvent`: asks `TiDB` now.
pub(crate) async fn sync(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    if let Err(refusal) = identity::may_sync(&server, &request) {
        return refusal.into_response();
    }
    let answer = server.operate.sync().await;
    let status = if answer.failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    (status, axum::Json(answer)).into_response()
}

/// `/recorded`: imports or exports hours; responds when all are done.
pub(crate) async fn archive(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    answer(&server, request, |asked: ArchiveRequest| server.operate.archive(asked)).await
}

/// `/window`: the live window, to try a script on.
pub(crate) async fn window(State(server): State<Arc<ServerState>>) -> Response {
    match server.operate.window() {
        Some(window) => axum::Json(window).into_response(),
        None => Problem::new(StatusCode::NOT_FOUND, "there is no window").into_response(),
    }
}

/// `/store`: responds when the request is done.
pub(crate) async fn store(
    State(server): State<Arc<ServerState>>,
    request: Request<Body>,
) -> Response {
    answer(&server, request, |asked: StoreRequest| server.operate.store(asked)).await
}

/// Reads a request of the operator and responds with the result of `run`.
async fn answer<T: DeserializeOwned>(
    server: &ServerState,
    request: Request<Body>,
    run: impl FnOnce(T) -> BoxFuture<'static, StoreAnswer>,
) -> Response {
    if let Err(problem) = identity::may_post(server, request.headers()) {
        return problem.into_response();
    }
    let asked = match read(request).await {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    match run(asked).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(refusal) => refused(refusal),
    }
}

/// Distinguishes a failing disk from an invalid request; the commands exit with different codes.
fn refused(refusal: OpsError) -> Response {
    let status = if refusal.is_io {
        StatusCode::INSUFFICIENT_STORAGE
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    Problem::new(status, refusal.reason).into_response()
}

async fn read<T: DeserializeOwned>(request: Request<Body>) -> Result<T, Problem> {
    let (head, body) = request.into_parts();
    if !negotiation::is_json(&head.headers) || head.headers.contains_key(header::ORIGIN) {
        let detail = "send application/json, and not from a page";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let bytes = to_bytes(body, ASKED_BYTES).await.map_err(|error| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("malformed request: {error}"))
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let detail = format!("the request is none that this path takes: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}
