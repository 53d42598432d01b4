//! The frames of Pulsar's protocol. The library parses commands; a frame that carries an entry is
//! only cut out of the stream, so that its size is known before it is unpacked.

use bytes::{Buf as _, Bytes, BytesMut};
use pulsar::error::ConnectionError;
use pulsar::message::{Codec, Message};
use pulsar::proto::BaseCommand;
use tokio_util::codec::{Decoder, Encoder};

use super::entry::PackedEntry;
use super::protobuf::{MalformedProtobuf, ProtobufFields};

/// The largest frame with an entry, in bytes. Brokers accept entries of up to 5 MiB by default.
pub(super) const FRAME_BYTES: usize = 64 << 20;
/// The largest frame of any other command, in bytes.
const COMMAND_BYTES: usize = 1 << 20;
/// Pulsar's number for the command that carries an entry.
const MESSAGE: u64 = 9;

/// A frame from the broker.
#[derive(Debug)]
pub(super) enum PulsarFrame {
    /// An entry of the topic.
    Entry(PackedEntry),
    /// Any other command.
    Command(Box<BaseCommand>),
}

/// Decodes and encodes frames.
pub(super) struct FrameCodec {
    /// The largest frame that is accepted, in bytes.
    most: usize,
}

impl FrameCodec {
    /// For connections on which entries arrive.
    pub(super) const ENTRIES: Self = Self { most: FRAME_BYTES };
    /// For all others.
    pub(super) const COMMANDS: Self = Self { most: COMMAND_BYTES };
}

impl Decoder for FrameCodec {
    type Item = PulsarFrame;
    type Error = ConnectionError;

    fn decode(&mut self, bytes: &mut BytesMut) -> Result<Option<PulsarFrame>, ConnectionError> {
        let Some(size) = bytes.first_chunk().map(|size| u32::from_be_bytes(*size)) else {
            return Ok(None);
        };
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size > self.most {
            let words = format!("the broker sends a frame of {size} bytes");
            return Err(ConnectionError::Decoding(format!("{words}; the limit is {}", self.most)));
        }
        if bytes.len() < 4 + size {
            return Ok(None);
        }
        let mut frame = bytes.split_to(4 + size);
        if let Some(packed) = entry_of(&frame) {
            return Ok(Some(PulsarFrame::Entry(packed)));
        }
        if size > COMMAND_BYTES {
            let words = format!("the broker sends a command of {size} bytes");
            return Err(ConnectionError::Decoding(format!(
                "{words}; the limit is {COMMAND_BYTES}"
            )));
        }
        let message = Codec.decode(&mut frame)?;
        Ok(message.map(|message| PulsarFrame::Command(Box::new(message.command))))
    }
}

impl Encoder<Message> for FrameCodec {
    type Error = ConnectionError;

    fn encode(&mut self, message: Message, bytes: &mut BytesMut) -> Result<(), ConnectionError> {
        Codec.encode(message, bytes)
    }
}

/// The entry in a whole frame, which consists of its size, the command's size, the command, and the
/// content.
fn entry_of(frame: &BytesMut) -> Option<PackedEntry> {
    let size = usize::try_from(u32::from_be_bytes(*frame.get(4..)?.first_chunk()?)).ok()?;
    let command = frame.get(8..8_usize.checked_add(size)?)?;
    let entry = entry_id(command).ok().flatten()?;
    let mut content = Bytes::copy_from_slice(frame);
    content.advance(8 + size);
    Some(PackedEntry { entry, content })
}

/// The ledger and number of the entry that a command carries; `None` for other commands.
fn entry_id(command: &[u8]) -> Result<Option<(u64, u64)>, MalformedProtobuf> {
    let mut fields = ProtobufFields(command);
    if fields.next().transpose()?.map(|(name, value)| (name, value.number())) != Some((1, MESSAGE))
    {
        return Ok(None);
    }
    let mut id = None;
    for field in fields {
        if let (MESSAGE, message) = field? {
            for field in ProtobufFields(message.bytes()) {
                if let (2, message_id) = field? {
                    let mut found = (0, 0);
                    for field in ProtobufFields(message_id.bytes()) {
                        match field? {
                            (1, ledger) => found.0 = ledger.number(),
                            (2, entry) => found.1 = entry.number(),
                            _ => {}
                        }
                    }
                    id = Some(found);
                }
            }
        }
    }
    Ok(id)
}
