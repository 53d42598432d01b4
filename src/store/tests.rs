//! The store's promises, on a real database.

use std::path::Path;
use std::time::Duration;

use super::keys::entity::EntityKey;
use super::keys::{BucketKey, FirstKey, MetaKey, RejectKey, Scope, SeenKey};
use super::{Batch, Durability, Store, StoreError, new_store};
use crate::clock::Clock;
use crate::model::entity::ObjectId;
use crate::model::event::{EventId, EventKey};
use crate::model::window::{Day, Second};

fn open(dir: &Path) -> Store {
    Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap()
}

fn event(id: u64) -> EventKey {
    EventKey { id: EventId::Number(id), kind: "PushEvent".to_owned() }
}

#[tokio::test]
async fn claim_succeeds_once_also_after_a_restart() {
    let (dir, store) = new_store();
    let key = FirstKey { scope: Scope::DeveloperDay, period: 3, id: 7 };
    let claims = store.commit(move |b| Ok((b.claim(&key)?, b.claim(&key)?))).await.unwrap();
    assert_eq!(claims, (true, false));
    drop(store);
    let store = open(dir.path());
    assert!(!store.commit(move |b| b.claim(&key)).await.unwrap());
}

#[tokio::test]
async fn repeated_claim_is_remembered_from_the_last_time() {
    let (_dir, store) = new_store();
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
async fn claim_within_days_checks_each_day() {
    let (_dir, store) = new_store();
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
    let (dir, store) = new_store();
    let key = || MetaKey("n".to_owned());
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
async fn second_process_learns_which_process_has_the_store() {
    let (dir, _store) = new_store();
    let Err(error) = Store::open(dir.path(), Durability::EveryBatch, Clock::system()) else {
        panic!("the store was opened twice");
    };
    let text = error.to_string();
    assert!(matches!(error, StoreError::InUse { .. }), "{text}");
    assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
}

#[tokio::test]
async fn store_of_another_version_is_refused() {
    let (dir, store) = new_store();
    drop(store);
    std::fs::write(dir.path().join("VERSION"), "99\n").unwrap();
    let Err(error) = Store::open(dir.path(), Durability::EveryBatch, Clock::system()) else {
        panic!("a store of another version was opened");
    };
    assert!(error.to_string().contains("version `99`"), "{error}");
}

#[tokio::test]
async fn interval_sync_keeps_everything_over_a_restart() {
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
async fn store_id_is_stable_and_unique() {
    let (dir, store) = new_store();
    let id = store.store_id().to_owned();
    assert_eq!(id.len(), 16);
    let other = tempfile::tempdir().unwrap();
    assert_ne!(open(other.path()).store_id(), id);
    drop(store);
    assert_eq!(open(dir.path()).store_id(), id);
}

#[tokio::test]
async fn every_commit_after_a_failed_one_returns_its_error() {
    let (_dir, store) = new_store();
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
async fn backlog_returns_to_zero_in_either_order() {
    let (_dir, store) = new_store();
    let heads = store.watermarks();
    heads.grow_backlog(5);
    heads.shrink_backlog(12);
    heads.grow_backlog(7);
    assert_eq!(*heads.backlog.borrow(), 0);
}

#[tokio::test]
async fn counter_that_is_added_to_and_forgotten_is_written() {
    let (_dir, store) = new_store();
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
