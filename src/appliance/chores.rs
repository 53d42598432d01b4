//! State of the background chores: scheduled backups and hourly files. Their failures do not stop
//! the appliance, so they are shown in `/readyz` and `/status`.

use std::error::Error;
use std::io;

use tokio::sync::watch;

use crate::clock::Clock;
use crate::model::window::Timestamp;

/// Reports the state of the chores. Clones share it.
#[derive(Clone)]
pub(super) struct Chores {
    failing: watch::Sender<Failing>,
    backups: watch::Sender<Option<BackupTimes>>,
    clock: Clock,
}

/// When backups are made, by `backup.every`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BackupTimes {
    /// When the newest was made; `None` when there is none.
    pub(super) last: Option<Timestamp>,
    /// When the next is due.
    pub(super) next: Timestamp,
}

/// The chores that fail now, each with the reason and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Failing(Vec<(Chore, String, Timestamp)>);

/// A chore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chore {
    /// `backup.dir`.
    Backup,
    /// `archive.dir`.
    Archive,
}

impl Chores {
    pub(super) fn new(clock: Clock) -> Self {
        let (failing, backups) = (watch::Sender::default(), watch::Sender::default());
        Self { failing, backups, clock }
    }

    pub(super) fn watch(&self) -> watch::Receiver<Failing> {
        self.failing.subscribe()
    }

    /// Reports when the newest backup was made, and when the next is due.
    pub(super) fn plan_backups(&self, times: BackupTimes) {
        self.backups.send_replace(Some(times));
    }

    /// A receiver of these times; `None` without `backup.dir`.
    pub(super) fn watch_backups(&self) -> watch::Receiver<Option<BackupTimes>> {
        self.backups.subscribe()
    }

    /// Reports the result of a chore.
    pub(super) fn went(&self, chore: Chore, failed: Option<&(dyn Error + 'static)>) {
        let now = self.clock.now();
        self.failing.send_if_modified(|Failing(all)| {
            let known = all.iter().position(|(known, ..)| *known == chore);
            match (failed, known) {
                (None, None) => return false,
                (None, Some(at)) => drop(all.remove(at)),
                (Some(error), None) => all.push((chore, kind_of(error), now)),
                (Some(error), Some(at)) => all[at].1 = kind_of(error),
            }
            true
        });
    }
}

impl Failing {
    /// The failure of a chore, and since when.
    pub(super) fn of(&self, chore: Chore) -> Option<(&str, Timestamp)> {
        let mut all = self.0.iter().filter(|(known, ..)| *known == chore);
        all.next().map(|(_, why, since)| (why.as_str(), *since))
    }

    /// A description without paths, because every client may read it.
    pub(super) fn words(&self) -> Option<String> {
        let words = self.0.iter().map(|(chore, why, since)| match chore {
            Chore::Backup => format!("no backup can be made since {since} ({why})"),
            Chore::Archive => format!("hours cannot be exported or extended since {since} ({why})"),
        });
        let words = words.collect::<Vec<_>>().join("; ");
        (!words.is_empty()).then(|| format!("{words}; the log says where"))
    }
}

/// The operating system's error, without the file it concerns.
fn kind_of(error: &(dyn Error + 'static)) -> String {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind().to_string();
        }
        at = error.source();
    }
    "the store, the directory or a file cannot be used".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::checkpoint::CheckpointError;

    #[test]
    fn a_failing_chore_is_named_without_its_path_until_it_works() {
        let chores = Chores::new(Clock::system());
        let seen = chores.watch();
        assert_eq!(seen.borrow().words(), None);
        let error = CheckpointError::File {
            verb: "create",
            path: "/srv/inside".into(),
            source: io::ErrorKind::ReadOnlyFilesystem.into(),
        };
        assert!(error.to_string().contains("ReadWritePaths"), "the log has the cure: {error}");
        chores.went(Chore::Backup, Some(&error));
        chores.went(Chore::Archive, None);
        let words = seen.borrow().words().unwrap();
        assert!(words.contains("no backup") && words.contains("read-only"), "{words}");
        assert!(!words.contains("/srv"), "{words}");
        chores.went(Chore::Backup, Some(&error));
        assert_eq!(seen.borrow().words().unwrap(), words, "since it failed first");
        chores.went(Chore::Backup, None);
        assert_eq!(seen.borrow().words(), None);
    }
}
