use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::clock::Clock;
use crate::store::keys::RejectKey;
use crate::store::{Durability, Store, StoreError};

/// A file system of a given size.
struct Mounted(tempfile::TempDir);

impl Mounted {
    /// `None`, with a message, if mounting is not permitted.
    fn new(test: &str, mib: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let size = format!("size={mib}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(dir.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(dir)),
            other => {
                println!("skipped: {test}: no file system can be mounted: {other:?}");
                None
            }
        }
    }

    /// Fills the file system up, to its last page. Smaller pieces would take minutes when the
    /// database frees space meanwhile.
    fn fill(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        let mut file = File::create(&path).unwrap();
        for piece in [1 << 20, 4_096] {
            let zeros = vec![0; piece];
            while file.write_all(&zeros).is_ok() {}
        }
        path
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// Writes rows of one mebibyte of incompressible data.
async fn put(store: &Store, rows: std::ops::Range<u64>) -> Result<(), StoreError> {
    for row in rows {
        let work = move |batch: &mut crate::store::Batch<'_>| {
            let value: Vec<u8> =
                std::iter::repeat_with(|| fastrand::u8(..)).take(1 << 20).collect();
            batch.put(&RejectKey(row), &value);
            Ok(())
        };
        store.commit(work).await?;
    }
    Ok(())
}

fn rows(store: &Store) -> Vec<u64> {
    let mut rows = Vec::new();
    let read = |key: RejectKey, _: &[u8]| {
        rows.push(key.0);
        Ok(true)
    };
    store.reader().scan(&RejectKey(0), read).unwrap();
    rows
}

#[test]
fn polling_pauses_below_the_reserve_and_resumes_above_it() {
    let (room, dir) = (DiskSpace::default(), Path::new("d"));
    let gib = |n: u64| n << 30;
    assert_eq!((reserve(gib(100)), reserve(gib(2))), (gib(1), gib(2) / 20));
    room.measured(dir, gib(2), gib(100));
    assert_eq!(room.warning(), None);
    room.measured(dir, gib(1) - 1, gib(100));
    assert!(room.warning().unwrap().contains("1023 MiB are free on the disk of d"));
    room.measured(dir, gib(1) + 1, gib(100));
    assert!(room.warning().is_some(), "not at once: it would pause again in a moment");
    room.measured(dir, gib(1) + gib(1) / 4, gib(100));
    assert_eq!(room.warning(), None);
}

#[test]
fn waiting_write_is_reported_and_ends_with_the_store() {
    let room = DiskSpace::default();
    room.close();
    room.found_full();
    assert!(!room.wait_to_write());
    assert!(room.warning().unwrap().starts_with("the disk is full"));
    room.wrote();
    assert_eq!(room.warning(), None);
}

/// Waits for something that must not hang, also on a loaded machine.
async fn soon<T>(what: &str, work: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(120), work).await;
    waited.unwrap_or_else(|_| panic!("not in two minutes: {what}"))
}

async fn until_it_warns(store: &Store) {
    let warns = async {
        while store.disk_space().warning().is_none() {
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a write on a full disk is noticed", warns).await;
}

#[test]
fn sync_that_fails_after_every_write_is_given_up() {
    let room = DiskSpace::default();
    for _ in 0..STUCK_AFTER {
        // An attempt to sync, without its pause, and the empty batch after it.
        room.stuck_tries.fetch_add(1, Ordering::Relaxed);
        room.found_full();
        room.wrote();
    }
    assert!(!room.wait_to_write());
}

#[tokio::test(flavor = "multi_thread")]
async fn write_on_a_full_disk_waits_for_free_space() {
    let Some(mounted) = Mounted::new("write_on_a_full_disk_waits_for_free_space", 160) else {
        return;
    };
    let dir = mounted.0.path().join("data");
    let store = Store::open(&dir, Durability::EveryBatch, Clock::system()).unwrap();
    put(&store, 0..30).await.unwrap();
    let ballast = mounted.fill("ballast");
    let writing = tokio::spawn({
        let store = store.clone();
        async move { put(&store, 30..70).await }
    });
    until_it_warns(&store).await;
    // Readers are served meanwhile.
    assert!(rows(&store).len() >= 30 && !writing.is_finished());
    fs::remove_file(ballast).unwrap();
    soon("waiting writes resume", writing).await.unwrap().unwrap();
    assert_eq!(store.disk_space().warning(), None);
    put(&store, 70..75).await.unwrap();
    assert_eq!(rows(&store), (0..75).collect::<Vec<_>>());
    drop(store);
    // A store can be closed while a write waits, and committed rows are there.
    let store = Store::open(&dir, Durability::EveryBatch, Clock::system()).unwrap();
    let ballast = mounted.fill("ballast");
    let writing = tokio::spawn({
        let store = store.clone();
        async move { put(&store, 75..200).await }
    });
    until_it_warns(&store).await;
    writing.abort();
    let _ = writing.await;
    let closed = tokio::task::spawn_blocking(move || drop(store));
    soon("the store closes while a write waits", closed).await.unwrap();
    // Opening on a full disk is an error. Closing has freed a little space.
    let more = mounted.fill("more ballast");
    let Err(error) = Store::open(&dir, Durability::EveryBatch, Clock::system()) else {
        panic!("a store was opened on a full disk");
    };
    assert!(error.to_string().contains("is full: free some space"), "{error}");
    fs::remove_file(ballast).unwrap();
    fs::remove_file(more).unwrap();
    let store = Store::open(&dir, Durability::EveryBatch, Clock::system()).unwrap();
    let kept = rows(&store);
    assert!(kept.len() >= 75 && kept.iter().copied().eq(0..kept.len() as u64), "{kept:?}");
}

/// Writes rows, several at a time, while the disk fills up; space is freed some time after the
/// log's write failed. With any durability, the same database continues to write.
async fn fill_up_and_make_room(test: &str, durability: Durability) {
    const WRITERS: u64 = 4;
    const ROWS: u64 = 400;
    /// Bytes that are freed.
    const ROOM: u64 = 60 << 20;
    let Some(mounted) = Mounted::new(test, 200) else { return };
    let dir = mounted.0.path().join("data");
    let store = Store::open(&dir, durability, Clock::system()).unwrap();
    let ballast = mounted.fill("ballast");
    let mut writing = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writing.spawn(async move {
            for row in 0..ROWS {
                let put = move |batch: &mut crate::store::Batch<'_>| {
                    let value = std::iter::repeat_with(|| fastrand::u8(..)).take(20_000);
                    batch.put(&RejectKey(row * WRITERS + writer), &value.collect::<Vec<_>>());
                    Ok(())
                };
                store.commit(put).await?;
            }
            Ok::<_, StoreError>(())
        });
    }
    until_it_warns(&store).await;
    let file = File::options().write(true).open(&ballast).unwrap();
    file.set_len(file.metadata().unwrap().len() - ROOM).unwrap();
    for ended in soon("waiting writes resume", writing.join_all()).await {
        ended.unwrap();
    }
    assert_eq!(store.disk_space().warning(), None);
    assert_eq!(rows(&store), (0..WRITERS * ROWS).collect::<Vec<_>>());
    drop(store);
    let store = Store::open(&dir, durability, Clock::system()).unwrap();
    assert_eq!(rows(&store), (0..WRITERS * ROWS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_resumes_in_place_with_a_sync_each_batch() {
    let test = "writing_resumes_in_place_with_a_sync_each_batch";
    fill_up_and_make_room(test, Durability::EveryBatch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_resumes_in_place_with_a_sync_each_interval() {
    let test = "writing_resumes_in_place_with_a_sync_each_interval";
    fill_up_and_make_room(test, Durability::Every(Duration::from_millis(50))).await;
}
