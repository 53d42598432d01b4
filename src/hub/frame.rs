//! WebSocket frames, encoded once and shared by everyone who is sent them.
//!
//! A server's frames carry no mask, so the same bytes serve any number of connections.

use bytes::Bytes;

/// The longest reason that fits a close frame: 125 bytes less the code.
const REASON_BYTES: usize = 123;

/// One whole WebSocket frame, header and all. A clone shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame(Bytes);

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
        Self(Bytes::from(bytes))
    }

    /// Frames that are encoded already, one or more, whole.
    #[must_use]
    pub fn encoded(bytes: Bytes) -> Self {
        Self(bytes)
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
        Self(Bytes::from(bytes))
    }

    /// A ping without a body.
    #[must_use]
    pub fn ping() -> Self {
        Self(Bytes::from_static(&[0x89, 0]))
    }

    /// The bytes that go on the wire.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }

    /// The bytes that go on the wire, given away.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }

    /// How many bytes go on the wire.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Never: even a frame without a body has a header.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text inside; empty for a ping or a close frame.
    #[must_use]
    pub fn body(&self) -> &str {
        let head = match self.0.get(..2) {
            Some([0x81, 126]) => 4,
            Some([0x81, 127]) => 10,
            Some([0x81, _]) => 2,
            _ => self.0.len(),
        };
        std::str::from_utf8(&self.0[head..]).unwrap_or_default()
    }
}

pub(super) fn push_header(bytes: &mut Vec<u8>, first: u8, length: usize) {
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
}
