//! Applying over one bus, over another, and over the first again.

mod clocks;

use super::*;
use crate::model::message::Incoming;
use crate::model::position::Position;
use crate::store::Durability;
use crate::store::retention::{RetentionOptions, drop_due};

const SEEN_FOR: Duration = Duration::from_secs(3_600);

fn event(cursor: Cursor) -> Prepared {
    let body = format!(
        r#"{{"event":{{"id":"{}","type":"WatchEvent","created_at":"2026-03-01T10:00:00Z"}},"payload":{{}}}}"#,
        u64::from(cursor.tag.0) * 1_000 + cursor.position.entry
    );
    let incoming = Incoming::read(body.as_bytes(), [None; 2], Clock::system().now());
    let Ok(Incoming { envelope, summary, .. }) = incoming else { panic!("it can be read") };
    Prepared::new(cursor, envelope, summary, FactsFrom::Elsewhere)
}

/// Keeps everything but claims for [`SEEN_FOR`], and those for `seen_for`.
fn kept_for(seen_for: Duration, tag: BusTag) -> RetentionOptions {
    RetentionOptions {
        tag,
        seen_for,
        buckets: SEEN_FOR,
        journal_for: SEEN_FOR,
        journal_bytes: u64::MAX,
        held_by: None,
    }
}

/// Applies entries of a bus.
async fn apply(store: &Store, tag: BusTag, entries: std::ops::RangeInclusive<u64>) -> usize {
    let (own, now) = (store.bus_tag(), Clock::system().now());
    let at = |n| Cursor { tag, position: Position::counted(n) };
    let prepared =
        entries.map(|n| ArrivedDelivery { cursor: at(n), outage: None, read: Ok(event(at(n))) });
    let prepared = prepared.collect();
    let counted = store.commit(move |batch| apply_new(batch, prepared, (tag, own), now, SEEN_FOR));
    counted.await.unwrap().fresh.len()
}

#[tokio::test]
async fn returning_bus_has_a_gap_for_events_of_the_other_bus() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let (own, topic) = (store.bus_tag(), BusTag(store.bus_tag().0 ^ 1));
    let retention = |tag| kept_for(SEEN_FOR, tag);
    assert_eq!(apply(&store, own, 1..=60).await, 60);
    assert_eq!(apply(&store, topic, 5..=8).await, 4);
    assert_eq!(apply(&store, topic, 7..=9).await, 1, "what was applied is known by its place");
    drop_due(&store, retention(topic), Clock::system().now()).await.unwrap();
    assert_eq!(apply(&store, own, 59..=70).await, 10, "also after another bus was in use");
    drop_due(&store, retention(own), Clock::system().now()).await.unwrap();

    let at = |tag, n| Some(Cursor { tag, position: Position::counted(n) });
    assert_eq!(store.reader().applied_on(own).unwrap(), at(own, 70));
    assert_eq!(store.reader().applied_on(topic).unwrap(), at(topic, 9));
    let journal = store.reader().journal(own).unwrap();
    assert_eq!(journal.dropped(), Some(Position::counted(60)), "a cursor in 1 to 59 gets a gap");
    let gaps = journal.gaps(Position::counted(60), 9).unwrap();
    let reasons: Vec<_> = gaps.iter().map(|gap| (gap.after.entry, gap.reason)).collect();
    assert_eq!(reasons, [(60, GapReason::BusChanged)], "and so does one at 60");
    let dropped = store.reader().journal(topic).unwrap().dropped();
    assert_eq!(dropped, Some(Position::counted(9)));
    // The topic keeps what its subscribers have not read, so nothing is missing.
    assert_eq!(apply(&store, topic, 8..=12).await, 3);
    let gaps = store.reader().journal(topic).unwrap().gaps(Position::counted(9), 9).unwrap();
    assert_eq!(gaps, []);
}

#[tokio::test]
async fn outage_that_is_sent_twice_is_one_gap() {
    let (a, b) = (outage(1), outage(2));
    // Messages with the outage that each carries, by commit.
    for commits in [
        vec![vec![None, Some(a), None, Some(a), Some(b)]],
        vec![vec![None, Some(a)], vec![None, Some(a)], vec![Some(b)]],
        vec![vec![None, Some(a)], vec![Some(a), Some(b)]],
        vec![vec![None, Some(a), Some(b), Some(a), Some(b)], vec![Some(a), Some(b)]],
    ] {
        let (_dir, store) = crate::store::new_store();
        let (tag, now, mut entry) = (BusTag(7), Clock::system().now(), 0);
        for commit in commits {
            let mut arrived = Vec::new();
            for outage in commit {
                entry += 1;
                let cursor = Cursor { tag, position: Position::counted(entry) };
                arrived.push(ArrivedDelivery { cursor, outage, read: Ok(event(cursor)) });
            }
            let own = store.bus_tag();
            let applied =
                store.commit(move |batch| apply_new(batch, arrived, (tag, own), now, SEEN_FOR));
            applied.await.unwrap();
        }
        let gaps = store.reader().journal(tag).unwrap().gaps(Position::default(), 9).unwrap();
        assert_eq!(gaps.len(), 2, "{gaps:?}");
    }
}

fn outage(second: i64) -> Outage {
    Outage { since: Timestamp::from_seconds(second), until: Timestamp::from_seconds(second + 9) }
}

#[tokio::test]
async fn event_received_by_a_wrong_clock_is_known_after_a_takeover() {
    let (_dir, standby) = crate::store::new_store();
    let (own, tag, now) = (standby.bus_tag(), BusTag(7), Clock::system().now());
    let days = |n: u64| Duration::from_secs(n * 86_400);
    let text = |id: usize| format!(r#"{{"id":"{id}","type":"A","created_at":"{now}"}}"#);
    // By the producer's clock the second was received ten days ago.
    let mut arrived = Vec::new();
    for (n, received_at) in [now, now.minus(days(10)), now.plus(days(1))].into_iter().enumerate() {
        let body = format!(r#"{{"event":{},"payload":{{}}}}"#, text(n));
        let received = received_at.micros().to_string();
        let incoming = Incoming::read(body.as_bytes(), [Some(&received), Some("1")], now);
        let Ok(Incoming { envelope, summary, .. }) = incoming else { panic!("it can be read") };
        let cursor = Cursor { tag, position: Position::counted(n as u64 + 1) };
        let read = Ok(Prepared::new(cursor, envelope, summary, FactsFrom::Elsewhere));
        arrived.push(ArrivedDelivery { cursor, outage: None, read });
    }
    let seen_for = 3 * SEEN_FOR;
    let counted = standby.commit(move |batch| apply_new(batch, arrived, (tag, own), now, seen_for));
    assert_eq!(counted.await.unwrap().fresh.len(), 3);
    let retention = kept_for(seen_for, tag);
    for later in [now, now.plus(SEEN_FOR)] {
        drop_due(&standby, retention, later).await.unwrap();
    }
    // GitHub's page still shows them when this node takes over.
    let page = format!("[{},{},{}]", text(0), text(1), text(2));
    let entries = crate::collect::entries::Entries::of_list(&bytes::Bytes::from(page));
    let pages = vec![crate::collect::source::PolledPage { number: 1, entries }];
    let poll = crate::collect::source::Poll { pages, received_at: now.plus(SEEN_FOR) };
    let admitted = crate::collect::ingest::admit(&standby, poll).await.unwrap();
    assert_eq!((admitted.new, admitted.known), (0, 3));
}

#[tokio::test]
async fn object_counts_as_new_once_whatever_the_clock_of_its_producer_shows() {
    let clock = Clock::system();
    let (own, now, days) = (BusTag(8), clock.now(), |n: u64| Duration::from_secs(n * 86_400));
    for received_at in [now.plus(days(40)), now.plus(days(13)), now.minus(days(90))] {
        let (_dir, edge) = crate::store::new_store();
        let tag = BusTag(7);
        let retention = kept_for(SEEN_FOR, tag);
        drop_due(&edge, retention, now).await.unwrap();
        let mut inserted = Vec::new();
        // Three events of one document, and one of a node with a right clock after each.
        for n in 0..6_u64 {
            let is_wrong = n % 2 == 0;
            let (actor, received_at) = if is_wrong { (1, received_at) } else { (100 + n, now) };
            let body = format!(
                r#"{{"event":{{"id":"{n}","type":"WatchEvent","created_at":"{now}","actor":
                {{"id":{actor},"login":"ann"}},"repo":{{"id":9,"name":"ann/tool"}},"payload":
                {{"action":"started"}}}},"payload":{{}}}}"#
            );
            let incoming = Incoming::read(body.as_bytes(), [None, Some("1")], received_at);
            let Ok(Incoming { envelope, summary, .. }) = incoming else { panic!("it can be read") };
            let cursor = Cursor { tag, position: Position::counted(n + 1) };
            let read = Ok(Prepared::new(cursor, envelope, summary, FactsFrom::Elsewhere));
            let arrived = vec![ArrivedDelivery { cursor, outage: None, read }];
            let counted =
                edge.commit(move |batch| apply_new(batch, arrived, (tag, own), now, SEEN_FOR));
            let fresh = counted.await.unwrap().fresh;
            if is_wrong {
                inserted.push(fresh[0].envelope.facts.inserted);
            }
            drop_due(&edge, retention, clock.now()).await.unwrap();
        }
        assert!(inserted[0] > 0, "{received_at}");
        assert_eq!(inserted[1..], [0, 0], "{received_at}");
    }
}
