//! The history with a real database: Debian's MariaDB 10.11 in `make test`, and a real TiDB in
//! `make test-tidb`. Whatever happens to the database, the figures shown are its last result plus
//! what this node counted since, without duplicates.

#![expect(unreachable_pub, reason = "read by the modules beside it")]

pub(crate) mod database;
mod faults;
mod figures;
mod languages;
pub(crate) mod node;
mod repo_days;
mod whole;
