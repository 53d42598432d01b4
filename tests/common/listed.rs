//! A list of repositories of which nothing is missed, and what shows that: an audit with looks each
//! second, and a directory for the hours of an archive.

use std::path::Path;

use tempfile::TempDir;

/// The files of a node with a complete list.
pub struct ListedFiles {
    lists: TempDir,
    hours: TempDir,
}

impl ListedFiles {
    /// Writes a complete list with this name.
    pub fn new<'a>(list: &str, repositories: impl IntoIterator<Item = &'a String>) -> Self {
        let [lists, hours] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let lines = repositories.into_iter().map(|name| format!("{name}\n"));
        let text = format!("complete: true\n{}", lines.collect::<String>());
        std::fs::write(lists.path().join(format!("{list}.txt")), text).unwrap();
        Self { lists, hours }
    }

    /// The directory for the hours of the archive.
    pub fn hours(&self) -> &Path {
        self.hours.path()
    }

    /// The settings of the node, and these.
    pub fn settings<'a>(&'a self, others: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let own = [
            ("GHPULSE_LISTS_DIR", self.lists.path().to_str().unwrap()),
            ("GHPULSE_LISTS_WITHIN", "1s"),
            ("GHPULSE_ARCHIVE_DIR", self.hours.path().to_str().unwrap()),
            ("GHPULSE_GITHUB_AUDIT_EVERY", "1s"),
            ("GHPULSE_GITHUB_AUDIT_WAIT", "6s"),
        ];
        [&own[..], others].concat()
    }
}
