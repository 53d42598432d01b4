//! Checks the head of every request before anything else reads it.

use http::header::{self, HeaderName, HeaderValue};
use http::uri::Authority;
use http::{Request, StatusCode, Version};

use super::negotiation::LAST_EVENT_ID;
use super::problem::Problem;

/// Headers with one value. A proxy and this server could otherwise read different ones.
const ONCE: [HeaderName; 7] = [
    header::HOST,
    header::ORIGIN,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::SEC_WEBSOCKET_KEY,
    header::SEC_WEBSOCKET_VERSION,
    HeaderName::from_static(LAST_EVENT_ID),
];

/// Marks a request whose path had a trailing `/`, which was removed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slashed;

/// Rejects a head that violates RFC 9110 §5.3 or RFC 9112 §3.2. Sets `Host` of an HTTP/2 request
/// from `:authority`.
pub(crate) fn check<B>(request: &mut Request<B>) -> Result<(), Problem> {
    let twice = ONCE.into_iter().find(|name| request.headers().get_all(name).iter().count() > 1);
    if let Some(name) = twice {
        return Err(bad(format!("{name}: there twice; send it once")));
    }
    if request.version() == Version::HTTP_2 {
        let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
        let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
        match (authority, host) {
            (Some(authority), Some(host)) if !host.eq_ignore_ascii_case(authority.as_bytes()) => {
                return Err(bad("host: is not that of :authority".to_owned()));
            }
            (Some(authority), None) => {
                let host = HeaderValue::from_str(&authority)
                    .map_err(|_| bad(":authority: is not a host".to_owned()))?;
                request.headers_mut().insert(header::HOST, host);
            }
            _ => {}
        }
    }
    let Some(host) = request.headers().get(header::HOST) else {
        // HTTP/1.0 has no `Host`.
        return if request.version() < Version::HTTP_11 {
            Ok(())
        } else {
            Err(bad("host: is missing; HTTP/1.1 wants it, such as `Host: example.org`".to_owned()))
        };
    };
    if !host.to_str().is_ok_and(is_host) {
        return Err(bad("host: is not a host with or without a port".to_owned()));
    }
    Ok(())
}

/// Whether the text is `host` or `host:port` (RFC 9110 §7.2).
pub(super) fn is_host(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let host = authority.host();
    let port = text.get(host.len()..).unwrap_or_default();
    let is_port = |port: &str| port.is_empty() || port.parse::<u16>().is_ok();
    !host.is_empty()
        && !text.contains(['@', ','])
        && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

fn bad(detail: String) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_is_a_name_or_address_with_optional_port() {
        for (host, is_one) in [
            ("example.org", true),
            ("example.org:8600", true),
            ("localhost:", true),
            ("127.0.0.1:1", true),
            ("[::1]", true),
            ("[::1]:8600", true),
            ("a_b-c.local", true),
            ("", false),
            (":80", false),
            ("a b/", false),
            ("a/b", false),
            ("user@example.org", false),
            ("example.org:x", false),
            ("example.org:99999", false),
            ("a,b", false),
            ("::1", false),
            ("http://example.org", false),
        ] {
            assert_eq!(is_host(host), is_one, "{host}");
        }
        assert!(!is_host("exämple"));
    }

    #[test]
    fn repeated_single_value_headers_are_rejected() {
        for name in ONCE {
            let mut request = Request::new(());
            request.headers_mut().insert(header::HOST, HeaderValue::from_static("a"));
            for _ in 0..2 {
                request.headers_mut().append(&name, HeaderValue::from_static("a"));
            }
            assert!(check(&mut request).is_err(), "{name}");
        }
    }

    #[test]
    fn http2_host_is_set_from_authority() {
        let told = |host: Option<&'static str>| {
            let mut request = Request::new(());
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = "https://example.org:8600/stream".parse().unwrap();
            if let Some(host) = host {
                request.headers_mut().insert(header::HOST, HeaderValue::from_static(host));
            }
            check(&mut request).map(|()| request.headers()[header::HOST].clone())
        };
        assert_eq!(told(None).unwrap(), "example.org:8600");
        assert!(told(Some("Example.org:8600")).is_ok());
        assert!(told(Some("other.example")).is_err());
    }
}
