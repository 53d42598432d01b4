//! Scheduled backups (`backup.dir`): makes one when the newest is older than `backup.every`, and
//! removes the oldest when there are more than `backup.keep`.
//!
//! When the next one is due is derived from the existing backups, so a restart makes none too
//! many. Only backups of this store that were named here are ever removed, because several nodes
//! may share a directory, and people put their own backups into it. A disk failure does not stop
//! the appliance: it is logged, raises an alert, and the backup is retried.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::chores::{BackupTimes, Chore, Chores};
use crate::alerts::{AlertCondition, Alerts};
use crate::clock::Clock;
use crate::clock::witness::{LOOK, TOLERANCE, Witness};
use crate::config;
use crate::metrics;
use crate::model::window::Timestamp;
use crate::store::Store;
use crate::store::checkpoint::{self, CheckpointError};
use crate::sync::blocking;

/// Interval at which it is checked whether a backup is due.
const EVERY: Duration = Duration::from_secs(20);
/// Minimum wait after a failed backup.
const AGAIN: Duration = Duration::from_secs(300);
/// The prefix of the names of backups made here.
const NAMED: &str = "ghpulse-";
/// The suffix of the hidden names of backups being removed.
const GONE: &str = ".gone";

/// Makes backups until `stop` is cancelled.
pub(super) async fn run(
    store: Store,
    settings: config::BackupConfig,
    (alerts, chores): (Alerts, Chores),
    (witness, clock): (Arc<Witness>, Clock),
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut not_before = clock.instant();
    loop {
        // Whether one is due is decided only by a clock that is not contradicted.
        let now = witness.scheduled_now();
        if clock.instant() >= not_before && now.is_some() {
            let (store, settings) = (store.clone(), settings.clone());
            let (id, dir) = (store.store_id().to_owned(), settings.dir.clone());
            let every = settings.every;
            let work = move || {
                let pass = pass(&store, &settings, clock);
                (pass, own(&dir, &id).last().map(|(at, _)| *at))
            };
            let (pass, last) = blocking(work).await?;
            let now = clock.now();
            let next = last.map_or(now, |last| last.plus(every)).max(now);
            chores.plan_backups(BackupTimes { last, next });
            let failed = pass.as_ref().err().map(|error| error as &(dyn Error + 'static));
            chores.went(Chore::Backup, failed);
            match pass {
                Ok(made) => {
                    alerts.clear(AlertCondition::BackupFailing);
                    if let Some(made) = made {
                        metrics::BACKUPS.add_for("made", 1);
                        let dir = made.dir.display();
                        tracing::info!(%dir, bytes = made.bytes, "a backup is made");
                    }
                }
                Err(error) => {
                    metrics::BACKUPS.add_for("failed", 1);
                    tracing::error!(%error, "no backup can be made; trying again");
                    alerts.raise(AlertCondition::BackupFailing, &error.to_string());
                    not_before = clock.instant() + AGAIN;
                }
            }
        }
        let wait = now.map_or(LOOK, |_| EVERY);
        let Some(()) = stop.run_until_cancelled(clock.sleep(wait)).await else { return Ok(()) };
    }
}

/// Makes a backup if one is due, and removes superfluous ones.
fn pass(
    store: &Store,
    settings: &config::BackupConfig,
    clock: Clock,
) -> Result<Option<checkpoint::ExistingBackup>, CheckpointError> {
    let now = clock.now();
    let mut kept = own(&settings.dir, store.store_id());
    // A backup dated in the future by a wrong clock must not delay the next ones.
    let newest = kept.iter().map(|(at, _)| *at).filter(|at| at.since(now) <= TOLERANCE).max();
    let is_due = newest.is_none_or(|newest| now >= newest.plus(settings.every));
    let made = if is_due {
        let made = make(store, &settings.dir, now, clock)?;
        kept.push((now, made.dir.clone()));
        kept.sort_unstable();
        Some(made)
    } else {
        None
    };
    let at = made.as_ref().map(|_| now).or(newest).map_or(0, |at| at.second().0);
    #[expect(clippy::cast_precision_loss, reason = "seconds of this millennium are exact")]
    metrics::BACKUP_AT.set(at as f64);
    let keep = settings.keep.max(1);
    let much = kept.len().saturating_sub(keep);
    for (_, dir) in kept.drain(..much) {
        remove(&dir);
    }
    tidy(&settings.dir, store.store_id());
    Ok(made)
}

/// Makes a backup. Where its name is taken, by another node's of the same second or by one that a
/// clock made before it was set back, the store's id is put behind it.
fn make(
    store: &Store,
    dir: &Path,
    now: Timestamp,
    clock: Clock,
) -> Result<checkpoint::ExistingBackup, CheckpointError> {
    let name = name_of(now);
    match checkpoint::backup(store, &dir.join(&name), clock) {
        Err(CheckpointError::NotEmpty { .. }) => {
            let name = format!("{name}-{}", store.store_id());
            checkpoint::backup(store, &dir.join(name), clock)
        }
        made => made,
    }
}

/// The name of a backup, such as `ghpulse-2026-11-22T05-00-00Z`.
fn name_of(now: Timestamp) -> String {
    format!("{NAMED}{}", now.second().start()).replace(':', "-")
}

/// Whether [`make`] gives this name to a backup of the store. Any other name is a person's, also
/// one with the same prefix.
fn is_scheduled(name: &str, store_id: &str) -> bool {
    let name = name.strip_suffix(&format!("-{store_id}")).unwrap_or(name);
    let time = name.strip_prefix(NAMED).and_then(|time| time.split_once('T'));
    let at =
        time.and_then(|(day, time)| Timestamp::parse(&format!("{day}T{}", time.replace('-', ":"))));
    at.is_some_and(|at| name_of(at) == name)
}

/// This store's backups that were named here, oldest first, with the time they were made.
fn own(dir: &Path, store_id: &str) -> Vec<(Timestamp, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let is_named =
        |entry: &fs::DirEntry| is_scheduled(&entry.file_name().to_string_lossy(), store_id);
    let named = entries.filter(is_named);
    let mut found: Vec<_> = named
        .filter_map(|entry| checkpoint::read(&entry.path()).ok())
        .filter(|backup| backup.note.store_id == store_id)
        .filter_map(|backup| Some((Timestamp::parse(&backup.note.made_at)?, backup.dir)))
        .collect();
    found.sort_unstable();
    found
}

/// Renames a backup before removing its files, so that a partial one never looks like a backup.
fn remove(dir: &Path) {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let gone = dir.with_file_name(format!(".{name}{GONE}"));
    let removed = fs::rename(dir, &gone).and_then(|()| fs::remove_dir_all(&gone));
    match removed {
        // Another node may have removed the rest of it meanwhile.
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), %error, "an old backup stays");
        }
        _ => tracing::info!(dir = %dir.display(), "an old backup is removed"),
    }
}

/// Removes what a crash left of backups that were being made or removed. The copy that a command
/// delivers has another hidden name, which is never removed here.
fn tidy(dir: &Path, store_id: &str) {
    let part = checkpoint::part_of(store_id);
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let left = name.strip_suffix(&part).or_else(|| name.strip_suffix(GONE));
        let left = left.and_then(|name| name.strip_prefix('.'));
        if left.is_some_and(|name| is_scheduled(name, store_id)) {
            // A failed removal is retried at the next pass.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Durability;

    /// A store at five o'clock, of which a backup is made each hour and two are kept.
    fn scheduled() -> (tempfile::TempDir, Clock, Store, config::BackupConfig) {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(Timestamp::parse("2026-11-22T05:00:00Z").unwrap());
        let store = Store::open(&dir.path().join("data"), Durability::EveryBatch, clock).unwrap();
        let (to, every) = (dir.path().join("backups"), Duration::from_secs(3_600));
        (dir, clock, store, config::BackupConfig { dir: to, every, keep: 2 })
    }

    #[tokio::test(start_paused = true)]
    async fn due_backup_is_made_and_the_oldest_removed() {
        let (_dir, clock, store, settings) = scheduled();
        let (to, every) = (settings.dir.clone(), settings.every);
        let names = || {
            let entries = fs::read_dir(&to).unwrap().map(|entry| entry.unwrap().file_name());
            let mut names: Vec<_> = entries.map(|name| name.into_string().unwrap()).collect();
            names.sort();
            names
        };
        assert!(pass(&store, &settings, clock).unwrap().is_some());
        assert!(pass(&store, &settings, clock).unwrap().is_none(), "none is due");
        assert_eq!(names(), ["ghpulse-2026-11-22T05-00-00Z"]);
        // Backups of another store stay, and what a crash left is removed.
        fs::create_dir(to.join("ghpulse-of-another")).unwrap();
        for end in [format!(".{}.part", store.store_id()), GONE.to_owned()] {
            fs::create_dir(to.join(format!(".{}{end}", name_of(clock.now())))).unwrap();
        }
        for _ in 0..2 {
            tokio::time::advance(every).await;
            assert!(pass(&store, &settings, clock).unwrap().is_some());
        }
        let kept = ["ghpulse-2026-11-22T06-00-00Z", "ghpulse-2026-11-22T07-00-00Z"];
        assert_eq!(names(), [kept[0], kept[1], "ghpulse-of-another"]);
        // Made by a clock that was ahead: the next is still due, one interval after the last one
        // that is not.
        let ahead = Clock::starting_at(clock.now().plus(Duration::from_secs(30 * 86_400)));
        assert!(pass(&store, &settings, ahead).unwrap().is_some());
        assert!(pass(&store, &settings, clock).unwrap().is_none());
        tokio::time::advance(every).await;
        assert!(pass(&store, &settings, clock).unwrap().is_some());
        let blocked = config::BackupConfig { dir: to.join("file"), ..settings };
        fs::write(&blocked.dir, "").unwrap();
        assert!(pass(&store, &blocked, clock).unwrap_err().is_io());
    }

    #[tokio::test(start_paused = true)]
    async fn backups_that_people_make_beside_the_schedule_stay() {
        let (_dir, clock, store, settings) = scheduled();
        let (to, every) = (settings.dir.clone(), settings.every);
        let (id, time) = (store.store_id(), name_of(clock.now()));
        let mut manual =
            vec!["ghpulse-before-upgrade".to_owned(), format!("{time}-before-upgrade")];
        for name in &manual {
            checkpoint::backup(&store, &to.join(name), clock).unwrap();
        }
        // Copies that commands are delivering.
        for hidden in [format!(".ghpulse-manual.{id}.part"), format!(".{time}.{id}.copy")] {
            fs::create_dir(to.join(&hidden)).unwrap();
            manual.push(hidden);
        }
        let mut scheduled = Vec::new();
        for _ in 0..3 {
            let made = pass(&store, &settings, clock).unwrap().expect("theirs do not count");
            scheduled.push(made.dir);
            tokio::time::advance(every).await;
        }
        let names = manual.iter().map(|name| to.join(name));
        let gone: Vec<_> = names.filter(|path| !path.exists()).collect();
        assert!(gone.is_empty(), "{gone:?}");
        let kept: Vec<_> = scheduled.iter().map(|dir| dir.exists()).collect();
        assert_eq!(kept, [false, true, true], "the last two");
    }

    #[test]
    fn only_names_that_the_schedule_gives_are_its_own() {
        let time = "ghpulse-2026-11-22T05-00-00Z";
        assert!(is_scheduled(time, "a1") && is_scheduled(&format!("{time}-a1"), "a1"));
        let of_others = ["-b2", "-", "-a1-a1", ".old", "-a1 "].map(|end| format!("{time}{end}"));
        let others = ["ghpulse-", "ghpulse-a1", "2026-11-22T05-00-00Z", "ghpulse-2026-11-22"];
        let odd = ["2026-13-22T05-00-00Z", "2026-11-22T05:00:00Z", "2026-11-22T05-00-00-00"];
        let odd = odd.map(|time| format!("ghpulse-{time}"));
        let names = of_others.iter().chain(&odd).map(String::as_str).chain(others);
        let taken: Vec<_> = names.filter(|name| is_scheduled(name, "a1")).collect();
        assert!(taken.is_empty(), "{taken:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn nodes_that_share_a_directory_keep_their_own_backups() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::starting_at(Timestamp::parse("2026-11-22T05:00:00Z").unwrap());
        let open = |name: &str| {
            Store::open(&dir.path().join(name), Durability::EveryBatch, clock).unwrap()
        };
        let stores = ["a", "b", "c"].map(open);
        let (to, every) = (dir.path().join("backups"), Duration::from_secs(3_600));
        let settings = config::BackupConfig { dir: to.clone(), every, keep: 2 };
        for _ in 0..3 {
            for store in &stores {
                // In the same second.
                let made = pass(store, &settings, clock).unwrap().expect("it is due");
                assert_eq!(made.note.store_id, store.store_id());
            }
            tokio::time::advance(every).await;
        }
        for store in &stores {
            let kept = own(&to, store.store_id());
            let times: Vec<String> = kept.iter().map(|(at, _)| at.to_string()).collect();
            assert_eq!(times, ["2026-11-22T06:00:00Z", "2026-11-22T07:00:00Z"]);
        }
        let first = name_of(Timestamp::parse("2026-11-22T07:00:00Z").unwrap());
        assert_eq!(checkpoint::read(&to.join(&first)).unwrap().note.store_id, stores[0].store_id());
        assert!(to.join(format!("{first}-{}", stores[1].store_id())).exists());
        assert_eq!(fs::read_dir(&to).unwrap().count(), 6);
        // The clock was set back, to a second that has a backup of this store.
        let back = Clock::starting_at(Timestamp::parse("2026-11-22T07:00:00Z").unwrap());
        assert!(make(&stores[0], &to, back.now(), back).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn no_backup_is_made_while_the_clock_is_contradicted() {
        let (_dir, clock, store, settings) = scheduled();
        let (to, every) = (settings.dir.clone(), settings.every);
        let (witness, chores) = (Arc::new(Witness::new(clock)), Chores::new(clock));
        let (mut backups, stop) = (chores.watch_backups(), CancellationToken::new());
        witness.record_date(clock.now().plus(Duration::from_secs(86_400)));
        let reported = (Alerts::off(), chores);
        let time = (Arc::clone(&witness), clock);
        let running = tokio::spawn(run(store, settings, reported, time, stop.clone()));
        clock.sleep(Duration::from_secs(600)).await;
        assert!(backups.borrow().is_none() && !to.exists(), "GitHub's Date is another day");
        witness.record_date(clock.now());
        let made = backups.wait_for(|times| times.is_some_and(|times| times.last.is_some()));
        tokio::time::timeout(every, made).await.expect("it is due").unwrap();
        assert!(to.join(name_of(backups.borrow().unwrap().last.unwrap())).exists());
        stop.cancel();
        running.await.unwrap().unwrap();
    }
}
