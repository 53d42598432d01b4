//! The words of the house: no I/O, no runtime, no database.

pub mod window;
