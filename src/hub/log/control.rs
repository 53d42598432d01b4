//! Control messages of `/stream`: all that are not events or entities.

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use super::encoding::{StreamEncoding, type_of};
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

/// A message of the stream that is not an event.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum StreamMessage<'a> {
    /// The first message: the newest event, and what is kept.
    Hello {
        /// The version of the server.
        version: &'a str,
        /// Behind the newest event.
        cursor: Offset,
        /// What is kept.
        retention: Retention,
        /// Before the oldest event that is kept.
        oldest: Offset,
        /// Whether the events come from the simulated GitHub.
        simulated: bool,
    },
    /// The query is in force after this cursor.
    Ack {
        /// Behind which it is.
        cursor: Offset,
        /// What is accepted and probably a mistake.
        warnings: &'a [QueryWarning],
    },
    /// Everything up to here was sent; live events follow, or a poll ends.
    CaughtUp {
        /// Where the reader is.
        cursor: Offset,
    },
    /// Every 15 seconds: where the reader is.
    Heartbeat {
        /// Where the reader is; absent while the start of its query is searched for.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Offset")]
        cursor: Option<Offset>,
    },
    /// Events after `from` and not after `to` are missing. Where `from` equals `to`, the missing
    /// events have no cursor: they belong between this event and the next. With `bus_changed`,
    /// `from` may be a cursor of another bus or store: then all that this one has follows `to`.
    Gap {
        /// They lie after this cursor.
        from: Offset,
        /// The last of them lies at this cursor, or `from` where they have none.
        to: Offset,
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
    /// The last message: why, where to resume, and when.
    Bye {
        /// Why the stream ends.
        reason: &'a str,
        /// Where to resume; absent while the start of the query was searched for: then send the
        /// query again.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Offset")]
        cursor: Option<Offset>,
        /// Milliseconds after which to reconnect.
        retry_after: u64,
    },
}

/// What the journal keeps.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Retention {
    /// For how long events are kept.
    pub(super) seconds: u64,
    /// Most bytes on disk.
    pub(super) bytes: u64,
    /// Age of the oldest event that is kept; null when none is.
    pub(super) reach_seconds: Option<u64>,
    /// Bytes on disk.
    pub(super) used_bytes: u64,
}

impl StreamMessage<'_> {
    /// The cursor with which a reader of server-sent events reconnects. `hello` has none: a client
    /// that loses its connection after it must begin where it wanted to.
    fn id(&self) -> Option<Offset> {
        match *self {
            Self::Hello { .. } | Self::Error { .. } => None,
            Self::Heartbeat { cursor } | Self::Bye { cursor, .. } => cursor,
            Self::Ack { cursor, .. } | Self::CaughtUp { cursor } | Self::Gap { to: cursor, .. } => {
                Some(cursor)
            }
        }
    }

    pub(super) fn push(&self, out: &mut Vec<u8>, encoding: StreamEncoding) {
        let id = self.id().map(|cursor| cursor.to_string());
        let text = json::encoded(self);
        encoding.push(out, &type_of(&text), id.as_deref(), &[&text]);
    }

    /// The message alone.
    pub(super) fn encoded(&self, encoding: StreamEncoding) -> Bytes {
        let mut out = Vec::new();
        self.push(&mut out, encoding);
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &StreamMessage<'_>) -> String {
        String::from_utf8(message.encoded(StreamEncoding::Ndjson).to_vec()).unwrap()
    }

    #[test]
    fn schema_says_where_events_without_a_cursor_are_missing() {
        let schema = schemars::schema_for!(StreamMessage<'_>).to_value().to_string();
        assert!(schema.contains("belong between this event and the next"), "{schema}");
    }

    #[test]
    fn messages_have_the_documented_form() {
        let cursor: Offset = "51a70c3e-be1f4b".parse().unwrap();
        let retention =
            Retention { seconds: 172_800, bytes: 9, reach_seconds: None, used_bytes: 7 };
        let hello = StreamMessage::Hello {
            version: "1",
            cursor,
            retention,
            oldest: cursor,
            simulated: true,
        };
        assert_eq!(
            line(&hello),
            concat!(
                r#"{"type":"hello","version":"1","cursor":"51a70c3e-be1f4b","#,
                r#""retention":{"seconds":172800,"bytes":9,"reach_seconds":null,"used_bytes":7},"#,
                r#""oldest":"51a70c3e-be1f4b","simulated":true}"#,
                "\n"
            )
        );
        let (value, message) = ("a.b".to_owned(), "no \"key\"".to_owned());
        let warnings = &[QueryWarning { field: "keys", value, message }];
        assert_eq!(
            line(&StreamMessage::Ack { cursor, warnings }),
            concat!(
                r#"{"type":"ack","cursor":"51a70c3e-be1f4b","#,
                r#""warnings":[{"field":"keys","value":"a.b","message":"no \"key\""}]}"#,
                "\n"
            )
        );
        let reason = GapReason::BusChanged;
        let to = Offset { entities: 1, ..cursor };
        assert_eq!(
            line(&StreamMessage::Gap { from: cursor, to, count: None, reason }),
            concat!(
                r#"{"type":"gap","from":"51a70c3e-be1f4b","to":"51a70c3e-be1f4b.c1","#,
                r#""count":null,"reason":"bus_changed"}"#,
                "\n"
            )
        );
        let cursor = Some(cursor);
        let sse = StreamMessage::Heartbeat { cursor }.encoded(StreamEncoding::Sse);
        assert_eq!(
            &*sse,
            concat!(
                "event: heartbeat\nid: 51a70c3e-be1f4b\n",
                r#"data: {"type":"heartbeat","cursor":"51a70c3e-be1f4b"}"#,
                "\n\n"
            )
            .as_bytes()
        );
        let (code, field, message) = ("invalid_query", Some("keys"), "no");
        assert_eq!(
            line(&StreamMessage::Error { code, field, message }),
            concat!(
                r#"{"type":"error","code":"invalid_query","field":"keys","message":"no"}"#,
                "\n"
            )
        );
        assert_eq!(
            line(&StreamMessage::Bye { reason: "stopping", cursor, retry_after: 2500 }),
            concat!(
                r#"{"type":"bye","reason":"stopping","cursor":"51a70c3e-be1f4b","#,
                r#""retry_after":2500}"#,
                "\n"
            )
        );
    }
}
