//! Notices that the data directory was removed or replaced while the store is open. The system
//! keeps the files that are open, so everything seems well, and drops them when the process ends.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::error::StoreError;
use super::lock::file_error;
use crate::sync::lock;

/// Device and inode.
type FileId = (u64, u64);

/// The paths of an open store: what they led to when it was opened, and whether they still do.
#[derive(Debug)]
pub struct StorePaths {
    dir: PathBuf,
    opened: [(PathBuf, FileId); 2],
    /// The first path that leads to nothing or to something else.
    lost: Mutex<Option<PathBuf>>,
}

impl StorePaths {
    pub(super) fn of(dir: &Path) -> Result<Self, StoreError> {
        let opened = |name| {
            let path = dir.join(name);
            let id = id(&path).map_err(file_error("read", &path))?;
            Ok::<_, StoreError>((path, id))
        };
        let opened = [opened("LOCK")?, opened("db")?];
        Ok(Self { dir: dir.to_owned(), opened, lost: Mutex::new(None) })
    }

    /// Compares the paths with what was opened. Blocks.
    pub fn look(&self) {
        let is_lost = |(path, opened): &&(PathBuf, FileId)| match id(path) {
            Ok(id) => id != *opened,
            // Other errors do not tell.
            Err(error) => matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory),
        };
        let now = self.opened.iter().find(is_lost).map(|(path, _)| path.clone());
        let mut lost = lock(&self.lost);
        let was_lost = std::mem::replace(&mut *lost, now).is_some();
        match &*lost {
            Some(path) if !was_lost => tracing::error!("{}", self.error(path)),
            None if was_lost => tracing::info!("the data directory is in its place again"),
            _ => {}
        }
    }

    /// The error of a data directory that was removed or replaced, as of the last look.
    #[must_use]
    pub fn lost(&self) -> Option<StoreError> {
        lock(&self.lost).as_deref().map(|path| self.error(path))
    }

    fn error(&self, path: &Path) -> StoreError {
        StoreError::Removed { dir: self.dir.clone(), path: path.to_owned() }
    }
}

fn id(path: &Path) -> std::io::Result<FileId> {
    let about = std::fs::metadata(path)?;
    Ok((about.dev(), about.ino()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::store::open::new_store;

    #[tokio::test]
    async fn removed_and_replaced_directory_is_noticed_and_its_return() {
        let (dir, store) = new_store();
        let (lock, away) = (dir.path().join("LOCK"), dir.path().join("away"));
        let lost = || {
            store.paths().look();
            store.paths().lost().map(|error| error.to_string())
        };
        assert_eq!(lost(), None);
        fs::rename(&lock, &away).unwrap();
        assert!(lost().is_some_and(|text| text.contains("LOCK")), "removed");
        fs::write(&lock, "").unwrap();
        assert!(lost().is_some(), "replaced");
        fs::rename(&away, &lock).unwrap();
        assert_eq!(lost(), None, "put back");
        fs::remove_dir_all(dir.path().join("db")).unwrap();
        assert!(lost().is_some_and(|text| text.contains("db was removed or replaced")));
    }
}
