//! The tests of the whole, in one program, so that RocksDB is linked once: each module starts
//! appliances, in this process or in their own, and looks at them from outside.
//!
//! ```sh
//! cargo test --release --locked --test it                     # all of it
//! cargo test --release --locked --test it -- api::            # one module
//! cargo test --release --locked --test it -- api::stream      # one file
//! cargo test --release --locked --test it -- --list           # their names
//! ```
//!
//! Tests of different modules may share a process, and the same program may run several times at
//! once with other filters (`.ci/test` does so): none changes the environment, the current
//! directory, limits or signals of its own process, and what needs one of these is a process of
//! its own. Ports are asked of the system; directories are temporary.

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
