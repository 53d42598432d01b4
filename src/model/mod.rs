//! The words of the house: no I/O, no runtime, no database.

pub mod counts;
pub mod envelope;
pub mod event;
pub mod gaps;
pub mod json;
pub mod message;
pub mod position;
pub mod routing;
pub mod tally;
pub mod window;
