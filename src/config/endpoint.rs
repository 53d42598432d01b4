//! The server that a URL names.

/// Scheme, host and port of a configured URL; the port defaults to the scheme's.
#[must_use]
pub fn endpoint(url: &str) -> Option<(String, String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        "amqp" => 5672,
        "amqps" => 5671,
        "pulsar" => 6650,
        "pulsar+ssl" => 6651,
        _ => return None,
    };
    let authority = uri.authority()?;
    let port = match authority.port() {
        Some(port) => port.as_str().parse().ok()?,
        // An invalid port stays part of the host, and fails there.
        None if !authority.as_str().ends_with(authority.host()) => return None,
        None => usual,
    };
    let host = authority.host().trim_matches(['[', ']']).to_owned();
    (!host.is_empty()).then_some((scheme, host, port))
}
