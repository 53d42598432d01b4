//! What arrived, as a delivery: a message that was read, or an entry that cannot be unpacked.

use super::course::{Entry, place_of};
use super::entry::{Arrived, Unreadable};
use crate::bus::{Content, DeadLetter, Delivery};
use crate::model::message::{Incoming, RECEIVED, SCHEMA};
use crate::model::position::Position;
use crate::model::window::Timestamp;
use crate::store::rows::DEAD_LETTER_BYTES;

/// What a delivery is acknowledged with.
#[derive(Debug, Clone, Copy)]
pub struct Receipt {
    pub(super) entry: Entry,
    /// Whether its entry is complete with it.
    pub(super) is_last: bool,
}

/// A message, read.
pub(super) fn read(message: Arrived) -> Delivery<Receipt> {
    let Arrived { entry, index, is_last, published_at, properties, body } = message;
    let property = |name: &str| match name {
        RECEIVED => properties.received.as_deref(),
        SCHEMA => properties.schema.as_deref(),
        _ => None,
    };
    let content = match Incoming::read(&body, property, published_at) {
        Ok(Incoming { envelope, summary, flags_given: true }) => Content::Given(envelope, summary),
        Ok(Incoming { envelope, summary, .. }) => Content::Bare(envelope, summary),
        Err(why) => Content::DeadLetter(DeadLetter {
            reason: why.to_string(),
            received: properties.received,
            schema: properties.schema,
            published_at,
            // One byte more than is kept shows that it is not whole.
            body: Some(body[..body.len().min(DEAD_LETTER_BYTES + 1)].to_vec()),
        }),
    };
    Delivery {
        position: Position { index, ..place_of(entry) },
        outage: properties.outage,
        content,
        receipt: Receipt { entry, is_last },
    }
}

/// What cannot be unpacked, to the end of its entry.
pub(super) fn unpacked(unreadable: Unreadable) -> Delivery<Receipt> {
    let Unreadable { entry, index, reason } = unreadable;
    Delivery {
        position: Position { index, ..place_of(entry) },
        outage: None,
        content: Content::DeadLetter(DeadLetter {
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
        Content::DeadLetter(dead) => dead.body.as_ref().map_or(0, Vec::len),
    }
}
