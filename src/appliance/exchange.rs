//! Directories in the data directory through which an appliance and a command exchange files.
//!
//! The appliance may run in a sandbox with its own `/tmp`, without write access where the command
//! has it, or as a user without read access to the command's files. Both have access to the data
//! directory.

use std::path::{Component, Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::model::window::Timestamp;
use crate::serve::OpsError;
use crate::store::EXCHANGE;
use crate::{private, secrets};

/// Number of hexadecimal digits in a name.
const DIGITS: usize = 32;
/// Time without a write after which a directory belongs to no command any more.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// The name of a requested backup in the exchange directory.
pub(super) const BACKUP: &str = "backup";

/// A new name that cannot be guessed.
#[must_use]
pub fn new_name() -> String {
    format!("{EXCHANGE}{}", secrets::word())
}

/// The path of the exchange directory that a request names.
pub(super) fn path_of(data: &Path, name: &str) -> Result<PathBuf, OpsError> {
    let digits = name.strip_prefix(EXCHANGE).unwrap_or_default();
    if digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(data.join(name));
    }
    let shown: String = name.chars().take(80).collect();
    Err(wrong(format!("`{shown}` does not name an exchange directory: {EXCHANGE} and 32 digits")))
}

/// Creates the exchange directory; fails when it already exists.
pub(super) fn make(data: &Path, name: &str) -> Result<PathBuf, OpsError> {
    let path = path_of(data, name)?;
    private::create_dir(&path).map_err(|error| {
        let reason = format!("cannot create {}: {error}{}", path.display(), private::cure(&error));
        OpsError { is_io: true, reason }
    })?;
    Ok(path)
}

/// The path of a file in an exchange directory.
pub(super) fn file_in(data: &Path, name: &str, file: &str) -> Result<PathBuf, OpsError> {
    let mut parts = Path::new(file).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) => Ok(path_of(data, name)?.join(file)),
        _ => Err(wrong("the name of a file has no `/`".to_owned())),
    }
}

/// Removes what was left by a command or an appliance that was killed.
pub(super) fn tidy(data: &Path) {
    for entry in std::fs::read_dir(data).into_iter().flatten().flatten() {
        if path_of(data, &entry.file_name().to_string_lossy()).is_ok() {
            // A failed removal is retried at the next start.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes directories in which nothing was written for a day: a command that was killed, or whose
/// backup was finished after it had gone, has left them. A request takes an hour at most.
pub(super) fn tidy_abandoned(data: &Path, now: Timestamp) {
    for entry in std::fs::read_dir(data).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_exchange = path_of(data, &entry.file_name().to_string_lossy()).is_ok();
        let is_old = |written: Timestamp| now.since(written) >= ABANDONED_AFTER;
        // A failed removal is retried soon.
        if is_exchange
            && last_written(&path).is_some_and(is_old)
            && std::fs::remove_dir_all(&path).is_ok()
        {
            tracing::warn!(path = %path.display(), "removed what an ended command had left");
        }
    }
}

/// When something was last written in a directory, or to a file in it.
fn last_written(dir: &Path) -> Option<Timestamp> {
    let files = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let written = files.filter_map(|file| file.metadata().ok()).chain([dir.metadata().ok()?]);
    let newest = written.filter_map(|about| about.modified().ok()).max()?;
    let since = newest.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_seconds(i64::try_from(since.as_secs()).ok()?))
}

fn wrong(reason: String) -> OpsError {
    OpsError { is_io: false, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_request_names_nothing_outside_of_the_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let name = new_name();
        assert!(make(dir.path(), &name).unwrap().is_dir());
        assert!(make(dir.path(), &name).unwrap_err().is_io, "it is there already");
        assert!(file_in(dir.path(), &name, "2015-01-01-1.json.gz").is_ok());
        for file in ["", "..", "/etc/passwd", "a/b", "../x", "."] {
            assert!(file_in(dir.path(), &name, file).is_err(), "{file}");
        }
        for name in
            ["", "/etc/cron.d/x", "..", ".exchange-", &format!("{EXCHANGE}{}", "../a".repeat(8))]
        {
            assert!(!make(dir.path(), name).unwrap_err().is_io, "{name}");
        }
        std::fs::write(dir.path().join("db"), "").unwrap();
        let now = Clock::system().now();
        tidy_abandoned(dir.path(), now);
        let taken = make(dir.path(), &name).unwrap_err();
        assert!(taken.is_io, "what is in use stays: {}", taken.reason);
        tidy_abandoned(dir.path(), now.plus(ABANDONED_AFTER));
        assert!(make(dir.path(), &name).unwrap().is_dir(), "it was removed after a day");
        tidy(dir.path());
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert!(left.len() == 1 && left[0].file_name() == "db");
    }
}
