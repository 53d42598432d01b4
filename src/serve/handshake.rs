//! From a request to a WebSocket: the handshake of RFC 6455, by hand.
//!
//! By hand, because the connection is then ours: its small buffers, its own order of writes, and a
//! task that the server can stop, which an upgraded connection of the HTTP library is not.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::admission::{Refusal, Slot, client_behind};
use super::feeds::Feed;
use super::listen::Peer;
use super::problem::Problem;
use super::server::Server;
use super::socket;
use super::wire::Stream;
use crate::hub::Bell;
use crate::metrics;

/// A key is 16 bytes as base64.
const KEY_CHARS: usize = 24;

/// Answers a request for a WebSocket and serves it.
pub(super) fn open<F: Feed>(
    server: &Arc<Server>,
    mut request: Request<Body>,
    hint: &str,
    feed: impl FnOnce(&Arc<Server>, &Arc<Bell>) -> F,
) -> Response {
    let accept = match check(server, request.headers(), hint, F::NAME) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        let detail = "this connection cannot become a WebSocket";
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response();
    };
    let client = client_behind(peer.address, request.headers(), &server.options.trusted_proxies);
    let behind = match place_of(server, &peer, client) {
        Ok(behind) => behind,
        Err(refusal) => return refusal.into_response(),
    };
    let bell = Arc::new(Bell::default());
    let feed = feed(server, &bell);
    let upgrade = hyper::upgrade::on(&mut request);
    let (options, hard) = (server.socket_options(), server.hard.clone());
    server.tracker.spawn(async move {
        let life = async {
            let Ok(upgraded) = upgrade.await else { return };
            let Ok(parts) = upgraded.downcast::<TokioIo<Stream>>() else {
                tracing::error!("an upgraded connection is not of this server's kind");
                return;
            };
            let (stream, early) = (parts.io.into_inner(), parts.read_buf.to_vec());
            socket::serve(stream, early, feed, bell, options).await;
        };
        tokio::select! {
            () = hard.cancelled_owned() => {}
            () = life => {}
        }
        // The places are held until the end, not until the HTTP connection became this one.
        drop((peer, behind));
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// The place of a client behind a proxy; the proxy's own connection is counted without one.
fn place_of(server: &Server, peer: &Peer, client: IpAddr) -> Result<Option<Slot>, Problem> {
    if client == peer.address {
        return Ok(None);
    }
    server.public.client(client).map(Some).map_err(Refusal::problem)
}

/// The value of `Sec-WebSocket-Accept`, or why there is none.
fn check(
    server: &Server,
    headers: &HeaderMap,
    hint: &str,
    endpoint: &str,
) -> Result<HeaderValue, Problem> {
    if !is_listed(headers, header::UPGRADE, "websocket")
        || !is_listed(headers, header::CONNECTION, "upgrade")
    {
        return Err(upgrade_required(&format!(
            "this is a WebSocket endpoint: connect to ws://HOST:PORT{endpoint}, {hint}"
        )));
    }
    check_origin(&server.options.allowed_origins, headers)?;
    if !is_listed(headers, header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(upgrade_required("only version 13 of WebSocket is spoken here"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
    if key.len() != KEY_CHARS {
        let detail = "Sec-WebSocket-Key is missing or is not 16 bytes as base64";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    if server.soft.is_cancelled() {
        let detail = "the server is stopping: connect again in a while";
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        return Err(problem.with(header::RETRY_AFTER, "5"));
    }
    HeaderValue::from_str(&derive_accept_key(key))
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is no text"))
}

/// Who names no origin is no browser, and whoever is no browser could name any.
fn check_origin(allowed: &[String], headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = headers.get(header::ORIGIN) else { return Ok(()) };
    let origin = origin.to_str().unwrap_or_default().trim_end_matches('/');
    let is_allowed = |known: &String| known == "*" || known.eq_ignore_ascii_case(origin);
    if allowed.is_empty() || allowed.iter().any(is_allowed) {
        return Ok(());
    }
    metrics::REFUSED.add_for("origin", 1);
    let shown: String = origin.chars().take(200).collect();
    let detail = format!("pages of {shown} may not connect here (server.allowedOrigins)");
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

fn upgrade_required(line: &str) -> Problem {
    Problem::plain(StatusCode::UPGRADE_REQUIRED, line)
        .with(header::UPGRADE, "websocket")
        .with(header::CONNECTION, "upgrade")
        .with(header::SEC_WEBSOCKET_VERSION, "13")
}

/// Whether one of a header's comma-separated words is this one.
fn is_listed(headers: &HeaderMap, name: http::HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(word)))
}
