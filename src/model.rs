//! Domain types: events, positions, counts, time. No I/O, no runtime, no database.

pub mod activity;
pub mod audit;
pub mod counts;
pub mod coverage;
pub mod entity;
pub mod envelope;
pub mod event;
pub mod event_index;
pub mod event_summary;
pub mod gap;
pub mod glob;
pub mod hour_file;
pub mod json;
pub mod kinds;
pub mod ledger;
pub mod message;
pub mod missing_fields;
pub(crate) mod names;
pub mod offset;
pub mod position;
pub mod privacy;
pub mod resume_token;
pub mod routing;
pub mod script_report;
pub mod tally;
mod varint;
pub mod window;
