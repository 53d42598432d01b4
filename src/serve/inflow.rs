//! What a client sends where deflated messages were agreed to: those are inflated, everything else
//! goes through as it came.
//!
//! The WebSocket library knows no extensions. So a deflated message is taken out of the bytes that
//! it reads and put back as the frame that it would have been without; the library still judges
//! all the rest. A message is gathered as it came and inflated when it is whole, so no connection
//! holds an inflater, and it is inflated no further than a message may be long.

use std::io;

use bytes::{Buf as _, BufMut as _, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_RSV3: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const MASKED: u8 = 0x80;
/// What the sender has taken off the end (RFC 7692, 7.2.2).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// A last block of nothing: behind a message that is whole, inflating ends with it.
const LAST: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
/// Room that an inflated message has at first.
const ROOM: usize = 1 << 10;

/// Why a deflated message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Unreadable {
    /// It is longer than a message may be, as it came or inflated.
    #[error("a deflated message is too long")]
    TooLong,
    /// It is not what deflating makes.
    #[error("a deflated message cannot be inflated")]
    Broken,
    /// Another message began before it was whole.
    #[error("a message begins within another")]
    Mixed,
}

impl Unreadable {
    /// What an error of reading hides.
    pub(super) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// The way in of one connection.
#[derive(Debug)]
pub(super) struct Inflow {
    /// The most bytes of a message.
    most: usize,
    /// Came, and was not looked at.
    came: BytesMut,
    /// For the library.
    ready: BytesMut,
    /// Of the frame that is being read.
    frame: Frame,
    /// The deflated message that is being read.
    message: Option<Message>,
}

#[derive(Debug)]
enum Frame {
    /// Its head is still to come.
    Head,
    /// So many more bytes of it go through.
    Through(u64),
    /// So many more bytes of it belong to the message; then it may be whole.
    Deflated { left: usize, mask: [u8; 4], is_last: bool },
}

#[derive(Debug)]
struct Message {
    opcode: u8,
    payload: Vec<u8>,
}

impl Inflow {
    /// For messages of at most `most` bytes; `early` is what came behind the handshake.
    pub(super) fn new(most: usize, early: &[u8]) -> Self {
        let (came, ready) = (BytesMut::from(early), BytesMut::new());
        Self { most, came, ready, frame: Frame::Head, message: None }
    }

    /// Takes in what came.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.came.extend_from_slice(bytes);
    }

    /// What there is for the library, at most so many bytes; empty when more has to come first.
    pub(super) fn next(&mut self, most: usize) -> Result<BytesMut, Unreadable> {
        while self.ready.is_empty() {
            let is_on = match self.frame {
                Frame::Head => self.begin()?,
                Frame::Through(left) => {
                    let bytes = self.came.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                    self.ready.extend_from_slice(&self.came[..bytes]);
                    self.came.advance(bytes);
                    self.go_through(left - bytes as u64);
                    bytes > 0
                }
                Frame::Deflated { left, mask, is_last } => self.gather(left, mask, is_last)?,
            };
            if !is_on {
                break;
            }
        }
        Ok(self.ready.split_to(self.ready.len().min(most)))
    }

    fn go_through(&mut self, left: u64) {
        self.frame = if left == 0 { Frame::Head } else { Frame::Through(left) };
    }

    /// Reads the head of a frame; false while it is not all there.
    fn begin(&mut self) -> Result<bool, Unreadable> {
        let Some((length, head)) = head(&self.came) else { return Ok(false) };
        let (first, is_masked) = (self.came[0], self.came[1] & MASKED != 0);
        let (opcode, reserved) = (first & OPCODE, first & (RSV1 | RSV2_AND_RSV3));
        let is_begin = matches!(opcode, TEXT | BINARY);
        if is_begin && self.message.is_some() {
            return Err(Unreadable::Mixed);
        }
        let is_deflated = match &self.message {
            Some(_) => opcode == CONTINUATION && reserved == 0,
            None => is_begin && reserved == RSV1,
        };
        if !is_deflated || !is_masked {
            // What breaks the rules the library refuses, when it sees it.
            self.ready.extend_from_slice(&self.came[..head]);
            self.came.advance(head);
            self.go_through(length);
            return Ok(true);
        }
        let message = self.message.get_or_insert(Message { opcode, payload: Vec::new() });
        let left = usize::try_from(length).ok();
        let left = left.filter(|left| *left <= self.most - message.payload.len());
        let left = left.ok_or(Unreadable::TooLong)?;
        let mask = self.came[head - 4..head].try_into().expect("four bytes");
        self.came.advance(head);
        self.frame = Frame::Deflated { left, mask, is_last: first & FIN != 0 };
        Ok(true)
    }

    /// Gathers a piece of a frame; false while nothing is there.
    fn gather(&mut self, left: usize, mask: [u8; 4], is_last: bool) -> Result<bool, Unreadable> {
        let message = self.message.as_mut().expect("a frame of it is being read");
        let bytes = self.came.len().min(left);
        let piece = self.came.split_to(bytes);
        message.payload.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, m)| byte ^ m));
        if bytes < left {
            let turned = [0, 1, 2, 3].map(|at| mask[(bytes + at) % 4]);
            self.frame = Frame::Deflated { left: left - bytes, mask: turned, is_last };
            return Ok(bytes > 0);
        }
        self.frame = Frame::Head;
        if is_last {
            let Message { opcode, payload } = self.message.take().expect("it was there");
            push(&mut self.ready, opcode, &inflated(&payload, self.most)?);
        }
        Ok(true)
    }
}

/// Length of a frame's payload and of its head; `None` while that is not all there.
fn head(bytes: &[u8]) -> Option<(u64, usize)> {
    let second = *bytes.get(1)?;
    let (length, head) = match second & !MASKED {
        126 => (u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?).into(), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?), 10),
        short => (short.into(), 2),
    };
    let head = if second & MASKED == 0 { head } else { head + 4 };
    (bytes.len() >= head).then_some((length, head))
}

/// Appends a message as a client's frame, with a mask that changes nothing.
fn push(out: &mut BytesMut, opcode: u8, payload: &[u8]) {
    out.reserve(payload.len() + 14);
    out.put_slice(&[FIN | opcode, MASKED | 0x7f]);
    out.put_u64(payload.len() as u64);
    out.put_slice(&[0; 4]);
    out.put_slice(payload);
}

fn inflated(payload: &[u8], most: usize) -> Result<Vec<u8>, Unreadable> {
    let mut inflate = Decompress::new(false);
    let mut out = Vec::new();
    for mut bytes in [payload, &FLUSHED] {
        loop {
            if out.len() == out.capacity() {
                // One byte more than there may be, so that it is seen when there is more.
                let room = out.len().max(ROOM).min(most + 1 - out.len());
                out.reserve_exact(room);
            }
            let before = inflate.total_in();
            let status = inflate.decompress_vec(bytes, &mut out, FlushDecompress::None);
            let status = status.map_err(|_| Unreadable::Broken)?;
            if out.len() > most {
                return Err(Unreadable::TooLong);
            }
            let read = usize::try_from(inflate.total_in() - before).expect("a part of it");
            bytes = &bytes[read..];
            if status == Status::StreamEnd {
                // A last block is allowed within a message; what follows begins anew.
                inflate.reset(false);
            } else if out.len() < out.capacity() {
                if !bytes.is_empty() && read == 0 {
                    return Err(Unreadable::Broken);
                }
            } else {
                // No room is left, so more of it may wait.
                continue;
            }
            if bytes.is_empty() {
                break;
            }
        }
    }
    // In the middle of a block it is something else, or not enough.
    let (before, written) = (inflate.total_in(), inflate.total_out());
    let ended = inflate.decompress(&LAST, &mut [0], FlushDecompress::None);
    let is_whole = matches!(ended, Ok(Status::StreamEnd))
        && inflate.total_in() - before == LAST.len() as u64
        && inflate.total_out() == written;
    if is_whole { Ok(out) } else { Err(Unreadable::Broken) }
}

#[cfg(test)]
mod tests {
    use flate2::{Compress, Compression, FlushCompress};
    use proptest::prelude::*;

    use super::*;

    const MOST: usize = 64 << 10;

    fn deflated(text: &[u8], level: u32) -> Vec<u8> {
        let mut compress = Compress::new(Compression::new(level), false);
        let mut out = Vec::with_capacity(text.len() * 2 + 1_000);
        compress.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
        out.truncate(out.len() - FLUSHED.len());
        out
    }

    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..126 => bytes.push(MASKED | u8::try_from(short).unwrap()),
            long => {
                bytes.push(MASKED | 0x7e);
                bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
            }
        }
        bytes.extend(MASK);
        bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    /// What comes out when it comes in pieces of this size.
    fn through(bytes: &[u8], size: usize) -> Result<Vec<u8>, Unreadable> {
        let (early, rest) = bytes.split_at(bytes.len().min(size / 2));
        let mut inflow = Inflow::new(MOST, early);
        let mut out = Vec::new();
        for piece in std::iter::once(&[][..]).chain(rest.chunks(size)) {
            inflow.put(piece);
            loop {
                let next = inflow.next(size)?;
                if next.is_empty() {
                    break;
                }
                out.extend_from_slice(&next);
            }
        }
        Ok(out)
    }

    fn put_back(opcode: u8, text: &[u8]) -> Vec<u8> {
        let mut out = BytesMut::new();
        push(&mut out, opcode, text);
        out.to_vec()
    }

    proptest! {
        #[test]
        fn messages_in_pieces_of_any_size_come_out_as_they_were(
            messages in prop::collection::vec((
                prop_oneof![
                    prop::collection::vec(any::<u8>(), 0..300),
                    (any::<u8>(), 0..20_000_usize).prop_map(|(byte, times)| vec![byte; times]),
                ],
                0..10_u32,
                any::<bool>(),
                1..400_usize,
            ), 0..5),
            size in 1..500_usize,
        ) {
            let (mut sent, mut wanted) = (Vec::new(), Vec::new());
            for (text, level, is_deflated, cut) in &messages {
                if !is_deflated {
                    sent.extend(frame(FIN | TEXT, text));
                    wanted.extend(frame(FIN | TEXT, text));
                    continue;
                }
                let payload = deflated(text, *level);
                let pieces: Vec<&[u8]> = payload.chunks(*cut).collect();
                for (at, piece) in pieces.iter().enumerate() {
                    let opcode = if at == 0 { RSV1 | TEXT } else { CONTINUATION };
                    let fin = if at + 1 == pieces.len() { FIN } else { 0 };
                    sent.extend(frame(fin | opcode, piece));
                    // A ping between the pieces goes before the message.
                    if fin == 0 {
                        sent.extend(frame(0x89, b"here"));
                        wanted.extend(frame(0x89, b"here"));
                    }
                }
                wanted.extend(put_back(TEXT, text));
            }
            prop_assert_eq!(through(&sent, size), Ok(wanted));
        }

        #[test]
        fn no_bytes_make_it_fail_otherwise_than_by_refusal(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            payload in prop::collection::vec(any::<u8>(), 0..100),
            size in 1..100_usize,
        ) {
            let _ = through(&bytes, size);
            let _ = through(&frame(FIN | RSV1 | TEXT, &payload), size);
        }
    }

    #[test]
    fn the_examples_of_the_rule_are_read() {
        for payload in [
            &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
            // Without compression, with a last block, and in two blocks (RFC 7692, 7.2.3).
            &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
            &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
        ] {
            let sent = frame(FIN | RSV1 | TEXT, payload);
            assert_eq!(through(&sent, 3), Ok(put_back(TEXT, b"Hello")), "{payload:x?}");
        }
        let empty = frame(FIN | RSV1 | BINARY, &[0x00]);
        assert_eq!(through(&empty, 9), Ok(put_back(BINARY, b"")));
    }

    #[test]
    fn what_grows_beyond_a_message_is_not_inflated_to_its_end() {
        let text = vec![b'x'; MOST];
        let sent = frame(FIN | RSV1 | TEXT, &deflated(&text, 9));
        assert_eq!(through(&sent, 1_000), Ok(put_back(TEXT, &text)));
        // 60 MB in 60 kB, and one byte too many.
        for bytes in [60_000_000, MOST + 1] {
            let bomb = frame(FIN | RSV1 | TEXT, &deflated(&vec![b'x'; bytes], 9));
            assert_eq!(through(&bomb, 1_000), Err(Unreadable::TooLong));
        }
        // Blocks of nothing without end are a message that is too long, too.
        let nothing = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(1_000);
        let mut sent = frame(RSV1 | TEXT, &nothing);
        for _ in 0..MOST / nothing.len() {
            sent.extend(frame(CONTINUATION, &nothing));
        }
        assert_eq!(through(&sent, 1_000), Err(Unreadable::TooLong));
    }

    #[test]
    fn a_message_that_is_cut_off_is_refused() {
        let query = br#"{"types":["PushEvent"]}                                "#;
        let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
        for payload in [deflated(query, 6), deflated(&query.repeat(30), 1), hello.to_vec()] {
            for left in 0..payload.len() {
                let sent = frame(FIN | RSV1 | TEXT, &payload[..left]);
                assert_eq!(through(&sent, 400), Err(Unreadable::Broken), "{left} bytes are left");
            }
        }
    }

    #[test]
    fn what_breaks_the_rules_is_refused_or_left_to_the_library() {
        let hello = deflated(b"Hello", 6);
        let begun = frame(RSV1 | TEXT, &hello);
        for next in [FIN | TEXT, RSV1 | TEXT] {
            let sent = [begun.clone(), frame(next, b"x")].concat();
            assert_eq!(through(&sent, 7), Err(Unreadable::Mixed));
        }
        assert_eq!(through(&frame(FIN | RSV1 | TEXT, b"\xff\xff"), 7), Err(Unreadable::Broken));
        let unmasked = [FIN | RSV1 | TEXT, 2, 0xf2, 0x48].to_vec();
        for sent in [
            unmasked,
            frame(FIN | RSV1 | 0x09, b"ping"),
            frame(FIN | RSV1 | CONTINUATION, b"x"),
            frame(FIN | RSV1 | 0x20 | TEXT, b"x"),
            frame(FIN | 0x03, b"x"),
        ] {
            assert_eq!(through(&sent, 5).as_ref(), Ok(&sent));
        }
        let sent = [begun, frame(FIN | RSV1 | CONTINUATION, b"x")].concat();
        let out = through(&sent, 9).unwrap();
        assert_eq!(out, frame(FIN | RSV1 | CONTINUATION, b"x"));
    }
}
