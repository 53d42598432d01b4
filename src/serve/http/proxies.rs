//! Trusted proxies, and the headers in which they name the client and the address that it asked.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;

use super::negotiation::split_unquoted;
use crate::config::ServerConfig;

/// The header with a syntax of its own (RFC 7239).
const FORWARDED: &str = "Forwarded";

/// Whether this address is a trusted proxy (`server.trustedProxies`).
pub(crate) fn is_proxy(config: &ServerConfig, address: IpAddr) -> bool {
    config.trusted_proxies.iter().any(|network| network.contains(address))
}

/// The client behind `peer`: the right-most address in the header (`server.clientHeader`) that is
/// not a trusted proxy. `peer` itself when it is not trusted, or when the header has no address.
#[must_use]
pub(crate) fn client_behind(config: &ServerConfig, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
    if !is_proxy(config, peer) {
        return peer;
    }
    let is_forwarded = config.client_header.eq_ignore_ascii_case(FORWARDED);
    let mut client = peer;
    for line in headers.get_all(config.client_header.as_str()).into_iter().rev() {
        let Ok(line) = line.to_str() else { return client };
        let parts: Vec<&str> = if is_forwarded {
            split_unquoted(line, ',').collect()
        } else {
            line.split(',').map(str::trim).collect()
        };
        for part in parts.into_iter().rev() {
            let address = if is_forwarded { forwarded(part, "for") } else { Some(part) };
            // Only an address can come from a trusted proxy: the sender of anything else is the
            // client.
            let Some(address) = address.and_then(read_address) else { return client };
            client = address;
            if !is_proxy(config, address) {
                return client;
            }
        }
    }
    client
}

/// The address of this server as the client of a trusted proxy wrote it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForwardedAddress<'h> {
    /// `http` or `https`.
    pub(crate) scheme: Option<&'h str>,
    /// With or without a port.
    pub(crate) host: Option<&'h str>,
}

/// What the proxy `peer` says of that address, in `Forwarded` where that is `server.clientHeader`,
/// else in `X-Forwarded-Proto` and `X-Forwarded-Host`. Nothing when `peer` is not trusted.
pub(crate) fn forwarded_address<'h>(
    config: &ServerConfig,
    peer: IpAddr,
    headers: &'h HeaderMap,
) -> ForwardedAddress<'h> {
    if !is_proxy(config, peer) {
        return ForwardedAddress::default();
    }
    // The first proxy, which the client asked, comes first.
    let first = |name: &str| {
        let line = headers.get(name)?.to_str().ok()?;
        split_unquoted(line, ',').next().map(str::trim)
    };
    if config.client_header.eq_ignore_ascii_case(FORWARDED) {
        let of = |name| forwarded(first(FORWARDED)?, name);
        return ForwardedAddress { scheme: of("proto"), host: of("host") };
    }
    ForwardedAddress { scheme: first("x-forwarded-proto"), host: first("x-forwarded-host") }
}

/// A parameter of an element of `Forwarded`.
fn forwarded<'e>(element: &'e str, parameter: &str) -> Option<&'e str> {
    split_unquoted(element, ';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        name.trim().eq_ignore_ascii_case(parameter).then_some(bare.unwrap_or(value))
    })
}

/// Parses an address with or without a port; IPv6 also in brackets.
fn read_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Network};

    fn told(header: &'static str, peer: &str, values: &[&'static str]) -> String {
        let mut config = config::defaults().server;
        config.trusted_proxies = vec![Network::parse("10.0.0.0/8").unwrap()];
        config.client_header = header.to_owned();
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(
                header.to_ascii_lowercase().parse::<http::HeaderName>().unwrap(),
                http::HeaderValue::from_static(value),
            );
        }
        headers.append("x-other", http::HeaderValue::from_static("9.9.9.9"));
        client_behind(&config, peer.parse().unwrap(), &headers).to_string()
    }

    #[test]
    fn client_is_the_rightmost_untrusted_address() {
        let told = |peer: &str, values: &[&'static str]| told("X-Forwarded-For", peer, values);
        assert_eq!(told("192.0.2.9", &["198.51.100.1"]), "192.0.2.9");
        assert_eq!(told("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(told("10.0.0.1", &["1.1.1.1, 198.51.100.1, 10.0.0.2"]), "198.51.100.1");
        assert_eq!(told("10.0.0.1", &["1.1.1.1", "198.51.100.1:77"]), "198.51.100.1");
        assert_eq!(told("10.0.0.1", &["1.1.1.1, nonsense, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(told("10.0.0.1", &["[2001:db8::1]:99"]), "2001:db8::1");
    }

    #[test]
    fn forwarded_header_follows_rfc_7239() {
        let told = |values: &[&'static str]| told("Forwarded", "10.0.0.1", values);
        for (value, client) in [
            ("for=192.0.2.43", "192.0.2.43"),
            ("For=\"[2001:db8:cafe::17]:4711\"", "2001:db8:cafe::17"),
            ("for=192.0.2.60;proto=http;by=203.0.113.43", "192.0.2.60"),
            ("proto=http ; by=203.0.113.43; FOR=192.0.2.60", "192.0.2.60"),
            ("for=1.1.1.1, for=198.51.100.17, for=10.9.9.9", "198.51.100.17"),
            ("for=\"1.1.1.1, for=2.2.2.2\", for=198.51.100.17", "198.51.100.17"),
            ("for=unknown", "10.0.0.1"),
            ("for=_hidden, for=10.0.0.7", "10.0.0.7"),
            ("by=203.0.113.43", "10.0.0.1"),
            ("for=\"1.1.1.1, for=8.8.8.8", "10.0.0.1"),
        ] {
            assert_eq!(told(&[value]), client, "{value}");
        }
        assert_eq!(told(&["for=1.1.1.1", "for=2.2.2.2"]), "2.2.2.2");
    }

    #[test]
    fn only_the_configured_header_is_trusted() {
        for header in ["CF-Connecting-IP", "X-Real-IP", "True-Client-IP"] {
            assert_eq!(told(header, "10.0.0.1", &["192.0.2.7"]), "192.0.2.7", "{header}");
            assert_eq!(told(header, "192.0.2.9", &["192.0.2.7"]), "192.0.2.9", "{header}");
            assert_eq!(told(header, "10.0.0.1", &[]), "10.0.0.1", "{header}");
        }
    }
}
