use std::collections::BTreeMap;

use super::*;
use crate::clock::Clock;
use crate::model::activity::MissedRange;
use crate::store::{Durability, Store};

const START: i64 = 1_800_000_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(START + second)
}

async fn count(store: &Store, events: Vec<(i64, usize)>) {
    let counted = store.commit(move |batch| {
        let mut counting = BatchActivity::default();
        for (second, column) in events {
            counting.count(at(second), at(second - 7_200), column);
        }
        counting.write(batch)
    });
    counted.await.unwrap();
}

#[tokio::test]
async fn counts_add_up_over_batches_and_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let minute = START / 60;
    for _ in 0..2 {
        let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
        count(&store, vec![(0, 0), (0, 0), (15, 6)]).await;
        count(&store, vec![(1, 0), (61, 16)]).await;
    }
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let rows = store.reader().activity(Span::Minute, minute..minute + 2).unwrap();
    let counts: Vec<_> =
        rows.values().map(|row| (row.0[0][0], row.0[1][6], row.0[0][16])).collect();
    assert_eq!(counts, [(6, 2, 0), (0, 0, 2)]);
    let rows = store.reader().activity(Span::Minute, minute + 1..minute + 2).unwrap();
    assert_eq!(rows.len(), 1, "only what was asked for");
    let hour = START / 3_600;
    let rows = store.reader().activity(Span::Hour, hour..hour + 1).unwrap();
    assert_eq!(rows[&hour].totals().iter().sum::<u64>(), 10);
    let created = store.reader().hours(hour - 2..hour + 1).unwrap();
    let key =
        HourKey { hour: Hour(hour - 2), origin: HourSource::Live, metric: HourMetric::Events };
    assert_eq!(created, [(key, 10)]);
}

#[tokio::test]
async fn an_hour_is_the_sum_of_its_known_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    count(&store, vec![(0, 0), (60, 0), (120, 0)]).await;
    let one = MissedRange { low: 1.0, estimate: 1.0, high: 1.0 };
    let known = Coverage { watched: 1, known: 1, missed: [one, one], ..Coverage::default() };
    let watched = Coverage { watched: 1, ..Coverage::default() };
    let minute = START / 60;
    let put = store.commit(move |batch| {
        put_coverage(batch, Span::Minute, minute, &watched);
        put_coverage(batch, Span::Minute, minute + 1, &watched);
        Ok(())
    });
    put.await.unwrap();
    let changed = BTreeMap::from([(minute + 1, known)]);
    let sum = sum_hour(store.reader(), Hour(START / 3_600), &changed).unwrap();
    assert_eq!((sum.watched, sum.known, sum.seen), (2, 1, [1, 0]));
    assert_eq!(sum.missed(), Some(one.plus(one)));
}

#[tokio::test]
async fn old_and_future_rows_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let days = |n: i64| n * 86_400;
    count(&store, vec![(days(-2_000), 0), (days(-9), 0), (0, 0), (days(1), 0), (days(9), 0)]).await;
    store.commit(|batch| drop_due(batch, at(0))).await.unwrap();
    let (minute, hour) = (START / 60, START / 3_600);
    let minutes = store.reader().activity(Span::Minute, i64::MIN..i64::MAX).unwrap();
    assert_eq!(minutes.into_keys().collect::<Vec<_>>(), [minute, minute + 1_440]);
    let hours = store.reader().activity(Span::Hour, i64::MIN..i64::MAX).unwrap();
    assert_eq!(hours.into_keys().collect::<Vec<_>>(), [hour - 216, hour, hour + 24]);
}
