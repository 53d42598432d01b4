//! WebSocket frames, encoded once and shared by everyone who is sent them.
//!
//! A server's frames carry no mask, so the same bytes serve any number of connections. Those that
//! take messages deflated share other bytes, which are made when the first of them asks.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::{deflate, memory};

/// The longest reason that fits a close frame: 125 bytes less the code.
const REASON_BYTES: usize = 123;

/// What is larger is neither encoded nor deflated on an async worker.
pub(in crate::hub) const LARGE_BYTES: usize = 64 << 10;

/// One whole WebSocket frame, header and all. A clone shares the bytes.
#[derive(Debug, Clone)]
pub struct Frame {
    bytes: Bytes,
    /// The same deflated, of text that is long enough for that.
    deflated: Option<Arc<OnceLock<Bytes>>>,
}

impl Frame {
    /// A text message made of these parts.
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

    /// Frames that are encoded already, one or more, whole.
    #[must_use]
    pub fn encoded(bytes: Bytes) -> Self {
        Self { bytes, deflated: None }
    }

    /// A close frame; a reason that is too long is cut at a character.
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
        Self::encoded(Bytes::from(bytes))
    }

    /// A ping without a body.
    #[must_use]
    pub fn ping() -> Self {
        Self::encoded(Bytes::from_static(&[0x89, 0]))
    }

    /// The bytes that go on the wire.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes that go on the wire, given away.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// The bytes for a connection that takes messages deflated. The work is done once, whoever
    /// asks; what does not become smaller stays as it is, and so does what is large and was not
    /// deflated before.
    #[must_use]
    pub fn into_deflated(self) -> Bytes {
        if self.bytes.len() <= LARGE_BYTES {
            self.deflate();
        }
        let deflated = self.deflated.as_ref().and_then(|deflated| deflated.get().cloned());
        deflated.unwrap_or(self.bytes)
    }

    /// Deflates it for all who share it. Not for async workers where it is large.
    pub(in crate::hub) fn deflate(&self) {
        let Some(deflated) = &self.deflated else { return };
        deflated.get_or_init(|| {
            let mut out = Vec::with_capacity(self.bytes.len() / 2);
            deflate::push_text(&mut out, &[self.body()]);
            out.shrink_to_fit();
            if out.len() < self.bytes.len() { memory::hold(out) } else { self.bytes.clone() }
        });
    }

    /// Whether it can be given away deflated as it is.
    pub(in crate::hub) fn is_deflated(&self) -> bool {
        self.deflated.as_ref().is_none_or(|deflated| deflated.get().is_some())
    }

    /// How many bytes go on the wire.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: even a frame without a body has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The text inside; empty for a ping or a close frame.
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

impl From<Bytes> for Frame {
    fn from(bytes: Bytes) -> Self {
        Self::encoded(bytes)
    }
}

impl From<Frame> for Bytes {
    fn from(frame: Frame) -> Self {
        frame.into_bytes()
    }
}

/// By what goes on the wire.
impl PartialEq for Frame {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Frame {}

pub(in crate::hub) fn push_header(bytes: &mut Vec<u8>, first: u8, length: usize) {
    bytes.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(short),
        (_, Ok(medium)) => {
            bytes.push(126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_is_written_in_the_shortest_way() {
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
    fn a_long_reason_is_cut_at_a_character() {
        let frame = Frame::close(1008, &"ä".repeat(100));
        assert_eq!(frame.bytes()[..4], [0x88, 124, 0x03, 0xf0]);
        assert_eq!(frame.len(), 2 + 124);
        assert_eq!(Frame::ping().body(), "");
    }

    #[test]
    fn a_large_frame_is_not_deflated_by_who_sends_it() {
        let frame = Frame::text(&[&"x".repeat(LARGE_BYTES)]);
        assert_eq!(frame.clone().into_deflated(), frame.bytes());
        assert!(!frame.is_deflated());
        frame.deflate();
        assert!(frame.is_deflated() && frame.into_deflated().len() < 2_000);
    }

    #[test]
    fn a_frame_is_deflated_once_for_all_who_share_it() {
        let text = r#"{"type":"PushEvent"}"#.repeat(40);
        let frame = Frame::text(&[&text]);
        let [one, two] = [frame.clone(), frame.clone()].map(Frame::into_deflated);
        assert_eq!(one.as_ptr(), two.as_ptr());
        assert!(one.len() < frame.len());
        assert_eq!(deflate::tests::texts(&one), [(text.clone(), true)]);
        assert_eq!(frame.body(), text, "the others share what they did");
        for short in [Frame::text(&["short"]), Frame::ping(), Frame::close(1000, "bye")] {
            assert_eq!(short.clone().into_deflated(), short.into_bytes());
        }
    }
}
