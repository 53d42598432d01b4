//! The integration tests, in one program so that RocksDB is linked only once. Each module starts
//! appliances, in this process or in their own, and tests them from outside.
//!
//! ```sh
//! cargo test --release --locked --test it                     # all of it
//! cargo test --release --locked --test it -- api::            # one module
//! cargo test --release --locked --test it -- api::stream      # one file
//! cargo test --release --locked --test it -- --list           # their names
//! ```
//!
//! Tests of different modules may share a process, and several instances of this program may run in
//! parallel with different filters (`.ci/test` does so). Therefore no test changes the environment,
//! the current directory, limits or signals of its own process; a test that needs this starts
//! another process. Ports are assigned by the system; directories are temporary.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../common/mod.rs"]
mod common;

#[cfg(feature = "amqp")]
mod amqp;
mod api;
mod archive;
mod browser;
mod cli;
mod crash;
mod fuzz;
mod history;
mod servers;
mod sim;
#[cfg(feature = "amqp")]
mod soak;
