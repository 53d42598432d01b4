//! What a client sends, frame by frame, on its way to the WebSocket library: long messages are
//! refused by the length that they announce, deflated ones are inflated, all else goes through.
//!
//! The library knows no extensions and buffers a message before anybody can judge it. So the heads
//! of frames are read here first. Of a message that is too long nothing is kept: before the first
//! params were accepted it ends the connection, later it is skipped and reported. A deflated
//! message is taken out of the bytes that the library reads and put back as the frame that it would
//! have been without; it is gathered as it came and inflated when it is whole, so no connection
//! holds a decompressor, and it is inflated no further than a message may be long.

use std::io;

use bytes::{Buf as _, BufMut as _, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;
use tokio_tungstenite::tungstenite::Error as ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

const CONTINUATION: OpCode = OpCode::Data(Data::Continue);
const CLOSE: OpCode = OpCode::Control(Control::Close);
/// What the sender has taken off the end (RFC 7692, 7.2.2).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// A last block of nothing: behind a message that is whole, inflating ends with it.
const LAST: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
/// Room that an inflated message has at first.
const ROOM: usize = 1 << 10;
/// A message up to this many times the limit is skipped, so that a client whose params were
/// accepted can be answered and stay. A longer one ends the connection.
const SKIP_TIMES: u64 = 4;

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unreadable {
    /// It is longer than a message may be, as it came or inflated.
    #[error("a message is too long")]
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
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// The way in of one connection.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct Inflow {
    /// Whether messages may come deflated.
    deflates: bool,
    /// The most bytes of a message.
    most: usize,
    /// Whether a longer one ends the connection.
    is_strict: bool,
    /// Came, and was not looked at.
    came: BytesMut,
    /// For the library.
    ready: BytesMut,
    /// Of the frame that is being read.
    frame: Frame,
    /// The message that is being read.
    message: Option<Message>,
    /// Messages that began.
    begun: u64,
    /// Continuation frames that came, since they were last asked for.
    fragments: u32,
    /// Whether the message that the library reads next stands for one that was skipped.
    skipped: bool,
    /// Whether the peer's close frame came.
    closed: bool,
}

#[derive(Debug)]
enum Frame {
    /// Its head is still to come.
    Head,
    /// So many more bytes of it go through; then the message may be whole.
    Through { left: u64, is_last: bool },
    /// So many more bytes of it belong to the message; then it may be whole.
    Deflated { left: usize, mask: [u8; 4], is_last: bool },
    /// So many more bytes of it are dropped; then the message may be over.
    Skipped { left: u64, is_last: bool },
}

#[derive(Debug)]
struct Message {
    opcode: OpCode,
    /// Bytes of its frames so far, as they announce them.
    bytes: u64,
    is_deflated: bool,
    /// Whether it is too long, so that the rest of it is dropped.
    is_skipped: bool,
    /// Whether the library has its first frames.
    is_known: bool,
    payload: Vec<u8>,
}

impl Message {
    fn new(opcode: OpCode, is_deflated: bool) -> Self {
        let (is_skipped, is_known) = (false, false);
        Self { opcode, bytes: 0, is_deflated, is_skipped, is_known, payload: Vec::new() }
    }
}

impl Inflow {
    /// For messages of at most `most` bytes; `early` is what came behind the handshake.
    pub(crate) fn new(most: usize, deflates: bool, early: &[u8]) -> Self {
        Self {
            deflates,
            most,
            is_strict: true,
            came: BytesMut::from(early),
            ready: BytesMut::new(),
            frame: Frame::Head,
            message: None,
            begun: 0,
            fragments: 0,
            skipped: false,
            closed: false,
        }
    }

    /// Whether messages may go deflated both ways.
    pub(crate) fn deflates(&self) -> bool {
        self.deflates
    }

    /// From now on a message that is too long is skipped and reported by [`Self::take_skipped`].
    pub(crate) fn be_lenient(&mut self) {
        self.is_strict = false;
    }

    /// Whether the message that was read last stands for one that was too long.
    pub(crate) fn take_skipped(&mut self) -> bool {
        std::mem::take(&mut self.skipped)
    }

    /// The continuation frames that came since this was last asked.
    pub(crate) fn take_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.fragments)
    }

    /// The number of the message that has begun and is not whole yet.
    pub(crate) fn unfinished(&self) -> Option<u64> {
        self.message.is_some().then_some(self.begun)
    }

    /// Takes in what came.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.came.extend_from_slice(bytes);
    }

    /// What there is for the library, at most so many bytes; empty when more has to come first.
    pub(crate) fn next(&mut self, most: usize) -> Result<BytesMut, Unreadable> {
        while self.ready.is_empty() {
            let is_on = match self.frame {
                Frame::Head => self.begin()?,
                Frame::Through { left, is_last } => {
                    let bytes = self.upcoming(left);
                    self.ready.extend_from_slice(&self.came[..bytes]);
                    self.came.advance(bytes);
                    self.go_through(left - bytes as u64, is_last);
                    bytes > 0
                }
                Frame::Skipped { left, is_last } => {
                    let bytes = self.upcoming(left);
                    self.came.advance(bytes);
                    self.skip(left - bytes as u64, is_last);
                    bytes > 0 || left == 0
                }
                Frame::Deflated { left, mask, is_last } => self.gather(left, mask, is_last)?,
            };
            if !is_on {
                break;
            }
        }
        // A connection on which nothing comes holds no buffers.
        if self.came.is_empty() {
            self.came = BytesMut::new();
        }
        if self.ready.len() <= most {
            return Ok(std::mem::take(&mut self.ready));
        }
        Ok(self.ready.split_to(most))
    }

    /// Reads over everything that came, for a connection that is about to end; whether the peer's
    /// close frame was among it, now or earlier.
    pub(crate) fn skim(&mut self) -> bool {
        while !self.closed {
            let left = match self.frame {
                Frame::Head => match head(&self.came) {
                    Ok(None) => break,
                    Ok(Some((header, length, head))) => {
                        self.closed = header.opcode == CLOSE;
                        self.came.advance(head);
                        length
                    }
                    Err(_) => {
                        self.closed = true;
                        break;
                    }
                },
                Frame::Through { left, .. } | Frame::Skipped { left, .. } => left,
                Frame::Deflated { left, .. } => left as u64,
            };
            let bytes = self.upcoming(left);
            self.came.advance(bytes);
            let left = left - bytes as u64;
            if left > 0 {
                self.frame = Frame::Skipped { left, is_last: false };
                break;
            }
            self.frame = Frame::Head;
        }
        self.closed
    }

    /// How many of these bytes are there.
    fn upcoming(&self, left: u64) -> usize {
        self.came.len().min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn go_through(&mut self, left: u64, is_last: bool) {
        if left > 0 {
            self.frame = Frame::Through { left, is_last };
            return;
        }
        self.frame = Frame::Head;
        if is_last {
            self.message = None;
        }
    }

    /// Drops the rest of a frame; the library is given an empty frame for the whole message.
    fn skip(&mut self, left: u64, is_last: bool) {
        if left > 0 {
            self.frame = Frame::Skipped { left, is_last };
            return;
        }
        self.frame = Frame::Head;
        if let Some(message) = self.message.take_if(|_| is_last) {
            self.skipped = true;
            let opcode = if message.is_known { CONTINUATION } else { message.opcode };
            push(&mut self.ready, opcode, &[]);
        }
    }

    /// Reads the head of a frame; false while it is not all there.
    fn begin(&mut self) -> Result<bool, Unreadable> {
        let (header, length, head) = match head(&self.came) {
            Ok(None) => return Ok(false),
            Ok(Some(parsed)) => parsed,
            // The library rejects it when it reads the same bytes.
            Err(_) => {
                self.ready.unsplit(self.came.split());
                return Ok(true);
            }
        };
        let FrameHeader { is_final: is_last, opcode, mask, .. } = header;
        let is_begin = matches!(opcode, OpCode::Data(Data::Text | Data::Binary));
        let has_reserved = header.rsv2 || header.rsv3;
        self.fragments += u32::from(opcode == CONTINUATION);
        let is_ours = self.message.as_ref().is_some_and(|it| it.is_deflated || it.is_skipped);
        if is_begin && is_ours {
            return Err(Unreadable::Mixed);
        }
        let is_deflated = self.deflates && header.rsv1 && !has_reserved;
        let is_plain = !header.rsv1 && !has_reserved;
        let is_data = match &self.message {
            Some(_) => opcode == CONTINUATION && is_plain,
            None => is_begin && (is_plain || is_deflated),
        };
        let Some(mask) = mask.filter(|_| is_data) else {
            // Control frames, and frames that break the rules, which the library rejects.
            self.closed |= opcode == CLOSE;
            self.ready.extend_from_slice(&self.came[..head]);
            self.came.advance(head);
            self.go_through(length, false);
            return Ok(true);
        };
        let bytes = self.message.as_ref().map_or(0, |message| message.bytes);
        let bytes = bytes.saturating_add(length);
        let is_long = bytes > self.most as u64;
        if is_long && (self.is_strict || bytes > SKIP_TIMES.saturating_mul(self.most as u64)) {
            return Err(Unreadable::TooLong);
        }
        if self.message.is_none() {
            self.begun += 1;
        }
        let message = self.message.get_or_insert_with(|| Message::new(opcode, is_deflated));
        message.bytes = bytes;
        if is_long || message.is_skipped {
            message.is_skipped = true;
            message.payload = Vec::new();
            self.came.advance(head);
            self.skip(length, is_last);
        } else if message.is_deflated {
            self.came.advance(head);
            let left = usize::try_from(length).map_err(|_| Unreadable::TooLong)?;
            self.frame = Frame::Deflated { left, mask, is_last };
        } else {
            message.is_known = true;
            self.ready.extend_from_slice(&self.came[..head]);
            self.came.advance(head);
            self.go_through(length, is_last);
        }
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
            let Message { opcode, payload, .. } = self.message.take().expect("it was there");
            let text = match inflated(&payload, self.most) {
                Err(Unreadable::TooLong) if !self.is_strict => {
                    self.skipped = true;
                    Vec::new()
                }
                inflated => inflated?,
            };
            push(&mut self.ready, opcode, &text);
        }
        Ok(true)
    }
}

/// The head of a frame, the length of its payload and its own; `None` while it is incomplete.
fn head(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, ProtocolError> {
    let mut cursor = io::Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor)?;
    let length = usize::try_from(cursor.position()).expect("it lies in memory");
    Ok(parsed.map(|(header, payload)| (header, payload, length)))
}

/// Appends a message as a client's frame, with a mask that changes nothing.
fn push(out: &mut BytesMut, opcode: OpCode, payload: &[u8]) {
    let header = FrameHeader { opcode, mask: Some([0; 4]), ..FrameHeader::default() };
    header.format(payload.len() as u64, &mut out.writer()).expect("memory takes what is written");
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
mod tests;
