//! Receive side of permessage-deflate (RFC 7692), and the limit of a message's size, in front of
//! tungstenite.
//!
//! tungstenite has no extensions and buffers a message before its size can be checked. So frame
//! headers are parsed here first. A message beyond the limit is not buffered: before the first
//! valid parameters it closes the connection, later it is skipped and reported. A deflated message
//! is collected as received, inflated when it is complete, and passed on as an ordinary frame, so
//! no connection holds a decompressor between messages, and no message is inflated beyond the
//! limit.

use std::io;

use bytes::{Buf as _, BufMut as _, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;
use tokio_tungstenite::tungstenite::Error as ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

const CONTINUATION: OpCode = OpCode::Data(Data::Continue);
const CLOSE: OpCode = OpCode::Control(Control::Close);
/// Removed from the end of a message by its sender (RFC 7692 §7.2.2).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// An empty last block; inflating a complete message ends with it.
const LAST: [u8; 5] = [0x01, 0x00, 0x00, 0xff, 0xff];
/// Initial capacity for an inflated message, bytes.
const ROOM: usize = 1 << 10;
/// A message up to this many times the limit is skipped, so that a client with valid parameters
/// receives an error and stays. A longer one closes the connection.
const SKIP_TIMES: u64 = 4;

/// Why a message cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum MessageError {
    /// It exceeds the limit, as sent or inflated.
    #[error("a message is too long")]
    TooLong,
    /// Its data are not valid DEFLATE.
    #[error("a deflated message cannot be inflated")]
    Broken,
    /// A new message began within a fragmented one.
    #[error("a message begins within another")]
    Mixed,
}

impl MessageError {
    /// The message error inside an I/O error.
    pub(crate) fn of(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

/// The receive side of one connection.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub(crate) struct Decompressor {
    /// Whether permessage-deflate was negotiated.
    pub(crate) deflates: bool,
    /// Most bytes of a message.
    most: usize,
    /// Whether a longer message closes the connection. If not, it is skipped and reported by
    /// [`Self::take_skipped`].
    pub(crate) is_strict: bool,
    /// Received and not parsed yet.
    received: BytesMut,
    /// For tungstenite.
    ready: BytesMut,
    frame: FrameState,
    message: Option<PartialMessage>,
    /// Messages begun.
    begun: u64,
    /// Continuation frames since the last call of [`Self::take_fragments`].
    fragments: u32,
    /// Whether the next message that tungstenite reads replaces a skipped one.
    skipped: bool,
    /// Whether the peer's close frame was received, or can no longer be recognised.
    closed: bool,
}

#[derive(Debug, Default)]
enum FrameState {
    /// Its header is incomplete.
    #[default]
    Head,
    /// `left` bytes are passed through.
    Through { left: u64, is_last: bool },
    /// `left` bytes are collected to be inflated.
    Deflated { left: usize, mask: [u8; 4], is_last: bool },
    /// `left` bytes are dropped.
    Skipped { left: u64, is_last: bool },
}

#[derive(Debug)]
struct PartialMessage {
    opcode: OpCode,
    /// Sum of the announced payload lengths.
    bytes: u64,
    is_deflated: bool,
    /// Whether it exceeds the limit and is dropped.
    is_skipped: bool,
    /// Whether tungstenite has its first frames.
    is_known: bool,
    payload: Vec<u8>,
}

impl PartialMessage {
    fn new(opcode: OpCode, is_deflated: bool) -> Self {
        let (is_skipped, is_known) = (false, false);
        Self { opcode, bytes: 0, is_deflated, is_skipped, is_known, payload: Vec::new() }
    }
}

impl Decompressor {
    /// For messages of up to `most` bytes; `early` is what followed the handshake.
    pub(crate) fn new(most: usize, deflates: bool, early: &[u8]) -> Self {
        Self { deflates, most, is_strict: true, received: BytesMut::from(early), ..Self::default() }
    }

    /// Whether the message that was read last replaces a skipped one. Resets it.
    pub(crate) fn take_skipped(&mut self) -> bool {
        std::mem::take(&mut self.skipped)
    }

    /// Continuation frames received since the last call.
    pub(crate) fn take_fragments(&mut self) -> u32 {
        std::mem::take(&mut self.fragments)
    }

    /// The number of the message that is incomplete.
    pub(crate) fn unfinished(&self) -> Option<u64> {
        self.message.is_some().then_some(self.begun)
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.received.extend_from_slice(bytes);
    }

    /// The next bytes for tungstenite, up to `most`; empty when more must be received first.
    pub(crate) fn next(&mut self, most: usize) -> Result<BytesMut, MessageError> {
        while self.ready.is_empty() {
            let progressed = match self.frame {
                FrameState::Head => self.begin()?,
                FrameState::Through { left, is_last } => {
                    let bytes = self.upcoming(left);
                    self.ready.extend_from_slice(&self.received[..bytes]);
                    self.received.advance(bytes);
                    self.go_through(left - bytes as u64, is_last);
                    bytes > 0
                }
                FrameState::Skipped { left, is_last } => {
                    let bytes = self.upcoming(left);
                    self.received.advance(bytes);
                    self.skip(left - bytes as u64, is_last);
                    bytes > 0 || left == 0
                }
                FrameState::Deflated { left, mask, is_last } => self.gather(left, mask, is_last)?,
            };
            if !progressed {
                break;
            }
        }
        // An idle connection holds no buffers.
        if self.received.is_empty() {
            self.received = BytesMut::new();
        }
        if self.ready.len() <= most {
            return Ok(std::mem::take(&mut self.ready));
        }
        Ok(self.ready.split_to(most))
    }

    /// Parses everything received on a connection that is closing. Returns whether the peer's close
    /// frame was received, now or earlier.
    pub(crate) fn skim(&mut self) -> bool {
        while !self.closed {
            let left = match self.frame {
                FrameState::Head => match head(&self.received) {
                    Ok(None) => break,
                    Ok(Some((header, length, head))) => {
                        self.closed = header.opcode == CLOSE;
                        self.received.advance(head);
                        length
                    }
                    Err(_) => {
                        self.closed = true;
                        break;
                    }
                },
                FrameState::Through { left, .. } | FrameState::Skipped { left, .. } => left,
                FrameState::Deflated { left, .. } => left as u64,
            };
            let bytes = self.upcoming(left);
            self.received.advance(bytes);
            let left = left - bytes as u64;
            if left > 0 {
                self.frame = FrameState::Skipped { left, is_last: false };
                break;
            }
            self.frame = FrameState::Head;
        }
        self.closed
    }

    /// How many of these bytes were received.
    fn upcoming(&self, left: u64) -> usize {
        self.received.len().min(usize::try_from(left).unwrap_or(usize::MAX))
    }

    fn go_through(&mut self, left: u64, is_last: bool) {
        if left > 0 {
            self.frame = FrameState::Through { left, is_last };
            return;
        }
        self.frame = FrameState::Head;
        if is_last {
            self.message = None;
        }
    }

    /// Drops the rest of a frame. At the end of the message tungstenite receives an empty one
    /// instead.
    fn skip(&mut self, left: u64, is_last: bool) {
        if left > 0 {
            self.frame = FrameState::Skipped { left, is_last };
            return;
        }
        self.frame = FrameState::Head;
        if let Some(message) = self.message.take_if(|_| is_last) {
            self.skipped = true;
            let opcode = if message.is_known { CONTINUATION } else { message.opcode };
            push(&mut self.ready, opcode, &[]);
        }
    }

    /// Parses a frame header; false while it is incomplete.
    fn begin(&mut self) -> Result<bool, MessageError> {
        let (header, length, head) = match head(&self.received) {
            Ok(None) => return Ok(false),
            Ok(Some(parsed)) => parsed,
            // tungstenite rejects the same bytes. Where the next frame begins is not known, so the
            // peer's close frame could not be recognised.
            Err(_) => {
                self.closed = true;
                self.ready.unsplit(self.received.split());
                return Ok(true);
            }
        };
        let FrameHeader { is_final: is_last, opcode, mask, .. } = header;
        let is_begin = matches!(opcode, OpCode::Data(Data::Text | Data::Binary));
        let has_reserved = header.rsv2 || header.rsv3;
        self.fragments += u32::from(opcode == CONTINUATION);
        let is_ours = self.message.as_ref().is_some_and(|it| it.is_deflated || it.is_skipped);
        if is_begin && is_ours {
            return Err(MessageError::Mixed);
        }
        let is_deflated = self.deflates && header.rsv1 && !has_reserved;
        let is_plain = !header.rsv1 && !has_reserved;
        let is_data = match &self.message {
            Some(_) => opcode == CONTINUATION && is_plain,
            None => is_begin && (is_plain || is_deflated),
        };
        let Some(mask) = mask.filter(|_| is_data) else {
            // Control frames, and invalid frames, which tungstenite rejects.
            self.closed |= opcode == CLOSE;
            self.ready.extend_from_slice(&self.received[..head]);
            self.received.advance(head);
            self.go_through(length, false);
            return Ok(true);
        };
        let bytes = self.message.as_ref().map_or(0, |message| message.bytes);
        let bytes = bytes.saturating_add(length);
        let is_long = bytes > self.most as u64;
        if is_long && (self.is_strict || bytes > SKIP_TIMES.saturating_mul(self.most as u64)) {
            return Err(MessageError::TooLong);
        }
        if self.message.is_none() {
            self.begun += 1;
        }
        let message = self.message.get_or_insert_with(|| PartialMessage::new(opcode, is_deflated));
        message.bytes = bytes;
        if is_long || message.is_skipped {
            message.is_skipped = true;
            message.payload = Vec::new();
            self.received.advance(head);
            self.skip(length, is_last);
        } else if message.is_deflated {
            self.received.advance(head);
            let left = usize::try_from(length).map_err(|_| MessageError::TooLong)?;
            self.frame = FrameState::Deflated { left, mask, is_last };
        } else {
            message.is_known = true;
            self.ready.extend_from_slice(&self.received[..head]);
            self.received.advance(head);
            self.go_through(length, is_last);
        }
        Ok(true)
    }

    /// Collects payload; false while there is none.
    fn gather(&mut self, left: usize, mask: [u8; 4], is_last: bool) -> Result<bool, MessageError> {
        let message = self.message.as_mut().expect("a frame of it is being read");
        let bytes = self.received.len().min(left);
        let piece = self.received.split_to(bytes);
        message.payload.extend(piece.iter().zip(mask.iter().cycle()).map(|(byte, m)| byte ^ m));
        if bytes < left {
            let turned = [0, 1, 2, 3].map(|at| mask[(bytes + at) % 4]);
            self.frame = FrameState::Deflated { left: left - bytes, mask: turned, is_last };
            return Ok(bytes > 0);
        }
        self.frame = FrameState::Head;
        if is_last {
            let PartialMessage { opcode, payload, .. } = self.message.take().expect("it was there");
            let text = match inflated(&payload, self.most) {
                Err(MessageError::TooLong) if !self.is_strict => {
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

/// A frame header with the lengths of the payload and of the header; `None` while it is incomplete.
fn head(bytes: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, ProtocolError> {
    let mut cursor = io::Cursor::new(bytes);
    let parsed = FrameHeader::parse(&mut cursor)?;
    let length = usize::try_from(cursor.position()).expect("it lies in memory");
    Ok(parsed.map(|(header, payload)| (header, payload, length)))
}

/// Appends a message as a client's frame, with an all-zero mask.
fn push(out: &mut BytesMut, opcode: OpCode, payload: &[u8]) {
    let header = FrameHeader { opcode, mask: Some([0; 4]), ..FrameHeader::default() };
    header.format(payload.len() as u64, &mut out.writer()).expect("memory takes what is written");
    out.put_slice(payload);
}

fn inflated(payload: &[u8], most: usize) -> Result<Vec<u8>, MessageError> {
    let mut inflate = Decompress::new(false);
    let mut out = Vec::new();
    for mut bytes in [payload, &FLUSHED] {
        loop {
            if out.len() == out.capacity() {
                // One byte beyond the limit, to detect a longer message.
                let room = out.len().max(ROOM).min(most + 1 - out.len());
                out.reserve_exact(room);
            }
            let before = inflate.total_in();
            let status = inflate.decompress_vec(bytes, &mut out, FlushDecompress::None);
            let status = status.map_err(|_| MessageError::Broken)?;
            if out.len() > most {
                return Err(MessageError::TooLong);
            }
            let read = usize::try_from(inflate.total_in() - before).expect("a part of it");
            bytes = &bytes[read..];
            if status == Status::StreamEnd {
                // RFC 7692 §7.2.3.5 allows a final block within a message; a new block follows.
                inflate.reset(false);
            } else if out.len() < out.capacity() {
                if !bytes.is_empty() && read == 0 {
                    return Err(MessageError::Broken);
                }
            } else {
                // The output is full, so there may be more of it.
                continue;
            }
            if bytes.is_empty() {
                break;
            }
        }
    }
    // Within a block this fails or produces output.
    let (before, written) = (inflate.total_in(), inflate.total_out());
    let ended = inflate.decompress(&LAST, &mut [0], FlushDecompress::None);
    let is_whole = matches!(ended, Ok(Status::StreamEnd))
        && inflate.total_in() - before == LAST.len() as u64
        && inflate.total_out() == written;
    if is_whole { Ok(out) } else { Err(MessageError::Broken) }
}

#[cfg(test)]
mod tests;
