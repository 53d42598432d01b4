//! The store: a `RocksDB` database in one directory, used by one process.
//!
//! Any thread that may block can read ([`Store::read`]). All writes go through one thread, batch by
//! batch ([`Store::commit`]); after a crash either all of a batch is there or none of it. With
//! [`Durability::EveryBatch`], a batch whose commit has returned survives a power cut.

pub mod activity;
pub mod audit;
mod batch;
mod buses;
pub mod charts;
pub mod checkpoint;
mod cursors;
mod database;
pub mod disk_space;
mod error;
pub mod families;
pub mod feeds;
pub mod firsts;
pub mod gaps;
mod identity;
pub mod inspect;
pub mod journal;
pub mod keys;
mod last_pass;
pub mod ledger;
mod lock;
mod open;
pub mod outages;
mod paths;
mod period;
pub mod periods;
pub mod pressure;
pub mod reach;
mod reader;
pub mod rejects;
pub mod repos;
pub mod retention;
pub mod rows;
mod unclean;
mod watermarks;
mod writer;

pub use crate::config::Durability;
pub use batch::Batch;
pub use checkpoint::EXCHANGE;
pub use database::{Database, read_count};
pub use error::StoreError;
pub use lock::{is_in_use, is_readable};
pub use open::Store;
#[cfg(test)]
pub(crate) use open::new_store;
pub use reader::{APPLIED, Reader};
pub use unclean::LostTail;
pub use watermarks::{ADMISSIONS, BACKLOG, ENTRIES, Watermarks};

#[cfg(test)]
mod tests;
