//! When writes reach the disk.

use std::time::Duration;

/// When the write-ahead log is synced to the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before a commit returns: a power cut loses no batch whose commit has returned.
    EveryBatch,
    /// At intervals: a power cut loses at most one interval, a crash of the process nothing.
    Every(Duration),
}
