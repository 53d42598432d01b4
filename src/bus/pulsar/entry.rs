//! An entry of the topic as the broker sends it: unpacked here, within limits, message by message.
//!
//! An entry may claim any size, unpack to any size, and hold any number of messages. So what it
//! claims is compared with what it has before anything is reserved for it, unpacking ends at a
//! limit, and its messages are parts of one buffer, taken out one after the other. An entry beyond
//! the limits is one dead letter.

use std::io::Read as _;

use bytes::{Buf as _, Bytes};

use super::course::Entry;
use super::fields::{Fields, Malformed};
use crate::model::gap::Outage;
use crate::model::message::{GAP, RECEIVED, SCHEMA};
use crate::model::window::Timestamp;

/// The most that an entry may hold unpacked, in bytes. A batch of ghpulse has about half a MiB;
/// brokers take entries of 5 MiB unless told otherwise.
pub(super) const UNPACKED_BYTES: usize = 32 << 20;
/// The most messages that an entry may hold. A batch of ghpulse has 500, of other clients 1,000.
pub(super) const MESSAGES: u32 = 100_000;
/// The most bytes that LZ4 makes of one.
const LZ4_RATIO: usize = 255;
/// The window that zstd may ask memory for, as a power of two: that of [`UNPACKED_BYTES`].
const ZSTD_WINDOW: u32 = 25;
/// Longer values of properties are not taken: none that means anything is.
const PROPERTY_BYTES: usize = 100;

/// An entry as it came.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    pub(super) entry: Entry,
    /// All behind the command: checksum, metadata, payload.
    pub(super) content: Bytes,
}

/// A message of the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Arrived {
    pub(super) entry: Entry,
    /// Its place in the entry.
    pub(super) index: u32,
    /// Whether its entry ends with it.
    pub(super) is_last: bool,
    /// When it was published, by its producer's clock.
    pub(super) published_at: Timestamp,
    pub(super) properties: Properties,
    pub(super) body: Bytes,
}

/// A part of the topic that cannot be read, up to the end of its entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) entry: Entry,
    /// Where in the entry it begins.
    pub(super) index: u32,
    pub(super) reason: String,
}

/// The properties that mean something here.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Properties {
    pub(super) received: Option<String>,
    pub(super) schema: Option<String>,
    pub(super) outage: Option<Outage>,
}

/// An entry's messages.
#[derive(Debug)]
pub(super) struct Messages {
    entry: Entry,
    published_at: Timestamp,
    /// Of a message that is its entry alone.
    properties: Properties,
    /// What is left of the payload, unpacked.
    rest: Bytes,
    index: u32,
    /// How many there are in a batch; `None` for a message alone.
    batch: Option<u32>,
    /// Why it cannot be read, or not further.
    reason: Option<String>,
    /// By how many messages the broker counts it.
    pub(super) counted: u64,
}

#[derive(Default)]
struct Metadata {
    publish_time: u64,
    compression: u64,
    uncompressed_size: u64,
    batch: Option<i32>,
    properties: Properties,
}

impl Packed {
    /// Unpacks it, as far as that is within the limits.
    pub(super) fn unpack(self) -> Messages {
        let mut messages = Messages {
            entry: self.entry,
            published_at: Timestamp::default(),
            properties: Properties::default(),
            rest: Bytes::new(),
            index: 0,
            batch: None,
            reason: None,
            counted: 1,
        };
        if let Err(reason) = messages.read(self.content) {
            messages.reason = Some(format!("an entry of the topic cannot be unpacked: {reason}"));
        }
        messages
    }
}

impl Messages {
    fn read(&mut self, mut content: Bytes) -> Result<(), String> {
        const CHECKSUM: [u8; 2] = [0x0e, 0x01];
        if content.starts_with(&CHECKSUM) && content.len() >= 6 {
            content.advance(2);
            let sum = content.get_u32();
            if sum != crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&content) {
                return Err("its checksum is wrong".to_owned());
            }
        }
        let metadata = sized(&mut content).ok_or("it ends before its metadata does")?;
        let metadata = Metadata::read(&metadata).map_err(|Malformed| "its metadata is damaged")?;
        let millis = i64::try_from(metadata.publish_time).unwrap_or(i64::MAX);
        self.published_at = Timestamp::from_micros(millis.saturating_mul(1_000));
        self.counted = u64::try_from(metadata.batch.unwrap_or(1)).unwrap_or(1).max(1);
        self.batch = match metadata.batch.map(u32::try_from) {
            None => None,
            Some(Ok(count @ 1..=MESSAGES)) => Some(count),
            Some(_) => {
                let count = self.counted;
                return Err(format!("it claims {count} messages; up to {MESSAGES} are taken"));
            }
        };
        self.properties = metadata.properties;
        self.rest = unpack(metadata.compression, metadata.uncompressed_size, content)?;
        Ok(())
    }

    /// The next message, of a batch or alone.
    fn take(&mut self) -> Result<Arrived, &'static str> {
        let (properties, body, is_last) = match self.batch {
            None => (std::mem::take(&mut self.properties), std::mem::take(&mut self.rest), true),
            Some(count) => {
                let about = sized(&mut self.rest).ok_or("a batch ends before its messages do")?;
                let (properties, length) =
                    single(&about).map_err(|Malformed| "a message's metadata is damaged")?;
                if length > self.rest.len() {
                    return Err("a batch ends before its messages do");
                }
                (properties, self.rest.split_to(length), self.index + 1 == count)
            }
        };
        let (entry, index, published_at) = (self.entry, self.index, self.published_at);
        Ok(Arrived { entry, index, is_last, published_at, properties, body })
    }

    fn is_over(&self) -> bool {
        self.index >= self.batch.unwrap_or(1)
    }
}

impl Iterator for Messages {
    type Item = Result<Arrived, Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_over() {
            return None;
        }
        let taken = match self.reason.take() {
            Some(reason) => Err(reason),
            None => self.take().map_err(|why| format!("an entry of the topic is damaged: {why}")),
        };
        match taken {
            Ok(arrived) => {
                self.index += 1;
                Some(Ok(arrived))
            }
            Err(reason) => {
                let index = std::mem::replace(&mut self.index, u32::MAX);
                Some(Err(Unreadable { entry: self.entry, index, reason }))
            }
        }
    }
}

/// Cuts off a part that has its length in front, four bytes.
fn sized(bytes: &mut Bytes) -> Option<Bytes> {
    let length = usize::try_from(u32::from_be_bytes(*bytes.first_chunk()?)).ok()?;
    if bytes.len() - 4 < length {
        return None;
    }
    bytes.advance(4);
    Some(bytes.split_to(length))
}

impl Metadata {
    /// Of `MessageMetadata` in Pulsar's protocol. Of a field that comes twice, the last one counts.
    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut metadata = Self::default();
        for field in Fields(bytes) {
            match field? {
                (3, value) => metadata.publish_time = value.number(),
                (4, value) => metadata.properties.add(value.bytes())?,
                (8, value) => metadata.compression = value.number(),
                (9, value) => metadata.uncompressed_size = value.number(),
                // A negative number has all 64 bits.
                (11, value) => {
                    let count = i32::try_from(value.number().cast_signed());
                    metadata.batch = Some(count.map_err(|_| Malformed)?);
                }
                _ => {}
            }
        }
        Ok(metadata)
    }
}

/// The properties of a message in a batch, and the length of its body: `SingleMessageMetadata`.
fn single(bytes: &[u8]) -> Result<(Properties, usize), Malformed> {
    let (mut properties, mut length) = (Properties::default(), 0);
    for field in Fields(bytes) {
        match field? {
            (1, value) => properties.add(value.bytes())?,
            (3, value) => length = usize::try_from(value.number()).map_err(|_| Malformed)?,
            _ => {}
        }
    }
    Ok((properties, length))
}

impl Properties {
    fn add(&mut self, pair: &[u8]) -> Result<(), Malformed> {
        let (mut name, mut value) = (&[][..], &[][..]);
        for field in Fields(pair) {
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
            _ => {}
        }
        Ok(())
    }
}

/// The payload, unpacked: never more than is claimed, or than is taken at all.
fn unpack(compression: u64, claimed: u64, packed: Bytes) -> Result<Bytes, String> {
    let too_large = |bytes: u64| {
        format!("it unpacks to {bytes} bytes or more; up to {UNPACKED_BYTES} are taken")
    };
    let limit = match usize::try_from(claimed) {
        Ok(0) => UNPACKED_BYTES,
        Ok(claimed) if claimed <= UNPACKED_BYTES => claimed,
        _ => return Err(too_large(claimed)),
    };
    let failed = |error: std::io::Error| error.to_string();
    let unpacked = match compression {
        0 => return Ok(packed),
        1 => {
            // The library reserves what is claimed.
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
        4 => return Err("it is packed with Snappy, which is not read".to_owned()),
        other => return Err(format!("it is packed in an unknown way ({other})")),
    };
    if unpacked.len() > limit {
        return Err(too_large(unpacked.len() as u64));
    }
    Ok(unpacked.into())
}

/// All of it, or one byte more than the limit.
fn read_up_to(limit: usize, from: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    from.take(limit as u64 + 1).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

#[cfg(test)]
mod tests;
