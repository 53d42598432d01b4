//! Baselines for fan-out.

pub mod floor;
pub mod gorilla;
pub mod plain;
pub mod tuned;
