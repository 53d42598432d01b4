//! Makes a delivery of each message, and a dead letter of each entry that cannot be unpacked.

use super::entry::{TopicMessage, UnreadableEntry};
use super::progress::{EntryId, entry_of, position_of};
use crate::bus::{Content, DeadLetter, Delivery, FactsFrom};
use crate::model::message::Incoming;
use crate::model::position::{BusTag, Position};
use crate::store::rows::DEAD_LETTER_BYTES;

/// Identifies a delivery when it is acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct PulsarReceipt {
    pub(super) entry: EntryId,
    /// Whether it is the last message of its entry.
    pub(super) is_last: bool,
    /// The entry that it names in the property `after`: it was on the topic before it.
    pub(super) after: Option<EntryId>,
}

/// The delivery of a message of the topic that has this tag.
pub(super) fn read(message: TopicMessage, tag: BusTag) -> Delivery<PulsarReceipt> {
    let TopicMessage { entry, index, is_last, published_at, properties, body } = message;
    let given = [properties.received.as_deref(), properties.schema.as_deref()];
    let content = match Incoming::read(&body, given, published_at) {
        Ok(Incoming { mut envelope, summary, flags_given }) => {
            envelope.facts.simulated = properties.simulated;
            Content::Event(envelope, summary, FactsFrom::of_message(flags_given))
        }
        Err(why) => Content::DeadLetter(DeadLetter {
            reason: why.to_string(),
            received: properties.received,
            schema: properties.schema,
            simulated: properties.simulated,
            published_at,
            // One byte more than is kept shows that the body was cut.
            body: Some(body[..body.len().min(DEAD_LETTER_BYTES + 1)].to_vec()),
            is_damaged: false,
        }),
    };
    let after = properties.after.filter(|after| after.tag == tag);
    let after = after.map(|after| entry_of(after.position));
    Delivery {
        position: Position { index, ..position_of(entry) },
        outage: properties.outage,
        content,
        receipt: PulsarReceipt { entry, is_last, after },
    }
}

/// The dead letter for the rest of an entry that cannot be unpacked.
pub(super) fn unpacked(unreadable: UnreadableEntry) -> Delivery<PulsarReceipt> {
    let UnreadableEntry { entry, index, reason, is_intact } = unreadable;
    let dead = DeadLetter { reason, is_damaged: !is_intact, ..DeadLetter::default() };
    Delivery {
        position: Position { index, ..position_of(entry) },
        outage: None,
        content: Content::DeadLetter(dead),
        receipt: PulsarReceipt { entry, is_last: true, after: None },
    }
}

/// The size of a delivery in bytes.
pub(super) fn size(delivery: &Delivery<PulsarReceipt>) -> usize {
    match &delivery.content {
        Content::Event(envelope, ..) => envelope.event.len(),
        Content::DeadLetter(dead) => dead.body.as_ref().map_or(0, Vec::len),
    }
}
