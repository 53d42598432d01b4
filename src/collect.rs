//! Collection, from GitHub to the outbox: events are fetched, admitted once and enriched.

pub mod audit;
pub mod coverage;
pub mod enrich;
pub mod entries;
pub mod ingest;
pub mod listed;
mod outage;
pub mod overlap;
pub mod poller;
pub mod relay;
pub mod source;
pub mod status;
