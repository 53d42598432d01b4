//! The words of the house: no I/O, no runtime, no database.

pub mod counts;
pub mod envelope;
pub mod event;
pub mod gaps;
pub mod json;
pub mod position;
pub mod tally;
pub mod window;
