//! Packs entries of the topic, and unpacks them, within limits, into their messages.
//!
//! An entry may claim any size, decompress to any size, and hold any number of messages. So its
//! claims are checked before memory is reserved, decompression stops at a limit, and its messages
//! are slices of one buffer, returned one by one. An entry beyond the limits becomes one dead
//! letter.

use std::io::{self, Read as _, Write as _};

use bytes::{Buf as _, Bytes};
use pulsar::proto::CompressionType;

use super::progress::EntryId;
use super::protobuf::{MalformedProtobuf, ProtobufFields};
use crate::config::Compression;
use crate::model::gap::Outage;
use crate::model::message::{AFTER, GAP, IS_SIMULATED, RECEIVED, SCHEMA, SIMULATED};
use crate::model::position::Cursor;
use crate::model::window::Timestamp;

/// The largest decompressed size of an entry, in bytes. A batch of ghpulse has about 1 MiB, or
/// one larger event; brokers accept entries of up to 5 MiB by default.
pub(super) const UNPACKED_BYTES: usize = 32 << 20;
/// The most messages in an entry. A batch of ghpulse has 500, those of other clients 1,000.
pub(super) const MESSAGES: u32 = 100_000;
/// The largest ratio of decompressed to compressed size in LZ4.
const LZ4_RATIO: usize = 255;
/// The largest window of zstd, as a power of two: enough for [`UNPACKED_BYTES`].
const ZSTD_WINDOW: u32 = 25;
/// Longer values of properties are ignored: no property that is used here has one.
const PROPERTY_BYTES: usize = 100;

/// Computes the checksums of entries: CRC32C.
static CHECKSUMS: Checksums = Checksums::new(&crc::CRC_32_ISCSI);
/// With tables for 16 bytes at a time.
type Checksums = crc::Crc<u32, crc::Table<16>>;

/// An entry as the broker sent it.
#[derive(Debug, Clone)]
pub(super) struct PackedEntry {
    pub(super) entry: EntryId,
    /// Everything after the command: checksum, metadata, payload.
    pub(super) content: Bytes,
}

/// A message of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TopicMessage {
    pub(super) entry: EntryId,
    /// Its index in the entry.
    pub(super) index: u32,
    /// Whether it is the last message of its entry.
    pub(super) is_last: bool,
    /// When it was published, by its producer's clock.
    pub(super) published_at: Timestamp,
    pub(super) properties: MessageProperties,
    pub(super) body: Bytes,
}

/// An entry that cannot be unpacked, or the rest of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnreadableEntry {
    pub(super) entry: EntryId,
    /// The index of its first message.
    pub(super) index: u32,
    pub(super) reason: String,
    /// Whether a checksum shows that the entry arrived as its producer made it.
    pub(super) is_intact: bool,
}

/// The properties that are used here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct MessageProperties {
    pub(super) received: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) outage: Option<Outage>,
    /// A message before this one; `None` in an entry that was copied from another cluster, where
    /// positions mean something else.
    pub(super) after: Option<Cursor>,
    pub(super) simulated: bool,
}

/// Iterates over the messages of an entry.
#[derive(Debug, Default)]
pub(super) struct EntryMessages {
    entry: EntryId,
    published_at: Timestamp,
    /// The properties of a message that has the entry to itself.
    properties: MessageProperties,
    /// The rest of the decompressed payload.
    rest: Bytes,
    index: u32,
    /// The number of messages in a batch; `None` for a single message.
    batch: Option<u32>,
    /// Why the entry, or its rest, cannot be read.
    reason: Option<String>,
    /// Whether the entry has a checksum, and it is right.
    is_intact: bool,
    /// Whether it was copied from another cluster.
    is_replicated: bool,
    /// How many messages the broker counts for this entry.
    pub(super) counted: u64,
}

#[derive(Default)]
struct Metadata {
    publish_time: u64,
    compression: u64,
    uncompressed_size: u64,
    batch: Option<i32>,
    is_replicated: bool,
    properties: MessageProperties,
}

impl PackedEntry {
    /// Unpacks the entry within the limits.
    pub(super) fn unpack(self) -> EntryMessages {
        let entry = self.entry;
        let mut messages = EntryMessages { entry, counted: 1, ..EntryMessages::default() };
        if let Err(reason) = messages.read(self.content) {
            messages.reason = Some(format!("cannot unpack an entry of the topic: {reason}"));
        }
        messages
    }
}

impl EntryMessages {
    fn read(&mut self, mut content: Bytes) -> Result<(), String> {
        const CHECKSUM: [u8; 2] = [0x0e, 0x01];
        if content.starts_with(&CHECKSUM) && content.len() >= 6 {
            content.advance(2);
            let sum = content.get_u32();
            if sum != CHECKSUMS.checksum(&content) {
                return Err("wrong checksum".to_owned());
            }
            self.is_intact = true;
        }
        let metadata = sized(&mut content).ok_or("it ends within its metadata")?;
        let metadata =
            Metadata::read(&metadata).map_err(|MalformedProtobuf| "malformed metadata")?;
        let millis = i64::try_from(metadata.publish_time).unwrap_or(i64::MAX);
        self.published_at = Timestamp::from_micros(millis.saturating_mul(1_000));
        self.counted = u64::try_from(metadata.batch.unwrap_or(1)).unwrap_or(1).max(1);
        self.batch = match metadata.batch.map(u32::try_from) {
            None => None,
            Some(Ok(count @ 1..=MESSAGES)) => Some(count),
            Some(_) => {
                let claimed = metadata.batch.unwrap_or_default();
                return Err(format!("it claims {claimed} messages, not 1 to {MESSAGES}"));
            }
        };
        (self.properties, self.is_replicated) = (metadata.properties, metadata.is_replicated);
        self.rest = unpack(metadata.compression, metadata.uncompressed_size, content)?;
        Ok(())
    }

    /// The next message.
    fn take(&mut self) -> Result<TopicMessage, &'static str> {
        let (mut properties, body, is_last) = match self.batch {
            None => (std::mem::take(&mut self.properties), std::mem::take(&mut self.rest), true),
            Some(count) => {
                let about = sized(&mut self.rest).ok_or("the batch ends within a message")?;
                let (properties, length) = single(&about)
                    .map_err(|MalformedProtobuf| "malformed metadata of a message")?;
                if length > self.rest.len() {
                    return Err("the batch ends within a message");
                }
                (properties, self.rest.split_to(length), self.index + 1 == count)
            }
        };
        properties.after = properties.after.filter(|_| !self.is_replicated);
        let (entry, index, published_at) = (self.entry, self.index, self.published_at);
        Ok(TopicMessage { entry, index, is_last, published_at, properties, body })
    }

    fn is_over(&self) -> bool {
        self.index >= self.batch.unwrap_or(1)
    }
}

impl Iterator for EntryMessages {
    type Item = Result<TopicMessage, UnreadableEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over() {
            return None;
        }
        let taken = match self.reason.take() {
            Some(reason) => Err(reason),
            None => self.take().map_err(|why| format!("damaged entry of the topic: {why}")),
        };
        match taken {
            Ok(arrived) => {
                self.index += 1;
                Some(Ok(arrived))
            }
            Err(reason) => {
                let index = std::mem::replace(&mut self.index, u32::MAX);
                let (entry, is_intact) = (self.entry, self.is_intact);
                Some(Err(UnreadableEntry { entry, index, reason, is_intact }))
            }
        }
    }
}

/// Splits off a part that is prefixed with its length, four bytes.
fn sized(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()?;
    if bytes.len() - 4 < length {
        return None;
    }
    bytes.advance(4);
    Some(bytes.split_to(length))
}

impl Metadata {
    /// Reads `MessageMetadata` of Pulsar's protocol. The last of repeated fields counts.
    fn read(bytes: &[u8]) -> Result<Self, MalformedProtobuf> {
        let mut metadata = Self::default();
        for field in ProtobufFields(bytes) {
            match field? {
                (3, value) => metadata.publish_time = value.number(),
                (4, value) => metadata.properties.add(value.bytes())?,
                (5, _) => metadata.is_replicated = true,
                (8, value) => metadata.compression = value.number(),
                (9, value) => metadata.uncompressed_size = value.number(),
                // A negative number is written with all 64 bits.
                (11, value) => {
                    let count = i32::try_from(value.number().cast_signed());
                    metadata.batch = Some(count.map_err(|_| MalformedProtobuf)?);
                }
                _ => {}
            }
        }
        Ok(metadata)
    }
}

/// Reads `SingleMessageMetadata`: the properties of a message in a batch and its body's length.
fn single(bytes: &[u8]) -> Result<(MessageProperties, usize), MalformedProtobuf> {
    let (mut properties, mut length) = (MessageProperties::default(), 0);
    for field in ProtobufFields(bytes) {
        match field? {
            (1, value) => properties.add(value.bytes())?,
            (3, value) => {
                length = usize::try_from(value.number()).map_err(|_| MalformedProtobuf)?;
            }
            _ => {}
        }
    }
    Ok((properties, length))
}

impl MessageProperties {
    fn add(&mut self, pair: &[u8]) -> Result<(), MalformedProtobuf> {
        let (mut name, mut value) = (&[][..], &[][..]);
        for field in ProtobufFields(pair) {
            match field? {
                (1, found) => name = found.bytes(),
                (2, found) => value = found.bytes(),
                _ => {}
            }
        }
        let text = || Some(std::str::from_utf8(value).ok()?.to_owned());
        let text = || text().filter(|text| text.len() <= PROPERTY_BYTES);
        match std::str::from_utf8(name) {
            Ok(RECEIVED) => self.received = text(),
            Ok(SCHEMA) => self.schema = text(),
            Ok(GAP) => self.outage = text().as_deref().and_then(Outage::read),
            Ok(SIMULATED) => self.simulated = value == IS_SIMULATED.as_bytes(),
            Ok(AFTER) => self.after = text().and_then(|text| text.parse().ok()),
            _ => {}
        }
        Ok(())
    }
}

/// Compresses the payload of an entry.
pub(super) fn pack(
    compression: Compression,
    payload: Vec<u8>,
) -> io::Result<(Option<CompressionType>, Vec<u8>)> {
    Ok(match compression {
        Compression::None => (None, payload),
        Compression::Lz4 => {
            (Some(CompressionType::Lz4), lz4::block::compress(&payload, None, false)?)
        }
        Compression::Zlib => {
            let mut packed =
                flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
            packed.write_all(&payload)?;
            (Some(CompressionType::Zlib), packed.finish()?)
        }
        Compression::Zstd => {
            let packed = zstd::encode_all(&payload[..], zstd::DEFAULT_COMPRESSION_LEVEL)?;
            (Some(CompressionType::Zstd), packed)
        }
    })
}

/// Decompresses the payload, up to the claimed size and never beyond the limit.
fn unpack(compression: u64, claimed: u64, packed: Bytes) -> Result<Bytes, String> {
    let limit = match usize::try_from(claimed) {
        Ok(0) => UNPACKED_BYTES,
        Ok(claimed) if claimed <= UNPACKED_BYTES => claimed,
        _ => {
            let limit = UNPACKED_BYTES;
            return Err(format!("it decompresses to {claimed} bytes; the limit is {limit}"));
        }
    };
    let failed = |error: io::Error| error.to_string();
    let unpacked = match compression {
        0 => return Ok(packed),
        1 => {
            // The library reserves the claimed size.
            if limit > packed.len().saturating_mul(LZ4_RATIO) {
                return Err(format!("{} bytes of LZ4 claim to be {limit}", packed.len()));
            }
            let size = i32::try_from(limit).ok();
            lz4::block::decompress(&packed, size).map_err(failed)?
        }
        2 => read_up_to(limit, flate2::read::ZlibDecoder::new(&packed[..])).map_err(failed)?,
        3 => {
            let decoder = zstd::stream::read::Decoder::with_buffer(&packed[..]);
            let mut decoder = decoder.map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW).map_err(failed)?;
            read_up_to(limit, decoder).map_err(failed)?
        }
        4 => return Err("it is compressed with Snappy, which is not supported".to_owned()),
        other => return Err(format!("unknown compression {other}")),
    };
    if unpacked.len() > limit {
        let whose = if claimed == 0 { "the limit" } else { "what it claims" };
        return Err(format!("it decompresses to more than {limit} bytes, {whose}"));
    }
    Ok(unpacked.into())
}

/// Reads everything, but at most one byte more than the limit.
fn read_up_to(limit: usize, from: impl io::Read) -> io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests;
