//! Negotiates permessage-deflate (RFC 7692) in the handshake.
//!
//! Only without context takeover on both sides: the same compressed bytes then serve all readers,
//! and a connection holds no state between messages.

use http::{HeaderMap, HeaderValue, header};

use crate::serve::http::negotiation::split_unquoted;

const NAME: &str = "permessage-deflate";
/// The window of the messages sent, 2^15 bytes, the largest there is.
const WINDOW_BITS: u8 = 15;
const AGREED: HeaderValue = HeaderValue::from_static(
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
);
const AGREED_WITH_WINDOW: HeaderValue = HeaderValue::from_static(
    "permessage-deflate; server_no_context_takeover; client_no_context_takeover; \
     server_max_window_bits=15",
);

/// The parameters of an offer; each may occur once.
const PARAMETERS: [&str; 4] = [
    "server_no_context_takeover",
    "client_no_context_takeover",
    "server_max_window_bits",
    "client_max_window_bits",
];

/// The response to the first acceptable offer; `None` without one.
pub(crate) fn agree(headers: &HeaderMap) -> Option<HeaderValue> {
    let values = headers.get_all(header::SEC_WEBSOCKET_EXTENSIONS);
    let values = values.iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| split_unquoted(value, ',')).find_map(answer)
}

fn answer(offer: &str) -> Option<HeaderValue> {
    let mut parts = split_unquoted(offer, ';');
    if parts.next() != Some(NAME) {
        return None;
    }
    let (mut seen, mut agreed) = ([false; PARAMETERS.len()], AGREED);
    for part in parts {
        let (name, value) = match part.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(unquoted(value.trim_start())?)),
            None => (part, None),
        };
        let at = PARAMETERS.iter().position(|known| *known == name)?;
        let is_kept = match (name, value) {
            ("server_no_context_takeover" | "client_no_context_takeover", value) => value.is_none(),
            // Messages use the full window, so a client with a smaller one could not inflate them.
            ("server_max_window_bits", bits) => {
                agreed = AGREED_WITH_WINDOW;
                bits.and_then(window_bits) == Some(WINDOW_BITS)
            }
            // Any window of the client is accepted; a smaller one needs no response.
            (_, bits) => bits.is_none_or(|bits| window_bits(bits).is_some()),
        };
        if !is_kept || std::mem::replace(&mut seen[at], true) {
            return None;
        }
    }
    Some(agreed)
}

/// A value without its quotes.
fn unquoted(value: &str) -> Option<&str> {
    match value.strip_prefix('"') {
        Some(quoted) => quoted.strip_suffix('"'),
        None => Some(value),
    }
}

/// A number from 8 to 15 without leading zeros.
fn window_bits(text: &str) -> Option<u8> {
    let bits: u8 = text.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (text == bits.to_string()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agreed(values: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in values {
            let value = HeaderValue::from_str(value).unwrap();
            headers.append(header::SEC_WEBSOCKET_EXTENSIONS, value);
        }
        agree(&headers).map(|answer| answer.to_str().unwrap().to_owned())
    }

    #[test]
    fn deflate_is_negotiated_without_context_takeover() {
        let plain = "permessage-deflate; server_no_context_takeover; client_no_context_takeover";
        for offers in [
            &["permessage-deflate"][..],
            &["permessage-deflate; client_max_window_bits"],
            &["permessage-deflate; server_no_context_takeover; client_no_context_takeover"],
            &["permessage-deflate;client_max_window_bits=10 ; client_no_context_takeover"],
            &["permessage-deflate; client_max_window_bits = \"8\""],
            &["x-webkit-deflate-frame, permessage-deflate"],
            &["permessage-bzip2; level=\"9, permessage-deflate\"", "permessage-deflate"],
            &["permessage-deflate; server_max_window_bits=10, permessage-deflate"],
            &["permessage-deflate; mode=fast", "foo", "permessage-deflate; client_max_window_bits"],
        ] {
            assert_eq!(agreed(offers).as_deref(), Some(plain), "{offers:?}");
        }
        let window = format!("{plain}; server_max_window_bits=15");
        let offers = ["permessage-deflate; client_max_window_bits; server_max_window_bits=15"];
        assert_eq!(agreed(&offers), Some(window));
    }

    #[test]
    fn unacceptable_deflate_offers_are_declined() {
        assert_eq!(agreed(&[]), None);
        for offer in [
            "",
            "permessage-deflat",
            "permessage-deflate-2",
            "permessage-deflate;",
            "permessage-deflate; level=9",
            "permessage-deflate; server_max_window_bits",
            "permessage-deflate; server_max_window_bits=14",
            "permessage-deflate; server_max_window_bits=8",
            "permessage-deflate; server_max_window_bits=16",
            "permessage-deflate; server_max_window_bits=015",
            "permessage-deflate; server_max_window_bits=+15",
            "permessage-deflate; server_max_window_bits=\"15",
            "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
            "permessage-deflate; client_max_window_bits=7",
            "permessage-deflate; client_max_window_bits=",
            "permessage-deflate; client_max_window_bits; client_max_window_bits=15",
            "permessage-deflate; client_no_context_takeover=1",
            "permessage-deflate; server_no_context_takeover; server_no_context_takeover",
            "other; x=\"a, permessage-deflate, b\"",
        ] {
            assert_eq!(agreed(&[offer]), None, "{offer}");
        }
    }
}
