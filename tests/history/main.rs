//! The history against a real database: MariaDB 10.11 from Debian in `make test`, and a real TiDB
//! in `make test-tidb`. Whatever happens to it, what is shown is what it said last and what we
//! counted since, never anything twice.

#![expect(clippy::unwrap_used, unreachable_pub, reason = "a test target of several files")]

#[path = "../common/mod.rs"]
mod common;
mod database;
mod faults;
mod figures;
mod languages;
mod node;
mod whole;
