//! A process is killed, and before the next start its write-ahead log is kept, cut as by a power
//! cut, damaged, or emptied. A returning reader gets a gap exactly when events are missing, and no
//! cursor names two events.

use std::fs;
use std::path::PathBuf;

use ghpulse::model::position::Cursor;

use super::*;

/// The write-ahead log, or the longest of several.
fn log_of(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap()
}

pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// What a returning reader receives after a cursor: the gaps, and the positions of events.
fn behind(dir: &Path, had: Option<Cursor>) -> (Vec<u64>, Vec<u64>, Option<Cursor>) {
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    let (tag, had) = (store.bus_tag(), had.map(|cursor| cursor.position).unwrap_or_default());
    let gaps = gaps::behind(store.reader(), tag, had, 9).unwrap();
    let gaps = gaps.into_iter().map(|gap| gap.until.entry).collect();
    let mut events = Vec::new();
    let reading = store.reader().journal(tag).unwrap().read_behind(had, |at, _| {
        events.push(at.entry);
        Ok(true)
    });
    reading.unwrap();
    (gaps, events, store.reader().applied().unwrap())
}

/// Feeds events for a few polls.
async fn feed(site: &Site, steps: u64) {
    let requests = site.control.requests();
    for step in 1..=steps {
        site.control.emit(15);
        let asked = site.control.until(|c| c.requests() > requests + 4 * step);
        tokio::time::timeout(PATIENCE, asked).await.expect("it asks in time");
    }
}

/// Kills a process with this sync setting, damages the log it left, and starts the next one.
async fn killed_with(sync: &str, harm: Option<fn(&mut Vec<u8>)>) {
    let site = Site::new(23, Shape::Old).await;
    let settings = [("GHPULSE_STORE_SYNC", sync)];
    let mut child = site.start_with(None, &settings);
    feed(&site, 12).await;
    child.kill().await.unwrap();
    // What a reader can have received, from a copy: opening a store moves its log into tables.
    let as_left = site.dir.path().with_extension("as-left");
    copy(site.dir.path(), &as_left);
    let (gaps, events, had) = behind(&as_left, None);
    assert!(gaps.is_empty() && events.len() > 20, "a kill alone loses nothing: {gaps:?}");
    fs::remove_dir_all(&as_left).unwrap();
    if let Some(harm) = harm {
        let log = log_of(site.dir.path());
        let mut bytes = fs::read(&log).unwrap();
        harm(&mut bytes);
        fs::write(&log, bytes).unwrap();
    }
    let mut child = site.start_with(None, &settings);
    feed(&site, 6).await;
    end(&mut child).await;
    let (gaps, events, _) = behind(site.dir.path(), had);
    let had = had.expect("something was applied").position.entry;
    assert!(!events.is_empty() && events.iter().all(|entry| *entry > had));
    let [until] = gaps[..] else {
        assert!(harm.is_none() && gaps.is_empty(), "{gaps:?}");
        return;
    };
    assert!(harm.is_some() && until > had, "no cursor names two events");
    site.stop.cancel();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_leaves_no_gap_however_the_log_is_synced() {
    killed_with("batch", None).await;
    killed_with("1s", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn log_cut_by_a_power_cut_leaves_a_gap() {
    killed_with("1s", Some(|log| log.truncate(log.len() * 4 / 5))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_log_leaves_a_gap() {
    let damage = |log: &mut Vec<u8>| {
        let middle = log.len() / 2;
        log[middle..middle + 64].fill(0xa5);
    };
    killed_with("batch", Some(damage)).await;
}

/// Overwrites the middle of the largest table with zeros, as by a bad sector.
fn damage_a_table(dir: &Path) {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    let table = tables.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64].fill(0);
    fs::write(&table, bytes).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_block_of_the_journal_ends_nothing() {
    let site = Site::new(29, Shape::Old).await;
    let mut child = site.start(None);
    for _ in 0..20 {
        site.control.emit(60);
        let requests = site.control.requests();
        let asked = site.control.until(|c| c.requests() > requests + 4);
        tokio::time::timeout(PATIENCE, asked).await.expect("it asks in time");
    }
    end(&mut child).await;
    let (_, before, had) = behind(site.dir.path(), None);
    damage_a_table(site.dir.path());
    // The process runs, applies new events, and stops cleanly.
    let mut child = site.start(None);
    feed(&site, 12).await;
    end(&mut child).await;
    let (gaps, after, _) = behind(site.dir.path(), had);
    assert!(gaps.is_empty() && !after.is_empty(), "{gaps:?}");
    let (_, all, _) = behind(site.dir.path(), None);
    let lost = before.len() + after.len() - all.len();
    assert!(lost > 0 && lost < before.len() / 4, "{lost} of {} are in the block", before.len());
    site.stop.cancel();
}
