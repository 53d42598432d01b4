//! Checks a broker's frames before the client library parses them (AMQP 0-9-1 §2.3, §4.2).
//!
//! The library parses field tables by recursion on a thread of its own: deeply nested tables, which
//! a peer may send before any login, overflow its stack and abort the process.

use std::io;

/// The most bytes of a frame, with its header and end: RabbitMQ's default `frame_max`. It is
/// proposed to the broker, and brokers announce themselves in 4 KiB at most.
pub(super) const FRAME_BYTES: u32 = 128 << 10;
/// The most levels of tables and arrays; RabbitMQ sends two.
const NESTING: usize = 32;

/// Type, channel and size of the payload.
const HEADER_BYTES: usize = 7;
const END: u8 = 0xCE;
const METHOD: u8 = 1;
const CONTENT_HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// A broker answers a version that it does not speak with the bytes `AMQP` and its own version.
const PROTOCOL: &[u8] = b"AMQP";
const PROTOCOL_BYTES: usize = 8;

/// Class and method of the announcement that a broker opens a connection with.
const START: (u16, u16) = (10, 10);
/// The other methods with a field table. Only clients send them.
const CLIENT_METHODS: [(u16, u16); 8] =
    [(10, 11), (40, 10), (40, 30), (40, 40), (50, 10), (50, 20), (50, 50), (60, 20)];
/// Flags of a content header: these properties precede its table.
const CONTENT_TYPE: u16 = 1 << 15;
const CONTENT_ENCODING: u16 = 1 << 14;
const HEADERS: u16 = 1 << 13;

/// Why a frame is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum RefusedFrame {
    /// Not a frame, or not a broker's.
    #[error("its answer is not AMQP 0-9-1")]
    Malformed,
    /// Longer than [`FRAME_BYTES`].
    #[error("it announced a frame of {bytes} bytes; the limit is {FRAME_BYTES}")]
    Size {
        /// The frame's bytes.
        bytes: u64,
    },
    /// Tables and arrays within each other beyond the limit.
    #[error("it sent a field table with more than {NESTING} levels")]
    Nesting,
}

impl From<RefusedFrame> for io::Error {
    fn from(refused: RefusedFrame) -> Self {
        Self::new(io::ErrorKind::InvalidData, refused)
    }
}

/// Checks the frame at the beginning of `received`. Returns its bytes, `None` while it is
/// incomplete.
pub(super) fn checked_frame(received: &[u8]) -> Result<Option<usize>, RefusedFrame> {
    let Some(kind) = received.first() else { return Ok(None) };
    if *kind == PROTOCOL[0] {
        let start = &received[..received.len().min(PROTOCOL.len())];
        if !PROTOCOL.starts_with(start) {
            return Err(RefusedFrame::Malformed);
        }
        return Ok((received.len() >= PROTOCOL_BYTES).then_some(PROTOCOL_BYTES));
    }
    if ![METHOD, CONTENT_HEADER, BODY, HEARTBEAT].contains(kind) {
        return Err(RefusedFrame::Malformed);
    }
    if received.len() < HEADER_BYTES {
        return Ok(None);
    }
    let size = long_at(received, HEADER_BYTES - 4)?;
    let bytes = HEADER_BYTES as u64 + u64::from(size) + 1;
    if bytes > u64::from(FRAME_BYTES) {
        return Err(RefusedFrame::Size { bytes });
    }
    let end = HEADER_BYTES + size as usize;
    match received.get(end) {
        None => return Ok(None),
        Some(&END) => {}
        Some(_) => return Err(RefusedFrame::Malformed),
    }
    let payload = &received[HEADER_BYTES..end];
    match *kind {
        METHOD => check_method(payload)?,
        CONTENT_HEADER => check_content_header(payload)?,
        _ => {}
    }
    Ok(Some(end + 1))
}

fn check_method(payload: &[u8]) -> Result<(), RefusedFrame> {
    match (short_at(payload, 0)?, short_at(payload, 2)?) {
        // Behind the two bytes of the version.
        START => check_table(payload, 6),
        method if CLIENT_METHODS.contains(&method) => Err(RefusedFrame::Malformed),
        _ => Ok(()),
    }
}

/// Class, weight, size of the body, flags, and the properties that the flags name.
fn check_content_header(payload: &[u8]) -> Result<(), RefusedFrame> {
    let flags = short_at(payload, 12)?;
    let mut at = 14;
    for text in [CONTENT_TYPE, CONTENT_ENCODING] {
        if flags & text != 0 {
            at += 1 + usize::from(byte_at(payload, at)?);
        }
    }
    if flags & HEADERS == 0 { Ok(()) } else { check_table(payload, at) }
}

/// An open table or array.
#[derive(Clone, Copy)]
struct FieldContainer {
    /// Where it ends.
    end: usize,
    /// Whether its values have names.
    is_table: bool,
}

/// Checks the field table at `at` with everything in it, without recursion.
fn check_table(payload: &[u8], at: usize) -> Result<(), RefusedFrame> {
    let mut open = Vec::with_capacity(NESTING);
    let (mut at, end) = counted(payload, at)?;
    open.push(FieldContainer { end, is_table: true });
    while let Some(FieldContainer { end, is_table }) = open.last().copied() {
        if at == end {
            open.pop();
            continue;
        }
        let inside = &payload[..end];
        if is_table {
            at += 1 + usize::from(byte_at(inside, at)?);
        }
        let kind = byte_at(inside, at)?;
        at += 1;
        match kind {
            b'F' | b'A' => {
                let (first, end) = counted(inside, at)?;
                if open.len() == NESTING {
                    return Err(RefusedFrame::Nesting);
                }
                open.push(FieldContainer { end, is_table: kind == b'F' });
                at = first;
            }
            b'S' | b'x' => at = counted(inside, at)?.1,
            _ => at += width(kind)?,
        }
        if at > end {
            return Err(RefusedFrame::Malformed);
        }
    }
    Ok(())
}

/// Bytes of a value of fixed size, in RabbitMQ's reading of the types.
fn width(kind: u8) -> Result<usize, RefusedFrame> {
    match kind {
        b'V' => Ok(0),
        b't' | b'b' | b'B' => Ok(1),
        b's' | b'U' | b'u' => Ok(2),
        b'I' | b'i' | b'f' => Ok(4),
        b'D' => Ok(5),
        b'L' | b'l' | b'd' | b'T' => Ok(8),
        _ => Err(RefusedFrame::Malformed),
    }
}

/// Where a value with a length in front begins and ends.
fn counted(bytes: &[u8], at: usize) -> Result<(usize, usize), RefusedFrame> {
    let first = at + 4;
    let end = first + long_at(bytes, at)? as usize;
    if end <= bytes.len() { Ok((first, end)) } else { Err(RefusedFrame::Malformed) }
}

fn byte_at(bytes: &[u8], at: usize) -> Result<u8, RefusedFrame> {
    bytes.get(at).copied().ok_or(RefusedFrame::Malformed)
}

fn short_at(bytes: &[u8], at: usize) -> Result<u16, RefusedFrame> {
    Ok(u16::from_be_bytes(array_at(bytes, at)?))
}

fn long_at(bytes: &[u8], at: usize) -> Result<u32, RefusedFrame> {
    Ok(u32::from_be_bytes(array_at(bytes, at)?))
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], RefusedFrame> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(RefusedFrame::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let size = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&[kind, 0, 0], &size[..], payload, &[END]].concat()
    }

    fn with_length(bytes: &[u8]) -> Vec<u8> {
        [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    /// `levels` arrays or tables within each other.
    fn nested(levels: usize, kind: u8) -> Vec<u8> {
        let mut value = vec![b'V'];
        for _ in 0..levels {
            let inside = if kind == b'F' { [b"\x01a", &value[..]].concat() } else { value };
            value = [&[kind], &with_length(&inside)[..]].concat();
        }
        value
    }

    /// The announcement of a broker with these entries in its table.
    fn start(entries: &[u8]) -> Vec<u8> {
        let rest = [with_length(b"PLAIN"), with_length(b"en_US")].concat();
        let payload = [b"\0\x0a\0\x0a\0\x09", &with_length(entries)[..], &rest].concat();
        frame(METHOD, &payload)
    }

    fn content_header(flags: u16, properties: &[u8]) -> Vec<u8> {
        let fixed = [0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        frame(CONTENT_HEADER, &[&fixed, &flags.to_be_bytes()[..], properties].concat())
    }

    #[test]
    fn frames_of_a_broker_pass_once_they_are_complete() {
        let values = b"\x01tt\x01\x01bb\x01\x01BB\x01\x01ss\0\x01\x01UU\0\x01\x01uu\0\x01\
                       \x01II\0\0\0\x01\x01ii\0\0\0\x01\x01ff\0\0\0\0\x01DD\0\0\0\0\x01\
                       \x01LL\0\0\0\0\0\0\0\x01\x01ll\0\0\0\0\0\0\0\x01\x01dd\0\0\0\0\0\0\0\0\
                       \x01TT\0\0\0\0\0\0\0\x01\x01VV\x01SS\0\0\0\x02hi\x01xx\0\0\0\x01\xff\
                       \x01FF\0\0\0\x04\x01at\x01\x01AA\0\0\0\x03t\0V";
        let frames = [
            start(values),
            start(&[b"\x01a", &nested(NESTING - 1, b'A')[..]].concat()),
            start(&[b"\x01a", &nested(NESTING - 1, b'F')[..]].concat()),
            frame(METHOD, &[0, 60, 0, 80, 0, 0, 0, 0, 0, 0, 0, 1, 0]),
            content_header(HEADERS, &with_length(b"\x01at\x01")),
            content_header(CONTENT_TYPE | CONTENT_ENCODING, b"\x01a\x01b"),
            frame(BODY, b"anything"),
            frame(HEARTBEAT, b""),
            b"AMQP\0\0\x09\x01".to_vec(),
        ];
        for frame in frames {
            for end in 0..frame.len() {
                assert_eq!(checked_frame(&frame[..end]), Ok(None), "{frame:?} up to {end}");
            }
            assert_eq!(checked_frame(&frame), Ok(Some(frame.len())), "{frame:?}");
            let followed = [&frame[..], b"?"].concat();
            assert_eq!(checked_frame(&followed), Ok(Some(frame.len())), "{frame:?}");
        }
    }

    #[test]
    fn deeply_nested_tables_are_refused() {
        for levels in [NESTING, 1_500, 15_000] {
            for kind in [b'A', b'F'] {
                let entry = [b"\x01a", &nested(levels, kind)[..]].concat();
                let refused = Err(RefusedFrame::Nesting);
                assert_eq!(checked_frame(&start(&entry)), refused);
                let properties = [b"\x01a\x01b", &with_length(&entry)[..]].concat();
                let flags = CONTENT_TYPE | CONTENT_ENCODING | HEADERS;
                assert_eq!(checked_frame(&content_header(flags, &properties)), refused);
            }
        }
        for (class, method) in CLIENT_METHODS {
            let payload = [class.to_be_bytes(), method.to_be_bytes()].concat();
            assert_eq!(checked_frame(&frame(METHOD, &payload)), Err(RefusedFrame::Malformed));
        }
    }

    #[test]
    fn large_frames_are_refused_by_their_header() {
        let header = |size: u32| [&[METHOD, 0, 0], &size.to_be_bytes()[..]].concat();
        assert_eq!(checked_frame(&header(FRAME_BYTES - 8)), Ok(None));
        let bytes = u64::from(FRAME_BYTES) + 1;
        assert_eq!(checked_frame(&header(FRAME_BYTES - 7)), Err(RefusedFrame::Size { bytes }));
        let bytes = u64::from(u32::MAX) + 8;
        assert_eq!(checked_frame(&header(u32::MAX)), Err(RefusedFrame::Size { bytes }));
    }

    #[test]
    fn other_bytes_are_not_amqp() {
        let malformed = [
            b"HTTP/1.1 400 Bad Request".to_vec(),
            b"AMQX".to_vec(),
            vec![0x15, 3, 1],
            frame(METHOD, &[0, 10, 0]),
            [&frame(BODY, b"x")[..8], &[0]].concat(),
            // A length, a name and a value that end behind their table, and an unknown type.
            start(b"\x01aS\0\0\0\x02x"),
            start(b"\x05a"),
            start(b"\x01aI\0\0"),
            start(b"\x01a?"),
            start(b"\x01aA\xff\xff\xff\xff"),
            content_header(CONTENT_TYPE | HEADERS, b"\x20"),
        ];
        for bytes in malformed {
            assert_eq!(checked_frame(&bytes), Err(RefusedFrame::Malformed), "{bytes:?}");
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        let mut random = fastrand::Rng::with_seed(7);
        let valid = start(&[b"\x01a", &nested(5, b'F')[..]].concat());
        for _ in 0..20_000 {
            let mut bytes = valid.clone();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(HEADER_BYTES..bytes.len() - 1);
                bytes[at] = random.u8(..);
            }
            assert_ne!(checked_frame(&bytes), Ok(None));
            let noise: Vec<u8> = (0..random.usize(..60)).map(|_| random.u8(..)).collect();
            let _ = checked_frame(&frame(METHOD, &[b"\0\x0a\0\x0a\0\x09", &noise[..]].concat()));
        }
    }
}
