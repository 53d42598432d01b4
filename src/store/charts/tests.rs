use super::super::activity::{BatchActivity, put_coverage};
use super::*;
use crate::clock::Clock;
use crate::model::activity::MissedRange;
use crate::store::keys::HourKey;
use crate::store::{Durability, Store};

const NOW: i64 = 1_800_000_025;

fn second(at: i64) -> Timestamp {
    Timestamp::from_seconds(at)
}

async fn store(dir: &std::path::Path, events: Vec<i64>) -> Store {
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    let counted = store.commit(move |batch| {
        let mut counting = BatchActivity::default();
        for at in events {
            counting.count(second(at), second(at), 0);
        }
        counting.write(batch)
    });
    counted.await.unwrap();
    store
}

#[tokio::test]
async fn uncounted_slots_are_unknown() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), vec![NOW - 35, NOW - 34, NOW - 700]).await;
    let chart = recent(store.reader(), second(NOW), second(NOW - 100)).unwrap();
    assert_eq!((chart.from.0, chart.slots.len()), (1_800_000_000 - 900, 90));
    let counts = |at: usize| chart.slots[at].map(|slot| slot.counts[0]);
    assert_eq!([89, 88, 87].map(counts), [Some(2), Some(0), Some(0)]);
    let slot = usize::try_from((NOW - 700 - chart.from.0) / 10).unwrap();
    assert_eq!([slot - 1, slot, slot + 1].map(counts), [None, Some(1), None]);
    let minute = (NOW - 700).div_euclid(60);
    let watched = Coverage { watched: 1, ..Coverage::default() };
    let put = store.commit(move |batch| {
        put_coverage(batch, Span::Minute, minute, &watched);
        Ok(())
    });
    put.await.unwrap();
    let chart = recent(store.reader(), second(NOW), second(NOW)).unwrap();
    assert_eq!(chart.slots.iter().flatten().count(), 7, "six of that minute, and one with events");
    assert!(chart.seen.iter().all(Option::is_none));
}

#[tokio::test]
async fn the_day_has_rates_of_the_minutes_that_were_counted() {
    let dir = tempfile::tempdir().unwrap();
    let start = 1_800_000_000 - 4 * 600;
    let store = store(dir.path(), vec![start, start + 1, start + 60]).await;
    let one = MissedRange { low: 0.0, estimate: 2.0, high: 4.0 };
    let known = Coverage { watched: 1, known: 1, missed: [one; 2], ..Coverage::default() };
    let put = store.commit(move |batch| {
        put_coverage(batch, Span::Minute, start / 60, &known);
        batch.add(
            &HourKey {
                hour: Hour(start / 3_600),
                origin: HourSource::Archive,
                metric: HourMetric::Events,
            },
            9,
        )?;
        Ok(())
    });
    put.await.unwrap();
    let chart = day(store.reader(), second(NOW), second(NOW)).unwrap();
    let known: Vec<_> = chart.slots.iter().flatten().collect();
    assert_eq!(known.len(), 1);
    assert_eq!((known[0].seconds, known[0].counts[0]), (120, 3));
    assert_eq!(chart.seen.len(), 1_440);
    let seen: Vec<f64> = chart.seen.iter().flatten().map(|seen| (seen * 1e6).round()).collect();
    assert_eq!(seen, [333_333.0]);
    assert_eq!(chart.imported, [Hour(start / 3_600)]);
    let hours = counted_hours(store.reader(), i64::MIN..i64::MAX).unwrap();
    assert_eq!(hours[0].live.unwrap().events, Some(3));
    assert_eq!(hours[0].import.unwrap().events, Some(9));
    let hour = start / 3_600;
    let imported = |range| store.reader().imported_hours(range).unwrap();
    assert_eq!(imported(i64::MIN..i64::MAX), [Hour(hour)]);
    assert_eq!((imported(hour + 1..hour + 9), imported(0..hour)), (vec![], vec![]));
}
