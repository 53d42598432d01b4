//! Applies deliveries from the bus to the numbers and the journal, and publishes the numbers once
//! per tick.

mod claims;
pub mod numbers;
mod prepared;
pub mod requeue;
pub mod stage;
pub mod tick;
