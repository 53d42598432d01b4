//! What arrived, as a delivery: a message that was read, or an entry that cannot be unpacked.

use pulsar::consumer::Message;

use super::course::{Entry, place_of};
use crate::bus::{Content, Dead, Delivery};
use crate::model::gap::Outage;
use crate::model::message::{GAP, Incoming, RECEIVED, SCHEMA};
use crate::model::position::Position;
use crate::model::window::Timestamp;

/// What a delivery is acknowledged with.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub(super) entry: Entry,
    /// Whether its entry is complete with it.
    pub(super) is_last: bool,
}

/// A message, read.
pub(super) fn read(message: Message<Vec<u8>>) -> Delivery<Receipt> {
    let id = message.message_id();
    let entry = (id.ledger_id, id.entry_id);
    let index = id.batch_index.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
    let published_at = published_at(&message);
    let payload = message.payload;
    let size = payload.metadata.num_messages_in_batch;
    let size = size.and_then(|size| u32::try_from(size).ok()).unwrap_or(1);
    let properties = &payload.metadata.properties;
    let property = |name: &str| {
        properties.iter().find(|property| property.key == name).map(|p| p.value.as_str())
    };
    let outage = property(GAP).and_then(Outage::read);
    let content = match Incoming::read(&payload.data, property, published_at) {
        Ok(Incoming { envelope, outline, flags_given: true }) => Content::Given(envelope, outline),
        Ok(Incoming { envelope, outline, .. }) => Content::Bare(envelope, outline),
        Err(why) => Content::Dead(Dead {
            reason: why.to_string(),
            received: property(RECEIVED).map(str::to_owned),
            schema: property(SCHEMA).map(str::to_owned),
            published_at,
            body: Some(payload.data),
        }),
    };
    Delivery {
        position: Position { index, ..place_of(entry) },
        outage,
        content,
        receipt: Receipt { entry, is_last: index + 1 >= size },
    }
}

/// An entry that cannot be unpacked.
pub(super) fn unpacked(entry: Entry, reason: String) -> Delivery<Receipt> {
    Delivery {
        position: place_of(entry),
        outage: None,
        content: Content::Dead(Dead {
            reason,
            body: None,
            published_at: Timestamp::default(),
            received: None,
            schema: None,
        }),
        receipt: Receipt { entry, is_last: true },
    }
}

/// Bytes that a delivery takes.
pub(super) fn size(delivery: &Delivery<Receipt>) -> usize {
    match &delivery.content {
        Content::Own(envelope, _) | Content::Given(envelope, _) | Content::Bare(envelope, _) => {
            envelope.event.len()
        }
        Content::Dead(dead) => dead.body.as_ref().map_or(0, Vec::len),
    }
}

/// When a message was published, by its producer's clock.
pub(super) fn published_at(message: &Message<Vec<u8>>) -> Timestamp {
    let millis = i64::try_from(message.payload.metadata.publish_time).unwrap_or(i64::MAX);
    Timestamp::from_micros(millis.saturating_mul(1_000))
}
