//! What applies to every request, whichever endpoint it is for: checks of its head, origins,
//! `OPTIONS`, allowed values of parameters, and headers for browsers and caches.

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};

use super::admission::Rejection;
use super::head::Slashed;
use super::peer::{Audience, Peer};
use super::problem::{Problem, ProblemDetail};
use super::simulated::{AboutFile, SIMULATED};
use super::url_query::{UrlQuery, shown};
use super::{head, identity, negotiation, routes, whole};
use crate::serve::admin::status::wants_page;
use crate::serve::api::endpoints;
use crate::serve::api::endpoints::EndpointRow;
use crate::serve::pages;
use crate::serve::server::ServerState;
use crate::serve::ws::handshake;

/// Request headers that a response may depend on, for caches.
const VARY: HeaderValue = HeaderValue::from_static("accept, accept-encoding, origin");
/// Request headers that a page may send (CORS preflight).
const MAY_SEND: HeaderValue = HeaderValue::from_static(
    "accept, cache-control, content-type, if-match, if-modified-since, if-none-match, \
         if-range, if-unmodified-since, last-event-id, range",
);
/// Response headers that a page may read.
const MAY_READ: HeaderValue = HeaderValue::from_static(
    "accept-ranges, content-range, etag, retry-after, x-coverage, x-cut, \
         x-minutes-known, x-simulated",
);
/// Methods that a page may use.
const MAY_ASK: HeaderValue = HeaderValue::from_static("GET, HEAD");
/// Seconds for which a browser caches the preflight.
const REMEMBER: HeaderValue = HeaderValue::from_static("86400");

/// The most levels that the links of an error page lead up. On a path with more they miss `/`.
const DEEPEST: usize = 16;

/// Answers a request. On a rejected connection only health checks are served.
pub(crate) async fn answer(
    server: &ServerState,
    router: Router,
    peer: Peer,
    mut request: Request,
) -> Response {
    let (audience, refusal) = (peer.audience, peer.refusal);
    let checked = head::check(&mut request);
    routes::strip(&mut request, server.options.config.base_path.as_deref());
    let to_root = wants_page(request.uri().query(), request.headers()).then(|| root_of(&request));
    routes::alias(&mut request);
    request.extensions_mut().insert(peer);
    let checked = checked.and_then(|()| identity::check_host(server, &request));
    let mut response = match (checked, audience) {
        (Err(problem), _) => problem.into_response(),
        (Ok(()), Audience::Ops) => inside(server, router, request).await,
        (Ok(()), Audience::Public) => public(server, router, request, refusal).await,
    };
    if let Some(root) = to_root {
        response = problem_page(server, response, &root);
    }
    let is_about_now = response.extensions().get::<AboutFile>().is_none();
    if is_about_now && server.operate.simulated() {
        response.headers_mut().extend([SIMULATED]);
    }
    routes::secure(response.headers_mut());
    if audience == Audience::Public {
        framed(response.headers_mut(), &server.options.config.frame_ancestors);
    }
    response
}

/// The relative path from a request's path to `/`, whatever prefix a proxy removed.
fn root_of(request: &Request) -> String {
    let path = request.uri().path();
    let below = path.matches('/').count().saturating_sub(1);
    let below = below + usize::from(path != "/" && request.extensions().get::<Slashed>().is_some());
    "../".repeat(below.min(DEEPEST))
}

/// Replaces the body of an error by a page.
fn problem_page(server: &ServerState, response: Response, root: &str) -> Response {
    let Some(ProblemDetail(detail)) = response.extensions().get() else { return response };
    let page = pages::error(server, response.status(), detail, root);
    let (mut head, _) = response.into_parts();
    let (shown, body) = page.into_parts();
    for name in [header::CONTENT_LENGTH, header::CONTENT_ENCODING] {
        head.headers.remove(name);
    }
    for name in [header::CONTENT_TYPE, header::CONTENT_SECURITY_POLICY] {
        if let Some(value) = shown.headers.get(&name) {
            head.headers.insert(name, value.clone());
        }
    }
    Response::from_parts(head, body)
}

/// Lets pages of these origins show ours in a frame (CSP level 3, §6.4.2).
fn framed(headers: &mut HeaderMap, ancestors: &[String]) {
    const NONE: &str = "frame-ancestors 'none'";
    let Some(policy) = headers.get(header::CONTENT_SECURITY_POLICY) else { return };
    if ancestors.is_empty() || !policy.to_str().is_ok_and(|policy| policy.contains(NONE)) {
        return;
    }
    let allowed = format!("frame-ancestors {}", ancestors.join(" "));
    let policy = policy.to_str().unwrap_or_default().replace(NONE, &allowed);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
        headers.remove(header::X_FRAME_OPTIONS);
    }
}

/// Answers a request to a public listener.
async fn public(
    server: &ServerState,
    router: Router,
    request: Request,
    refusal: Option<Rejection>,
) -> Response {
    // The sync has effects, so pages of other hosts may not call it.
    let is_shared = request.uri().path() != server.options.config.sync_event;
    let origin = if is_shared {
        handshake::check_origin(&server.options.config.allowed_origins, request.headers())
    } else {
        Ok(None)
    };
    let is_preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let (mut response, origin) = match (origin, refusal) {
        (Err(problem), _) => (problem.into_response(), None),
        (Ok(origin), Some(refusal)) if !is_always_answered(server, &request) => {
            let mut response = refusal.problem().into_response();
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
            (response, origin)
        }
        (Ok(origin), _) => (inside(server, router, request).await, origin),
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let headers = response.headers_mut();
    headers.append(header::VARY, VARY);
    if let Some(origin) = origin {
        add_cors(headers, origin, is_preflight);
    }
    response
}

/// Adds the CORS headers for an origin.
fn add_cors(headers: &mut HeaderMap, origin: HeaderValue, is_preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if is_preflight {
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, MAY_ASK);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, MAY_SEND);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, REMEMBER);
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, MAY_READ);
    }
}

/// Whether a request is served without a free slot: a load balancer must not take a full server for
/// a dead one.
fn is_always_answered(server: &ServerState, request: &Request) -> bool {
    let path = request.uri().path();
    request.method() == Method::OPTIONS
        || (matches!(*request.method(), Method::GET | Method::HEAD)
            && (path == server.options.config.health || path == "/readyz"))
}

async fn inside(server: &ServerState, router: Router, request: Request) -> Response {
    let row = endpoints::find(request.uri().path(), &server.options.config);
    let row = row.filter(|row| row.audience.includes(Audience::of(&request)));
    let (method, path) = (request.method(), request.uri().path());
    let Some(row) = row else {
        // Load balancers check a server with `OPTIONS *`.
        let allow = HeaderValue::from_static("GET, HEAD, OPTIONS");
        let asks_all = method == Method::OPTIONS && path == "*";
        return if asks_all { allowed(allow) } else { routes::nothing_here(request).await };
    };
    if method == Method::OPTIONS {
        return allowed(row.allow.clone());
    }
    if !row.takes(method) {
        let mut refused = routes::wrong_method(request).await;
        refused.headers_mut().insert(header::ALLOW, row.methods());
        return refused;
    }
    let is_get = matches!(*method, Method::GET | Method::HEAD);
    if is_get
        && !handshake::is_websocket(request.headers())
        && let Err(problem) = check_listed(row, request.uri())
    {
        return problem.into_response();
    }
    let coding = negotiation::encoding(request.headers(), &[whole::GZIP]);
    let response = tower::ServiceExt::oneshot(router, request).await.into_response();
    whole::pack(response, coding).await
}

/// The answer to `OPTIONS`.
fn allowed(allow: HeaderValue) -> Response {
    (StatusCode::NO_CONTENT, [(header::ALLOW, allow)]).into_response()
}

/// Rejects a value that is not among those that the table of endpoints lists. An empty one counts
/// as absent.
fn check_listed(row: &EndpointRow, uri: &Uri) -> Result<(), Problem> {
    if row.listed.is_empty() || uri.query().is_none_or(str::is_empty) {
        return Ok(());
    }
    let query = UrlQuery::of(uri)?;
    for (name, value) in query.0.iter().filter(|(_, value)| !value.is_empty()) {
        let listed = row.listed.iter().find(|(known, _)| known == name);
        if let Some((_, values)) = listed.filter(|(_, values)| !values.contains(value)) {
            let (value, values) = (shown(value), values.join(", "));
            let reason = format!("`{value}` is unknown; give one of {values}");
            return Err(Problem::parameter(name, reason));
        }
    }
    Ok(())
}
