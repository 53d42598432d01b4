//! WebSocket frames, encoded once and shared by all connections that send them.
//!
//! Frames of a server are not masked (RFC 6455 §5.1), so the same bytes serve any number of
//! connections. Connections with permessage-deflate share a second, compressed copy, which is made
//! when the first of them needs it.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use serde::Serialize;

use super::deflate::{self, push_header};
use super::memory;
use crate::model::json;

/// The longest reason in a close frame: 125 bytes of payload less two for the code.
const REASON_BYTES: usize = 123;

/// Larger messages are neither encoded nor compressed on an async worker, bytes.
pub(in crate::hub) const LARGE_BYTES: usize = 64 << 10;

/// A complete WebSocket frame with its header. A clone shares the bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Bytes,
    /// The compressed frame; `None` for a text that is too short for compression.
    deflated: Option<Arc<OnceLock<Bytes>>>,
}

impl Frame {
    /// A text frame with the concatenation of `parts`.
    #[must_use]
    pub fn text(parts: &[&str]) -> Self {
        let length = parts.iter().map(|part| part.len()).sum();
        let mut bytes = Vec::with_capacity(length + 10);
        push_header(&mut bytes, 0x81, length);
        for part in parts {
            bytes.extend_from_slice(part.as_bytes());
        }
        let deflated = (length >= deflate::WORTH_BYTES).then(Arc::default);
        Self { bytes: memory::hold(bytes), deflated }
    }

    /// A text frame with a message as JSON.
    #[must_use]
    pub fn json(message: &impl Serialize) -> Self {
        Self::text(&[&json::encoded(message)])
    }

    /// The uncompressed bytes of several frames as one piece.
    pub(in crate::hub) fn joined(frames: &[Self]) -> Self {
        let mut bytes = Vec::with_capacity(frames.iter().map(Self::len).sum());
        for frame in frames {
            bytes.extend_from_slice(&frame.bytes);
        }
        memory::hold(bytes).into()
    }

    /// A close frame. A reason of more than 123 bytes is cut at the boundary of a character.
    #[must_use]
    pub fn close(code: u16, reason: &str) -> Self {
        let mut end = reason.len().min(REASON_BYTES);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = Vec::with_capacity(end + 4);
        push_header(&mut bytes, 0x88, end + 2);
        bytes.extend_from_slice(&code.to_be_bytes());
        bytes.extend_from_slice(&reason.as_bytes()[..end]);
        Bytes::from(bytes).into()
    }

    /// A ping with an empty payload.
    #[must_use]
    pub fn ping() -> Self {
        Bytes::from_static(&[0x89, 0]).into()
    }

    /// The bytes that go on the wire.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes for a connection with permessage-deflate. The frame is compressed by the first
    /// caller. Frames that would not become smaller stay uncompressed, as do frames larger than
    /// 64 KiB that were not compressed before.
    #[must_use]
    pub fn into_deflated(self) -> Bytes {
        if self.bytes.len() <= LARGE_BYTES {
            self.deflate();
        }
        let deflated = self.deflated.as_ref().and_then(|deflated| deflated.get().cloned());
        deflated.unwrap_or(self.bytes)
    }

    /// Compresses the frame for all that share it. Large frames: only on a blocking thread.
    pub(in crate::hub) fn deflate(&self) {
        let Some(deflated) = &self.deflated else { return };
        deflated.get_or_init(|| {
            let mut out = Vec::with_capacity(self.bytes.len() / 2);
            deflate::push_text(&mut out, &[self.body()]);
            out.shrink_to_fit();
            if out.len() < self.bytes.len() { memory::hold(out) } else { self.bytes.clone() }
        });
    }

    /// Whether [`Self::into_deflated`] has nothing left to compress.
    pub(in crate::hub) fn is_deflated(&self) -> bool {
        self.deflated.as_ref().is_none_or(|deflated| deflated.get().is_some())
    }

    /// Number of bytes on the wire.
    pub(in crate::hub) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The text of a text frame; empty for others.
    #[must_use]
    pub fn body(&self) -> &str {
        let head = match self.bytes.get(..2) {
            Some([0x81, 126]) => 4,
            Some([0x81, 127]) => 10,
            Some([0x81, _]) => 2,
            _ => self.bytes.len(),
        };
        std::str::from_utf8(&self.bytes[head..]).unwrap_or_default()
    }
}

/// One or more complete frames that are encoded already.
impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, deflated: None }
    }
}

/// The bytes that go on the wire.
impl From<Frame> for Bytes {
    fn from(frame: Frame) -> Self {
        frame.bytes
    }
}

/// Compares the uncompressed bytes.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Frame {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_encoded_in_the_shortest_way() {
        for (length, head) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (65_535, &[0x81, 126, 0xff, 0xff]),
            (65_536, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let text = "x".repeat(length);
            let frame = Frame::text(&[&text]);
            assert_eq!(&frame.bytes()[..head.len()], head);
            assert_eq!(frame.len(), head.len() + length);
            assert_eq!(frame.body(), text);
        }
    }

    #[test]
    fn long_reason_is_cut_at_a_character() {
        let frame = Frame::close(1008, &"ä".repeat(100));
        assert_eq!(frame.bytes()[..4], [0x88, 124, 0x03, 0xf0]);
        assert_eq!(frame.len(), 2 + 124);
        assert_eq!(Frame::ping().body(), "");
    }

    #[test]
    fn large_frame_is_not_compressed_while_sending() {
        let frame = Frame::text(&[&"x".repeat(LARGE_BYTES)]);
        assert_eq!(frame.clone().into_deflated(), frame.bytes());
        assert!(!frame.is_deflated());
        frame.deflate();
        assert!(frame.is_deflated() && frame.into_deflated().len() < 2_000);
    }

    #[test]
    fn frame_is_compressed_once_for_all_that_share_it() {
        let text = r#"{"type":"PushEvent"}"#.repeat(40);
        let frame = Frame::text(&[&text]);
        let [one, two] = [frame.clone(), frame.clone()].map(Frame::into_deflated);
        assert_eq!(one.as_ptr(), two.as_ptr());
        assert!(one.len() < frame.len());
        assert_eq!(deflate::tests::texts(&one), [(text.clone(), true)]);
        assert_eq!(frame.body(), text, "the uncompressed bytes stay");
        for short in [Frame::text(&["short"]), Frame::ping(), Frame::close(1000, "bye")] {
            assert_eq!(short.clone().into_deflated(), short.bytes);
        }
    }
}
