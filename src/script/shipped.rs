//! The built-in scripts. They are in force where the user has none; `ghpulse script init` writes
//! them out for editing.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The merge script's file name.
pub const MERGE_FILE: &str = "merge_latest.rhai";
/// The most directory entries that are looked at.
const ENTRIES: usize = 1_000;

/// The shipped `scripts/merge_latest.rhai`: the plain sum.
pub const SHIPPED: &str = include_str!("../../scripts/merge_latest.rhai");

/// All of them: name without its ending, and text. The first is the merge script.
pub const SHIPPED_ALL: [(&str, &str); 4] = [
    ("merge_latest", SHIPPED),
    ("bots", include_str!("../../scripts/bots.rhai")),
    ("growth", include_str!("../../scripts/growth.rhai")),
    ("stars", include_str!("../../scripts/stars.rhai")),
];

/// Whether a text is one of the built-in scripts.
pub(super) fn is_built_in(text: &str) -> bool {
    SHIPPED_ALL.iter().any(|(_, shipped)| *shipped == text)
}

/// The built-in text for a file that does not exist. The merge script always has one. A built-in
/// aggregate counts only while the directory holds no script at all: otherwise the files in it say
/// which aggregates there are, so that deleting one ends it.
pub(super) fn built_in(path: &Path) -> Option<&'static str> {
    let name = path.file_stem()?.to_str()?;
    let at = SHIPPED_ALL.iter().position(|(known, _)| *known == name)?;
    (at == 0 || has_no_scripts(path.parent()?)).then_some(SHIPPED_ALL[at].1)
}

/// Whether a directory does not exist, or holds no `.rhai` file. False when it cannot be read.
#[must_use]
pub fn has_no_scripts(directory: &Path) -> bool {
    let is_bare = directory.as_os_str().is_empty();
    let directory = if is_bare { Path::new(".") } else { directory };
    match std::fs::read_dir(directory) {
        Ok(entries) => !entries.take(ENTRIES).any(|entry| entry.map_or(true, |it| is_script(&it))),
        Err(error) => error.kind() == io::ErrorKind::NotFound && !directory.is_symlink(),
    }
}

/// Whether a directory entry is a script. Editors and deployments put hidden files beside them.
fn is_script(entry: &std::fs::DirEntry) -> bool {
    let name = entry.file_name();
    Path::new(&name).extension().is_some_and(|ending| ending == "rhai")
        && !name.as_encoded_bytes().starts_with(b".")
}

/// Writes them into a directory, which is made when it is not there. Gives back which files were
/// written, and which were there and are left as they are.
pub fn write_out(dir: &Path) -> io::Result<(Vec<PathBuf>, Vec<PathBuf>)> {
    std::fs::create_dir_all(dir)?;
    let (mut written, mut kept) = (Vec::new(), Vec::new());
    for (name, text) in SHIPPED_ALL {
        let path = dir.join(format!("{name}.rhai"));
        match std::fs::File::create_new(&path) {
            Ok(mut file) => {
                file.write_all(text.as_bytes())?;
                written.push(path);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => kept.push(path),
            Err(error) => return Err(error),
        }
    }
    Ok((written, kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_script_is_built_in() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
        let mut there: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".rhai").map(str::to_owned))
            .collect();
        let mut known: Vec<_> = SHIPPED_ALL.iter().map(|(name, _)| (*name).to_owned()).collect();
        there.sort();
        known.sort();
        assert_eq!(there, known);
    }

    #[test]
    fn built_in_scripts_give_way_to_files() {
        let dir = tempfile::tempdir().unwrap();
        let scripts = dir.path().join("scripts");
        let has = |name: &str| built_in(&scripts.join(name)).is_some();
        let named = ["merge_latest.rhai", "bots.rhai", "growth.rhai", "stars.rhai"];
        assert!(named.into_iter().all(has) && !has("mine.rhai"), "no directory");
        std::fs::create_dir(&scripts).unwrap();
        std::fs::write(scripts.join("README.md"), "").unwrap();
        std::fs::write(scripts.join(".mine.rhai"), "").unwrap();
        assert!(named.into_iter().all(has), "a directory without a script");
        std::fs::write(scripts.join("mine.rhai"), "").unwrap();
        assert!(has("merge_latest.rhai"), "the merge script is always there");
        assert!(!named[1..].iter().any(|name| has(name)), "files say which aggregates there are");
    }

    #[test]
    fn writing_scripts_keeps_existing_files() {
        let dir = tempfile::tempdir().unwrap();
        let scripts = dir.path().join("deep").join("scripts");
        let stars = scripts.join("stars.rhai");
        std::fs::create_dir_all(&scripts).unwrap();
        std::fs::write(&stars, "mine").unwrap();
        let (written, kept) = write_out(&scripts).unwrap();
        assert_eq!((written.len(), kept), (3, vec![stars.clone()]));
        assert_eq!(std::fs::read_to_string(stars).unwrap(), "mine");
    }
}
