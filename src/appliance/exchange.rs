//! Directories in the data directory through which an appliance and a command exchange files.
//!
//! The appliance may run in a sandbox with its own `/tmp`, without write access where the command
//! has it, or as a user without read access to the command's files. Both have access to the data
//! directory.

use std::path::{Component, Path, PathBuf};

use crate::serve::OpsError;
use crate::store::EXCHANGE;
use crate::{private, secrets};

/// Number of hexadecimal digits in a name.
const DIGITS: usize = 32;
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

fn wrong(reason: String) -> OpsError {
    OpsError { is_io: false, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        tidy(dir.path());
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert!(left.len() == 1 && left[0].file_name() == "db");
    }
}
