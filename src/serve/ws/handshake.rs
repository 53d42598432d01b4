//! From a request to a WebSocket: the handshake of RFC 6455, by hand.
//!
//! By hand, because the connection is then ours: its small buffers, its own order of writes, and a
//! task that the server can stop, which an upgraded connection of the HTTP library is not.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{connection, deflate};
use crate::hub::Notifier;
use crate::metrics;
use crate::serve::http::admission::{Refusal, Slot, client_behind};
use crate::serve::http::identity;
use crate::serve::http::peer::{Audience, Peer};
use crate::serve::http::problem::Problem;
use crate::serve::http::write_timeout::Patient;
use crate::serve::readers::Reader;
use crate::serve::server::Server;

/// A key is 16 bytes as base64.
const KEY_CHARS: usize = 24;

/// Answers a request for a WebSocket and serves it. `reader` is told whether messages may go
/// deflated.
pub(crate) fn open<R: Reader>(
    server: &Arc<Server>,
    mut request: Request<Body>,
    hint: &str,
    reader: impl FnOnce(&Arc<Server>, &Arc<Notifier>, bool) -> Result<R, Problem>,
) -> Response {
    let accept = match check(server, &request, hint, R::NAME) {
        Ok(accept) => accept,
        Err(refusal) => return refusal.into_response(),
    };
    let Some(peer) = request.extensions().get::<Peer>().cloned() else {
        let detail = "this connection cannot become a WebSocket";
        return Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail).into_response();
    };
    let behind = match place_behind_proxy(server, &peer, request.headers()) {
        Ok(behind) => behind,
        Err(refusal) => return refusal.into_response(),
    };
    let agreed = deflate::agree(request.headers());
    let deflates = agreed.is_some();
    let notifier = Arc::new(Notifier::for_client(client(server, &request)).deflating(deflates));
    let reader = match reader(server, &notifier, deflates) {
        Ok(reader) => reader,
        Err(refusal) => return refusal.into_response(),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    let (options, hard) = (server.socket_options(), server.hard.clone());
    server.tracker.spawn(async move {
        let life = async {
            let Ok(upgraded) = upgrade.await else { return };
            let Ok(parts) = upgraded.downcast::<TokioIo<Patient>>() else {
                tracing::error!("an upgraded connection is not of this server's kind");
                return;
            };
            let (stream, early) = (parts.io.into_inner().into_stream(), parts.read_buf.to_vec());
            connection::serve(stream, early, deflates, reader, notifier, options).await;
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
    if let Some(agreed) = agreed {
        headers.insert(header::SEC_WEBSOCKET_EXTENSIONS, agreed);
    }
    response
}

/// Whose request it is, where clients take turns: one number an IPv4 address or IPv6 /48.
pub(crate) fn client(server: &Server, request: &Request<Body>) -> u64 {
    let Some(peer) = request.extensions().get::<Peer>() else { return 0 };
    let client = client_behind(peer.address, request.headers(), &server.options.trusted_proxies);
    match client.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => {
            let [a, b, c, ..] = address.segments().map(u64::from);
            1 << 48 | a << 32 | b << 16 | c
        }
    }
}

/// The place of a client behind a proxy, whose own connection is counted without one. A proxy that
/// names no client is the client itself.
pub(crate) fn place_behind_proxy(
    server: &Server,
    peer: &Peer,
    headers: &HeaderMap,
) -> Result<Option<Slot>, Problem> {
    let proxies = &server.options.trusted_proxies;
    if peer.audience != Audience::Public || !proxies.contain(peer.address) {
        return Ok(None);
    }
    let client = client_behind(peer.address, headers, proxies);
    server.public.client(client).map(Some).map_err(Refusal::problem)
}

/// The value of `Sec-WebSocket-Accept`, or why there is none.
fn check(
    server: &Server,
    request: &Request<Body>,
    hint: &str,
    endpoint: &str,
) -> Result<HeaderValue, Problem> {
    let headers = request.headers();
    // RFC 6455, 4.1: a GET of HTTP/1.1 or later.
    let is_get = request.method() == Method::GET && request.version() >= Version::HTTP_11;
    if !is_get || !is_websocket(headers) {
        let scheme = if server.options.tls.is_some() { "wss" } else { "ws" };
        let base = server.options.base_path.as_deref().unwrap_or_default();
        return Err(upgrade_required(&format!(
            "this is a WebSocket endpoint: connect to {scheme}://HOST:PORT{base}{endpoint}, {hint}"
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
    if server.soft.is_cancelled() {
        return Err(stopping());
    }
    HeaderValue::from_str(&derive_accept_key(key))
        .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is no text"))
}

/// Who comes too late.
pub(crate) fn stopping() -> Problem {
    let detail = "the server is stopping: connect again in a while";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_within(2..=12)
}

/// Whether a WebSocket is asked for.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    is_listed(headers, header::UPGRADE, "websocket")
        && is_listed(headers, header::CONNECTION, "upgrade")
}

/// Who names no origin is no browser, and whoever is no browser could name any. What a page is to
/// be told of the origins that may read.
pub(crate) fn check_origin(
    allowed: &[String],
    headers: &HeaderMap,
) -> Result<Option<HeaderValue>, Problem> {
    let Some(told) = headers.get(header::ORIGIN) else { return Ok(None) };
    let origin = told.to_str().unwrap_or_default().trim_end_matches('/');
    if allowed.is_empty() || allowed.iter().any(|known| known == "*") {
        return Ok(Some(HeaderValue::from_static("*")));
    }
    let is_allowed = |known: &String| known.eq_ignore_ascii_case(origin);
    if allowed.iter().any(is_allowed) || is_own(origin, allowed, headers) {
        return Ok(Some(told.clone()));
    }
    metrics::REFUSED.add_for("origin", 1);
    let shown: String = origin.chars().take(200).collect();
    let detail = format!("pages of {shown} may not connect here (server.allowedOrigins)");
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// Whether a page is one of ours: its origin is the host that it asks, and that host is known. A
/// name of somebody else's that was pointed at this address (DNS rebinding) is both origin and
/// host of a page from there. Which of `http` and `https` it came by, a proxy before us may have
/// decided.
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

/// Whether one of a header's comma-separated words is this one.
fn is_listed(headers: &HeaderMap, name: http::HeaderName, word: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|listed| listed.trim().eq_ignore_ascii_case(word)))
}
