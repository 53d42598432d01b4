//! Rows of several days, repository by repository.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use rocksdb::DBRawIterator;

use crate::model::window::Day;
use crate::store::database::Snapshot;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::Key as _;
use crate::store::keys::ledger::LedgerKey;

/// Most days that are merged.
pub(super) const MOST_DAYS: usize = 32;

/// The rows of one day, from a place on.
struct DayRows<'s> {
    rows: DBRawIterator<'s>,
    day: Day,
}

impl DayRows<'_> {
    /// The repository of the current row; `None` after the last.
    fn repo(&self) -> Result<Option<u64>, StoreError> {
        let Some(key) = self.rows.key() else { return Ok(None) };
        let corrupt = || StoreError::corrupt(Family::Ledger.name(), key);
        match LedgerKey::decode(key).ok_or_else(corrupt)? {
            LedgerKey::Repo(day, repo) if day == self.day => Ok(Some(repo)),
            _ => Ok(None),
        }
    }
}

/// Passes each repository from `from` on that has rows in `days`, ascending, with its rows (the
/// number of the day in `days`, and its bytes) to `take`, while that returns true.
pub(super) fn merged(
    snapshot: &Snapshot<'_>,
    days: Range<i32>,
    from: u64,
    mut take: impl FnMut(u64, &[(usize, &[u8])]) -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    let mut all = Vec::new();
    let mut next = BinaryHeap::new();
    for day in days.map(Day).take(MOST_DAYS) {
        let mut rows = snapshot.rows(Family::Ledger);
        rows.seek(LedgerKey::Repo(day, from).to_bytes());
        let rows = DayRows { rows, day };
        if let Some(repo) = rows.repo()? {
            next.push(Reverse((repo, all.len())));
        }
        all.push(rows);
    }
    let mut here = Vec::new();
    while let Some(Reverse((repo, at))) = next.pop() {
        here.clear();
        here.push(at);
        while let Some(Reverse((_, at))) = next.peek().filter(|row| row.0.0 == repo) {
            here.push(*at);
            next.pop();
        }
        let rows: Vec<(usize, &[u8])> =
            here.iter().filter_map(|at| Some((*at, all[*at].rows.value()?))).collect();
        if !take(repo, &rows)? {
            return Ok(());
        }
        for at in &here {
            all[*at].rows.next();
            if let Some(repo) = all[*at].repo()? {
                next.push(Reverse((repo, *at)));
            }
        }
    }
    for day in &all {
        day.rows.status().map_err(|error| snapshot.error(&error))?;
    }
    Ok(())
}
