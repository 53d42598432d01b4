//! From the bus to numbers.

pub mod script;
