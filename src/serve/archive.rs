//! Recorded hours, through the ops listener alone: who names files to be read and written is
//! whoever has this machine. A page in a browser cannot ask: it has an `Origin`, and JSON takes a
//! permission that is never given.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, header};

use super::listen::Audience;
use super::operate::ArchiveRequest;
use super::problem::Problem;
use super::routes::{audience, nothing_here};
use super::server::Server;

/// Bytes of a request.
const ASKED_BYTES: usize = 64 << 10;

/// Answers a request for hours in or out when all is done.
pub(super) async fn archive(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    if audience(&request) != Audience::Ops {
        return nothing_here(request).await;
    }
    let asked = match read(request).await {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    match server.operate.archive(asked).await {
        Ok(answer) => axum::Json(answer).into_response(),
        Err(reason) => Problem::new(StatusCode::UNPROCESSABLE_ENTITY, reason).into_response(),
    }
}

async fn read(request: Request<Body>) -> Result<ArchiveRequest, Problem> {
    let (head, body) = request.into_parts();
    let kind = head.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    if kind != Some("application/json") || head.headers.contains_key(header::ORIGIN) {
        let detail = "send application/json, and not from a page";
        return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
    }
    let bytes = to_bytes(body, ASKED_BYTES).await.map_err(|error| {
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("the request is no request: {error}"))
    })?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let detail = format!("the request names neither a file to import nor hours: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}
