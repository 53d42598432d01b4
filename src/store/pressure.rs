//! RocksDB's write pressure, which operators can alert on before writes become slow.

use super::database::Database;
use super::families;

/// Whether RocksDB keeps up with the writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pressure {
    /// Whether it stops writes until compaction has caught up.
    pub stopped: bool,
    /// The rate that it throttles writes to, in bytes per second; 0 when it does not.
    pub delayed_to: u64,
    /// Bytes that it has yet to compact, by its own estimate.
    pub pending_compaction: u64,
}

const STOPPED: &str = "rocksdb.is-write-stopped";
const DELAYED: &str = "rocksdb.actual-delayed-write-rate";
const PENDING: &str = "rocksdb.estimate-pending-compaction-bytes";

pub(super) fn of(database: &Database) -> Pressure {
    let each = families::ALL.iter().map(|(family, ..)| database.property(*family, PENDING));
    // The first two are the same for each family.
    let any = families::ALL[0].0;
    Pressure {
        stopped: database.property(any, STOPPED) > 0,
        delayed_to: database.property(any, DELAYED),
        pending_compaction: each.fold(0, u64::saturating_add),
    }
}
