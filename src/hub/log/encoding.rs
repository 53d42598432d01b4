//! The encodings of `/stream`: WebSocket frames, server-sent events, lines of JSON.
//!
//! A message is one JSON object in each of them. The bytes written here go on the wire unchanged.

use std::borrow::Cow;

use bytes::Bytes;

use crate::hub::fanout::deflate::{self, push_header};
use crate::model::json;

/// How messages are encoded on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamEncoding {
    /// One text frame per message.
    WebSocket,
    /// The same, compressed if the message is long enough (RFC 7692).
    Deflated,
    /// One event per message: its name is the message's `type`, its id the cursor.
    Sse,
    /// One line per message.
    Ndjson,
}

impl StreamEncoding {
    /// All encodings.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Deflated, Self::Sse, Self::Ndjson];

    /// One message. `id` is the cursor with which a reader of server-sent events reconnects.
    #[must_use]
    pub fn message(self, id: Option<&str>, text: &str) -> Bytes {
        let mut out = Vec::new();
        self.push(&mut out, &type_of(text), id, &[text]);
        Bytes::from(out)
    }

    /// Appends a message, the concatenation of `parts`. `id` is the cursor with which a reader of
    /// server-sent events reconnects; without it, the reader keeps the previous one.
    pub(super) fn push(self, out: &mut Vec<u8>, kind: &str, id: Option<&str>, parts: &[&str]) {
        if self == Self::Deflated {
            return deflate::push_text(out, parts);
        }
        let length: usize = parts.iter().map(|part| part.len()).sum();
        out.reserve(length + 64);
        match self {
            Self::WebSocket => push_header(out, 0x81, length),
            Self::Sse => {
                let mut lead = |parts: &[&str]| {
                    for part in parts {
                        out.extend_from_slice(part.as_bytes());
                    }
                };
                lead(&["event: ", kind]);
                if let Some(id) = id {
                    lead(&["\nid: ", id]);
                }
                lead(&["\ndata: "]);
            }
            Self::Ndjson | Self::Deflated => {}
        }
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
        match self {
            Self::WebSocket | Self::Deflated => {}
            Self::Sse => out.extend_from_slice(b"\n\n"),
            Self::Ndjson => out.push(b'\n'),
        }
    }
}

/// The `type` of a message.
pub(in crate::hub) fn type_of(message: &str) -> Cow<'_, str> {
    json::at(message, &["type"]).and_then(json::text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_has_the_same_text_in_each_encoding() {
        let parts = [r#"{"type":"#, r#""event"}"#];
        let of = |encoding: StreamEncoding, id| {
            let mut out = Vec::new();
            encoding.push(&mut out, "event", id, &parts);
            out
        };
        assert_eq!(of(StreamEncoding::WebSocket, Some("c")), b"\x81\x10{\"type\":\"event\"}");
        assert_eq!(of(StreamEncoding::Ndjson, Some("c")), b"{\"type\":\"event\"}\n");
        let sse = b"event: event\nid: c\ndata: {\"type\":\"event\"}\n\n";
        assert_eq!(of(StreamEncoding::Sse, Some("c")), sse);
        assert_eq!(of(StreamEncoding::Sse, None), b"event: event\ndata: {\"type\":\"event\"}\n\n");
        assert_eq!(
            of(StreamEncoding::Deflated, None),
            of(StreamEncoding::WebSocket, None),
            "too short"
        );
        let long = [r#"{"type":"#, &r#""event","#.repeat(100), "}"];
        let mut out = Vec::new();
        StreamEncoding::Deflated.push(&mut out, "event", None, &long);
        assert_eq!(deflate::tests::texts(&out), [(long.concat(), true)]);
    }
}
