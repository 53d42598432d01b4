//! The history against a real database: MariaDB 10.11 from Debian in `make test`, and a real TiDB
//! in `make test-tidb`. Whatever happens to it, what is shown is what it said last and what we
//! counted since, never anything twice.

#![expect(unreachable_pub, reason = "read by the modules beside it")]

mod database;
mod faults;
mod figures;
mod languages;
mod node;
mod whole;
