//! Tests of retention, on a real database.

use std::sync::atomic::{AtomicI64, Ordering};

use super::expired_journal::first_young;
use super::*;
use crate::model::envelope::Facts;
use crate::model::event::{EventId, EventKey};
use crate::model::event_index::EventIndex;
use crate::model::gap::{Gap, GapReason};
use crate::model::position::Position;
use crate::model::window::{Day, Minute};
use crate::store::families::Family;
use crate::store::journal::DROPPED;
use crate::store::keys::{AppliedKey, JournalKey, Key, MetaKey, MinuteKey, SeenKey};
use crate::store::rows::{MinuteRow, push_journal};
use crate::store::{APPLIED, Batch, Durability, gaps, new_store};

mod archived;
mod untrusted;

/// A new store, the tag of its bus, and the current time.
fn opened() -> (tempfile::TempDir, Store, BusTag, Timestamp) {
    let (dir, store) = new_store();
    let tag = store.bus_tag();
    (dir, store, tag, Timestamp::from_seconds(1_000 * 86_400))
}

/// The usual limits; tests change single ones.
fn usual(tag: BusTag) -> RetentionOptions {
    RetentionOptions {
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

/// Puts events of 100 bytes into the journal, each in the minute that `minute_of` returns.
fn put_journal(batch: &mut Batch<'_>, tag: BusTag, events: u64, minute_of: impl Fn(i64) -> Minute) {
    for n in 1..=events {
        let position = Position::counted(n);
        batch.put(&JournalKey { tag, position }, b"x");
        let key = MinuteKey { tag, minute: minute_of(n.cast_signed()) };
        batch.put(&key, &MinuteRow { first: position, bytes: 100 }.encode());
    }
}

/// Maps the existing keys from `first` on.
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
async fn only_expired_rows_are_dropped() {
    let (_dir, store, tag, now) = opened();
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
    assert_eq!(kept, [8, 9, 10], "350 bytes hold the newest three minutes");
    let bucket = |ago| BucketKey { second: Second(now.second().0 - ago), language: "C".into() };
    let count = |ago| store.reader().count(&bucket(ago)).unwrap();
    assert_eq!((count(7_300), count(7_100)), (0, 1));
}

/// Claims under these days, as seen and as applied, and marks the days.
async fn claim_under(store: &Store, days: &'static [i32]) {
    let put = move |batch: &mut Batch<'_>| {
        for day in days {
            let key = SeenKey::new(Day(*day), &event(1));
            batch.put(&key, b"");
            batch.put(&AppliedKey(key), b"");
            claimed::mark(batch, Day(*day));
        }
        Ok(())
    };
    store.commit(put).await.unwrap();
}

/// The days that have claims.
fn claimed_days(store: &Store) -> Vec<i32> {
    let first = SeenKey::first_of(Day(i32::MIN));
    let seen = kept(store, &first, |key| key.day.0);
    let applied = kept(store, &AppliedKey(first), |AppliedKey(key)| key.day.0);
    assert_eq!(seen, applied);
    seen
}

#[tokio::test]
async fn claims_of_a_wrong_day_are_kept_as_long_as_others() {
    let (dir, store, tag, now) = opened();
    // Received today by clocks that showed 1970, three weeks ago, and a day that is yet to come.
    claim_under(&store, &[0, 979, 998, 1_000, 2_000]).await;
    let without_mark = |batch: &mut Batch<'_>| {
        for day in [-5, 500, 990] {
            let key = SeenKey::new(Day(day), &event(1));
            batch.put(&key, b"");
            batch.put(&AppliedKey(key), b"");
        }
        Ok(())
    };
    store.commit(without_mark).await.unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(claimed_days(&store), [0, 979, 998, 1_000, 2_000]);
    drop(store);
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    drop_due(&store, usual(tag), now.plus(hours(24))).await.unwrap();
    assert_eq!(claimed_days(&store), [0, 979, 998, 1_000, 2_000]);
    // Another event under one of them, so its claims are kept from then on.
    claim_under(&store, &[979]).await;
    drop_due(&store, usual(tag), now.plus(hours(71))).await.unwrap();
    assert_eq!(claimed_days(&store), [0, 979, 998, 1_000, 2_000]);
    drop_due(&store, usual(tag), now.plus(hours(72))).await.unwrap();
    assert_eq!(claimed_days(&store), [979, 1_000]);
    drop_due(&store, usual(tag), now.plus(hours(71 + 72))).await.unwrap();
    assert!(claimed_days(&store).is_empty());
    let marks = kept(&store, &MetaKey("claimed.".to_owned()), |MetaKey(name)| name);
    assert!(marks.iter().all(|name| !name.starts_with("claimed.")), "{marks:?}");
}

#[tokio::test]
async fn right_days_expire_as_without_marks_and_a_pass_in_the_future_keeps_nothing() {
    let (_dir, store, tag, now) = opened();
    let midnight = now.plus(hours(24));
    claim_under(&store, &[1_000]).await;
    drop_due(&store, usual(tag), now.plus(hours(23))).await.unwrap();
    // The last event of the day; the pass is half a minute later.
    claim_under(&store, &[1_000]).await;
    let half = Duration::from_secs(30);
    drop_due(&store, usual(tag), midnight.plus(half)).await.unwrap();
    drop_due(&store, usual(tag), midnight.plus(hours(72))).await.unwrap();
    assert_eq!(claimed_days(&store), [1_000]);
    drop_due(&store, usual(tag), midnight.plus(hours(72)).plus(half)).await.unwrap();
    assert!(claimed_days(&store).is_empty());
    // GitHub's clock and this one were both ten years ahead, and agreed.
    claim_under(&store, &[1_000]).await;
    drop_due(&store, usual(tag), now.plus(hours(87_600))).await.unwrap();
    drop_due(&store, usual(tag), midnight).await.unwrap();
    assert_eq!(claimed_days(&store), [1_000]);
    drop_due(&store, usual(tag), midnight.plus(hours(72))).await.unwrap();
    assert!(claimed_days(&store).is_empty());
}

#[tokio::test]
async fn claims_of_a_day_to_come_expire_without_a_mark() {
    let (_dir, store, tag, now) = opened();
    // Older versions marked nothing of what came over a bus.
    let put = |batch: &mut Batch<'_>| {
        for day in [1_000, 1_001, 1_002, 40_000] {
            let key = SeenKey::new(Day(day), &event(1));
            batch.put(&key, b"");
            batch.put(&AppliedKey(key), b"");
        }
        Ok(())
    };
    store.commit(put).await.unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    drop_due(&store, usual(tag), now.plus(hours(71))).await.unwrap();
    assert_eq!(claimed_days(&store), [1_000, 1_001, 1_002, 40_000]);
    drop_due(&store, usual(tag), now.plus(hours(72))).await.unwrap();
    assert_eq!(claimed_days(&store), [1_000, 1_001, 1_002]);
}

#[tokio::test]
async fn rows_of_the_far_future_are_dropped() {
    let (_dir, store, tag, now) = opened();
    let periods = EntityKey::periods(now);
    let (period, ahead) = (*periods.end(), periods.end() + 30);
    let put = move |batch: &mut Batch<'_>| {
        for period in [period, ahead] {
            batch.put(&EntityKey { period, id: ObjectId::from_bytes([1; 12]) }, b"");
        }
        for second in [now.second().0, now.second().0 + 300 * 86_400] {
            batch.add(&BucketKey { second: Second(second), language: "C".into() }, 1)?;
        }
        journal::begin_at(batch, tag, Minute(now.minute().0 + 3_000_000));
        Ok(())
    };
    store.commit(put).await.unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    let first = EntityKey { period: i32::MIN, id: ObjectId::from_bytes([0; 12]) };
    assert_eq!(kept(&store, &first, |key| key.period), [period]);
    let first = BucketKey { second: Second(i64::MIN), language: String::new() };
    assert_eq!(kept(&store, &first, |key| key.second), [now.second()]);
    let from = store.reader().journal(tag).unwrap().complete_from().unwrap();
    assert_eq!(from, Some(Minute(now.minute().0 + 1)));
}

/// Events of a topic on an edge, which never hears GitHub: their numbers, and how many seconds
/// after now they were received by their own account.
async fn put_received(store: &Store, tag: BusTag, now: Timestamp, events: &'static [(u64, i64)]) {
    let put = move |batch: &mut Batch<'_>| {
        for (n, late) in events {
            let received_at = Timestamp::from_seconds(now.second().0 + late);
            let text = format!(r#"{{"id":"{n}","type":"A","created_at":"{now}"}}"#);
            let facts = Facts { received_at, ..Facts::default() };
            let position = Position::counted(*n);
            let mut row = Vec::new();
            push_journal(&mut row, &EventIndex::default(), &facts, &text);
            batch.put(&JournalKey { tag, position }, &row);
            let key = MinuteKey { tag, minute: received_at.minute() };
            batch.put(&key, &MinuteRow { first: position, bytes: 100 }.encode());
        }
        Ok(())
    };
    store.commit(put).await.unwrap();
}

#[tokio::test]
async fn one_event_of_the_future_stops_retention_only_until_the_next() {
    let (_dir, store) = new_store();
    let (tag, clock) = (BusTag(5), Clock::system());
    let witness = Arc::new(Witness::new(clock));
    let options = usual(tag);
    let edge = RetentionPasses::begin(store.clone(), options, Arc::clone(&witness), clock);
    let mut edge = edge.await.unwrap();
    put_received(&store, tag, clock.now(), &[(1, 3 * 86_400)]).await;
    edge.look().await.unwrap();
    assert_eq!(witness.last_pass(), None, "which of the two is wrong is not known");
    put_received(&store, tag, clock.now(), &[(2, 0)]).await;
    edge.look().await.unwrap();
    assert!(witness.last_pass().is_some(), "{}", witness.judge());
}

#[tokio::test]
async fn event_that_this_clock_alone_has_stamped_confirms_nothing() {
    let (_dir, store) = new_store();
    let by: &'static AtomicI64 = Box::leak(Box::default());
    let clock = Clock::stepped(by);
    let (tag, witness) = (store.bus_tag(), Arc::new(Witness::new(clock)));
    let passes = RetentionPasses::begin(store.clone(), usual(tag), Arc::clone(&witness), clock);
    let mut passes = passes.await.unwrap();
    // GitHub sends no Date, and this clock is ten days ahead.
    by.store(10 * 86_400 * 1_000_000, Ordering::Relaxed);
    put_received(&store, tag, Clock::system().now(), &[(1, 10 * 86_400)]).await;
    passes.look().await.unwrap();
    assert_eq!(witness.judge(), ClockVerdict::Unconfirmed);
    assert_eq!(witness.last_pass(), None);
}

#[test]
fn claims_reach_a_day_ahead_and_as_far_as_a_peer_may_be_late() {
    let now = Timestamp::from_seconds(1_000 * 86_400);
    assert_eq!(remembered_days(now, hours(72)), 997..=1_001);
    assert_eq!(claim_days(now, hours(72)), 997..=1_003);
}

#[tokio::test]
async fn journal_limit_counts_compressed_bytes() {
    let (_dir, store, tag, now) = opened();
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
    store.shared.database.flush(Family::Journal).unwrap();
    let limit = |journal_bytes| RetentionOptions { journal_bytes, ..usual(tag) };
    drop_due(&store, limit(300_000), now).await.unwrap();
    assert_eq!(journal(&store, tag).len(), 10, "two million bytes compress to less than 300,000");
    drop_due(&store, limit(4_000), now).await.unwrap();
    let kept = journal(&store, tag);
    assert!(!kept.is_empty() && kept.len() < 10 && kept.ends_with(&[10]), "{kept:?}");
}

#[tokio::test]
async fn cursor_holds_the_journal_back_up_to_the_byte_limit() {
    let (_dir, store, tag, now) = opened();
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 10, Minute);
        batch.put_cursor("reader", Cursor { tag, position: Position::counted(7) })
    };
    store.commit(put).await.unwrap();
    let retention =
        RetentionOptions { journal_bytes: 100_000, held_by: Some("reader"), ..usual(tag) };
    let oldest = || journal(&store, tag)[0];
    drop_due(&store, retention, now).await.unwrap();
    assert_eq!(oldest(), 7, "the cursor's minute stays, however old");
    drop_due(&store, RetentionOptions { journal_bytes: 250, ..retention }, now).await.unwrap();
    assert_eq!(oldest(), 9, "but not beyond the limit of bytes");
    drop_due(&store, RetentionOptions { held_by: None, ..retention }, now).await.unwrap();
    assert_eq!(oldest(), 10, "without a cursor nothing is held back");
}

#[tokio::test]
async fn dropped_position_never_goes_back() {
    let (_dir, store, tag, now) = opened();
    store
        .commit(move |batch| {
            put_journal(batch, tag, 1, Minute);
            // Dropped up to there; one event arrived late at an old position.
            let cursor = Cursor { tag, position: Position::counted(9) };
            batch.put_cursor(DROPPED, cursor)?;
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
async fn gap_is_kept_while_a_subscriber_can_meet_it() {
    let (_dir, store, tag, now) = opened();
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
                .try_for_each(|gap| gaps::record(batch, tag, gap))
        })
        .await
        .unwrap();
    // Events 1 to 7 are dropped. A live subscriber was at the last one before the outage.
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(journal(&store, tag), [8, 9, 10]);
    let read = store.reader().journal(tag).unwrap();
    assert_eq!(read.dropped(), Some(Position::counted(7)));
    assert_eq!(read.gaps(Position::default(), 9).unwrap(), [gap(5, 9), gap(7, 7), gap(8, 8)]);
    assert_eq!(read.gaps(Position::counted(9), 9).unwrap(), []);
}

#[tokio::test]
async fn complete_from_follows_retention() {
    let (_dir, store, tag, now) = opened();
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 10, |n| Minute(now.minute().0 - 10 + n));
        Ok(())
    };
    store.commit(put).await.unwrap();
    let from = || store.reader().journal(tag).unwrap().complete_from().unwrap();
    assert_eq!(from(), Some(Minute(now.minute().0 - 9)));
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(from(), Some(Minute(now.minute().0 - 2)), "minutes up to -3 are dropped");
    // An event that was received long ago arrives late.
    let late = move |batch: &mut Batch<'_>| {
        let row = MinuteRow { first: Position::counted(11), bytes: 1 };
        batch.put(&MinuteKey { tag, minute: Minute(now.minute().0 - 7_200) }, &row.encode());
        Ok(())
    };
    store.commit(late).await.unwrap();
    assert_eq!(from(), Some(Minute(now.minute().0 - 2)));
    // A clock that was once ahead does not make the journal incomplete for good.
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 2, |n| Minute(now.minute().0 + 3_000_000 + n));
        Ok(())
    };
    store.commit(put).await.unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    assert!(from().unwrap() <= Minute(now.minute().0 + 1), "{:?}", from());
}

#[tokio::test]
async fn journal_of_a_left_bus_is_dropped_after_the_takeover() {
    let (_dir, store, _, now) = opened();
    let (tag, old, newer) = (BusTag(5), BusTag(2), BusTag(9));
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
            gaps::record(batch, old, gap)
        })
        .await
        .unwrap();
    let start = JournalKey { tag: BusTag(0), position: Position::default() };
    // A configured bus that has delivered nothing has not taken over.
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(kept(&store, &start, |key| key.tag), [old, tag, newer]);
    let position = Position { ledger: 7, entry: 1, index: 0 };
    let taken = store.commit(move |batch| batch.put_cursor(APPLIED, Cursor { tag, position }));
    taken.await.unwrap();
    drop_due(&store, usual(tag), now).await.unwrap();
    assert_eq!(kept(&store, &start, |key| key.tag), [tag]);
    // The dropped position of each is kept, and the gap ahead of its last subscriber.
    for (tag, gone) in [(old, Some(position)), (tag, None), (newer, Some(position))] {
        assert_eq!(store.reader().journal(tag).unwrap().dropped(), gone);
        assert_eq!(store.watermarks().dropped.borrow().get(&tag).copied(), gone);
    }
    assert_eq!(store.reader().journal(old).unwrap().gaps(position, 9).unwrap().len(), 1);
    let days = kept(&store, &SeenKey::new(Day(0), &event(0)), |key| key.day.0);
    assert_eq!(days, [497, 500]);
}

#[tokio::test]
async fn events_dated_in_the_future_do_not_make_the_journal_grow() {
    let (_dir, store, tag, now) = opened();
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

#[test]
fn minute_of_the_future_does_not_count_as_one_of_a_wrong_past() {
    let row = |entry| MinuteRow { first: Position::counted(entry), bytes: 1 };
    let first = |minutes: &[i64]| {
        let minutes: Vec<_> = (1..).zip(minutes).map(|(n, at)| (Minute(*at), row(n))).collect();
        first_young(&minutes, Minute(900), Minute(1_000)).entry
    };
    assert_eq!(first(&[100, 990, 5_000, 5_001, 1_000]), 2);
    assert_eq!(first(&[100, 101, 5_000, 5, 990]), 3, "5 is not when the fourth was received");
    assert_eq!(first(&[100, 101, 5_000, 800, 990]), 5, "the third was received before the fourth");
    assert_eq!(first(&[100, 5_000, 5, 6]), 2, "nobody knows when it was");
}

#[tokio::test]
async fn events_dated_in_the_future_expire_with_those_after_them() {
    let (_dir, store, tag, now) = opened();
    // The first two events were received years ahead, the next a minute after the other.
    let minute_of = move |n| match n {
        1 | 2 => Minute(now.minute().0 + 3_000_000 + n),
        _ => Minute(now.minute().0 + n),
    };
    let put = move |batch: &mut Batch<'_>| {
        put_journal(batch, tag, 10, minute_of);
        Ok(())
    };
    store.commit(put).await.unwrap();
    let retention = RetentionOptions { journal_bytes: 100_000, ..usual(tag) };
    let later = |minutes: u64| now.plus(hours(48)).plus(Duration::from_secs(60 * minutes));
    drop_due(&store, retention, later(3)).await.unwrap();
    assert_eq!(journal(&store, tag).len(), 10, "the third is young, and so are those before it");
    drop_due(&store, retention, later(4)).await.unwrap();
    assert_eq!(journal(&store, tag), [4, 5, 6, 7, 8, 9, 10]);
}
