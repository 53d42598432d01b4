//! The audit's rows: its state, and the shares by hour.
//!
//! The state is one row, written with the position of the journal up to which it counts, so that a
//! start reads the journal from there and counts nothing twice.

use std::collections::BTreeMap;
use std::ops::Range;

use super::activity::HOURS_FOR;
use super::batch::Batch;
use super::database::Database;
use super::error::StoreError;
use super::keys::Key as _;
use super::keys::audit::AuditKey;
use super::last_pass::CERTAINLY_AHEAD;
use crate::model::audit::HourShares;
use crate::model::window::{Hour, Timestamp};

/// Writes the state.
pub fn put_state(batch: &mut Batch<'_>, state: &[u8]) {
    batch.put(&AuditKey::State, state);
}

/// Writes the shares as they are known at the end of an hour, or so far in it.
pub fn put_shares(
    batch: &mut Batch<'_>,
    hour: Hour,
    shares: &HourShares,
) -> Result<(), StoreError> {
    let key = AuditKey::Hour(hour);
    let text = serde_json::to_vec(shares);
    batch.put(&key, &text.map_err(|_| StoreError::corrupt("audit", &key.to_bytes()))?);
    Ok(())
}

/// Deletes the shares of hours past their retention, and those of the future that a wrong clock
/// left. `now` must come from a trusted clock.
pub(super) fn drop_due(batch: &mut Batch<'_>, now: Timestamp) -> Result<(), StoreError> {
    let key = |hour| AuditKey::Hour(Hour(hour));
    let (oldest, ahead) = (now.minus(HOURS_FOR).hour().0, now.plus(CERTAINLY_AHEAD).hour().0);
    batch.delete_range(&key(i64::MIN), &key(oldest))?;
    batch.delete_range(&key(ahead), &key(i64::MAX))
}

impl Database {
    /// Reads the state; `None` before the first one was written.
    pub fn audit_state(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(&AuditKey::State)
    }

    /// Reads the shares of these hours, by number.
    pub fn audit_shares(&self, range: Range<i64>) -> Result<BTreeMap<i64, HourShares>, StoreError> {
        let mut rows = BTreeMap::new();
        let key = |hour| AuditKey::Hour(Hour(hour));
        self.scan_range(key(range.start)..key(range.end), |key, value| {
            let AuditKey::Hour(hour) = key else { return Ok(()) };
            let shares = serde_json::from_slice(value);
            let shares = shares.map_err(|_| StoreError::corrupt("audit", &key.to_bytes()))?;
            rows.insert(hour.0, shares);
            Ok(())
        })?;
        Ok(rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::{Durability, Store};

    #[tokio::test]
    async fn shares_are_kept_by_hour_and_the_state_beside_them() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
        assert_eq!(store.reader().audit_state().unwrap(), None);
        let shares = |low| {
            HourShares::from([("stars".into(), Some([low, 0.5, 0.6])), ("forks".into(), None)])
        };
        let now = Timestamp::from_seconds(60 * 365 * 86_400);
        let hour = now.hour().0;
        let put = store.commit(move |batch| {
            put_state(batch, b"state");
            put_shares(batch, Hour(5), &shares(0.1))?;
            put_shares(batch, Hour(hour + 1_000), &shares(0.1))
        });
        put.await.unwrap();
        let put = store.commit(move |batch| {
            put_shares(batch, Hour(hour), &shares(0.2))?;
            put_shares(batch, Hour(hour), &shares(0.4))
        });
        put.await.unwrap();
        let all = || store.reader().audit_shares(0..i64::MAX).unwrap();
        assert_eq!(all().len(), 3, "only retention deletes: its clock is trusted");
        store.commit(move |batch| drop_due(batch, now)).await.unwrap();
        assert_eq!(store.reader().audit_state().unwrap().as_deref(), Some(&b"state"[..]));
        assert_eq!(all(), BTreeMap::from([(hour, shares(0.4))]));
    }
}
