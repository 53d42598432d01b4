//! Tests of backup and restore: complete or absent, while the store is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use super::super::keys::{BodyKey, InboxKey, MetaKey};
use super::super::{ADMISSIONS, Durability};
use super::*;
use crate::store::ENTRIES;
use crate::store::unclean::ENTRIES_APART;

const CLOCK: fn() -> Clock = Clock::system;

fn open(dir: &Path) -> Store {
    Store::open(dir, Durability::Every(Duration::from_secs(60)), CLOCK()).unwrap()
}

async fn admit(store: &Store, body: &'static [u8]) -> u64 {
    let admitted = store.commit(move |batch| {
        let number = batch.next_number(ADMISSIONS)?;
        batch.put(&BodyKey(number), body);
        batch.put(&InboxKey(number), b"x");
        Ok(number)
    });
    admitted.await.unwrap()
}

/// The counter, and the numbers of rows that were written in the same batches.
fn rows(store: &Store) -> (i64, usize, usize) {
    let reader = store.reader();
    let mut bodies = 0;
    let counting = |_: BodyKey, _: &[u8]| {
        bodies += 1;
        Ok(true)
    };
    reader.scan(&BodyKey(0), counting).unwrap();
    let mut inbox = 0;
    let counting = |_: InboxKey, _: &[u8]| {
        inbox += 1;
        Ok(true)
    };
    reader.scan(&InboxKey(0), counting).unwrap();
    (reader.count(&MetaKey(ADMISSIONS.to_owned())).unwrap(), bodies, inbox)
}

#[tokio::test(flavor = "multi_thread")]
async fn backup_of_a_busy_store_is_consistent() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("data"));
    let going_on = Arc::new(AtomicBool::new(true));
    let writing = tokio::spawn({
        let (store, going_on) = (store.clone(), Arc::clone(&going_on));
        async move {
            while going_on.load(Ordering::Relaxed) {
                admit(&store, &[7; 2_000]).await;
            }
        }
    });
    for round in 0..4_u32 {
        admit(&store, b"before").await;
        let before = store.reader().count(&MetaKey(ADMISSIONS.to_owned())).unwrap();
        let to = dir.path().join(format!("backup-{round}"));
        let (copied, from) = (to.clone(), store.clone());
        let made = tokio::task::spawn_blocking(move || backup(&from, &copied, CLOCK()));
        let made = made.await.unwrap().unwrap();
        assert_eq!(made, read(&to).unwrap());
        assert_eq!(made.note.store_id, store.store_id());
        let data = dir.path().join(format!("restored-{round}"));
        let restored = restore(&to, &data, CLOCK()).unwrap();
        assert_ne!(restored.store_id, store.store_id());
        let again = open(&data);
        assert_eq!(again.store_id(), restored.store_id);
        assert_eq!(again.bus_tag(), store.bus_tag());
        let (counted, bodies, inbox) = rows(&again);
        assert!(counted >= before, "what was there before is in it");
        assert_eq!((bodies, inbox), (usize::try_from(counted).unwrap(), bodies));
        let entries = again.reader().count(&MetaKey(ENTRIES.to_owned())).unwrap();
        assert!(entries >= ENTRIES_APART, "{entries}");
    }
    going_on.store(false, Ordering::Relaxed);
    writing.await.unwrap();
    let hidden = fs::read_dir(dir.path()).unwrap();
    let hidden = hidden.filter(|e| e.as_ref().unwrap().file_name().as_encoded_bytes()[0] == b'.');
    assert_eq!(hidden.count(), 0, "nothing is left behind");
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_restored_from_one_backup_share_no_cursor() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("data"));
    let made = backup(&store, &dir.path().join("backup"), CLOCK()).unwrap();
    let mut begins = Vec::new();
    // Seconds: another machine, and two clocks that are wrong, by years to come and by years past.
    for ahead in [0, 1, 250_000_000_000, -5_000_000_000] {
        AHEAD.store(ahead * 1_000_000, Ordering::Relaxed);
        let data = dir.path().join(format!("restored {ahead}"));
        restore(&made.dir, &data, Clock::stepped(&AHEAD)).unwrap();
        begins.push(open(&data).reader().count(&MetaKey(ENTRIES.to_owned())).unwrap());
    }
    let [one, two, future, past] = begins[..] else { panic!("{begins:?}") };
    assert!(one > 1 << 50 && one.abs_diff(two) > 1 << 20, "{begins:?}");
    assert!(future < i64::MAX / 2 + (1 << 49), "it leaves space for others: {future}");
    assert!((ENTRIES_APART..=1 << 48).contains(&past), "{past}");
}

#[tokio::test(flavor = "multi_thread")]
async fn existing_files_are_never_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("to"));
    let store = open(&data);
    admit(&store, b"one").await;
    fs::create_dir(&to).unwrap();
    assert_eq!(backup(&store, &to, CLOCK()).unwrap().dir, to, "an empty directory will do");
    let again = backup(&store, &to, CLOCK()).unwrap_err();
    assert!(again.to_string().ends_with("use a directory that does not exist"), "{again}");
    let file = dir.path().join("file");
    fs::write(&file, "mine").unwrap();
    assert!(matches!(backup(&store, &file, CLOCK()), Err(CheckpointError::NotEmpty { .. })));
    // The store is open, and after that it is full.
    let in_use = restore(&to, &data, CLOCK()).unwrap_err();
    assert!(in_use.is_in_use(), "{in_use}");
    drop(store);
    let full = restore(&to, &data, CLOCK()).unwrap_err();
    assert!(matches!(&full, CheckpointError::Occupied { found, .. } if found == "db"), "{full}");
    let strange = dir.path().join("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("thesis.txt"), "mine").unwrap();
    let full = restore(&to, &strange, CLOCK()).unwrap_err();
    assert!(full.to_string().contains("thesis.txt"), "{full}");
}

#[tokio::test(flavor = "multi_thread")]
async fn removed_directory_of_a_command_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("data"));
    let exchange = dir.path().join("exchange");
    let refused = backup_into(&store, &exchange, "backup".as_ref(), CLOCK()).unwrap_err();
    assert!(refused.is_io() && !exchange.exists(), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_deliver_into_a_directory_one_after_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir.path().join("data"));
    let (made, to) = (dir.path().join("exchange/backup"), dir.path().join("to"));
    backup(&store, &made, CLOCK()).unwrap();
    let other = fs::File::open(dir.path()).unwrap();
    other.lock().unwrap();
    let target = to.clone();
    let waits = std::thread::spawn(move || deliver(&made, &target));
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waits.is_finished() && !to.exists(), "another one may use the same hidden name");
    fs::create_dir(&to).unwrap();
    fs::write(to.join("file"), "of the other").unwrap();
    drop(other);
    let refused = waits.join().unwrap().unwrap_err();
    assert!(matches!(refused, CheckpointError::NotEmpty { .. }), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_backup_is_reported_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (data, to) = (dir.path().join("data"), dir.path().join("to"));
    let store = open(&data);
    admit(&store, b"one").await;
    backup(&store, &to, CLOCK()).unwrap();
    drop(store);
    let refused = |from: &Path| {
        let into = dir.path().join("into");
        let refused = restore(from, &into, CLOCK()).unwrap_err().to_string();
        assert!(!into.join("db").exists(), "{refused}");
        refused
    };
    assert!(refused(&data).contains("the file `BACKUP` is missing"));
    let opened = Store::open(&to, Durability::EveryBatch, CLOCK()).err().unwrap().to_string();
    assert!(opened.contains("is a backup, not a store"), "{opened}");
    fs::write(to.join("VERSION"), "99\n").unwrap();
    assert!(refused(&to).contains("version `99`"));
    fs::write(to.join("VERSION"), "1\n").unwrap();
    // A part of it is missing.
    let table = fs::read_dir(to.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let table = table.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    fs::remove_file(table.last().expect("there is a table")).unwrap();
    let lacking = refused(&to);
    let words = format!("the backup {} is damaged: ", to.display());
    assert!(lacking.starts_with(&words) && lacking.ends_with("; take another one"), "{lacking}");
    fs::remove_file(to.join("db").join("CURRENT")).unwrap();
    assert!(refused(&to).contains("the database is missing"));
    fs::write(to.join(NOTE), "{}").unwrap();
    assert!(refused(&to).contains("`BACKUP` is malformed"));
}
