//! A disk that loses unsynced data: the content of a directory after a power cut, computed from the
//! calls before it.
//!
//! By the letter of POSIX: syncing a file makes its content durable, and syncing a directory makes
//! the names in it durable (created, renamed, removed), in both cases for calls that had ended when
//! the sync began. Of the remaining changes a cut may keep any prefix, so all cases are tried:
//! none, some, the names without the contents, and nearly all with the last block torn.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::trace::Call;

/// The unit at whose boundary a write is torn.
const SECTOR: usize = 512;

/// Which unsynced changes survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keeps {
    Nothing,
    NamesOnly,
    Some,
    NearlyAll,
}

impl Keeps {
    pub(super) const ALL: [Self; 4] = [Self::Nothing, Self::NamesOnly, Self::Some, Self::NearlyAll];
}

#[derive(Debug, Clone)]
enum Change {
    Put { at: usize, data: Rc<[u8]> },
    Length(usize),
}

/// A file's content as the list of changes that produced it.
#[derive(Debug, Default)]
struct Contents {
    changes: Vec<(usize, Change)>,
    /// Number of durable changes.
    safe: usize,
}

impl Contents {
    fn after(&self, changes: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (_, change) in &self.changes[..changes] {
            apply(&mut bytes, change);
        }
        bytes
    }

    fn length(&self) -> usize {
        self.after(self.changes.len()).len()
    }
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Length(length) => bytes.resize(*length, 0),
        Change::Put { at, data } => {
            bytes.resize(bytes.len().max(at + data.len()), 0);
            bytes[*at..at + data.len()].copy_from_slice(data);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Node {
    File(usize),
    Directory,
}

#[derive(Debug, Clone)]
enum Naming {
    Made(PathBuf, Node),
    Removed(PathBuf),
    Renamed(PathBuf, PathBuf),
}

#[derive(Debug)]
struct Named {
    naming: Naming,
    /// The directories whose sync makes it durable.
    directories: Vec<PathBuf>,
    ended: usize,
    is_safe: bool,
}

struct Opened {
    file: usize,
    at: usize,
    appends: bool,
}

/// The content of the directory below `root`, updated call by call.
pub(super) struct Disk {
    root: PathBuf,
    files: Vec<Contents>,
    names: BTreeMap<PathBuf, Node>,
    namings: Vec<Named>,
    begin: BTreeMap<PathBuf, Node>,
    opened: HashMap<i32, Opened>,
}

impl Disk {
    /// Starts from the current content, which counts as durable.
    pub(super) fn new(root: &Path) -> Self {
        let mut disk = Self {
            root: root.to_owned(),
            files: Vec::new(),
            names: BTreeMap::new(),
            namings: Vec::new(),
            begin: BTreeMap::new(),
            opened: HashMap::new(),
        };
        disk.look(root);
        disk.begin = disk.names.clone();
        disk
    }

    fn look(&mut self, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.names.insert(path.clone(), Node::Directory);
                self.look(&path);
            } else {
                let data = fs::read(&path).unwrap().into();
                let changes = vec![(0, Change::Put { at: 0, data })];
                self.files.push(Contents { changes, safe: 1 });
                self.names.insert(path, Node::File(self.files.len() - 1));
            }
        }
    }

    /// Applies one call.
    pub(super) fn follow(&mut self, call: &Call) {
        match call.name.as_str() {
            "open" | "openat" | "creat" => self.open(call),
            "write" | "writev" => self.write(call, None),
            "pwrite64" => self.write(call, Some(call.number(3))),
            "pwritev" | "pwritev2" => panic!("where it writes is not read yet: {call:?}"),
            "ftruncate" => self.set_length(call),
            "lseek" => {
                if let Some(opened) = self.opened.get_mut(&call.descriptor(0)) {
                    opened.at = usize::try_from(call.result).unwrap();
                }
            }
            "copy_file_range" => self.copy(call, 0, 2),
            "sendfile" => self.copy(call, 1, 0),
            "mkdir" | "mkdirat" => {
                self.name(call, Naming::Made(self.path(call, 0), Node::Directory));
            }
            "unlink" | "unlinkat" | "rmdir" => self.name(call, Naming::Removed(self.path(call, 0))),
            "rename" | "renameat" | "renameat2" => {
                assert!(!call.args.iter().any(|arg| arg.contains("EXCHANGE")), "{call:?}");
                self.name(call, Naming::Renamed(self.path(call, 0), self.path(call, 1)));
            }
            "link" | "linkat" => {
                if let Some(node) = self.names.get(&self.path(call, 0)).copied() {
                    self.name(call, Naming::Made(self.path(call, 1), node));
                }
            }
            "fsync" | "fdatasync" => self.sync(call),
            "sync" | "syncfs" | "truncate" | "symlink" | "symlinkat" | "msync" => {
                panic!("the rig does not know {call:?}")
            }
            _ => {}
        }
    }

    /// The path in an argument of a call; the process was started at the root.
    fn path(&self, call: &Call, at: usize) -> PathBuf {
        self.root.join(call.path(at))
    }

    fn open(&mut self, call: &Call) {
        let path = self.path(call, 0);
        let descriptor = i32::try_from(call.result).unwrap();
        let has = |flag: &str| call.args.iter().any(|arg| arg.split('|').any(|word| word == flag));
        self.opened.remove(&descriptor);
        if !path.starts_with(&self.root) {
            return;
        }
        let file = match self.names.get(&path) {
            Some(Node::File(file)) => *file,
            None if has("O_CREAT") => {
                self.files.push(Contents::default());
                let file = self.files.len() - 1;
                self.name(call, Naming::Made(path, Node::File(file)));
                file
            }
            _ => return,
        };
        if has("O_TRUNC") {
            self.files[file].changes.push((call.ended, Change::Length(0)));
        }
        self.opened.insert(descriptor, Opened { file, at: 0, appends: has("O_APPEND") });
    }

    fn write(&mut self, call: &Call, at: Option<u64>) {
        let Some(opened) = self.opened.get_mut(&call.descriptor(0)) else { return };
        // The descriptor was reused for another file.
        if call.place(0).is_none_or(|place| !place.starts_with(&self.root)) {
            return;
        }
        let data: Rc<[u8]> = call.data().into();
        let contents = &mut self.files[opened.file];
        let at = if let Some(at) = at {
            usize::try_from(at).unwrap()
        } else {
            let at = if opened.appends { contents.length() } else { opened.at };
            opened.at = at + data.len();
            at
        };
        contents.changes.push((call.ended, Change::Put { at, data }));
    }

    fn set_length(&mut self, call: &Call) {
        if let Some(opened) = self.opened.get(&call.descriptor(0)) {
            let length = usize::try_from(call.number(1)).unwrap();
            self.files[opened.file].changes.push((call.ended, Change::Length(length)));
        }
    }

    fn copy(&mut self, call: &Call, from: usize, to: usize) {
        let count = usize::try_from(call.result).unwrap();
        let Some(source) = self.opened.get_mut(&call.descriptor(from)) else { return };
        let (file, at) = (source.file, source.at);
        source.at += count;
        let all = self.files[file].after(self.files[file].changes.len());
        let data: Rc<[u8]> = all[at..at + count].into();
        let Some(opened) = self.opened.get_mut(&call.descriptor(to)) else { return };
        let at = opened.at;
        opened.at += count;
        self.files[opened.file].changes.push((call.ended, Change::Put { at, data }));
    }

    fn name(&mut self, call: &Call, naming: Naming) {
        let parent = |path: &Path| path.parent().unwrap().to_owned();
        let directories = match &naming {
            Naming::Made(path, _) | Naming::Removed(path) => vec![parent(path)],
            Naming::Renamed(from, to) => vec![parent(from), parent(to)],
        };
        if !directories.iter().any(|dir| dir.starts_with(&self.root)) {
            return;
        }
        rename_all(&mut self.names, &naming);
        if let Naming::Renamed(from, to) = &naming {
            // Changes that are not durable yet are synced under the directory's new name.
            for named in &mut self.namings {
                for dir in &mut named.directories {
                    if let Ok(rest) = dir.strip_prefix(from) {
                        *dir = to.join(rest);
                    }
                }
            }
        }
        self.namings.push(Named { naming, directories, ended: call.ended, is_safe: false });
    }

    fn sync(&mut self, call: &Call) {
        let Some(place) = call.place(0) else { return };
        if !place.starts_with(&self.root) {
            return;
        }
        if self.names.get(&place) == Some(&Node::Directory) || place == self.root {
            let is_here = |named: &&mut Named| named.directories.contains(&place);
            for named in self.namings.iter_mut().filter(is_here) {
                named.is_safe |= named.ended < call.begun;
            }
        } else if let Some(opened) = self.opened.get(&call.descriptor(0)) {
            let contents = &mut self.files[opened.file];
            let before = contents.changes.iter().take_while(|(ended, _)| *ended < call.begun);
            contents.safe = contents.safe.max(before.count());
        }
    }

    /// Writes the directory as found after a power cut now.
    pub(super) fn after_a_cut(&self, keeps: Keeps, rng: &mut fastrand::Rng, to: &Path) {
        let unsafe_names = self.namings.iter().filter(|named| !named.is_safe).count();
        let mut kept = match keeps {
            Keeps::Nothing => 0,
            Keeps::Some => rng.usize(..=unsafe_names),
            Keeps::NamesOnly | Keeps::NearlyAll => unsafe_names,
        };
        let mut names = self.begin.clone();
        for named in &self.namings {
            let survives = named.is_safe || kept > 0;
            kept -= usize::from(!named.is_safe && kept > 0);
            if survives {
                rename_all(&mut names, &named.naming);
            }
        }
        for (path, node) in &names {
            let path = to.join(path.strip_prefix(&self.root).unwrap());
            // Unreachable: the name of its own directory is lost.
            if !path.parent().unwrap().is_dir() {
                continue;
            }
            match node {
                Node::Directory => fs::create_dir(path).unwrap(),
                Node::File(file) => fs::write(path, self.found(*file, keeps, rng)).unwrap(),
            }
        }
    }

    fn found(&self, file: usize, keeps: Keeps, rng: &mut fastrand::Rng) -> Vec<u8> {
        let contents = &self.files[file];
        let unsynced = contents.changes.len() - contents.safe;
        let whole = match keeps {
            Keeps::Nothing | Keeps::NamesOnly => 0,
            Keeps::Some => rng.usize(..=unsynced),
            Keeps::NearlyAll => unsynced.saturating_sub(1),
        };
        let mut bytes = contents.after(contents.safe + whole);
        let next = contents.changes.get(contents.safe + whole);
        let torn = !matches!(keeps, Keeps::Nothing | Keeps::NamesOnly);
        if let Some((_, Change::Put { at, data })) = next.filter(|_| torn) {
            // Up to a sector boundary, followed by nothing or by zeros.
            let end = (at + rng.usize(..=data.len())) / SECTOR * SECTOR;
            let some = data[..end.saturating_sub(*at).min(data.len())].into();
            apply(&mut bytes, &Change::Put { at: *at, data: some });
            if rng.bool() {
                bytes.resize(bytes.len().max(at + data.len()), 0);
            }
        }
        bytes
    }
}

/// Applies one naming to the names; a missing path changes nothing.
fn rename_all(names: &mut BTreeMap<PathBuf, Node>, naming: &Naming) {
    match naming {
        Naming::Made(path, node) => drop(names.insert(path.clone(), *node)),
        Naming::Removed(path) => drop(names.remove(path)),
        Naming::Renamed(from, to) => {
            let moved: Vec<_> = names
                .iter()
                .filter(|(path, _)| path.starts_with(from))
                .map(|(p, n)| (p.clone(), *n))
                .collect();
            for (path, node) in moved {
                names.remove(&path);
                let rest = path.strip_prefix(from).unwrap();
                let to = if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) };
                names.insert(to, node);
            }
        }
    }
}
