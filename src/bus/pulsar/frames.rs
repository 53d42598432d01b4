//! Frames of Pulsar's protocol, cut from what the broker sends. Commands are read by the library;
//! a frame that carries an entry is only cut, so that nothing of it is unpacked before its size is
//! known.

use bytes::{Buf as _, Bytes, BytesMut};
use pulsar::error::ConnectionError;
use pulsar::message::{Codec, Message};
use pulsar::proto::BaseCommand;
use tokio_util::codec::{Decoder, Encoder};

use super::entry::Packed;
use super::fields::{Fields, Malformed};

/// The largest frame that carries an entry. Brokers take entries of 5 MiB unless told otherwise.
pub(super) const FRAME_BYTES: usize = 64 << 20;
/// The largest frame of any other command.
const COMMAND_BYTES: usize = 1 << 20;
/// Pulsar's number for the command that carries an entry.
const MESSAGE: u64 = 9;

/// What the broker says.
#[derive(Debug)]
pub(super) enum Frame {
    /// An entry of the topic.
    Entry(Packed),
    /// Anything else.
    Command(Box<BaseCommand>),
}

/// Cuts and makes frames.
pub(super) struct Frames;

impl Decoder for Frames {
    type Item = Frame;
    type Error = ConnectionError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<Frame>, ConnectionError> {
        let Some(size) = bytes.first_chunk().map(|size| u32::from_be_bytes(*size)) else {
            return Ok(None);
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > FRAME_BYTES {
            let words = format!("the broker sends {size} bytes at once; up to {FRAME_BYTES}");
            return Err(ConnectionError::Decoding(format!("{words} are taken")));
        }
        if bytes.len() < 4 + size {
            return Ok(None);
        }
        let mut frame = bytes.split_to(4 + size);
        if let Some(packed) = entry_of(&frame) {
            return Ok(Some(Frame::Entry(packed)));
        }
        if size > COMMAND_BYTES {
            let words = format!("the broker sends a command of {size} bytes");
            return Err(ConnectionError::Decoding(words));
        }
        let message = Codec.decode(&mut frame)?;
        Ok(message.map(|message| Frame::Command(Box::new(message.command))))
    }
}

impl Encoder<Message> for Frames {
    type Error = ConnectionError;

    fn encode(&mut self, message: Message, bytes: &mut BytesMut) -> Result<(), ConnectionError> {
        Codec.encode(message, bytes)
    }
}

/// The entry that a whole frame carries: behind its size the size of the command, the command, and
/// the content.
fn entry_of(frame: &BytesMut) -> Option<Packed> {
    let size = usize::try_from(u32::from_be_bytes(*frame.get(4..)?.first_chunk()?)).ok()?;
    let command = frame.get(8..8_usize.checked_add(size)?)?;
    let entry = place(command).ok().flatten()?;
    let mut content = Bytes::copy_from_slice(frame);
    content.advance(8 + size);
    Some(Packed { entry, content })
}

/// Where the entry is that the command brings; `None` for other commands.
fn place(command: &[u8]) -> Result<Option<(u64, u64)>, Malformed> {
    let mut fields = Fields(command);
    if fields.next().transpose()?.map(|(name, value)| (name, value.number())) != Some((1, MESSAGE))
    {
        return Ok(None);
    }
    let mut place = None;
    for field in fields {
        if let (MESSAGE, message) = field? {
            for field in Fields(message.bytes()) {
                if let (2, id) = field? {
                    let mut found = (0, 0);
                    for field in Fields(id.bytes()) {
                        match field? {
                            (1, ledger) => found.0 = ledger.number(),
                            (2, entry) => found.1 = entry.number(),
                            _ => {}
                        }
                    }
                    place = Some(found);
                }
            }
        }
    }
    Ok(place)
}
