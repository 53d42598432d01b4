//! Gaps of the bus (`Family::Gaps`): events that are missing here. A gap is kept for as long as a
//! subscriber can be before it or in it, so that every subscriber that passes it receives it.

use rocksdb::Direction;

use super::batch::Batch;
use super::database::Snapshot;
use super::error::StoreError;
use super::keys::Key as _;
use super::keys::keys;
use super::reader::Reader;
use crate::model::gap::{Gap, GapReason};
use crate::model::position::{BusTag, Position};
use crate::model::window::Timestamp;

const VERSION: u8 = 1;

/// Identifies a gap: the bus, the position before it, and the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GapKey {
    /// The bus.
    pub tag: BusTag,
    /// The last position before it.
    pub after: Position,
    /// The reason.
    pub reason: GapReason,
}

impl GapKey {
    /// The least key of a gap after this position.
    #[must_use]
    pub fn first(tag: BusTag, after: Position) -> Self {
        Self { tag, after, reason: GapReason::ALL[0] }
    }
}

keys! {
    GapKey Gaps (tag, after, reason);
}

/// Records a gap. It extends an earlier gap of the same reason after the same position.
pub fn record(batch: &mut Batch<'_>, tag: BusTag, gap: Gap) -> Result<(), StoreError> {
    let key = GapKey { tag, after: gap.after, reason: gap.reason };
    let known = batch.get_as(&key, decode)?;
    let mut gap = gap;
    if let Some(known) = known {
        gap.until = gap.until.max(known.until);
        gap.count = gap.count.zip(known.count).map(|(one, other)| one.saturating_add(other));
    }
    batch.put(&key, &encode(&gap));
    batch.finds_gap = true;
    Ok(())
}

/// Greater than every position of a bus.
pub(super) const LAST: Position = Position { ledger: u64::MAX, entry: u64::MAX, index: u32::MAX };
/// Most gaps that are dropped in one pass of retention; there are few.
const AT_ONCE: usize = 10_000;

/// Whether a subscriber that has everything up to `position` meets a gap: the gap begins there or
/// later, or the subscriber is in it. Look-up and removal both use this rule.
fn is_ahead(gap: &Gap, position: Position) -> bool {
    gap.after >= position || gap.until > position
}

/// The gaps ahead of a subscriber that has everything up to `after`, in the bus's order, up to
/// `limit`, including one that begins before that position and ends after it.
pub fn behind(
    reader: Reader<'_>,
    tag: BusTag,
    after: Position,
    limit: usize,
) -> Result<Vec<Gap>, StoreError> {
    behind_at(&reader.snapshot(), tag, after, limit)
}

/// The same, in a snapshot.
pub(super) fn behind_at(
    snapshot: &Snapshot<'_>,
    tag: BusTag,
    after: Position,
    limit: usize,
) -> Result<Vec<Gap>, StoreError> {
    let start = GapKey::first(tag, after);
    let (mut before, mut found) = (None, Vec::new());
    snapshot.walk(&start, Direction::Reverse, |key: GapKey, value| {
        if key.tag != tag || *before.get_or_insert(key.after) != key.after {
            return Ok(false);
        }
        found.push(decode(&key, value)?);
        Ok(true)
    })?;
    found.reverse();
    found.retain(|gap| is_ahead(gap, after));
    snapshot.walk(&start, Direction::Forward, |key: GapKey, value| {
        if key.tag != tag || found.len() >= limit {
            return Ok(false);
        }
        found.push(decode(&key, value)?);
        Ok(true)
    })?;
    Ok(found)
}

/// The gaps that no subscriber can meet any more once the journal is dropped up to and including
/// `dropped`: those before it get a gap of retention instead.
pub(super) fn passed(
    reader: Reader<'_>,
    tag: BusTag,
    dropped: Position,
) -> Result<Vec<GapKey>, StoreError> {
    let mut passed = Vec::new();
    reader.scan(&GapKey::first(tag, Position::default()), |key: GapKey, value| {
        if key.tag != tag || key.after >= dropped || passed.len() >= AT_ONCE {
            return Ok(false);
        }
        if !is_ahead(&decode(&key, value)?, dropped) {
            passed.push(key);
        }
        Ok(true)
    })?;
    Ok(passed)
}

/// Removes gaps, unless they have been extended since they were found.
pub(super) fn forget(
    batch: &mut Batch<'_>,
    passed: Vec<GapKey>,
    dropped: Position,
) -> Result<(), StoreError> {
    for key in passed {
        let gap = batch.get_as(&key, decode)?;
        if gap.is_some_and(|gap| !is_ahead(&gap, dropped)) {
            batch.delete(&key);
        }
    }
    Ok(())
}

fn encode(gap: &Gap) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.extend_from_slice(&gap.until.to_bytes());
    out.extend_from_slice(&gap.noticed_at.micros().to_be_bytes());
    if let Some(count) = gap.count {
        out.extend_from_slice(&count.to_be_bytes());
    }
    out
}

pub(super) fn decode(key: &GapKey, value: &[u8]) -> Result<Gap, StoreError> {
    let read = || {
        let rest = value.strip_prefix(&[VERSION])?;
        let (until, rest) = rest.split_first_chunk::<20>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let count = match rest {
            [] => None,
            rest => Some(u64::from_be_bytes(rest.try_into().ok()?)),
        };
        Some(Gap {
            after: key.after,
            until: Position::from_bytes(*until),
            count,
            reason: key.reason,
            noticed_at: Timestamp::from_micros(i64::from_be_bytes(*at)),
        })
    };
    read().ok_or_else(|| StoreError::corrupt("gaps", &key.to_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::new_store;

    const TAG: BusTag = BusTag(7);

    fn gap(after: u64, until: u64, count: Option<u64>) -> Gap {
        Gap {
            after: Position { ledger: after, entry: 5, index: 0 },
            until: Position { ledger: until, entry: 0, index: 0 },
            count,
            reason: GapReason::Retention,
            noticed_at: Timestamp::from_seconds(9),
        }
    }

    #[test]
    fn bytes_once_assigned_never_change() {
        let at = Position { ledger: 1, entry: 2, index: 3 };
        let key = GapKey { tag: TAG, after: at, reason: GapReason::Upstream };
        let parts = [&[0, 0, 0, 7][..], &at.to_bytes(), &[3]];
        assert_eq!(key.to_bytes(), parts.concat());
        assert_eq!(encode(&gap(1, 2, None)).len(), 29);
        assert_eq!(encode(&gap(1, 2, Some(4)))[29..], 4_u64.to_be_bytes());
    }

    #[tokio::test]
    async fn subscriber_meets_gaps_ahead_and_the_one_it_is_in() {
        let (_dir, store) = new_store();
        let gaps = [gap(1, 3, Some(2)), gap(5, 9, None), gap(12, 14, None)];
        store
            .commit(move |batch| {
                record(batch, BusTag(6), gap(9, 9, None))?;
                record(batch, BusTag(8), gap(9, 9, None))?;
                let upstream = Gap { reason: GapReason::Upstream, ..gap(5, 5, None) };
                record(batch, TAG, upstream)?;
                gaps.into_iter().try_for_each(|gap| record(batch, TAG, gap))
            })
            .await
            .unwrap();
        let at = |ledger| Position { ledger, entry: 5, index: 0 };
        let seen = |from| {
            let mut seen = behind(store.reader(), TAG, at(from), 9).unwrap();
            seen.retain(|gap| gap.reason == GapReason::Retention);
            seen
        };
        assert_eq!(seen(0), gaps);
        assert_eq!(seen(2), gaps, "it stands in the first");
        assert_eq!(seen(3), gaps[1..]);
        assert_eq!(seen(5), gaps[1..]);
        assert_eq!(seen(8), gaps[1..]);
        assert_eq!(seen(13), gaps[2..]);
        assert_eq!(seen(20), []);
        assert_eq!(behind(store.reader(), TAG, at(0), 1).unwrap(), gaps[..1]);
        store.commit(move |batch| record(batch, TAG, gap(1, 4, Some(3)))).await.unwrap();
        assert_eq!(seen(0)[0], gap(1, 4, Some(5)));
        store.commit(move |batch| record(batch, TAG, gap(1, 2, Some(1)))).await.unwrap();
        assert_eq!(seen(0)[0], gap(1, 4, Some(6)), "a gap never becomes shorter");
    }

    proptest! {
        #[test]
        fn keys_sort_and_any_bytes_decode(
            (a, b) in any::<((u64, u64, u32), (u64, u64, u32))>(), bytes in any::<Vec<u8>>()
        ) {
            let key = |(ledger, entry, index)| {
                GapKey::first(TAG, Position { ledger, entry, index })
            };
            prop_assert_eq!(GapKey::decode(&key(a).to_bytes()), Some(key(a)));
            prop_assert_eq!(key(a).to_bytes().cmp(&key(b).to_bytes()), key(a).cmp(&key(b)));
            let _ = (GapKey::decode(&bytes), decode(&key(a), &bytes));
        }
    }
}
