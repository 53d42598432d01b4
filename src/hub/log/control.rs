//! Control messages of `/stream`: those about the subscriber's own offset, errors and the goodbye.

use std::time::Duration;

use bytes::Bytes;

use super::encoding::StreamEncoding;
use crate::hub::log::filter::QueryWarning;
use crate::model::gap::GapReason;
use crate::model::json;
use crate::model::offset::Offset;

/// The configured retention of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    /// The longest time that events are kept.
    pub duration: Duration,
    /// The most bytes on disk.
    pub bytes: u64,
}

/// What the journal holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct JournalUsage {
    /// Seconds since the oldest event was received; `None` for an empty journal.
    pub(super) seconds: Option<u64>,
    /// Bytes on disk.
    pub(super) bytes: u64,
}

/// The first message: version, offset of the newest event, retention, and how far back the journal
/// reaches now.
pub(super) fn hello(
    encoding: StreamEncoding,
    newest: Offset,
    oldest: Offset,
    (kept, held): (RetentionLimits, JournalUsage),
    simulated: bool,
) -> Bytes {
    let reach = held.seconds.map_or_else(|| "null".to_owned(), |seconds| seconds.to_string());
    let text = format!(
        "{{\"type\":\"hello\",\"version\":\"{}\",\"cursor\":\"{newest}\",\
         \"retention\":{{\"seconds\":{},\"bytes\":{},\"reach_seconds\":{reach},\
         \"used_bytes\":{}}},\"oldest\":\"{oldest}\",\"simulated\":{simulated}}}",
        env!("CARGO_PKG_VERSION"),
        kept.duration.as_secs(),
        kept.bytes,
        held.bytes,
    );
    // Without an id: a client that loses its connection after it must begin where it wanted to.
    whole(encoding, "hello", None, &text)
}

/// `ack`: the query is in force after this offset.
pub(super) fn push_ack(
    out: &mut Vec<u8>,
    encoding: StreamEncoding,
    place: Offset,
    warnings: &[QueryWarning],
) {
    let cursor = place.to_string();
    let mut text = format!("{{\"type\":\"ack\",\"cursor\":\"{cursor}\",\"warnings\":[");
    for (i, warning) in warnings.iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        text.extend([comma, "{\"field\":\"", warning.field, "\",\"value\":"]);
        json::push_text(&mut text, &warning.value);
        text.push_str(",\"message\":");
        json::push_text(&mut text, &warning.message);
        text.push('}');
    }
    text.push_str("]}");
    encoding.push(out, "ack", Some(&cursor), &[&text]);
}

/// `caught_up` or `heartbeat`: a type and the offset of the subscriber.
pub(super) fn at(encoding: StreamEncoding, kind: &str, place: Offset) -> Bytes {
    let cursor = place.to_string();
    let text = format!("{{\"type\":\"{kind}\",\"cursor\":\"{cursor}\"}}");
    whole(encoding, kind, Some(&cursor), &text)
}

/// `gap`: events after `from`, up to `to`, are missing.
pub(super) fn push_gap(
    out: &mut Vec<u8>,
    encoding: StreamEncoding,
    from: &str,
    to: &str,
    count: Option<u64>,
    reason: GapReason,
) {
    let count = count.map_or_else(|| "null".to_owned(), |count| count.to_string());
    let text = format!(
        "{{\"type\":\"gap\",\"from\":\"{from}\",\"to\":\"{to}\",\"count\":{count},\
         \"reason\":\"{}\"}}",
        reason.name(),
    );
    encoding.push(out, "gap", Some(to), &[&text]);
}

/// `error`: a request was refused; the previous query stays in force.
pub(super) fn error(
    encoding: StreamEncoding,
    code: &str,
    field: Option<&str>,
    message: &str,
) -> Bytes {
    let mut text = format!("{{\"type\":\"error\",\"code\":\"{code}\",\"field\":");
    match field {
        Some(field) => json::push_text(&mut text, field),
        None => text.push_str("null"),
    }
    text.push_str(",\"message\":");
    json::push_text(&mut text, message);
    text.push('}');
    whole(encoding, "error", None, &text)
}

/// `bye`, the last message: the reason, the offset to resume from, and after how many milliseconds.
pub(super) fn bye(
    encoding: StreamEncoding,
    reason: &str,
    place: Offset,
    retry_after: u64,
) -> Bytes {
    let cursor = place.to_string();
    let mut text = "{\"type\":\"bye\",\"reason\":".to_owned();
    json::push_text(&mut text, reason);
    let retry_after = format!(",\"retry_after\":{retry_after}}}");
    text.extend([",\"cursor\":\"", &cursor, "\"", &retry_after]);
    whole(encoding, "bye", Some(&cursor), &text)
}

fn whole(encoding: StreamEncoding, kind: &str, id: Option<&str>, text: &str) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 64);
    encoding.push(&mut out, kind, id, &[text]);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_are_encoded_as_the_contract_says() {
        let near: Offset = "51a70c3e-be1f4b".parse().unwrap();
        let kept = RetentionLimits { duration: Duration::from_secs(172_800), bytes: 9 };
        let encoding = StreamEncoding::Ndjson;
        let held = JournalUsage { seconds: Some(61), bytes: 7 };
        let empty = hello(encoding, near, near, (kept, JournalUsage::default()), true);
        assert!(line(&empty).contains(r#""reach_seconds":null,"used_bytes":0}"#));
        let hello = hello(encoding, near, near, (kept, held), true);
        assert!(line(&hello).ends_with(concat!(
            r#","cursor":"51a70c3e-be1f4b","retention":{"seconds":172800,"bytes":9,"#,
            r#""reach_seconds":61,"used_bytes":7},"#,
            r#""oldest":"51a70c3e-be1f4b","simulated":true}"#,
            "\n"
        )));
        let mut out = Vec::new();
        let (value, message) = ("a.b".to_owned(), "no \"key\"".to_owned());
        push_ack(&mut out, encoding, near, &[QueryWarning { field: "keys", value, message }]);
        push_gap(&mut out, encoding, "a", "b", None, GapReason::BusChanged);
        assert_eq!(
            line(&out),
            concat!(
                r#"{"type":"ack","cursor":"51a70c3e-be1f4b","#,
                r#""warnings":[{"field":"keys","value":"a.b","message":"no \"key\""}]}"#,
                "\n",
                r#"{"type":"gap","from":"a","to":"b","count":null,"reason":"bus_changed"}"#,
                "\n"
            )
        );
        assert_eq!(
            line(&at(StreamEncoding::Sse, "heartbeat", near)),
            concat!(
                "event: heartbeat\nid: 51a70c3e-be1f4b\n",
                r#"data: {"type":"heartbeat","cursor":"51a70c3e-be1f4b"}"#,
                "\n\n"
            )
        );
        assert_eq!(
            line(&error(encoding, "invalid_query", Some("keys"), "no")),
            concat!(
                r#"{"type":"error","code":"invalid_query","field":"keys","message":"no"}"#,
                "\n"
            )
        );
        assert_eq!(
            line(&bye(encoding, "stopping", near, 2500)),
            concat!(
                r#"{"type":"bye","reason":"stopping","cursor":"51a70c3e-be1f4b","#,
                r#""retry_after":2500}"#,
                "\n"
            )
        );
    }
}
