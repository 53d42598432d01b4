//! The store's promises, on a real database.

use super::keys::entity::EntityKey;
use super::keys::{
    BucketKey, CursorKey, FirstKey, JournalKey, MinuteKey, RejectKey, Scope, SeenKey,
};
use super::retention::{MinuteRow, Retention, claim_days, drop_due, remembered_days};
use super::*;
use crate::model::entity::ObjectId;
use crate::model::event::{EventId, EventKey};
use crate::model::gap::{Gap, GapReason};
use crate::model::position::Position;
use crate::model::window::{Day, Minute, Second, Timestamp};

fn open(dir: &Path) -> Store {
    Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap()
}

/// What is kept how long, unless a test says otherwise.
fn usual(tag: BusTag) -> Retention {
    Retention {
        tag,
        seen_for: hours(72),
        buckets: hours(2),
        journal_for: hours(48),
        journal_bytes: 350,
        held_by: None,
    }
}

fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3_600)
}

/// Puts into the journal as many events of 100 bytes, each received in the minute that is told.
fn put_journal(batch: &mut Batch<'_>, tag: BusTag, events: u64, minute_of: impl Fn(i64) -> Minute) {
    for n in 1..=events {
        let position = Position::counted(n);
        batch.put(&JournalKey { tag, position }, b"x");
        let key = MinuteKey { tag, minute: minute_of(n.cast_signed()) };
        batch.put(&key, &MinuteRow { first: position, bytes: 100 }.encode());
    }
}

/// What `look` says of the keys that are there, from `first` on.
fn kept<K: Key, T>(store: &Store, first: &K, look: impl Fn(K) -> T) -> Vec<T> {
    let mut kept = Vec::new();
    let take = |key: K, _: &[u8]| {
        kept.push(look(key));
        Ok(true)
    };
    store.reader().scan(first, take).unwrap();
    kept
}

/// The numbers of the events in the journal.
fn journal(store: &Store, tag: BusTag) -> Vec<u64> {
    let first = JournalKey { tag, position: Position::default() };
    kept(store, &first, |key| key.position.entry)
}

fn event(id: u64) -> EventKey {
    EventKey { id: EventId::Number(id), kind: "PushEvent".to_owned() }
}

#[tokio::test]
async fn a_claim_is_true_once_within_a_batch_and_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let key = FirstKey { scope: Scope::DeveloperDay, period: 3, id: 7 };
    let store = open(dir.path());
    let claims = store.commit(move |b| Ok((b.claim(&key)?, b.claim(&key)?))).await.unwrap();
    assert_eq!(claims, (true, false));
    drop(store);
    let store = open(dir.path());
    assert!(!store.commit(move |b| b.claim(&key)).await.unwrap());
}

#[tokio::test]
async fn a_claim_made_again_is_remembered_from_the_last_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let claim = async |periods| {
        let key = |period| EntityKey { period, id: ObjectId::from_bytes([7; 12]) };
        store.commit(move |batch| batch.claim_again(periods, key)).await.unwrap()
    };
    assert!(claim(7..=10).await);
    assert!(!claim(7..=10).await && !claim(10..=13).await);
    assert!(!claim(13..=16).await, "it was seen in 13");
    assert!(claim(17..=20).await, "it was not seen from 17 on");
}

#[tokio::test]
async fn a_claim_within_days_looks_at_each_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let claim = |days: std::ops::RangeInclusive<i32>, today: i32| {
        store.commit(move |batch| {
            batch.claim_within(days, today, |day| SeenKey::new(Day(day), &event(1)))
        })
    };
    assert!(claim(7..=11, 10).await.unwrap());
    assert!(!claim(8..=12, 11).await.unwrap());
    assert!(!claim(10..=14, 13).await.unwrap());
    assert!(claim(11..=15, 14).await.unwrap());
}

#[tokio::test]
async fn counters_continue_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let key = || MetaKey("n".to_owned());
    let store = open(dir.path());
    let add = |n| move |batch: &mut Batch<'_>| batch.add(&key(), n);
    assert_eq!(store.commit(add(3)).await.unwrap(), 3);
    assert_eq!(store.commit(add(-5)).await.unwrap(), -2);
    drop(store);
    let store = open(dir.path());
    assert_eq!(store.reader().count(&key()).unwrap(), -2);
    assert_eq!(store.commit(add(i64::MAX)).await.unwrap(), i64::MAX - 2);
    assert_eq!(store.commit(add(5)).await.unwrap(), i64::MAX);
}

#[tokio::test]
async fn a_second_process_is_told_who_holds_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path());
    let Err(error) = Store::open(dir.path(), Durability::EveryBatch, Clock::system()) else {
        panic!("the store was opened twice");
    };
    let text = error.to_string();
    assert!(matches!(error, StoreError::InUse { .. }), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
}

#[tokio::test]
async fn another_version_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    std::fs::write(dir.path().join("VERSION"), "99\n").unwrap();
    let Err(error) = Store::open(dir.path(), Durability::EveryBatch, Clock::system()) else {
        panic!("a store of another version was opened");
    };
    assert!(error.to_string().contains("version `99`"), "{error}");
}

#[tokio::test]
async fn syncing_at_intervals_answers_at_once_and_keeps_all_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Durability::Every(Duration::from_millis(50));
    let store = Store::open(dir.path(), interval, Clock::system()).unwrap();
    for n in 0..20_u64 {
        store
            .commit(move |batch| {
                batch.put(&RejectKey(n), b"x");
                Ok(())
            })
            .await
            .unwrap();
    }
    drop(store);
    let mut count = 0;
    open(dir.path())
        .reader()
        .scan(&RejectKey(0), |_, _| {
            count += 1;
            Ok(true)
        })
        .unwrap();
    assert_eq!(count, 20);
}

#[tokio::test]
async fn what_is_due_is_dropped_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tag = store.bus_tag();
    let now = Timestamp::from_seconds(1_000 * 86_400);
    store
        .commit(move |batch| {
            for day in 990..=1_000 {
                batch.put(&SeenKey::new(Day(day), &event(1)), b"");
            }
            for second in [now.second().0 - 7_300, now.second().0 - 7_100] {
                batch.add(&BucketKey { second: Second(second), language: "C".into() }, 1)?;
            }
            put_journal(batch, tag, 10, |n| Minute(now.minute().0 - 10 + n));
            Ok(())
        })
        .await
        .unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    let seen = kept(&store, &SeenKey::new(Day(0), &event(0)), |key| key.day.0);
    assert_eq!(seen, [997, 998, 999, 1_000]);
    assert_eq!(*remembered_days(now, usual(tag).seen_for).start(), 997);
    let kept = journal(&store, tag);
    assert_eq!(kept, [8, 9, 10], "the newest three minutes are the most that 350 bytes hold");
    let bucket = |ago| BucketKey { second: Second(now.second().0 - ago), language: "C".into() };
    let count = |ago| store.reader().count(&bucket(ago)).unwrap();
    assert_eq!((count(7_300), count(7_100)), (0, 1));
}

#[test]
fn claims_reach_a_day_ahead_and_as_far_as_a_peer_may_be_late() {
    let now = Timestamp::from_seconds(1_000 * 86_400);
    assert_eq!(remembered_days(now, hours(72)), 997..=1_001);
    assert_eq!(claim_days(now, hours(72)), 997..=1_003);
}

#[tokio::test]
async fn counter_that_is_added_to_and_forgotten_in_a_batch_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let bucket = BucketKey { second: Second(5), language: "C".into() };
    let key = bucket.clone();
    let added = store.commit(move |batch| {
        batch.add(&key, 3)?;
        batch.forget_counters(|_: &BucketKey| true);
        Ok(())
    });
    added.await.unwrap();
    assert_eq!(store.reader().count(&bucket).unwrap(), 3);
}

#[tokio::test]
async fn the_journal_is_limited_by_what_it_takes_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tag = store.bus_tag();
    let now = Timestamp::from_seconds(1_000 * 86_400);
    // Rows of 200,000 bytes that compress to next to nothing, one a minute.
    store
        .commit(move |batch| {
            for n in 1..=10 {
                let position = Position::counted(n);
                batch.put(&JournalKey { tag, position }, &vec![b'x'; 200_000]);
                let key = MinuteKey { tag, minute: Minute(now.minute().0 - 10 + n.cast_signed()) };
                batch.put(&key, &MinuteRow { first: position, bytes: 200_000 }.encode());
            }
            Ok(())
        })
        .await
        .unwrap();
    store.shared.database.flush(families::Family::Journal).unwrap();
    let limit = |journal_bytes| Retention { journal_bytes, ..usual(tag) };
    drop_due(&store, limit(300_000), now).await.unwrap();
    assert_eq!(journal(&store, tag).len(), 10, "two million bytes take less than 300,000");
    drop_due(&store, limit(4_000), now).await.unwrap();
    let kept = journal(&store, tag);
    assert!(!kept.is_empty() && kept.len() < 10 && kept.ends_with(&[10]), "{kept:?}");
}

#[tokio::test]
async fn a_reader_holds_the_journal_back_as_far_as_the_limit_of_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tag = store.bus_tag();
    let now = Timestamp::from_seconds(1_000 * 86_400);
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 10, Minute);
        let cursor = Cursor { tag, position: Position::counted(7) };
        batch.put(&CursorKey("reader".to_owned()), &rows::encode_cursor(cursor));
        Ok(())
    };
    store.commit(put).await.unwrap();
    let retention = Retention { journal_bytes: 100_000, held_by: Some("reader"), ..usual(tag) };
    let oldest = || journal(&store, tag)[0];
    drop_due(&store, retention, now).await.unwrap();
    assert_eq!(oldest(), 7, "the minute that it is in stays, however old");
    drop_due(&store, Retention { journal_bytes: 250, ..retention }, now).await.unwrap();
    assert_eq!(oldest(), 9, "but not beyond the limit");
    drop_due(&store, Retention { held_by: None, ..retention }, now).await.unwrap();
    assert_eq!(oldest(), 10, "who is not told of holds nothing");
}

#[tokio::test]
async fn how_far_the_journal_was_dropped_never_goes_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tag = store.bus_tag();
    let now = Timestamp::from_seconds(1_000 * 86_400);
    store
        .commit(move |batch| {
            put_journal(batch, tag, 1, Minute);
            // Dropped up to there, and one came late to an old place.
            let cursor = Cursor { tag, position: Position::counted(9) };
            batch.put(&CursorKey(super::journal::DROPPED.to_owned()), &rows::encode_cursor(cursor));
            let (first, key) = (Position::counted(20), MinuteKey { tag, minute: now.minute() });
            batch.put(&JournalKey { tag, position: first }, b"x");
            batch.put(&key, &MinuteRow { first, bytes: 1 }.encode());
            Ok(())
        })
        .await
        .unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(journal(&store, tag), [20]);
    let dropped = store.reader().journal(tag).unwrap().dropped();
    assert_eq!(dropped, Some(Position::counted(9)));
}

#[tokio::test]
async fn gap_is_kept_while_a_reader_stands_before_it_or_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tag = store.bus_tag();
    let now = Timestamp::from_seconds(1_000 * 86_400);
    let gap = move |after, until| Gap {
        after: Position::counted(after),
        until: Position::counted(until),
        count: None,
        reason: GapReason::Upstream,
        noticed_at: now,
    };
    store
        .commit(move |batch| {
            put_journal(batch, tag, 10, |n| Minute(now.minute().0 - 10 + n));
            [gap(2, 2), gap(5, 9), gap(7, 7), gap(8, 8)]
                .into_iter()
                .try_for_each(|gap| super::gaps::record(batch, tag, gap))
        })
        .await
        .unwrap();
    // Events 1 to 7 go. Who was live before an outage stands at the last one before it.
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(journal(&store, tag), [8, 9, 10]);
    let read = store.reader().journal(tag).unwrap();
    assert_eq!(read.dropped(), Some(Position::counted(7)));
    assert_eq!(read.gaps(Position::default(), 9).unwrap(), [gap(5, 9), gap(7, 7), gap(8, 8)]);
    assert_eq!(read.gaps(Position::counted(9), 9).unwrap(), []);
}

#[tokio::test]
async fn what_is_complete_is_known_by_what_was_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tag = store.bus_tag();
    let now = Timestamp::from_seconds(1_000 * 86_400);
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 10, |n| Minute(now.minute().0 - 10 + n));
        Ok(())
    };
    store.commit(put).await.unwrap();
    let from = || store.reader().journal(tag).unwrap().complete_from().unwrap();
    assert_eq!(from(), Some(Minute(now.minute().0 - 9)));
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(from(), Some(Minute(now.minute().0 - 2)), "minutes up to -3 went");
    // One that was received long ago comes late.
    let late = move |batch: &mut Batch<'_>| {
        let row = MinuteRow { first: Position::counted(11), bytes: 1 };
        batch.put(&MinuteKey { tag, minute: Minute(now.minute().0 - 7_200) }, &row.encode());
        Ok(())
    };
    store.commit(late).await.unwrap();
    assert_eq!(from(), Some(Minute(now.minute().0 - 2)));
    // A clock that was ahead once does not make everything incomplete for ever.
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 2, |n| Minute(now.minute().0 + 3_000_000 + n));
        Ok(())
    };
    store.commit(put).await.unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    assert!(from().unwrap() <= Minute(now.minute().0 + 1), "{:?}", from());
}

#[tokio::test]
async fn a_store_keeps_its_id_and_no_two_have_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let id = store.store_id().to_owned();
    assert_eq!(id.len(), 16);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open(other.path()).store_id(), id);
    drop(store);
    assert_eq!(open(dir.path()).store_id(), id);
}

#[tokio::test]
async fn a_journal_of_another_bus_is_dropped_and_claims_live_as_long_as_the_past_that_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let (tag, old, newer) = (BusTag(5), BusTag(2), BusTag(9));
    let now = Timestamp::from_seconds(1_000 * 86_400);
    let past = Timestamp::from_seconds(500 * 86_400);
    store
        .commit(move |batch| {
            for tag in [old, tag, newer] {
                let position = Position { ledger: 7, entry: 1, index: 0 };
                batch.put(&JournalKey { tag, position }, b"x");
                let row = MinuteRow { first: position, bytes: 1 };
                batch.put(&MinuteKey { tag, minute: past.minute() }, &row.encode());
            }
            for day in [496, 497, 500] {
                batch.put(&SeenKey::new(Day(day), &event(1)), b"");
            }
            let applied =
                |tag| Cursor { tag, position: Position { ledger: 7, entry: 1, index: 0 } };
            [old, newer].into_iter().try_for_each(|tag| batch.put_cursor(APPLIED, applied(tag)))?;
            let reason = GapReason::Upstream;
            let (after, until) = (applied(old).position, applied(old).position);
            let gap = Gap { after, until, count: None, reason, noticed_at: now };
            super::gaps::record(batch, old, gap)
        })
        .await
        .unwrap();
    let start = JournalKey { tag: BusTag(0), position: Position::default() };
    // A bus that is configured and was never heard of has taken over nothing.
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(kept(&store, &start, |key| key.tag), [old, tag, newer]);
    let position = Position { ledger: 7, entry: 1, index: 0 };
    let taken = store.commit(move |batch| batch.put_cursor(APPLIED, Cursor { tag, position }));
    taken.await.unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(kept(&store, &start, |key| key.tag), [tag]);
    // What was dropped is known of each, and so is the gap that its last reader stands before.
    for (tag, gone) in [(old, Some(position)), (tag, None), (newer, Some(position))] {
        assert_eq!(store.reader().journal(tag).unwrap().dropped(), gone);
        assert_eq!(store.watermarks().dropped.borrow().get(&tag).copied(), gone);
    }
    assert_eq!(store.reader().journal(old).unwrap().gaps(position, 9).unwrap().len(), 1);
    let days = kept(&store, &SeenKey::new(Day(0), &event(0)), |key| key.day.0);
    assert_eq!(days, [497, 500]);
}

#[tokio::test]
async fn a_clock_that_was_once_in_the_future_does_not_let_the_journal_grow() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let tag = store.bus_tag();
    let now = Timestamp::from_seconds(1_000 * 86_400);
    // The first two events were received years ahead, the others one a minute, up to now.
    let minute_of = move |n| match n {
        1 | 2 => Minute(now.minute().0 + 3_000_000 + n),
        _ => Minute(now.minute().0 - 20 + n),
    };
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 20, minute_of);
        Ok(())
    };
    store.commit(put).await.unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(journal(&store, tag), [18, 19, 20]);
    let minutes = kept(&store, &MinuteKey { tag, minute: Minute(i64::MIN) }, |key| key.minute);
    assert_eq!(minutes, [18, 19, 20].map(minute_of));
}

#[tokio::test]
async fn everyone_after_a_failed_write_is_told_what_failed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let broken = |_: &mut Batch<'_>| -> Result<(), StoreError> {
        Err(StoreError::Database { dir: "d".into(), reason: "no space left".to_owned() })
    };
    for said in [
        store.commit(broken).await.unwrap_err(),
        store.commit(|_| Ok(())).await.unwrap_err(),
        store.clone().commit(|_| Ok(())).await.unwrap_err(),
    ] {
        assert!(matches!(said, StoreError::Database { .. }), "{said}");
        assert_eq!(said.to_string(), "the database in d fails: no space left");
    }
}

#[tokio::test]
async fn the_backlog_ends_where_it_began_whoever_tells_first() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let heads = store.watermarks();
    heads.grow_backlog(5);
    heads.shrink_backlog(12);
    heads.grow_backlog(7);
    assert_eq!(*heads.backlog.borrow(), 0);
}
