//! What fan-out is measured beside.

pub mod floor;
pub mod gorilla;
pub mod plain;
pub mod tuned;
