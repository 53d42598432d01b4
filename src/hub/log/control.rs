//! Control messages of `/stream`: all that are not events or entities.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::encoding::StreamEncoding;
use crate::hub::log::filter::QueryWarning;
use crate::model::gap::GapReason;
use crate::model::json;
use crate::model::offset::Offset;

/// The limits of the journal (`store.journal`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetentionLimits {
    /// Events are kept this long.
    pub duration: Duration,
    /// Most bytes on disk.
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

/// A message of the stream that is not an event.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamMessage<'a> {
    /// The first message.
    Hello {
        /// The version of the server.
        version: &'a str,
        /// Behind the newest event.
        cursor: &'a str,
        /// What is kept.
        retention: Retention,
        /// Before the oldest event that is kept.
        oldest: &'a str,
        /// Whether the events come from the simulated GitHub.
        simulated: bool,
    },
    /// A query is in force.
    Ack {
        /// Behind which it is.
        cursor: &'a str,
        /// What is accepted and probably a mistake.
        warnings: &'a [QueryWarning],
    },
    /// Everything up to here was sent; live events follow.
    CaughtUp {
        /// Where the reader is.
        cursor: &'a str,
    },
    /// Sent every 15 seconds.
    Heartbeat {
        /// Where the reader is.
        cursor: &'a str,
    },
    /// Events are missing.
    Gap {
        /// They lie after this cursor.
        from: &'a str,
        /// The last of them lies at this cursor.
        to: &'a str,
        /// Their number, where it is known.
        count: Option<u64>,
        /// Why they are missing.
        reason: GapReason,
    },
    /// A query was rejected; the earlier one stays in force.
    Error {
        /// What kind of error it is.
        code: &'a str,
        /// The parameter that is wrong.
        field: Option<&'a str>,
        /// What is wrong, and what to do.
        message: &'a str,
    },
    /// The last message.
    Bye {
        /// Why the stream ends.
        reason: &'a str,
        /// Where to resume.
        cursor: &'a str,
        /// Milliseconds after which to reconnect.
        retry_after: u64,
    },
}

/// What the journal keeps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Retention {
    /// For how long events are kept.
    seconds: u64,
    /// Most bytes on disk.
    bytes: u64,
    /// Age of the oldest event that is kept; null when none is.
    reach_seconds: Option<u64>,
    /// Bytes on disk.
    used_bytes: u64,
}

impl StreamMessage<'_> {
    /// The value of `type`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "hello",
            Self::Ack { .. } => "ack",
            Self::CaughtUp { .. } => "caught_up",
            Self::Heartbeat { .. } => "heartbeat",
            Self::Gap { .. } => "gap",
            Self::Error { .. } => "error",
            Self::Bye { .. } => "bye",
        }
    }

    /// Appends the message. `id` is the cursor with which a reader of server-sent events
    /// reconnects.
    fn push(&self, out: &mut Vec<u8>, encoding: StreamEncoding, id: Option<&str>) {
        encoding.push(out, self.kind(), id, &[&json::encoded(self)]);
    }

    fn encoded(&self, encoding: StreamEncoding, id: Option<&str>) -> Bytes {
        let mut out = Vec::new();
        self.push(&mut out, encoding, id);
        out.into()
    }
}

/// The first message. It has no id: a client that loses its connection after it must begin where it
/// wanted to.
pub(super) fn hello(
    encoding: StreamEncoding,
    newest: Offset,
    oldest: Offset,
    (kept, held): (RetentionLimits, JournalUsage),
    simulated: bool,
) -> Bytes {
    let retention = Retention {
        seconds: kept.duration.as_secs(),
        bytes: kept.bytes,
        reach_seconds: held.seconds,
        used_bytes: held.bytes,
    };
    let (version, cursor, oldest) =
        (env!("CARGO_PKG_VERSION"), &newest.to_string(), &oldest.to_string());
    StreamMessage::Hello { version, cursor, retention, oldest, simulated }.encoded(encoding, None)
}

/// A query is in force after this offset.
pub(super) fn push_ack(
    out: &mut Vec<u8>,
    encoding: StreamEncoding,
    offset: Offset,
    warnings: &[QueryWarning],
) {
    let cursor = &offset.to_string();
    StreamMessage::Ack { cursor, warnings }.push(out, encoding, Some(cursor));
}

/// Everything up to this offset was sent.
pub(super) fn caught_up(encoding: StreamEncoding, offset: Offset) -> Bytes {
    let cursor = &offset.to_string();
    StreamMessage::CaughtUp { cursor }.encoded(encoding, Some(cursor))
}

/// The reader is at this offset.
pub(super) fn heartbeat(encoding: StreamEncoding, offset: Offset) -> Bytes {
    let cursor = &offset.to_string();
    StreamMessage::Heartbeat { cursor }.encoded(encoding, Some(cursor))
}

/// Events after `from` and not after `to` are missing.
pub(super) fn push_gap(
    out: &mut Vec<u8>,
    encoding: StreamEncoding,
    from: &str,
    to: &str,
    count: Option<u64>,
    reason: GapReason,
) {
    StreamMessage::Gap { from, to, count, reason }.push(out, encoding, Some(to));
}

/// A query was rejected.
pub(super) fn error(
    encoding: StreamEncoding,
    code: &str,
    field: Option<&str>,
    message: &str,
) -> Bytes {
    StreamMessage::Error { code, field, message }.encoded(encoding, None)
}

/// The last message.
pub(super) fn bye(
    encoding: StreamEncoding,
    reason: &str,
    offset: Offset,
    retry_after: u64,
) -> Bytes {
    let cursor = &offset.to_string();
    StreamMessage::Bye { reason, cursor, retry_after }.encoded(encoding, Some(cursor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn messages_have_the_documented_form() {
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
            line(&heartbeat(StreamEncoding::Sse, near)),
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
