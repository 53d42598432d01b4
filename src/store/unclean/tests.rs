//! Tests of a store after its process was killed, with its log intact, cut, damaged or emptied.

use std::fs;
use std::time::Duration;

use super::*;
use crate::clock::Clock;
use crate::model::position::BusTag;
use crate::store::Store;
use crate::store::keys::{MetaKey, RejectKey};

fn open(dir: &Path, sync: Durability) -> Store {
    Store::open(dir, sync, Clock::system()).unwrap()
}

/// Copies the files of an open store, as a killed process leaves them.
fn killed(store: &Store, to: &Path) {
    fs::create_dir_all(to.join("db")).unwrap();
    for name in ["VERSION", WRITTEN] {
        fs::copy(store.dir().join(name), to.join(name)).unwrap();
    }
    for entry in fs::read_dir(store.dir().join("db")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join("db").join(path.file_name().unwrap())).unwrap();
    }
}

fn log_of(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

async fn write(store: &Store, entries: std::ops::RangeInclusive<u64>) {
    for n in entries {
        let commit = store.commit(move |batch| {
            batch.put(&RejectKey(n), &[b'x'; 300]);
            batch.next_number(ENTRIES)
        });
        commit.await.unwrap();
    }
}

fn entries(store: &Store) -> i64 {
    store.reader().count(&MetaKey(ENTRIES.to_owned())).unwrap()
}

/// Asserts the gap and the next entry of a store that lost some of 100 entries.
fn assert_gap(store: &Store) {
    let lost = store.lost_tail().expect("a loss is noticed").clone();
    let found = gaps::behind(store.reader(), store.bus_tag(), Position::default(), 9).unwrap();
    let [gap] = found[..] else { panic!("one gap: {found:?}") };
    assert!(lost.writes.is_none_or(|writes| writes > 0), "{lost:?}");
    assert_eq!(gap.reason, GapReason::Upstream);
    assert!(gap.after.entry < 100 || lost.writes.is_none(), "{gap:?}");
    assert_eq!(entries(store), i64::try_from(gap.until.entry).unwrap());
    assert!(entries(store) >= ENTRIES_APART, "no entry is given away twice");
}

#[tokio::test]
async fn kill_loses_nothing_and_leaves_no_gap() {
    for sync in [Durability::EveryBatch, Durability::Every(Duration::from_secs(3_600))] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("data"), sync);
        write(&store, 1..=100).await;
        let copy = dir.path().join("killed");
        killed(&store, &copy);
        let again = open(&copy, sync);
        assert_eq!((again.lost_tail(), entries(&again)), (None, 100));
        drop(again);
        // A clean stop and the next start lose nothing either.
        let again = open(&copy, sync);
        assert_eq!((again.lost_tail(), entries(&again)), (None, 100));
        let tag = again.bus_tag();
        assert_eq!(gaps::behind(again.reader(), tag, Position::default(), 9).unwrap(), []);
    }
}

#[tokio::test]
async fn lost_damaged_or_emptied_log_is_noticed_once() {
    type Harm = fn(&mut Vec<u8>);
    let cut: Harm = |log| log.truncate(log.len() * 3 / 4);
    let damage: Harm = |log| {
        let middle = log.len() / 2;
        log[middle..middle + 64].fill(0xa5);
    };
    let empty: Harm = Vec::clear;
    for sync in [Durability::EveryBatch, Durability::Every(Duration::from_secs(3_600))] {
        for harm in [cut, damage, empty] {
            let dir = tempfile::tempdir().unwrap();
            let store = open(&dir.path().join("data"), sync);
            write(&store, 1..=100).await;
            let copy = dir.path().join("killed");
            killed(&store, &copy);
            let log = log_of(&copy);
            let mut bytes = fs::read(&log).unwrap();
            harm(&mut bytes);
            fs::write(&log, bytes).unwrap();
            let again = open(&copy, sync);
            assert_gap(&again);
            let entries_then = entries(&again);
            drop(again);
            let again = open(&copy, sync);
            assert_eq!((again.lost_tail(), entries(&again)), (None, entries_then));
        }
    }
}

#[tokio::test]
async fn log_damaged_after_a_clean_stop_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Durability::EveryBatch);
    write(&store, 1..=100).await;
    drop(store);
    let log = log_of(dir.path());
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    assert_gap(&open(dir.path(), Durability::EveryBatch));
}

#[tokio::test]
async fn power_cut_may_have_lost_an_interval_and_never_a_synced_batch() {
    let hour = Durability::Every(Duration::from_secs(3_600));
    for (sync, is_told) in [(hour, true), (Durability::EveryBatch, false)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("data"), sync);
        write(&store, 1..=100).await;
        let copy = dir.path().join("killed");
        killed(&store, &copy);
        // The machine was rebooted since.
        let line = fs::read_to_string(copy.join(WRITTEN)).unwrap();
        let other = line.replace(&boot(), "00000000-0000-0000-0000-000000000000");
        fs::write(copy.join(WRITTEN), other).unwrap();
        let again = open(&copy, sync);
        assert_eq!(again.lost_tail().is_some(), is_told);
        if is_told {
            assert_gap(&again);
            assert_eq!(again.lost_tail().unwrap().writes, None);
        }
    }
}

#[tokio::test]
async fn loss_with_a_broker_is_a_gap_after_the_applied_events() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("data"), Durability::EveryBatch);
    let position = Position { ledger: 4, entry: 7, index: 1 };
    let applied = Cursor { tag: BusTag(5), position };
    store.commit(move |batch| batch.put_cursor(super::super::APPLIED, applied)).await.unwrap();
    write(&store, 1..=100).await;
    let copy = dir.path().join("killed");
    killed(&store, &copy);
    let log = log_of(&copy);
    let bytes = fs::read(&log).unwrap();
    fs::write(&log, &bytes[..bytes.len() / 2]).unwrap();
    let again = open(&copy, Durability::EveryBatch);
    assert!(entries(&again) >= ENTRIES_APART);
    let of = |tag| gaps::behind(again.reader(), tag, Position::default(), 9).unwrap();
    assert_eq!(of(again.bus_tag()), []);
    let [gap] = of(BusTag(5))[..] else { panic!("one gap") };
    assert_eq!((gap.after, gap.until), (position, position));
}

#[tokio::test]
async fn missing_database_is_refused_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), Durability::EveryBatch));
    let refused = || {
        let Err(error) = Store::open(dir.path(), Durability::EveryBatch, Clock::system()) else {
            panic!("a store was made where one is missing");
        };
        assert!(error.to_string().contains("ghpulse restore BACKUP"), "{error}");
        error
    };
    let db = dir.path().join("db");
    fs::write(db.join("CURRENT"), "").unwrap();
    assert!(matches!(refused(), StoreError::Damaged { .. }), "an empty CURRENT");
    fs::remove_file(db.join("CURRENT")).unwrap();
    assert!(matches!(refused(), StoreError::NoDatabase { .. }), "no CURRENT");
    fs::remove_dir_all(&db).unwrap();
    fs::create_dir(&db).unwrap();
    assert!(matches!(refused(), StoreError::NoDatabase { .. }), "an empty directory");
    fs::remove_dir(&db).unwrap();
    assert!(matches!(refused(), StoreError::NoDatabase { .. }), "no directory");
    assert!(!db.exists(), "looking makes none");
}

#[tokio::test]
async fn interrupted_creation_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(".creating"), "").unwrap();
    fs::create_dir(dir.path().join("db")).unwrap();
    drop(open(dir.path(), Durability::EveryBatch));
    assert!(!dir.path().join(".creating").exists());
    drop(open(dir.path(), Durability::EveryBatch));
}

#[test]
fn line_has_constant_length_and_any_text_parses() {
    let line = |is_clean, at_intervals, sequence| {
        let boot = "b".repeat(36);
        let remembered = WriteRecord { boot: &boot, at_intervals, is_clean, sequence };
        let line = remembered.line();
        assert_eq!(WriteRecord::read(&line), Some(remembered));
        line.len()
    };
    assert_eq!(line(true, false, 0), line(false, true, u64::MAX));
    assert!(line(true, true, 7) < usize::try_from(LINE_BYTES).unwrap());
    for text in ["", "ghpulse", "ghpulse 1 b batch ran 5", "ghpulse 2 b batch clean 5", "\u{0}"] {
        assert_eq!(WriteRecord::read(text), None, "{text}");
    }
}
