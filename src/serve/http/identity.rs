//! Authorization: which requests may do more than read public data.
//!
//! A POST to the ops listener needs the secret in the data directory, and every request to it a
//! host name that no stranger controls. The sync on a public listener needs `server.adminToken`;
//! without one, only a program on this machine may start it. A page in a browser, a name that
//! points at this address (DNS rebinding) or a client behind a proxy cannot pass for one.

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version, header};

use super::peer::{Audience, Peer};
use super::problem::Problem;
use super::proxies::{client_behind, is_proxy};
use crate::config::Secret;
use crate::secrets::are_equal;
use crate::serve::server::ServerState;

/// How the names of headers end in which proxies name the client: `x-real-ip`, `client-ip`,
/// `x-proxyuser-ip`, `x-azure-clientip`, `x-remote-addr`, `x-envoy-external-address` and so on. No
/// list of them would be complete. A request with one of them did not come from this machine, nor
/// did one with `via`, `forwarded`, `x-forwarded-for`, `x-forwarded-host` and so on.
const NAMING_CLIENTS: [&str; 5] = ["-ip", "clientip", "-addr", "-address", "-forwarded-for"];

/// Suffixes of names that public DNS does not assign.
const INTERNAL: [&str; 8] =
    ["localhost", "local", "localdomain", "internal", "svc", "lan", "home.arpa", "intranet"];

/// Rejects a request to the ops listener for a host name that a stranger may have pointed at this
/// address (DNS rebinding).
pub(crate) fn check_host(server: &ServerState, request: &Request<Body>) -> Result<(), Problem> {
    // Every browser sends a host.
    let Some(host) = request.headers().get(header::HOST) else { return Ok(()) };
    let host = host.to_str().unwrap_or_default();
    let is_ops = Audience::of(request) == Audience::Ops;
    if !is_ops || is_known_host(host, &server.options.config.allowed_origins) {
        return Ok(());
    }
    let shown: String = host.chars().take(200).collect();
    let detail = format!(
        "the ops listener does not answer to the name `{shown}`: ask by address (127.0.0.1), by a \
         name without a dot or of an internal domain, or list its origin in server.allowedOrigins"
    );
    Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
}

/// Whether a POST to the ops listener has the secret of the data directory.
pub(crate) fn may_post(server: &ServerState, headers: &HeaderMap) -> Result<(), Problem> {
    let Some(secret) = &server.options.ops_secret else {
        let detail = "this server has no secret for its ops endpoints, so they take no POST";
        return Err(Problem::new(StatusCode::FORBIDDEN, detail));
    };
    if has_token(headers, secret) {
        return Ok(());
    }
    let detail = "send the text of the file `ops.secret` in the data directory as `Authorization: \
                  Bearer SECRET`; the ghpulse commands do so when they may read it";
    Err(unauthorized(detail))
}

/// Whether a request may start the sync.
pub(crate) fn may_sync(server: &ServerState, request: &Request<Body>) -> Result<(), Problem> {
    let headers = request.headers();
    if Audience::of(request) == Audience::Ops {
        if *request.method() == Method::POST {
            return may_post(server, headers);
        }
        if is_of_page(headers) {
            let detail = "a page in a browser may not ask for it: use a program, such as curl";
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
        return Ok(());
    }
    if let Some(token) = &server.options.config.admin_token {
        if has_token(headers, token) {
            return Ok(());
        }
        return Err(unauthorized("send server.adminToken as `Authorization: Bearer TOKEN`"));
    }
    if is_from_here(server, request) {
        return Ok(());
    }
    let detail = "allowed from a program on this machine (not a page in a browser, not through a \
                  proxy, and not while server.trustedProxies names this machine), or with \
                  server.adminToken as bearer token";
    Err(Problem::new(StatusCode::FORBIDDEN, detail))
}

/// Whether a request can only come from a program on this machine. A proxy on this machine that
/// adds no header cannot be distinguished from a client: behind one, set `server.adminToken`.
fn is_from_here(server: &ServerState, request: &Request<Body>) -> bool {
    let headers = request.headers();
    let Ok(&Peer { address, .. }) = Peer::of(request) else { return false };
    let config = &server.options.config;
    let is_forwarded = || headers.keys().map(HeaderName::as_str).any(is_of_proxy);
    address.is_loopback()
        // With proxies on this machine, a local connection may carry any client.
        && !is_proxy(config, address)
        && client_behind(config, address, headers).is_loopback()
        && !is_forwarded()
        && !is_of_page(headers)
        // nginx uses HTTP/1.0 to its backends by default, and few clients do.
        && request.version() >= Version::HTTP_11
        && headers.get(header::HOST).is_some_and(is_loopback_name)
}

/// Whether a proxy adds the header of this name.
fn is_of_proxy(name: &str) -> bool {
    matches!(name, "via" | "forwarded")
        || name.starts_with("x-forwarded")
        || NAMING_CLIENTS.iter().any(|end| name.ends_with(end))
}

/// Whether a page in a browser caused a request: an `<img>`, a form, a script. A typed address does
/// not count as one.
fn is_of_page(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    headers.contains_key(header::ORIGIN)
        || headers.contains_key(header::REFERER)
        || site.is_some_and(|site| site != "none")
        || (site.is_none() && headers.keys().any(|name| name.as_str().starts_with("sec-fetch-")))
}

fn is_loopback_name(host: &HeaderValue) -> bool {
    let name = name_of(host.to_str().unwrap_or_default());
    let is_loopback = |address: std::net::IpAddr| address.to_canonical().is_loopback();
    name.parse().map_or(name == "localhost" || name.ends_with(".localhost"), is_loopback)
}

/// Whether only the operator's DNS can define this host: an address, a name without a dot or of an
/// internal domain, or the host of an allowed origin.
pub(crate) fn is_known_host(host: &str, origins: &[String]) -> bool {
    let name = name_of(host);
    let is_internal = || {
        INTERNAL.iter().any(|end| {
            name.strip_suffix(end).is_some_and(|front| front.is_empty() || front.ends_with('.'))
        }) || name.ends_with(".svc.cluster.local")
    };
    let is_listed = || {
        origins.iter().filter_map(|origin| host_of(origin)).any(|listed| name_of(listed) == name)
    };
    !name.is_empty()
        && (name.parse::<std::net::IpAddr>().is_ok()
            || !name.contains('.')
            || is_internal()
            || is_listed())
}

/// `https://a.example:8443` -> `a.example:8443`.
pub(crate) fn host_of(origin: &str) -> Option<&str> {
    origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"))
}

/// The name or address of a `Host` in lower case, without port, brackets and trailing dot.
fn name_of(host: &str) -> String {
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    bare.strip_suffix('.').unwrap_or(bare).to_ascii_lowercase()
}

/// Whether a request has this bearer token.
pub(crate) fn has_token(headers: &HeaderMap, token: &Secret) -> bool {
    let sent = headers.get(header::AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
    sent.split_at_checked("Bearer ".len()).is_some_and(|(scheme, sent)| {
        scheme.eq_ignore_ascii_case(b"Bearer ") && are_equal(sent, token.expose().as_bytes())
    })
}

fn unauthorized(detail: &str) -> Problem {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, detail);
    problem.with(header::WWW_AUTHENTICATE, "Bearer")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_hosts_are_names_that_no_stranger_controls() {
        let listed = ["https://Live.Example.org".to_owned(), "*".to_owned()];
        let known = [
            "127.0.0.1:8602",
            "[::1]:8602",
            "10.0.0.7",
            "localhost",
            "LOCALHOST.:1",
            "ghpulse:8602",
            "ghpulse.monitoring.svc",
            "ghpulse.monitoring.svc.cluster.local:8602",
            "box.local",
            "live.example.org:443",
        ];
        for host in known {
            assert!(is_known_host(host, &listed), "{host}");
        }
        for host in ["", "evil.test", "127.0.0.1.evil.test", "evillocal.com", "a.example:80", "[]"]
        {
            assert!(!is_known_host(host, &listed), "{host}");
        }
    }

    #[test]
    fn headers_of_proxies_are_known_by_their_names() {
        for name in [
            "via",
            "forwarded",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-original-forwarded-for",
            "x-real-ip",
            "client-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "x-proxyuser-ip",
            "x-azure-clientip",
            "x-appengine-user-ip",
            "x-remote-addr",
            "x-envoy-external-address",
            "true-client-ip",
            "cf-connecting-ip",
            "fastly-client-ip",
            "wl-proxy-client-ip",
        ] {
            assert!(is_of_proxy(name), "{name}");
        }
        for name in ["host", "accept", "user-agent", "authorization", "content-length", "x-zip"] {
            assert!(!is_of_proxy(name), "{name}");
        }
    }

    #[test]
    fn requests_of_pages_are_distinguished_from_programs() {
        let page = |name: &'static str, value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static(value));
            is_of_page(&headers)
        };
        for (name, value) in [
            ("origin", "null"),
            ("referer", "http://evil.test/"),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "no-cors"),
        ] {
            assert!(page(name, value), "{name}: {value}");
        }
        assert!(!page("sec-fetch-site", "none") && !page("accept", "*/*"));
    }
}
