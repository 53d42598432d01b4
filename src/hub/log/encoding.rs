//! The forms in which the stream leaves: a WebSocket's frames, server-sent events, lines of JSON.
//!
//! A message is one JSON object in each of them. What is written here goes on the wire as it is.

use bytes::Bytes;

use crate::hub::fanout::deflate;
use crate::hub::fanout::frame::push_header;

/// How messages are put on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamEncoding {
    /// One text frame a message.
    WebSocket,
    /// The same, deflated where the message is long enough (RFC 7692).
    Deflated,
    /// One event a message, with the message's `type` as its name and the cursor as its id.
    Sse,
    /// One line a message.
    Ndjson,
}

impl StreamEncoding {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Deflated, Self::Sse, Self::Ndjson];

    /// One whole message. `id` is where a reader of server-sent events comes back to.
    #[must_use]
    pub fn message(self, kind: &str, id: Option<&str>, text: &str) -> Bytes {
        let mut out = Vec::new();
        self.push(&mut out, kind, id, &[text]);
        Bytes::from(out)
    }

    /// Appends a message made of these parts. `id` is where a reader of server-sent events comes
    /// back to; without one it stays where it was.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_same_text_in_each_form() {
        let parts = [r#"{"type":"#, r#""event"}"#];
        let of = |form: StreamEncoding, id| {
            let mut out = Vec::new();
            form.push(&mut out, "event", id, &parts);
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
            "it is short"
        );
        let long = [r#"{"type":"#, &r#""event","#.repeat(100), "}"];
        let mut out = Vec::new();
        StreamEncoding::Deflated.push(&mut out, "event", None, &long);
        assert_eq!(deflate::tests::texts(&out), [(long.concat(), true)]);
    }
}
