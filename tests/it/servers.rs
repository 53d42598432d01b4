//! Nodes on a real Pulsar: what is admitted is produced, and what is produced is applied by every
//! node, once each, in the topic's order, whatever happens to the broker meanwhile.
//!
//! The broker is started by the tests; the first time it is fetched from Maven Central. Where that
//! cannot be, the tests fail and say so, unless `GHPULSE_TEST_WITHOUT_SERVERS=1` is set.

#![expect(clippy::large_futures, reason = "the client library's are, and a test has few of them")]

mod broker;
mod deaf;
mod faults;
mod flow;
mod formats;
mod missing;
mod node;
mod processes;
mod restored;
mod secured;
mod standby;
mod way;
