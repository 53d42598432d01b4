//! Messages of the stream that are no events: what a reader is told about its own place.

use std::time::Duration;

use bytes::Bytes;

use super::encoding::StreamEncoding;
use crate::hub::log::filter::QueryWarning;
use crate::model::gap::GapReason;
use crate::model::json;
use crate::model::offset::Offset;

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    /// For so long.
    pub duration: Duration,
    /// The most bytes on the disk.
    pub bytes: u64,
}

/// What is really there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// Seconds since the oldest event that is kept was received; `None` when none is kept.
    pub(super) seconds: Option<u64>,
    /// Bytes on the disk.
    pub(super) bytes: u64,
}

/// The first message: who speaks, where the newest event is, what is kept from where on, and how
/// far back that reaches now.
pub(super) fn hello(
    form: StreamEncoding,
    newest: Offset,
    oldest: Offset,
    (kept, held): (RetentionLimits, Held),
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
    // Without an id: who is cut off behind it must come back to where it wanted to begin.
    whole(form, "hello", None, &text)
}

/// A query holds from behind this place on.
pub(super) fn push_ack(
    out: &mut Vec<u8>,
    form: StreamEncoding,
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
    form.push(out, "ack", Some(&cursor), &[&text]);
}

/// `caught_up` or `heartbeat`: a type and where the reader is.
pub(super) fn at(form: StreamEncoding, kind: &str, place: Offset) -> Bytes {
    let cursor = place.to_string();
    let text = format!("{{\"type\":\"{kind}\",\"cursor\":\"{cursor}\"}}");
    whole(form, kind, Some(&cursor), &text)
}

/// What lay behind `from` and not behind `to` is missing.
pub(super) fn push_gap(
    out: &mut Vec<u8>,
    form: StreamEncoding,
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
    form.push(out, "gap", Some(to), &[&text]);
}

/// Something was refused; what held before holds on.
pub(super) fn error(form: StreamEncoding, code: &str, field: Option<&str>, message: &str) -> Bytes {
    let mut text = format!("{{\"type\":\"error\",\"code\":\"{code}\",\"field\":");
    match field {
        Some(field) => json::push_text(&mut text, field),
        None => text.push_str("null"),
    }
    text.push_str(",\"message\":");
    json::push_text(&mut text, message);
    text.push('}');
    whole(form, "error", None, &text)
}

/// The last message: why it ends, where to come back to, and after how many milliseconds.
pub(super) fn bye(form: StreamEncoding, reason: &str, place: Offset, retry_after: u64) -> Bytes {
    let cursor = place.to_string();
    let mut text = "{\"type\":\"bye\",\"reason\":".to_owned();
    json::push_text(&mut text, reason);
    let retry_after = format!(",\"retry_after\":{retry_after}}}");
    text.extend([",\"cursor\":\"", &cursor, "\"", &retry_after]);
    whole(form, "bye", Some(&cursor), &text)
}

fn whole(form: StreamEncoding, kind: &str, id: Option<&str>, text: &str) -> Bytes {
    let mut out = Vec::with_capacity(text.len() + 64);
    form.push(&mut out, kind, id, &[text]);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_messages_are_written_as_the_contract_has_them() {
        let near: Offset = "51a70c3e-be1f4b".parse().unwrap();
        let kept = RetentionLimits { duration: Duration::from_secs(172_800), bytes: 9 };
        let form = StreamEncoding::Ndjson;
        let held = Held { seconds: Some(61), bytes: 7 };
        let empty = hello(form, near, near, (kept, Held::default()), true);
        assert!(line(&empty).contains(r#""reach_seconds":null,"used_bytes":0}"#));
        let hello = hello(form, near, near, (kept, held), true);
        assert!(line(&hello).ends_with(concat!(
            r#","cursor":"51a70c3e-be1f4b","retention":{"seconds":172800,"bytes":9,"#,
            r#""reach_seconds":61,"used_bytes":7},"#,
            r#""oldest":"51a70c3e-be1f4b","simulated":true}"#,
            "\n"
        )));
        let mut out = Vec::new();
        let (value, message) = ("a.b".to_owned(), "no \"key\"".to_owned());
        push_ack(&mut out, form, near, &[QueryWarning { field: "keys", value, message }]);
        push_gap(&mut out, form, "a", "b", None, GapReason::BusChanged);
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
            line(&error(form, "invalid_query", Some("keys"), "no")),
            concat!(
                r#"{"type":"error","code":"invalid_query","field":"keys","message":"no"}"#,
                "\n"
            )
        );
        assert_eq!(
            line(&bye(form, "stopping", near, 2500)),
            concat!(
                r#"{"type":"bye","reason":"stopping","cursor":"51a70c3e-be1f4b","#,
                r#""retry_after":2500}"#,
                "\n"
            )
        );
    }
}
