//! Conditional requests and ranges of a file (RFC 9110 §13 and §14).

use http::{HeaderMap, HeaderName, header};

use crate::model::window::Timestamp;
use crate::serve::http::etag;
use crate::serve::http::negotiation::elements;

/// What a client can compare its copy with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// A strong entity tag, quoted.
    pub(super) tag: String,
    /// When the file was written, in whole seconds.
    pub(super) modified: Timestamp,
}

/// What to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selection {
    /// All of it.
    Whole,
    /// The bytes from the first to before the second.
    Part(u64, u64),
    /// Nothing: the client's copy is current (304).
    Current,
    /// Nothing: the file is not the one that the client asks about (412).
    Changed,
    /// Nothing: the range begins behind the end (416).
    Outside,
}

/// Selects what to send of a file of `length` bytes, in the order of RFC 9110 §13.2.2.
pub(super) fn select(
    headers: &HeaderMap,
    validators: &Validators,
    length: u64,
    now: Timestamp,
) -> Selection {
    let Validators { tag, modified } = validators;
    if headers.contains_key(header::IF_MATCH) {
        // Compared strongly: a weak tag never matches.
        if !elements(headers, header::IF_MATCH).any(|one| one == "*" || one == tag) {
            return Selection::Changed;
        }
    } else if date(headers, header::IF_UNMODIFIED_SINCE).is_some_and(|at| *modified > at) {
        return Selection::Changed;
    }
    if headers.contains_key(header::IF_NONE_MATCH) {
        if etag::is_known(headers, tag) {
            return Selection::Current;
        }
    } else if date(headers, header::IF_MODIFIED_SINCE).is_some_and(|at| *modified <= at) {
        return Selection::Current;
    }
    match text(headers, header::RANGE) {
        Some(range) if is_same(headers, validators, now) => part(range, length),
        _ => Selection::Whole,
    }
}

/// Whether `If-Range` permits a part: without it, with the file's tag, or with its date when that
/// is old enough to be a strong validator (RFC 9110 §8.8.2.2).
fn is_same(headers: &HeaderMap, validators: &Validators, now: Timestamp) -> bool {
    let Some(asked) = headers.get(header::IF_RANGE) else { return true };
    let asked = asked.to_str().unwrap_or_default().trim();
    if asked.starts_with(['"', 'W']) {
        return asked == validators.tag;
    }
    let is_settled = validators.modified.second() < now.second();
    is_settled && asked == validators.modified.http_date()
}

/// The part that a `Range` names. Other units, several ranges and invalid ones are ignored, which
/// RFC 9110 §14.2 permits.
fn part(range: &str, length: u64) -> Selection {
    let Some((unit, set)) = range.split_once('=') else { return Selection::Whole };
    let Some((first, last)) = set.trim().split_once('-') else { return Selection::Whole };
    let number = |text: &str| {
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that does not fit is behind any end.
        is_digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Selection::Whole;
    }
    match (number(first), number(last)) {
        (Some(first), _) if !last.is_empty() && number(last).is_none_or(|last| last < first) => {
            Selection::Whole
        }
        (Some(first), _) if first >= length => Selection::Outside,
        (Some(first), Some(last)) => Selection::Part(first, last.saturating_add(1).min(length)),
        (Some(first), None) => Selection::Part(first, length),
        (None, Some(0)) if first.is_empty() => Selection::Outside,
        (None, Some(_)) if first.is_empty() && length == 0 => Selection::Outside,
        (None, Some(count)) if first.is_empty() => {
            Selection::Part(length.saturating_sub(count), length)
        }
        _ => Selection::Whole,
    }
}

fn text(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// A date in a header; an invalid one is ignored.
fn date(headers: &HeaderMap, name: HeaderName) -> Option<Timestamp> {
    text(headers, name).and_then(Timestamp::parse_http)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const AT: &str = "Sun, 29 Nov 2026 06:10:00 GMT";
    const EARLIER: &str = "Sun, 29 Nov 2026 06:09:59 GMT";

    fn asked(headers: &[(HeaderName, &str)]) -> Selection {
        let modified = Timestamp::parse("2026-11-29T06:10:00Z").unwrap();
        let validators = Validators { tag: "\"a-1\"".to_owned(), modified };
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()))
            .collect();
        let now = Timestamp::parse("2026-11-29T07:00:00Z").unwrap();
        select(&headers, &validators, 1_000, now)
    }

    #[test]
    fn ranges_follow_the_rfc() {
        use Selection::{Outside, Part, Whole};
        for (range, wanted) in [
            ("bytes=0-499", Part(0, 500)),
            ("bytes=500-", Part(500, 1_000)),
            ("bytes=-1", Part(999, 1_000)),
            ("bytes=-2000", Part(0, 1_000)),
            ("bytes=999-5000", Part(999, 1_000)),
            ("BYTES = 1-1", Part(1, 2)),
            ("bytes=0-18446744073709551615", Part(0, 1_000)),
            ("bytes=1000-", Outside),
            ("bytes=99999999999999999999999-", Outside),
            ("bytes=-0", Outside),
            ("bytes=0-0,5-9", Whole),
            ("bytes=9-5", Whole),
            ("bytes=-", Whole),
            ("bytes=a-b", Whole),
            ("bytes=+1-2", Whole),
            ("lines=1-2", Whole),
            ("bytes", Whole),
        ] {
            assert_eq!(asked(&[(header::RANGE, range)]), wanted, "{range}");
        }
    }

    #[test]
    fn a_part_is_sent_only_of_the_same_file() {
        let with = |condition| asked(&[(header::RANGE, "bytes=1-"), (header::IF_RANGE, condition)]);
        assert_eq!(with("\"a-1\""), Selection::Part(1, 1_000));
        assert_eq!(with(AT), Selection::Part(1, 1_000));
        for other in ["\"a-2\"", "W/\"a-1\"", EARLIER, "", "x"] {
            assert_eq!(with(other), Selection::Whole, "{other}");
        }
    }

    #[test]
    fn conditions_compare_tag_before_date() {
        use Selection::{Changed, Current, Whole};
        use header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE};
        for (name, value, wanted) in [
            (IF_NONE_MATCH, "\"x\", W/\"a-1\"", Current),
            (IF_NONE_MATCH, "*", Current),
            (IF_NONE_MATCH, "\"x\"", Whole),
            (IF_MODIFIED_SINCE, AT, Current),
            (IF_MODIFIED_SINCE, EARLIER, Whole),
            (IF_MODIFIED_SINCE, "yesterday", Whole),
            (IF_MATCH, "\"a-1\"", Whole),
            (IF_MATCH, "W/\"a-1\"", Changed),
            (IF_MATCH, "\"x\"", Changed),
            (IF_UNMODIFIED_SINCE, EARLIER, Changed),
            (IF_UNMODIFIED_SINCE, AT, Whole),
        ] {
            assert_eq!(asked(&[(name.clone(), value)]), wanted, "{name}: {value}");
        }
        let both = [(IF_NONE_MATCH, "\"x\""), (IF_MODIFIED_SINCE, AT)];
        assert_eq!(asked(&both), Whole, "the tag decides");
    }

    proptest! {
        #[test]
        fn a_part_is_never_empty_or_outside(range in "bytes=[0-9]{0,3}-[0-9]{0,3}", length in 0..300_u64) {
            if let Selection::Part(from, until) = part(&range, length) {
                prop_assert!(from < until && until <= length);
            }
        }
    }
}
