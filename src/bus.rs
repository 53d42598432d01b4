//! What carries events from collectors to whoever applies them: the embedded log, or a broker.
//!
//! A bus delivers at least once and in order, each delivery with its [`Position`]. Whoever applies
//! makes it exactly once: in the batch that applies deliveries it calls [`Bus::settle`], which puts
//! there what has to change together with them, and after the commit [`Bus::acknowledge`].
//!
//! A broker has two ends: [`Bus`] is where deliveries come from, [`Outlet`] is where the outbox
//! goes. The embedded log is its own outlet.

pub mod embedded;
pub mod outbox;
pub mod pulsar;

use std::time::Duration;

use self::pulsar::PulsarError;
use crate::model::envelope::Envelope;
use crate::model::event_summary::EventSummary;
use crate::model::gap::Outage;
use crate::model::message::Outgoing;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Timestamp;
use crate::store::{Batch, StoreError};

/// Something from the bus.
#[derive(Debug)]
pub struct Delivery<R> {
    /// Where it is on the bus: the same on every node, also when it is delivered again.
    pub position: Position,
    /// The time before it in which GitHub was not read, when its producer says so.
    pub outage: Option<Outage>,
    /// What it carries.
    pub content: Content,
    /// What the bus wants back when it is applied.
    pub receipt: R,
}

/// What a delivery carries, and who knows what about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An event of this store's own outbox: it was read, and claimed as seen, on the way in. What
    /// was seen for the first time is found out by whoever applies it.
    Own(Envelope, EventSummary),
    /// An event whose facts are complete. This store may see it for the first time.
    Given(Envelope, EventSummary),
    /// An event of which nobody said what was seen for the first time: whoever applies it finds
    /// that out.
    Bare(Envelope, EventSummary),
    /// A message that cannot be read. It goes to the dead-letter log, once.
    DeadLetter(DeadLetter),
}

/// A message that cannot be read, and all that it takes to try it again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Why it cannot be read.
    pub reason: String,
    /// Its body; `None` when it could not even be unpacked.
    pub body: Option<Vec<u8>>,
    /// When it was published.
    pub published_at: Timestamp,
    /// What it said in its property `received`.
    pub received: Option<String>,
    /// What it said in its property `schema`.
    pub schema: Option<String>,
}

/// Why nothing can be had from the bus, or given to it.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The store under the embedded bus.
    #[error("the outbox cannot be read or settled")]
    Store(#[from] StoreError),
    /// The broker.
    #[error(transparent)]
    Pulsar(#[from] PulsarError),
}

impl BusError {
    /// Whether waiting may help; otherwise the appliance stops.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(_) => false,
            Self::Pulsar(error) => error.is_transient(),
        }
    }

    /// Whether only another configuration helps.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Pulsar(error) if error.is_configuration())
    }
}

/// Where deliveries come from.
pub trait Bus: Send + 'static {
    /// What a delivery is acknowledged with.
    type Receipt: Send + 'static;

    /// Which bus this is; part of every cursor.
    fn tag(&self) -> BusTag;

    /// The next deliveries in the bus's order, at least one; waits for it. Dropping the future
    /// loses nothing.
    fn next(
        &mut self,
    ) -> impl Future<Output = Result<Vec<Delivery<Self::Receipt>>, BusError>> + Send;

    /// Puts into the batch that applies deliveries what the bus has to change together with them.
    fn settle(receipts: &[Self::Receipt], batch: &mut Batch<'_>) -> Result<(), StoreError>;

    /// After that batch is on disk: they need not be delivered again.
    fn acknowledge(
        &mut self,
        receipts: Vec<Self::Receipt>,
    ) -> impl Future<Output = Result<(), BusError>> + Send;
}

/// Whether this collector may produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grant {
    /// The broker was just asked for the first time.
    Unasked,
    /// The broker does not answer the first question: what is admitted waits in the outbox.
    Unanswered,
    /// The topic is ours alone.
    Granted,
    /// Another producer has the topic: stand by.
    Standby,
}

/// How the topic is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProducerAccess {
    /// Only when nobody else produces.
    Free,
    /// Also from another producer, which is fenced off: for a moment, to hand over rows.
    Fencing,
}

/// Where the outbox goes when the bus is a broker.
pub trait Outlet: Send + 'static {
    /// Asks to be the one producer, giving up what was granted before. Never waits for another
    /// producer to leave.
    fn ask(
        &mut self,
        access: ProducerAccess,
    ) -> impl Future<Output = Result<Grant, BusError>> + Send;

    /// Where the topic ends, asked while it is granted: nothing comes behind that but what this
    /// outlet sends. `None` when the broker cannot say.
    fn end(&mut self) -> impl Future<Output = Result<Option<Cursor>, BusError>> + Send;

    /// Gives the topic back, so that another producer has it at once.
    fn give_back(&mut self) -> impl Future<Output = ()> + Send;

    /// Sends messages, in order and behind all that were sent before, and waits until the broker
    /// has them. After an error any of them may have got there, and the grant is gone.
    fn send(
        &mut self,
        messages: Vec<Outgoing>,
    ) -> impl Future<Output = Result<(), BusError>> + Send;
}

/// How a bus outside this process is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusState {
    /// Whether there is a connection that works.
    pub connected: bool,
    /// Since when.
    pub since: Timestamp,
    /// What was wrong last, in words for a person; it stays when it is over.
    pub trouble: Option<String>,
    /// Whether it has something that it does not bring, or that is gone: `trouble` says it.
    pub stuck: bool,
    /// How old the newest delivery was when it came, while there are known to be more behind it;
    /// `None` when all that the bus has was delivered, or nothing came yet.
    pub behind: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_the_store_is_found_below_the_bus() {
        let error = anyhow::Error::from(BusError::from(StoreError::Closed));
        assert!(error.chain().any(<dyn std::error::Error>::is::<StoreError>));
    }
}
