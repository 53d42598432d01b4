//! The progress of the stages, which wakes the stages that wait for it.

use std::collections::BTreeMap;

use tokio::sync::watch;

use super::reach::Reach;
use crate::model::position::{BusTag, Position};

/// The progress of each stage, which the next stage waits for.
#[derive(Debug, Default)]
pub struct Watermarks {
    /// The number of the last admission.
    pub inbox: watch::Sender<u64>,
    /// The number of the last entry of the outbox.
    pub outbox: watch::Sender<u64>,
    /// Bytes of events that are admitted and not yet in the journal, with the commits that were
    /// brought back.
    pub backlog: watch::Sender<u64>,
    /// Changes with each commit of applied events; the number has no other meaning.
    pub applied: watch::Sender<u64>,
    /// The number of gaps that were found since the start. It changes before a commit after the gap
    /// returns.
    pub gaps: watch::Sender<u64>,
    /// The position up to which the journal of each bus was dropped.
    pub dropped: watch::Sender<BTreeMap<BusTag, Position>>,
    /// The age of the journal's oldest event and the journal's size; measured every few seconds.
    pub reach: watch::Sender<Reach>,
}

/// The two calls for an event may come in either order: when it is applied before its admission is
/// reported, the backlog wraps around until then. Ingest reads the backlog only after its report.
impl Watermarks {
    /// Adds bytes that are admitted, or brought back.
    pub fn grow_backlog(&self, bytes: u64) {
        self.backlog.send_modify(|backlog| *backlog = backlog.wrapping_add(bytes));
    }

    /// Subtracts bytes that are in the journal, or confirmed by the broker.
    pub fn shrink_backlog(&self, bytes: u64) {
        self.backlog.send_modify(|backlog| *backlog = backlog.wrapping_sub(bytes));
    }
}

/// Counter of admissions. Like the next two, it is where a field of [`Watermarks`] begins.
pub const ADMISSIONS: &str = "admissions";
/// Counter of entries that were ever written to the outbox.
pub const ENTRIES: &str = "entries";
/// Counter of bytes that are admitted and not yet in the journal.
pub const BACKLOG: &str = "backlog_bytes";
