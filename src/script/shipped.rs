//! The scripts that are built in: in force where there is no directory of scripts, and written out
//! by `ghpulse script init` for editing.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

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

/// The built-in text for a file that is not there: only where its directory is not there either,
/// because who has a directory decides what is in it.
pub(super) fn built_in(path: &Path) -> Option<&'static str> {
    let name = path.file_stem()?.to_str()?;
    let (_, text) = SHIPPED_ALL.iter().find(|(known, _)| *known == name)?;
    has_no_directory(path.parent()?).then_some(text)
}

/// Whether a directory of scripts is not there.
#[must_use]
pub fn has_no_directory(path: &Path) -> bool {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
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
    fn writing_out_leaves_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let scripts = dir.path().join("deep").join("scripts");
        let stars = scripts.join("stars.rhai");
        assert!(has_no_directory(&scripts) && built_in(&stars).is_some());
        assert!(built_in(&scripts.join("mine.rhai")).is_none());
        std::fs::create_dir_all(&scripts).unwrap();
        assert!(built_in(&stars).is_none(), "who has a directory decides");
        std::fs::write(&stars, "mine").unwrap();
        let (written, kept) = write_out(&scripts).unwrap();
        assert_eq!((written.len(), kept), (3, vec![stars.clone()]));
        assert_eq!(std::fs::read_to_string(stars).unwrap(), "mine");
    }
}
