//! The limits of retention.

use std::time::Duration;

use crate::model::position::BusTag;

/// How long and how much data is kept.
#[derive(Debug, Clone, Copy)]
pub struct RetentionOptions {
    /// The bus whose journal is kept. The journal of another bus is dropped once this one has taken
    /// over.
    pub tag: BusTag,
    /// How long claims of events are kept, rounded up to whole days.
    pub seen_for: Duration,
    /// How long language buckets are kept.
    pub buckets: Duration,
    /// How long events stay in the journal.
    pub journal_for: Duration,
    /// The largest size of the journal on the disk, in bytes.
    pub journal_bytes: u64,
    /// The cursor of a consumer that holds the journal back: events after it stay however old they
    /// are, within `journal_bytes`.
    pub held_by: Option<&'static str>,
}
