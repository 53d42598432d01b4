//! Adapter for `pulsar`: several nodes share a topic of Apache Pulsar as their bus.
//!
//! [`PulsarBus`] reads the topic through this store's own durable subscription and acknowledges
//! what is on disk here. [`PulsarOutlet`] writes the outbox to the topic as its only producer.
//!
//! A connection fails in many ways: its stream ends, its receipts do not come, it goes silent. So
//! each end has its own connection, bounds every wait, and on any error drops the connection
//! and reconnects with backoff. Messages that are delivered or sent twice are applied once.
//!
//! The client library waits for a frame of any size and decompresses entries without a limit. So
//! only its commands and its encoding are used; connections, look-up, producer and consumer are
//! ours.

mod connection;
mod consumer;
mod delivery;
mod diagnosis;
mod entry;
pub(super) mod error;
mod frames;
mod link;
mod lookup;
mod oauth;
mod outlet;
mod probe;
mod producer;
mod progress;
mod protobuf;
mod reader;
mod session;
mod tls;
mod topic;

pub use self::consumer::PulsarBus;
pub use self::delivery::PulsarReceipt;
pub use self::error::PulsarError;
pub use self::oauth::{check_key, local as key_path};
pub use self::outlet::PulsarOutlet;
pub use self::probe::{Probed, probe};
pub use self::topic::tag_of;
