//! From the bus to the numbers and the journal, and what is made of the numbers once a tick.

pub mod aggregate;
mod claims;
mod entities;
pub mod numbers;
mod outage;
pub mod requeue;
pub mod tick;
