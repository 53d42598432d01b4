//! Endpoints for operators: readiness, metrics, sync, archives, the store.
//!
//! A POST to the ops listener needs the secret of the data directory, since a local address is not
//! an identity. Pages in browsers cannot send one: they have an `Origin`, and JSON needs a CORS
//! permission that is never given.

use axum::Json;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use http::{StatusCode, header};
use serde::de::DeserializeOwned;

use super::operate::{ArchiveRequest, OpsAnswer, StoreRequest};
use super::redaction;
use super::report::is_ready;
use crate::metrics;
use crate::serve::http::problem::{HttpResult, Problem};
use crate::serve::http::{identity, negotiation};
use crate::serve::server::{ServerState, SharedServer};

/// Most bytes of a request.
const ASKED_BYTES: usize = 64 << 10;

/// `/readyz`: the state of each part.
pub(crate) async fn ready(State(server): SharedServer, request: Request) -> Response {
    let parts = server.operate.parts();
    let status = if is_ready(&parts) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let sees_details = redaction::sees_details(&server, &request);
    let parts = if sees_details { parts } else { redaction::parts(parts) };
    (status, Json(parts)).into_response()
}

/// `/metrics`: the metrics as Prometheus text.
pub(crate) async fn exposition() -> Response {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, metrics::render()).into_response()
}

/// `server.syncEvent`: asks `TiDB` now.
pub(crate) async fn sync(State(server): SharedServer, request: Request) -> HttpResult {
    identity::may_sync(&server, &request)?;
    let answer = server.operate.sync().await;
    let status = if answer.failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    Ok((status, Json(answer)).into_response())
}

/// `/recorded`: imports or exports hours; responds when all are done.
pub(crate) async fn archive(State(server): SharedServer, request: Request) -> HttpResult {
    answer(&server, request, |asked: ArchiveRequest| server.operate.archive(asked)).await
}

/// `/window`: the live window, to try a script on.
pub(crate) async fn window(State(server): SharedServer) -> HttpResult {
    let window = server.operate.window();
    let window = window.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, "there is no window"))?;
    Ok(Json(window).into_response())
}

/// `/store`: responds when the request is done.
pub(crate) async fn store(State(server): SharedServer, request: Request) -> HttpResult {
    answer(&server, request, |asked: StoreRequest| server.operate.store(asked)).await
}

/// Reads a request of the operator and responds with the result of `run`.
async fn answer<T: DeserializeOwned>(
    server: &ServerState,
    request: Request,
    run: impl FnOnce(T) -> BoxFuture<'static, OpsAnswer>,
) -> HttpResult {
    identity::may_post(server, request.headers())?;
    let answer = run(read(request).await?).await.map_err(|error| {
        // The commands exit with different codes.
        let status = if error.is_io {
            StatusCode::INSUFFICIENT_STORAGE
        } else {
            StatusCode::UNPROCESSABLE_ENTITY
        };
        Problem::new(status, error.reason)
    })?;
    Ok(Json(answer).into_response())
}

async fn read<T: DeserializeOwned>(request: Request) -> Result<T, Problem> {
    let (head, body) = request.into_parts();
    if !negotiation::is_json(&head.headers) || head.headers.contains_key(header::ORIGIN) {
        let detail = "send application/json, and not from a page";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let bytes = to_bytes(body, ASKED_BYTES).await.map_err(|error| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("malformed request: {error}"))
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let detail = format!("malformed request: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}
