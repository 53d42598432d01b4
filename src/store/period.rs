//! The state of a period of a first-time set, and its row.

use super::error::StoreError;
use super::keys::{MetaKey, SizeKey};
use crate::model::window::Timestamp;

const VERSION: u8 = 1;

/// The state of a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Period {
    /// Its set is kept, from its beginning.
    Open,
    /// Its set is deleted.
    Closed,
    /// Its set is kept again; the set had this size when it was closed.
    Reopened(i64),
}

/// The row of a period: its state, its size at the last check, and since when it has that size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeriodRow {
    pub(super) period: Period,
    pub(super) size: i64,
    pub(super) since: Timestamp,
}

impl PeriodRow {
    pub(super) fn encode(self) -> Vec<u8> {
        let (state, base) = match self.period {
            Period::Open => (0, 0),
            Period::Closed => (1, 0),
            Period::Reopened(base) => (2, base),
        };
        let mut out = vec![VERSION, state];
        for number in [base, self.size, self.since.micros()] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        out
    }

    pub(super) fn decode(key: &MetaKey, value: &[u8]) -> Result<Self, StoreError> {
        let read = || {
            let [VERSION, state, numbers @ ..] = value else { return None };
            let (numbers, []) = numbers.as_chunks::<8>() else { return None };
            let [base, size, since] = numbers else { return None };
            let [base, size, since] = [base, size, since].map(|bytes| i64::from_be_bytes(*bytes));
            let period = match state {
                0 => Period::Open,
                1 => Period::Closed,
                2 => Period::Reopened(base),
                _ => return None,
            };
            Some(Self { period, size, since: Timestamp::from_micros(since) })
        };
        read().ok_or_else(|| StoreError::corrupt("meta", key.0.as_bytes()))
    }
}

pub(super) fn row_key(key: SizeKey) -> MetaKey {
    MetaKey(format!("firsts.{}.{}", key.scope as u8, key.period))
}
