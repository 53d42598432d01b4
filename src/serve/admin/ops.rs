//! What the ops listener alone is asked for: recorded hours in and out, and the store itself. Each
//! POST must bring the secret of the data directory: a local address is not an identity. A page in
//! a browser cannot ask either: it has an `Origin`, and JSON takes a permission that it is never
//! given.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use serde::de::DeserializeOwned;

use super::operate::{ArchiveRequest, Refusal, StoreRequest};
use super::redaction;
use super::report::is_ready;
use crate::metrics;
use crate::serve::http::identity;
use crate::serve::http::negotiation;
use crate::serve::http::problem::Problem;
use crate::serve::server::Server;

/// Bytes of a request.
const ASKED_BYTES: usize = 64 << 10;

/// Says in `/readyz` that the events are simulated, with the header of the simulated GitHub.
const SIMULATED: HeaderName = HeaderName::from_static("x-simulated");

/// `/readyz`: the state of each part.
pub(crate) async fn ready(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
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
pub(crate) async fn sync(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    if let Err(refusal) = identity::may_sync(&server, &request) {
        return refusal.into_response();
    }
    let answer = server.operate.sync().await;
    let status = if answer.failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    (status, axum::Json(answer)).into_response()
}

/// Answers a request for hours in or out when all is done.
pub(crate) async fn archive(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    if let Err(problem) = identity::may_post(&server, request.headers()) {
        return problem.into_response();
    }
    let asked: ArchiveRequest = match read(request).await {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    match server.operate.archive(asked).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(refusal) => refused(refusal),
    }
}

/// The live window, for trying a script on it.
pub(crate) async fn window(State(server): State<Arc<Server>>) -> Response {
    match server.operate.window() {
        Some(window) => axum::Json(window).into_response(),
        None => Problem::new(StatusCode::NOT_FOUND, "there is no window").into_response(),
    }
}

/// Answers a request about the store when all is done.
pub(crate) async fn store(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    if let Err(problem) = identity::may_post(&server, request.headers()) {
        return problem.into_response();
    }
    let asked: StoreRequest = match read(request).await {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    match server.operate.store(asked).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(refusal) => refused(refusal),
    }
}

/// Tells a disk that fails from a request that is wrong: the command has an exit code for each.
fn refused(refusal: Refusal) -> Response {
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
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the request is no request: {error}"))
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let detail = format!("the request is none that this path takes: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}
