//! Negotiates content (`Accept`, `Accept-Encoding`, RFC 9110 §12).

use std::cmp::Reverse;

use http::{HeaderMap, HeaderName, header};

pub(crate) const SSE: &str = "text/event-stream";
pub(crate) const NDJSON: &str = "application/x-ndjson";
pub(crate) const JSON: &str = "application/json";
pub(crate) const CSV: &str = "text/csv; charset=utf-8";
/// The header in which an `EventSource` sends the cursor to resume from.
pub(crate) const LAST_EVENT_ID: &str = "last-event-id";

/// The index of the offered media type that a request prefers (RFC 9110 §12.5.1): the highest
/// quality, then the most specific range, then the first offer. Where only wildcards decide, or the
/// request has no `Accept`, it is `usual`. `None` when the request accepts none.
pub(crate) fn choose(headers: &HeaderMap, usual: usize, offers: &[&str]) -> Option<usize> {
    let ranges: Vec<(&str, u16)> = listed(headers, header::ACCEPT).collect();
    if ranges.is_empty() {
        return Some(usual);
    }
    let weighed = offers.iter().enumerate().map(|(at, offer)| {
        let (closeness, quality) = weigh(&ranges, offer);
        (quality, closeness, closeness != Closeness::Exact && at == usual, Reverse(at))
    });
    weighed.filter(|(quality, ..)| *quality > 0).max().map(|(.., Reverse(at))| at)
}

/// How specific the range is that matches a media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Closeness {
    /// No range matches.
    None,
    /// The range `*/*`.
    Any,
    /// A range such as `type/*`.
    Kind,
    /// The media type itself.
    Exact,
}

/// The quality of a media type by the most specific range, in thousandths.
fn weigh(ranges: &[(&str, u16)], kind: &str) -> (Closeness, u16) {
    let above = kind.split('/').next().unwrap_or_default();
    let closeness = |range: &str| {
        let (first, second) = range.split_once('/').unwrap_or((range, ""));
        match (first, second.trim()) {
            _ if range.eq_ignore_ascii_case(kind) => Closeness::Exact,
            ("*", "*") => Closeness::Any,
            (first, "*") if first.eq_ignore_ascii_case(above) => Closeness::Kind,
            _ => Closeness::None,
        }
    };
    let weighed = ranges.iter().map(|(range, quality)| (closeness(range), *quality));
    weighed
        .filter(|(closeness, _)| *closeness > Closeness::None)
        .max()
        .unwrap_or((Closeness::None, 0))
}

/// The supported encoding that a request prefers; `None` when it accepts none.
pub(crate) fn encoding(headers: &HeaderMap, ours: &[&'static str]) -> Option<&'static str> {
    let codings: Vec<(&str, u16)> = listed(headers, header::ACCEPT_ENCODING).collect();
    let quality = |name: &str| {
        let named = |wanted: &str| {
            let mut codings = codings.iter().filter(|(coding, _)| {
                let coding = coding
                    .get(..2)
                    .filter(|x| x.eq_ignore_ascii_case("x-"))
                    .map_or(*coding, |_| &coding[2..]);
                coding.eq_ignore_ascii_case(wanted)
            });
            codings.next().map(|(_, quality)| *quality)
        };
        named(name).or_else(|| named("*")).unwrap_or(0)
    };
    let liked = ours.iter().map(|name| (quality(name), *name)).filter(|(quality, _)| *quality > 0);
    liked.reduce(|best, next| if next.0 > best.0 { next } else { best }).map(|(_, name)| name)
}

/// Whether `Content-Type` says that a body is JSON; parameters are ignored.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case("application/json"))
}

/// Splits at separators outside of quotes; without the white space around each part.
pub(crate) fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let split = text.split(move |c| {
        is_quoted ^= c == '"';
        c == separator && !is_quoted
    });
    split.map(str::trim)
}

/// The elements of a header that is a list (RFC 9110 §5.6.1), trimmed.
pub(crate) fn elements(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// The values of a header with their qualities in thousandths; other parameters are ignored.
fn listed(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = (&str, u16)> {
    elements(headers, name).filter_map(|word| {
        let mut parts = word.split(';').map(str::trim);
        let named = parts.next().filter(|named| !named.is_empty())?;
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then_some(value.trim())
        });
        Some((named, quality.map_or(1000, thousandths)))
    })
}

/// Parses a quality such as `0.5`; an invalid one counts as 0.
fn thousandths(quality: &str) -> u16 {
    let (whole, part) = quality.split_once('.').unwrap_or((quality, ""));
    let is_digits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "1" if is_digits => 1000,
        "0" if is_digits => format!("{part:0<3}").parse().unwrap_or(0),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn preferred_media_type_is_chosen() {
        const OFFERS: [&str; 4] =
            ["text/event-stream", "application/x-ndjson", "application/json", "text/html"];
        let chosen = |accept| choose(&headers(header::ACCEPT, accept), 2, &OFFERS);
        for (accept, wanted) in [
            ("text/event-stream", Some(0)),
            ("TEXT/Event-Stream; Q=0.5, */*;q=0.4", Some(0)),
            ("a/b;q=1.000,text/event-stream;charset=utf-8;q=0.25", Some(0)),
            ("text/event-stream, application/x-ndjson", Some(0)),
            ("text/event-stream;q=0.1, application/x-ndjson;q=0.2", Some(1)),
            ("*/*", Some(2)),
            ("application/*", Some(2)),
            ("text/*", Some(0)),
            ("text/*;q=0.5, application/json;q=0.4", Some(0)),
            ("text/html;q=0, text/*", Some(0)),
            ("text/html;q=0, */*", Some(2)),
            ("text/html;q=0, application/json", Some(2)),
            ("application/json, text/html;q=0.1", Some(2)),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Some(3)),
            ("", Some(2)),
            (" , ", Some(2)),
            ("text/event-stream;q=0", None),
            ("text/event-stream;q=0.", None),
            ("text/event-stream;q=much", None),
            ("text/event-streams", None),
            ("image/png, image/*", None),
            ("*/*;q=0", None),
        ] {
            assert_eq!(chosen(accept), wanted, "{accept}");
        }
        assert_eq!(choose(&HeaderMap::new(), 2, &OFFERS), Some(2));
    }

    #[test]
    fn preferred_encoding_is_chosen() {
        for (accept, wanted) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("br, gzip;q=0.5", Some("gzip")),
            ("zstd;q=0.1, gzip;q=1", Some("gzip")),
            ("GZIP", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("*", Some("zstd")),
            ("zstd;q=0, *;q=0.5", Some("gzip")),
            ("", None),
            ("identity", None),
            ("br", None),
            ("gzip;Q=0", None),
            ("gzip;q=0, zstd;q=0.0", None),
            ("gzip; q = 0", None),
            ("gzip;q=x", None),
            ("*;q=0", None),
        ] {
            let chosen = encoding(&headers(header::ACCEPT_ENCODING, accept), &["zstd", "gzip"]);
            assert_eq!(chosen, wanted, "{accept}");
        }
    }

    #[test]
    fn json_media_type_matches_with_parameters_in_any_case() {
        for (kind, is_one) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON ;charset=UTF-8", true),
            ("application/jsonp", false),
            ("text/plain; x=application/json", false),
            ("", false),
        ] {
            assert_eq!(is_json(&headers(header::CONTENT_TYPE, kind)), is_one, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
