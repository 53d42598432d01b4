//! Lists of repositories, owners and people, in files that users edit while the appliance runs.
//!
//! A list is `lists.dir/NAME.txt`. Queries name it (`list=NAME`, `list=!NAME`), and what is on a
//! list marked `complete: true` is also read from feeds of its own (`collect::listed`).
//!
//! [`Lists`] holds all of them by name. A query keeps a [`LiveList`], whose names are replaced when
//! the file changes, so that a change takes effect while the reader is connected. A file with an
//! error changes nothing: the names of its last good text stay in force.

mod live;
mod names;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use xxhash_rust::xxh3::xxh3_64;

pub use self::live::{ListSet, ListTerm, LiveList};
pub use self::names::{LIST_NAMES, ListLineError, ListedName, NameList};
use crate::clock::Clock;
use crate::logging::line_limit::LineLimit;
use crate::reload;
use crate::sync::lock;

/// The most lists; of more files the first by name are used.
pub const LISTS: usize = 100;
/// The most directory entries that are examined.
const ENTRIES: usize = 1_000;
/// The longest name of a list, in bytes.
pub const LIST_NAME_BYTES: usize = 64;
/// The largest file, in bytes: 10,000 of the longest names.
const FILE_BYTES: u64 = 2 << 20;
/// The most files of which [`Lists::trouble`] says what is wrong.
const SHOWN: usize = 5;
/// Lines about files that are not used: a directory may have as many as it has entries.
static NOT_USED: LineLimit = LineLimit::per_minute(10);
/// Time between two checks of the directory.
const LOOK: Duration = Duration::from_secs(1);
/// Time for which a new text must stay the same: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(200);

/// An error in a file of a list, or in its name.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ListDiagnostic {
    /// Path of the file.
    pub file: String,
    /// The line, from 1; `None` for an error of the whole file.
    pub line: Option<usize>,
    /// What is wrong, and what is accepted.
    pub reason: String,
}

impl std::fmt::Display for ListDiagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.reason),
            None => write!(f, "{}: {}", self.file, self.reason),
        }
    }
}

/// A name that is not the name of a list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnknownList(String);

/// What is known of the file of a list.
#[derive(Debug, Default)]
struct ListFile {
    /// The list; `None` when its file was never good in this process.
    list: Option<Arc<LiveList>>,
    /// Whether the file exists. The list of a removed file stays in force for its readers.
    is_there: bool,
    /// Hash of the text that was last examined.
    examined: Option<u64>,
    /// Hash of a text that is examined when it is still there at the next check.
    settling: Option<u64>,
    diagnostics: Vec<ListDiagnostic>,
}

/// All lists of a directory, by name.
#[derive(Debug)]
pub struct Lists {
    dir: PathBuf,
    files: Mutex<BTreeMap<Box<str>, ListFile>>,
    /// Errors of the directory and of file names.
    refused: Mutex<Vec<ListDiagnostic>>,
    /// Counts the changes of names in force.
    changes: watch::Sender<u64>,
}

impl Default for Lists {
    fn default() -> Self {
        Self::new(PathBuf::new())
    }
}

impl Lists {
    /// Lists of a directory that was not read yet.
    fn new(dir: PathBuf) -> Self {
        let changes = watch::Sender::new(0);
        Self { dir, files: Mutex::default(), refused: Mutex::default(), changes }
    }

    /// Reads the lists of a directory, which need not exist. Blocks.
    #[must_use]
    pub fn open(dir: &Path) -> Self {
        let lists = Self::new(dir.to_owned());
        lists.look(true);
        lists
    }

    /// Follows the directory until `stop` is cancelled: a saved file is in force within two
    /// seconds.
    ///
    /// # Errors
    /// When SIGHUP cannot be observed.
    pub async fn follow(
        self: Arc<Self>,
        clock: Clock,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let look = move |is_asked| if self.look(is_asked) { SETTLE } else { LOOK };
        reload::follow(look, clock, stop).await
    }

    /// The list with this name.
    ///
    /// # Errors
    /// When the list does not exist, with the reason.
    pub fn find(&self, name: &str) -> Result<Arc<LiveList>, UnknownList> {
        let files = lock(&self.files);
        let shown: String = name.chars().take(LIST_NAME_BYTES).collect();
        let Some(file) = files.get(name).filter(|file| file.is_there) else {
            let mut known: Vec<&str> = files
                .iter()
                .filter(|(_, file)| file.is_there && file.list.is_some())
                .map(|(name, _)| &**name)
                .collect();
            let more = if known.len() > 10 { ", …" } else { "" };
            known.truncate(10);
            let known = match &known[..] {
                [] => "there is none; a list is a file NAME.txt in lists.dir".to_owned(),
                [only] => format!("the only list is {only}"),
                _ => format!("the lists are {}{more}", known.join(", ")),
            };
            return Err(UnknownList(format!("no list `{shown}`: {known}")));
        };
        file.list.clone().ok_or_else(|| {
            let line = file.diagnostics.first().and_then(|error| error.line);
            let place = line.map(|line| format!(" (line {line})")).unwrap_or_default();
            UnknownList(format!("the file of list `{shown}` has an error{place}; see the log"))
        })
    }

    /// The list that `NAME` or `!NAME` in a query refers to.
    ///
    /// # Errors
    /// When the list does not exist, with the reason.
    pub fn term(&self, text: &str) -> Result<ListTerm, UnknownList> {
        let excluded = text.strip_prefix('!');
        let list = self.find(excluded.unwrap_or(text))?;
        Ok(ListTerm { list, is_excluded: excluded.is_some() })
    }

    /// All lists whose file exists, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<LiveList>> {
        let files = lock(&self.files);
        files.values().filter(|file| file.is_there).filter_map(|file| file.list.clone()).collect()
    }

    /// The errors of all files, by name.
    #[must_use]
    pub fn diagnostics(&self) -> Vec<ListDiagnostic> {
        let mut all = lock(&self.refused).clone();
        let files = lock(&self.files);
        all.extend(files.values().flat_map(|file| file.diagnostics.iter().cloned()));
        all
    }

    /// What is wrong with the files, and what is in force instead: the first error of each of the
    /// first files. `None` when nothing is.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let refused: Vec<String> = lock(&self.refused).iter().map(ToString::to_string).collect();
        let files = lock(&self.files);
        let bad = files.values().filter_map(ListFile::trouble);
        let mut all: Vec<String> = refused.into_iter().chain(bad).collect();
        if let Some(more) = all.len().checked_sub(SHOWN).filter(|more| *more > 0) {
            all.truncate(SHOWN);
            all.push(format!("{more} more: `ghpulse check` names all"));
        }
        (!all.is_empty()).then(|| all.join("; "))
    }

    /// The first error of a list's file, without its directory.
    #[must_use]
    pub fn error_of(&self, name: &str) -> Option<String> {
        let files = lock(&self.files);
        let error = files.get(name)?.diagnostics.first()?;
        let line = error.line.map(|line| format!("line {line}: ")).unwrap_or_default();
        Some(format!("{line}{}", error.reason))
    }

    /// Notifies of every change of names in force.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Checks all files. A changed text is examined when it is `due`, or unchanged since the last
    /// check. Returns whether one has to be checked again soon. Blocks.
    fn look(&self, due: bool) -> bool {
        let (found, refused) = match list_files(&self.dir) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Default::default(),
            Err(error) => {
                // A directory that is temporarily unreadable must not remove working lists.
                self.refuse(vec![whole_file(&self.dir, format!("cannot be read: {error}"))]);
                return false;
            }
        };
        self.refuse(refused);
        let (mut is_settling, mut has_changed) = (false, false);
        let mut files = lock(&self.files);
        for (name, file) in files.iter_mut().filter(|(name, _)| !found.contains_key(&***name)) {
            file.settling = None;
            if std::mem::replace(&mut file.is_there, false) {
                tracing::info!(list = %name, "the file of the list was removed");
                (file.examined, has_changed) = (None, true);
                file.diagnostics.clear();
            }
        }
        files.retain(|_, file| {
            let is_read = file.list.as_ref().is_some_and(|list| Arc::strong_count(list) > 1);
            file.is_there || file.settling.is_some() || is_read
        });
        drop(files);
        for (name, path) in &found {
            // Read without the lock, because queries look up lists meanwhile.
            let text = reload::read_within(path, FILE_BYTES);
            let hash = text.as_ref().map_or_else(|why| xxh3_64(why.as_bytes()), |t| xxh3_64(t));
            let mut files = lock(&self.files);
            let file = files.entry(name.clone()).or_default();
            if file.is_there && file.examined == Some(hash) {
                file.settling = None;
                continue;
            }
            if !due && file.settling.replace(hash) != Some(hash) {
                is_settling = true;
                continue;
            }
            (file.examined, file.settling, file.is_there) = (Some(hash), None, true);
            has_changed |= file.examine(name, path, text);
        }
        if has_changed {
            self.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
        }
        is_settling
    }

    /// Keeps the errors of the directory, and logs new ones.
    fn refuse(&self, refused: Vec<ListDiagnostic>) {
        let mut known = lock(&self.refused);
        for error in refused.iter().filter(|error| !known.contains(error)) {
            NOT_USED.log(|left_out| tracing::warn!(left_out, "{error}"));
        }
        *known = refused;
    }
}

impl ListFile {
    /// Puts a text into force, or keeps the last good one. Returns whether the names changed.
    fn examine(&mut self, name: &str, path: &Path, text: Result<Vec<u8>, String>) -> bool {
        let parsed = match text {
            Ok(text) => NameList::parse(&text).map_err(|errors| diagnostics(path, errors)),
            Err(why) => Err(vec![whole_file(path, why)]),
        };
        match parsed {
            Ok(names) => {
                self.diagnostics.clear();
                let (count, complete) = (names.len(), names.is_complete());
                tracing::info!(list = %name, names = count, complete, "a list is in force");
                match &self.list {
                    Some(list) => list.replace(names),
                    None => self.list = Some(Arc::new(LiveList::new(name, names))),
                }
                true
            }
            Err(errors) => {
                let kept = self.in_force();
                for error in &errors {
                    tracing::error!("{error}; {kept}");
                }
                self.diagnostics = errors;
                false
            }
        }
    }

    /// What is in force while the file has an error.
    fn in_force(&self) -> &'static str {
        if self.list.is_some() {
            "the last good text of this list is in force"
        } else {
            "nothing of this list is in force"
        }
    }

    /// The first error, how many more there are, and what is in force; `None` without one.
    fn trouble(&self) -> Option<String> {
        let (first, more) = self.diagnostics.split_first()?;
        let more = match more.len() {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        Some(format!("{first}{more}; {}", self.in_force()))
    }
}

/// All errors of the files in a directory, for `check`. Blocks.
#[must_use]
pub fn check(dir: &Path) -> Vec<ListDiagnostic> {
    let (files, mut errors) = match list_files(dir) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => return vec![whole_file(dir, format!("cannot be read: {error}"))],
    };
    for path in files.values() {
        match reload::read_within(path, FILE_BYTES).map(|text| NameList::parse(&text)) {
            Ok(Ok(_)) => {}
            Ok(Err(wrong)) => errors.extend(diagnostics(path, wrong)),
            Err(why) => errors.push(whole_file(path, why)),
        }
    }
    errors
}

fn diagnostics(path: &Path, errors: Vec<ListLineError>) -> Vec<ListDiagnostic> {
    let file = path.display().to_string();
    let of = |ListLineError { line, reason }| ListDiagnostic { file: file.clone(), line, reason };
    errors.into_iter().map(of).collect()
}

fn whole_file(path: &Path, reason: String) -> ListDiagnostic {
    ListDiagnostic { file: path.display().to_string(), line: None, reason }
}

/// Files by the name of their list, and the errors of file names.
type FoundFiles = (BTreeMap<Box<str>, PathBuf>, Vec<ListDiagnostic>);

/// The files `NAME.txt` of a directory.
fn list_files(dir: &Path) -> io::Result<FoundFiles> {
    let (mut found, mut refused) = FoundFiles::default();
    for (entry, number) in std::fs::read_dir(dir)?.zip(1..) {
        let path = entry?.path();
        if number > ENTRIES {
            refused.push(whole_file(
                dir,
                format!("more than {ENTRIES} entries: further lists may be missing"),
            ));
            break;
        }
        if path.extension().is_none_or(|extension| extension != "txt") {
            continue;
        }
        match path.file_stem().and_then(|stem| stem.to_str()).filter(|stem| is_list_name(stem)) {
            Some(name) => _ = found.insert(name.into(), path),
            None => refused.push(whole_file(
                &path,
                format!(
                    "not used: the name of a list has up to {LIST_NAME_BYTES} letters, digits, \
                     `-`, `_` and `.`, and begins with a letter or digit"
                ),
            )),
        }
    }
    if let Some(first) = found.keys().nth(LISTS).cloned() {
        for path in found.split_off(&first).values() {
            refused.push(whole_file(path, format!("not used: there are more than {LISTS} lists")));
        }
    }
    refused.sort_by(|one, other| one.file.cmp(&other.file));
    Ok((found, refused))
}

/// Whether a text may be the name of a list.
#[must_use]
pub fn is_list_name(text: &str) -> bool {
    text.len() <= LIST_NAME_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}
