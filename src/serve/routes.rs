//! Which path is answered by whom, and what holds for every answer.

use std::sync::Arc;

use anyhow::ensure;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header};

use super::feeds::{LanguageLatest, LanguageWatch, Sampling};
use super::listen::{Audience, Peer};
use super::operate::is_ready;
use super::options::ServeOptions;
use super::problem::Problem;
use super::server::Server;
use super::{endpoints, handshake, identity, public};
use crate::metrics;

/// Says in `/readyz` that the events are made up, with the simulated GitHub's own header.
const SIMULATED: HeaderName = HeaderName::from_static("x-simulated");

/// All routes. Two that want the same path are an error that names it.
pub(super) fn router(server: &Arc<Server>) -> anyhow::Result<Router> {
    let ServeOptions { health, sync_event, .. } = &server.options;
    let all = endpoints::all();
    for (key, path) in [("server.health", health), ("server.syncEvent", sync_event)] {
        let is_plain = path.starts_with('/') && !path.contains(['{', '}', '*', ':']);
        ensure!(is_plain, "{key}: `{path}` is no plain path: write one such as /health");
        let is_taken = all.iter().any(|endpoint| endpoint.place.is_over(path));
        ensure!(!is_taken, "{key}: `{path}` is taken: choose another path");
    }
    ensure!(health != sync_event, "server.health and server.syncEvent are both `{health}`");
    let router = all.into_iter().fold(Router::new(), |router, endpoint| {
        router.route(endpoint.place.path(&server.options), endpoint.route)
    });
    let router = router.method_not_allowed_fallback(wrong_method).fallback(nothing_here);
    Ok(router.with_state(Arc::clone(server)))
}

/// Marks a request whose path ended with a `/` that was taken off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slashed;

/// Takes the prefix and a last `/` off a path, so that each route is there once.
pub(super) fn strip(request: &mut Request<Body>, prefix: Option<&str>) {
    let uri = request.uri();
    let path = uri.path();
    let below = prefix.and_then(|prefix| path.strip_prefix(prefix));
    let bare = below.filter(|below| below.is_empty() || below.starts_with('/')).unwrap_or(path);
    let bare = bare.strip_suffix('/').unwrap_or(bare);
    let bare = if bare.is_empty() { "/" } else { bare };
    if bare == path {
        return;
    }
    let was_slashed = path.ends_with('/');
    let stripped = match uri.query() {
        Some(query) => format!("{bare}?{query}").parse::<Uri>(),
        None => bare.parse(),
    };
    if let Ok(stripped) = stripped {
        *request.uri_mut() = stripped;
        if was_slashed {
            request.extensions_mut().insert(Slashed);
        }
    }
}

/// What every answer says to browsers, unless it says otherwise itself.
pub(super) fn secure(headers: &mut HeaderMap) {
    const ALWAYS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in ALWAYS {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

pub(super) async fn sampling(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Response {
    handshake::open(&server, request, r#"then send {"samplingRate":1}"#, |server, notifier, _| {
        let paths = server.options.limits.filter_paths;
        Sampling::new(Arc::clone(&server.hub), Arc::clone(notifier), paths)
    })
}

pub(super) async fn language_latest(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Response {
    handshake::open(&server, request, r#"then send {"top":10}"#, |server, notifier, _| {
        LanguageLatest::new(Arc::clone(&server.hub), Arc::clone(notifier))
    })
}

pub(super) async fn language_watch(
    State(server): State<Arc<Server>>,
    request: Request<Body>,
) -> Response {
    handshake::open(
        &server,
        request,
        r#"then send {"language":["Java"]}"#,
        |server, notifier, _| LanguageWatch::new(&server.hub, notifier),
    )
}

pub(super) async fn ready(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    let parts = server.operate.parts();
    let status = if is_ready(&parts) { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let sees_details = public::sees_details(&server, &request);
    let parts = if sees_details { parts } else { public::parts(parts) };
    let mut response = (status, axum::Json(parts)).into_response();
    if server.operate.simulated() {
        response.headers_mut().insert(SIMULATED, HeaderValue::from_static("ghpulse"));
    }
    response
}

pub(super) async fn exposition(request: Request<Body>) -> Response {
    if audience(&request) != Audience::Ops {
        return nothing_here(request).await;
    }
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, metrics::render()).into_response()
}

pub(super) async fn sync(State(server): State<Arc<Server>>, request: Request<Body>) -> Response {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        let mut refused = wrong_method(request).await;
        refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET,POST"));
        return refused;
    }
    if let Err(refusal) = identity::may_sync(&server, &request) {
        return refusal.into_response();
    }
    let answer = server.operate.sync().await;
    let status = if answer.failed { StatusCode::BAD_GATEWAY } else { StatusCode::OK };
    (status, axum::Json(answer)).into_response()
}

pub(super) fn audience(request: &Request<Body>) -> Audience {
    request.extensions().get::<Peer>().map_or(Audience::Public, |peer| peer.audience)
}

async fn wrong_method(request: Request<Body>) -> Response {
    let detail = format!("{} does not take {}", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).with_endpoints().into_response()
}

pub(super) async fn nothing_here(request: Request<Body>) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    let detail = format!("there is nothing at {path}");
    Problem::new(StatusCode::NOT_FOUND, detail).with_endpoints().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixed_and_bare_paths_are_the_same() {
        for (uri, base, wanted) in [
            ("/sampling", None, "/sampling"),
            ("/sampling/?x=1", None, "/sampling?x=1"),
            ("/", None, "/"),
            ("/websocket/sampling?a", Some("/websocket"), "/sampling?a"),
            ("/websocket", Some("/websocket"), "/"),
            ("/websocket/", Some("/websocket"), "/"),
            ("/websockets/sampling", Some("/websocket"), "/websockets/sampling"),
            ("/sampling", Some("/websocket"), "/sampling"),
        ] {
            let mut request = Request::new(Body::empty());
            *request.uri_mut() = uri.parse().unwrap();
            strip(&mut request, base);
            assert_eq!(request.uri(), wanted, "{uri}");
        }
    }
}
