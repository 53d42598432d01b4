//! Nodes on a real Pulsar: admitted events are produced, and every node applies what was produced,
//! once each, in the topic's order, whatever happens to the broker meanwhile.
//!
//! The tests start the broker; the first time, they download it from Maven Central. If that is
//! impossible, they fail with a message, unless `GHPULSE_TEST_WITHOUT_SERVERS=1` is set.

#![expect(clippy::large_futures, reason = "the client library's are, and a test has few of them")]

pub(crate) mod broker;
mod deaf;
mod faults;
mod flow;
mod formats;
mod large;
mod markers;
mod missing;
mod node;
mod processes;
mod restored;
mod secured;
mod standby;
mod way;
