//! The WebSocket handshake (RFC 6455 §4), without axum's.
//!
//! The connection is then under this module's control: small buffers, its own order of writes, and
//! a task that the server can stop.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::HttpBody as _;
use axum::extract::Request;
use axum::response::IntoResponse;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::connection::Connection;
use super::deflate;
use crate::hub::Notifier;
use crate::metrics;
use crate::serve::http::admission::{ConnectionSlot, Rejection};
use crate::serve::http::identity;
use crate::serve::http::negotiation::elements;
use crate::serve::http::peer::{Audience, Peer};
use crate::serve::http::problem::{HttpResult, Problem};
use crate::serve::http::proxies::{client_behind, is_proxy};
use crate::serve::http::reached::ReachedAddress;
use crate::serve::http::write_timeout::WriteTimeoutStream;
use crate::serve::readers::ClientReader;
use crate::serve::server::ServerState;

/// 16 bytes in base64.
const KEY_CHARS: usize = 24;

/// Answers a request for a WebSocket and serves it. `reader` receives whether permessage-deflate
/// was negotiated.
pub(crate) fn open<R: ClientReader>(
    server: &Arc<ServerState>,
    mut request: Request,
    hint: &str,
    reader: impl FnOnce(&Arc<ServerState>, &Arc<Notifier>, bool) -> Result<R, Problem>,
) -> HttpResult {
    let accept = check(server, &request, hint, R::NAME)?;
    let peer = Peer::of(&request)?.clone();
    let behind = slot_behind_proxy(server, &peer, request.headers())?;
    let agreed = deflate::agree(request.headers());
    let deflates = agreed.is_some();
    let notifier = Arc::new(Notifier::new(client(server, &request), deflates));
    let reader = reader(server, &notifier, deflates)?;
    let (server, upgrade) = (Arc::clone(server), hyper::upgrade::on(&mut request));
    server.tracker.clone().spawn(async move {
        let Some(Ok(upgraded)) = server.hard.run_until_cancelled(upgrade).await else { return };
        let Ok(parts) = upgraded.downcast::<TokioIo<WriteTimeoutStream>>() else {
            tracing::error!("an upgraded connection is not of this server's kind");
            return;
        };
        let (stream, early) = (parts.io.into_inner().into_stream(), parts.read_buf);
        let tracker = server.tracker.clone();
        let opened = Connection::open(stream, &early, deflates, reader, notifier, server).await;
        // Another task, so that the memory of the handshake is released.
        tracker.spawn(opened.serve((peer, behind)));
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.remove(header::CONTENT_LENGTH);
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    if let Some(agreed) = agreed {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreed);
    }
    Ok(response)
}

/// The client as a number, for fair turns: an IPv4 address or an IPv6 /48.
pub(crate) fn client(server: &ServerState, request: &Request) -> u64 {
    let Ok(peer) = Peer::of(request) else { return 0 };
    let client = client_behind(&server.options.config, peer.address, request.headers());
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments().map(u64::from);
            1 << 48 | a << 32 | b << 16 | c
        }
    }
}

/// A slot for the client behind a trusted proxy, whose own connection takes none. A proxy that
/// names no client is itself the client.
pub(crate) fn slot_behind_proxy(
    server: &ServerState,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Option<ConnectionSlot>, Problem> {
    let config = &server.options.config;
    if peer.audience != Audience::Public || !is_proxy(config, peer.address) {
        return Ok(None);
    }
    let client = client_behind(config, peer.address, headers);
    server.public.client(client).map(Some).map_err(Rejection::problem)
}

/// The value of `Sec-WebSocket-Accept`, or the refusal.
fn check(
    server: &ServerState,
    request: &Request,
    hint: &str,
    endpoint: &str,
) -> Result<HeaderValue, Problem> {
    let headers = request.headers();
    // RFC 6455 §4.1: a GET of HTTP/1.1 or later.
    let is_get = request.method() == Method::GET && request.version() >= Version::HTTP_11;
    if !is_get || !is_websocket(headers) {
        let reached = ReachedAddress::of(server, request);
        let (scheme, base) = (reached.socket_scheme(), reached.base);
        let host = reached.host.unwrap_or("HOST:PORT");
        return Err(upgrade_required(&format!(
            "this is a WebSocket endpoint: connect to {scheme}://{host}{base}{endpoint}, {hint}"
        )));
    }
    if !is_listed(headers, header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(upgrade_required("only version 13 of WebSocket is spoken here"));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map_or(&[][..], HeaderValue::as_bytes);
    if key.len() != KEY_CHARS {
        let detail = "Sec-WebSocket-Key is missing or is not 16 bytes as base64";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    // RFC 9110 §7.8: the protocol changes after the whole request, so a body would have to be read
    // first. In a GET it has no meaning (§9.3.1), and a proxy may see its end elsewhere.
    if !request.body().is_end_stream() {
        let detail = "a request for a WebSocket has no body";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    if server.soft.is_cancelled() {
        return Err(stopping());
    }
    HeaderValue::from_str(&derive_accept_key(key))
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is not text"))
}

/// The refusal while the server stops.
pub(crate) fn stopping() -> Problem {
    let detail = "the server is stopping: connect again in a while";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_within(2..=12)
}

pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    is_listed(headers, header::UPGRADE, "websocket")
        && is_listed(headers, header::CONNECTION, "upgrade")
}

/// Checks the origin of a request; returns the value of `Access-Control-Allow-Origin`, if any. A
/// request without an origin is not from a browser, and any other program could send one.
pub(crate) fn check_origin(
    allowed: &[String],
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, Problem> {
    let Some(sent) = headers.get(header::ORIGIN) else { return Ok(None) };
    let origin = sent.to_str().unwrap_or_default().trim_end_matches('/');
    if allowed.is_empty() || allowed.iter().any(|known| known == "*") {
        return Ok(Some(HeaderValue::from_static("*")));
    }
    let is_allowed = |known: &String| known.eq_ignore_ascii_case(origin);
    if allowed.iter().any(is_allowed) || is_own(origin, allowed, headers) {
        return Ok(Some(sent.clone()));
    }
    metrics::REFUSED.add_for("origin", 1);
    let shown: String = origin.chars().take(200).collect();
    let detail = format!("pages of {shown} may not connect here (server.allowedOrigins)");
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// Whether the page is one of this server: its origin is the requested host, and that host is
/// known. With DNS rebinding, a stranger's name would be both origin and host. The scheme is not
/// compared, since a proxy may terminate TLS.
fn is_own(origin: &str, allowed: &[String], headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let of_page = identity::host_of(origin);
    of_page.zip(host).is_some_and(|(of_page, host)| {
        let port = |port| host.strip_suffix(port).unwrap_or(host);
        let bare = if origin.starts_with("https:") { port(":443") } else { port(":80") };
        !bare.is_empty()
            && of_page.eq_ignore_ascii_case(bare)
            && identity::is_known_host(host, allowed)
    })
}

fn upgrade_required(line: &str) -> Problem {
    Problem::plain(StatusCode::UPGRADE_REQUIRED, line)
        .with(header::UPGRADE, "websocket")
        .with(header::CONNECTION, "upgrade")
        .with(header::SEC_WEBSOCKET_VERSION, "13")
}

/// Whether a comma-separated header contains this word.
fn is_listed(headers: &HeaderMap, name: http::HeaderName, word: &str) -> bool {
    elements(headers, name).any(|listed| listed.eq_ignore_ascii_case(word))
}
