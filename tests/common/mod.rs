//! Shared parts of the integration tests: an independent model of the expected counts, a reader of
//! the actual content of a store, and an appliance in this process. The model parses JSON with
//! `serde_json` and uses no code of the crate.

#![allow(dead_code, unreachable_pub, reason = "each test target uses a part of it")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by a panic")]

pub mod certificates;
pub mod client;
pub mod documented;
pub mod history;
pub mod listed;
pub mod missed;
pub mod model;
pub mod plan;
pub mod ports;
pub mod running;
pub mod small_disk;
pub mod stored;
pub mod webhook;
