//! What carries events from collectors to whoever applies them: the embedded log, or a broker.
//!
//! A bus delivers at least once and in order, each delivery with its [`Position`]. Whoever applies
//! makes it exactly once: in the batch that applies deliveries it calls [`Bus::settle`], which puts
//! there what has to change together with them, and after the commit [`Bus::acknowledge`].

pub mod embedded;

use crate::model::envelope::Envelope;
use crate::model::position::{BusTag, Position};
use crate::store::{Batch, StoreError};

/// An envelope from the bus.
#[derive(Debug)]
pub struct Delivery<R> {
    /// Where it is on the bus: the same on every node, also when it is delivered again.
    pub position: Position,
    /// What it carries.
    pub envelope: Envelope,
    /// What the bus wants back when it is applied.
    pub receipt: R,
}

/// Why nothing can be had from the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The store under the embedded bus.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BusError {
    /// Whether waiting may help; otherwise the appliance stops.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(_) => false,
        }
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
