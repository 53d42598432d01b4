//! From the bus to the numbers and the journal, and what is made of the numbers once a tick.

pub mod aggregate;
pub mod aggregates;
mod entities;
mod foreign;
pub mod history;
pub mod numbers;
mod outage;
pub mod requeue;
pub mod rule;
pub mod script;
pub mod tick;
mod usage;
