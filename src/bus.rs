//! The bus carries events from collectors to the apply stage: the embedded log, or a broker.
//!
//! A bus delivers at least once and in order, each delivery with its [`Position`]. The apply stage
//! makes that exactly once: in the batch that applies deliveries it calls [`Bus::settle`], which
//! adds the bus's own changes to the batch, and after the commit [`Bus::acknowledge`].
//!
//! A broker has two ends: [`Bus`] receives deliveries, [`Outlet`] sends the rows of the outbox. The
//! embedded log needs no outlet: its deliveries are the rows of the outbox.
//!
//! To add a broker, write a module beside [`pulsar`] that implements both traits.

pub mod embedded;
pub mod outbox;
pub mod pulsar;

use std::time::Duration;

use self::pulsar::error::PulsarError;
use crate::model::envelope::Envelope;
use crate::model::event_summary::EventSummary;
use crate::model::gap::Outage;
use crate::model::message::Outgoing;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Timestamp;
use crate::store::{Batch, StoreError};

/// One message that the bus delivers.
#[derive(Debug)]
pub struct Delivery<R> {
    /// Its position on the bus: the same on every node and at every redelivery.
    pub position: Position,
    /// The outage of polling before it, when its producer reported one.
    pub outage: Option<Outage>,
    /// The event, or a dead letter.
    pub content: Content,
    /// Passed back to the bus once the delivery is applied.
    pub receipt: R,
}

/// The content of a delivery.
#[expect(clippy::large_enum_variant, reason = "most deliveries are events")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An event.
    Event(Envelope, EventSummary, FactsFrom),
    /// An unreadable message. It goes to the dead-letter queue, once.
    DeadLetter(DeadLetter),
}

/// Where the facts of an event were determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactsFrom {
    /// On this node, before the bus. The event was claimed as seen at admission; the apply stage
    /// claims the first-time keys.
    Here,
    /// On another node, which set the first-time flags. This store may not have seen the event
    /// before.
    Elsewhere,
    /// Nowhere: the message has no first-time flags, and the apply stage claims the keys.
    Nobody,
}

impl FactsFrom {
    /// For a message that was produced elsewhere, with or without its first-time flags.
    #[must_use]
    pub fn of_message(flags_given: bool) -> Self {
        if flags_given { Self::Elsewhere } else { Self::Nobody }
    }
}

/// An unreadable message, with everything that is needed to retry it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why it cannot be read.
    pub reason: String,
    /// Its body; `None` when its entry could not be decompressed.
    pub body: Option<Vec<u8>>,
    /// Whether it is an entry that arrived damaged again and again, so that an unknown number of
    /// events is missing.
    pub is_damaged: bool,
    /// When it was published.
    pub published_at: Timestamp,
    /// Its property `received`.
    pub received: Option<String>,
    /// Its property `schema`.
    pub schema: Option<String>,
    /// Whether it has the property `simulated`.
    pub simulated: bool,
}

/// Why the bus cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The store under the embedded bus.
    #[error("cannot read or settle the outbox")]
    Store(#[from] StoreError),
    /// The broker.
    #[error(transparent)]
    Pulsar(#[from] PulsarError),
}

impl BusError {
    /// Whether a retry may succeed; otherwise the appliance stops.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(_) => false,
            Self::Pulsar(error) => error.is_transient(),
        }
    }

    /// Which of the messages that were to be sent is larger than the broker accepts; those before
    /// it are stored.
    #[must_use]
    pub fn too_large(&self) -> Option<usize> {
        match self {
            Self::Pulsar(PulsarError::TooLarge { index, .. }) => Some(*index),
            Self::Pulsar(_) | Self::Store(_) => None,
        }
    }

    /// Whether the topic was terminated, so that nobody can produce to it.
    #[must_use]
    pub fn is_terminated(&self) -> bool {
        matches!(self, Self::Pulsar(PulsarError::Terminated { .. }))
    }

    /// Whether only a change of the configuration helps.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Pulsar(error) if error.is_configuration())
    }
}

/// The receiving end of the bus.
pub trait Bus: Send + 'static {
    /// Identifies a delivery when it is acknowledged.
    type Receipt: Send + 'static;

    /// The tag of this bus; part of every cursor.
    fn tag(&self) -> BusTag;

    /// Waits for the next deliveries, in order, and returns at least one. Cancel safe: dropping the
    /// future loses nothing.
    fn next(
        &mut self,
    ) -> impl Future<Output = Result<Vec<Delivery<Self::Receipt>>, BusError>> + Send;

    /// Adds to the batch that applies deliveries whatever the bus has to change with them.
    fn settle(receipts: &[Self::Receipt], batch: &mut Batch<'_>) -> Result<(), StoreError>;

    /// Called after that batch is on disk: the deliveries need not be repeated.
    fn acknowledge(
        &mut self,
        receipts: Vec<Self::Receipt>,
    ) -> impl Future<Output = Result<(), BusError>> + Send;
}

/// Whether this collector may produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerGrant {
    /// The first request to the broker is under way.
    Unasked,
    /// The broker has not answered the first request: admitted events wait in the outbox.
    Unanswered,
    /// This node is the topic's only producer.
    Granted,
    /// Another producer has the topic; this node is on standby.
    Standby,
    /// The topic was terminated, so that nobody can produce: admitted events wait in the outbox.
    Terminated,
}

impl ProducerGrant {
    /// Whether events may be admitted.
    #[must_use]
    pub fn may_admit(self) -> bool {
        matches!(self, Self::Granted | Self::Unanswered | Self::Terminated)
    }
}

/// What is wrong with a topic that was terminated, and what to do, for people.
pub const TERMINATED: &str = "the topic was terminated: use another one";

/// How this node requests the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerAccess {
    /// Only when there is no other producer.
    Free,
    /// Fences off another producer for a moment, to hand over rows.
    Fencing,
}

/// The sending end of a broker: the relay moves the outbox through it.
pub trait Outlet: Send + 'static {
    /// Requests to be the only producer, giving up an earlier grant. Never waits for another
    /// producer to leave.
    fn ask(
        &mut self,
        access: ProducerAccess,
    ) -> impl Future<Output = Result<ProducerGrant, BusError>> + Send;

    /// The position of the topic's last message, or `None` when the broker cannot say. While this
    /// node holds the grant, only its own messages come after it.
    fn end(&mut self) -> impl Future<Output = Result<Option<Cursor>, BusError>> + Send;

    /// The tag of the topic, which its cursors have.
    fn tag(&self) -> BusTag;

    /// Gives the topic back, so that another producer can take over at once.
    fn give_back(&mut self) -> impl Future<Output = ()> + Send;

    /// Waits until the grant is lost while nothing is sent, and returns the reason. Cancel safe.
    fn lost(&mut self) -> impl Future<Output = BusError> + Send;

    /// Sends messages in order, after all earlier ones, and waits until the broker has confirmed
    /// them. Returns the cursor of the entry with the last of them, or `None` when the broker does
    /// not name it. After an error any of them may have been stored, and the grant is lost. Where
    /// one is [too large](BusError::too_large), those before it are stored, those behind it are
    /// not, and the grant is kept.
    fn send(
        &mut self,
        messages: Vec<Outgoing>,
    ) -> impl Future<Output = Result<Option<Cursor>, BusError>> + Send;
}

/// The state of the connection to a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusState {
    /// Whether there is a working connection.
    pub connected: bool,
    /// When `connected` last changed.
    pub since: Timestamp,
    /// The last error, for people; it stays after the connection is back.
    pub trouble: Option<String>,
    /// Whether the topic has entries that the broker does not deliver; `trouble` explains it.
    pub stuck: bool,
    /// Whether the broker said that the topic was terminated, and nothing has arrived since. A
    /// session that begins later finds it out when it is silent.
    pub terminated: bool,
    /// The age of the newest delivery while more are known to follow; `None` when everything was
    /// delivered, or nothing has arrived yet.
    pub behind: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_error_is_found_below_a_bus_error() {
        let error = anyhow::Error::from(BusError::from(StoreError::Closed));
        assert!(error.chain().any(<dyn std::error::Error>::is::<StoreError>));
    }
}
