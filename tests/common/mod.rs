//! What the tests of the whole share: an independent model of what is to be counted, what a store
//! really holds, and an appliance in this process. The model reads JSON with `serde_json` and knows
//! none of the house's code.

#![allow(dead_code, unreachable_pub, reason = "each test target uses a part of it")]
#![allow(clippy::unwrap_used, clippy::missing_panics_doc, reason = "a test fails by a panic")]

pub mod client;
pub mod history;
pub mod missed;
pub mod model;
pub mod ports;
pub mod running;
pub mod stored;
pub mod webhook;
