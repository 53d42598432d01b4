//! From GitHub to the outbox: what is fetched is admitted once, and gets its facts.

pub mod coverage;
pub mod enrich;
pub mod entries;
pub mod ingest;
mod outage;
pub mod overlap;
pub mod poller;
pub mod relay;
pub mod replay;
pub mod source;
pub mod status;
