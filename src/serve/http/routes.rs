//! Routes of a listener, and the fallbacks for unknown paths and methods.

use std::sync::Arc;

use anyhow::ensure;
use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, header};

use super::head::Slashed;
use super::peer::Audience;
use super::problem::Problem;
use crate::model::hour_file::ArchiveFile;
use crate::serve::api::endpoint::EndpointPath;
use crate::serve::api::endpoints;
use crate::serve::server::ServerState;

/// The routes of a listener. Fails when two endpoints have the same path.
pub(crate) fn router(server: &Arc<ServerState>, audience: Audience) -> anyhow::Result<Router> {
    let config = &server.options.config;
    let (health, sync_event) = (&config.health, &config.sync_event);
    let all = endpoints::all();
    for (key, path) in [("server.health", health), ("server.syncEvent", sync_event)] {
        let is_plain = path.starts_with('/') && !path.contains(['{', '}', '*', ':']);
        ensure!(is_plain, "{key}: `{path}` is not a plain path: write one such as /health");
        let is_taken = all.iter().any(|endpoint| endpoint.path.covers(path));
        ensure!(!is_taken, "{key}: `{path}` is taken: choose another path");
    }
    ensure!(health != sync_event, "server.health and server.syncEvent are both `{health}`");
    let table = all.into_iter().filter(|endpoint| {
        endpoint.audience.includes(audience) && !matches!(endpoint.path, EndpointPath::Form(_))
    });
    let routes = table.fold(Router::new(), |router, endpoint| {
        router.route(endpoint.path.resolve(config), endpoint.route)
    });
    let routes = routes.method_not_allowed_fallback(wrong_method).fallback(nothing_here);
    Ok(routes.with_state(Arc::clone(server)))
}

/// Removes the prefix `server.basePath` and a trailing `/` from the path.
pub(crate) fn strip(request: &mut Request<Body>, prefix: Option<&str>) {
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

/// Serves an hour's file at the path that it has at GH Archive too: `/2026-11-29-5.json.gz`.
pub(crate) fn alias(request: &mut Request<Body>) {
    let name = request.uri().path().strip_prefix('/').unwrap_or_default();
    if ArchiveFile::parse(name).is_some()
        && let Ok(uri) = format!("/archive/{name}").parse::<Uri>()
    {
        *request.uri_mut() = uri;
    }
}

/// Adds the security headers that a response does not set itself.
pub(crate) fn secure(headers: &mut HeaderMap) {
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

pub(crate) async fn wrong_method(request: Request<Body>) -> Response {
    let detail = format!("{} does not take {}", request.uri().path(), request.method());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        .with_endpoints(endpoints::listed())
        .into_response()
}

pub(crate) async fn nothing_here(request: Request<Body>) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    let detail = format!("there is nothing at {path}");
    Problem::new(StatusCode::NOT_FOUND, detail).with_endpoints(endpoints::listed()).into_response()
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
