//! What the tests of the whole share: an independent model of what is to be counted, what a store
//! really holds, and an appliance in this process. The model reads JSON with `serde_json` and knows
//! none of the house's code.

#![allow(dead_code, reason = "each test target uses a part of it")]

pub mod client;
pub mod model;
pub mod running;
pub mod stored;
