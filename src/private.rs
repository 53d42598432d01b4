//! Files that other users must not read, and files in directories that others may write to.
//!
//! What is made here has no permissions for the world, whatever the umask allows; nothing is
//! written or read through a symbolic link that somebody put under the name; and what root made in
//! the directory of another user is handed to that user.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
};
use std::os::unix::fs::{PermissionsExt as _, lchown};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{
    Dir, FileType, Gid, Mode, OFlags, Uid, fchown, fcntl_getfl, fcntl_setfl, fstat, openat,
};
use rustix::io::Errno;

/// Permissions of a directory: the owner, and the group as far as the umask lets it.
const DIRECTORY: u32 = 0o750;
/// Permissions of a file, likewise.
const FILE: u32 = 0o640;
/// Permissions of a secret.
const SECRET: u32 = 0o600;
/// Permissions of a file for others, as far as the umask lets them.
const ANY: u32 = 0o666;
/// Permissions of the world, which are taken away.
const WORLD: u32 = 0o007;
/// Directories below each other that [`give_to_owner`] descends into; a store has two.
const DEEPEST: usize = 8;
/// Time between two attempts to lock a file.
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Creates a directory and its missing ancestors, without permissions for the world. An existing
/// directory keeps its permissions. What root creates below another user's directory belongs to
/// that user. The new names survive a power cut.
pub fn create_dir_all(path: &Path) -> io::Result<()> {
    let missing = missing(path);
    DirBuilder::new().recursive(true).mode(DIRECTORY).create(path)?;
    let above = missing.last().map(|topmost| parent(topmost));
    if let Some(owner) = above.filter(|_| is_root()).map(fs::metadata).transpose()?
        && owner.uid() != 0
    {
        for made in &missing {
            // A link that the owner has put there meanwhile is not followed.
            lchown(made, Some(owner.uid()), Some(owner.gid()))?;
        }
    }
    missing.into_iter().try_for_each(|made| sync_dir(parent(made)))
}

/// Creates a directory and its missing ancestors, with the permissions of the umask: for files
/// that are made for others. The new names survive a power cut.
pub fn create_open_dir_all(path: &Path) -> io::Result<()> {
    let missing = missing(path);
    fs::create_dir_all(path)?;
    missing.into_iter().try_for_each(|made| sync_dir(parent(made)))
}

/// Creates a directory, which must not exist, nor a symbolic link of its name. The new name
/// survives a power cut.
pub fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(DIRECTORY).create(path)?;
    sync_dir(parent(path))
}

/// Syncs a directory: names that were created, renamed or removed in it survive a power cut.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// The directory that holds this name.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The directories on this path that do not exist, the deepest first.
fn missing(path: &Path) -> Vec<&Path> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    path.ancestors().take_while(is_missing).collect()
}

/// Takes the world's permissions away from a directory, as far as it is ours to do so.
pub fn hide_dir(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & WORLD == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(mode & !WORLD & 0o7777)) {
        // Another user's: root's to change, not ours.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

/// Opens a file to append to; a new one is not for the world. A pipe that nobody reads is refused:
/// to open it would wait for a reader.
pub fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(FILE).custom_flags(bits(OFlags::NONBLOCK));
    let file = options.open(path)?;
    // Writing waits, as usual.
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}

/// Removes a file, if it exists.
pub fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes a file as a whole and durably: under the name `part` first, so that half of it never has
/// its own name.
pub fn write_whole(path: &Path, part: &Path, bytes: &[u8]) -> io::Result<()> {
    let write = || -> io::Result<()> {
        let mut file = fresh(part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(part, path)?;
        // A name is part of its directory, which is synced separately.
        sync_dir(parent(path))
    };
    let written = write();
    if written.is_err() {
        // On a full disk it would keep others from writing.
        let _ = fs::remove_file(part);
    }
    written
}

/// Makes a new, empty file in place of whatever has the name; a symbolic link is removed, not
/// followed. With the permissions that the umask gives.
pub fn fresh(path: &Path) -> io::Result<File> {
    fresh_with(path, ANY)
}

fn fresh_with(path: &Path, mode: u32) -> io::Result<File> {
    remove_if_there(path)?;
    // `O_EXCL` refuses whatever came in between, links too.
    // For reading, too: a shared lock over NFS needs it.
    OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)
}

/// Opens a file for reading that must be a file, and not a symbolic link to one.
pub fn open_plain(path: &Path) -> io::Result<File> {
    let file = open_without_wait(path, OFlags::NOFOLLOW).map_err(|error| {
        let is_link = fs::symlink_metadata(path).is_ok_and(|about| about.is_symlink());
        if is_link {
            io::Error::other("it is a symbolic link, which is not followed")
        } else {
            error
        }
    })?;
    expect_file(file)
}

/// Opens a file to lock it, and creates it if it is missing; a symbolic link is not followed.
/// Another user's file is opened for reading, which suffices to lock it on a local file system.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let flags = bits(OFlags::NOFOLLOW | OFlags::NONBLOCK);
    // A network file system locks only files that are open for writing.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(ANY).custom_flags(flags);
    match options.open(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => open_plain(path),
        opened => expect_file(opened?),
    }
}

/// How to wait for a lock.
#[derive(Debug, Clone, Copy)]
pub struct LockWait {
    /// For how long.
    pub most: Duration,
    /// Whether the log says, once, that this waits.
    pub is_logged: bool,
}

/// Locks a file or directory, of this path. Waits while another process has it locked. Returns
/// whether it is locked now; fails where the file system has no locks. Blocks.
pub fn lock_within(file: &File, path: &Path, wait: LockWait) -> io::Result<bool> {
    let mut waited = Duration::ZERO;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if waited >= wait.most => return Ok(false),
            Err(TryLockError::WouldBlock) => {}
        }
        if waited.is_zero() && wait.is_logged {
            let (path, seconds) = (path.display(), wait.most.as_secs());
            tracing::warn!(%path, seconds, "waiting for the lock of another program");
        }
        std::thread::sleep(LOCK_PAUSE);
        waited += LOCK_PAUSE;
    }
}

/// Opens a file for reading that must be a file, or a symbolic link to one. Neither this nor
/// reading waits for something else, such as the other end of a pipe or a kernel's next message.
pub fn open_file(path: &Path) -> io::Result<File> {
    expect_file(open_without_wait(path, OFlags::empty())?)
}

fn expect_file(file: File) -> io::Result<File> {
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a file")) }
}

fn open_without_wait(path: &Path, flags: OFlags) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(bits(flags | OFlags::NONBLOCK)).open(path)
}

fn bits(flags: OFlags) -> i32 {
    i32::try_from(flags.bits()).unwrap_or_default()
}

/// Opens a file for reading. A pipe is refused: to open it would wait for its other end.
pub fn open_unless_pipe(path: &Path) -> io::Result<File> {
    let file = open_without_wait(path, OFlags::empty())?;
    let kind = file.metadata()?.file_type();
    if kind.is_fifo() || kind.is_socket() {
        return Err(io::Error::other("it is a pipe, not a file"));
    }
    Ok(file)
}

/// Puts a secret into a file that the owner alone can read, in place of what was there.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension("new");
    fresh_with(&draft, SECRET)?.write_all(text.as_bytes())?;
    fs::rename(&draft, path)
}

/// What an operator can do about a file that cannot be used; empty when the error says it all.
#[must_use]
pub fn cure(error: &io::Error) -> &'static str {
    if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) {
        return "; raise `ulimit -n` (LimitNOFILE= of a systemd unit)";
    }
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => {
            "; this process may not write there: under systemd, add the directory to \
             ReadWritePaths= of the unit"
        }
        io::ErrorKind::PermissionDenied => {
            "; it belongs to another user: give it to the user that runs this process (chown -R), \
             or run the command as that user"
        }
        _ => "",
    }
}

/// What an operator can do about a file that cannot be read; empty when the error says it all.
#[must_use]
pub fn reading_cure(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; let the group of the user that runs ghpulse read it (`chgrp GROUP FILE`, `chmod 640 \
             FILE`) and enter the directories above it"
        }
        _ => "",
    }
}

/// Whether this process may change owners.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The user of this process, and its groups, of which the first is its own.
#[must_use]
pub fn user_and_groups() -> (u32, Vec<u32>) {
    let others = rustix::process::getgroups().unwrap_or_default();
    let groups = [rustix::process::getegid()].into_iter().chain(others);
    (rustix::process::geteuid().as_raw(), groups.map(Gid::as_raw).collect())
}

/// Gives everything below a directory to the directory's owner, when this process is root and the
/// owner is not. What root makes in a service's directory would otherwise keep the service out.
///
/// The owner may be hostile: nothing is followed out of the directory, neither a symbolic link nor
/// a file that has another name elsewhere.
pub fn give_to_owner(dir: &Path) -> io::Result<()> {
    if !is_root() {
        return Ok(());
    }
    let opened = File::open(dir)?;
    let about = opened.metadata()?;
    if about.uid() == 0 {
        return Ok(());
    }
    let owner = (Uid::from_raw(about.uid()), Gid::from_raw(about.gid()));
    Ok(give(&opened.into(), owner, DEEPEST)?)
}

fn give(dir: &rustix::fd::OwnedFd, owner: (Uid, Gid), depth: usize) -> rustix::io::Result<()> {
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let kind = entry.file_type();
        let is_below = !matches!(name.to_bytes(), b"." | b"..");
        if !is_below || !matches!(kind, FileType::Directory | FileType::RegularFile) {
            continue;
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match openat(dir, name, flags, Mode::empty()) {
            Ok(opened) => opened,
            // It went away, or became a link.
            Err(Errno::NOENT | Errno::LOOP) => continue,
            Err(error) => return Err(error),
        };
        let about = fstat(&opened)?;
        let is_dir = FileType::from_raw_mode(about.st_mode) == FileType::Directory;
        if about.st_uid != owner.0.as_raw() && (is_dir || about.st_nlink == 1) {
            fchown(&opened, Some(owner.0), Some(owner.1))?;
        }
        if is_dir && depth > 0 {
            give(&opened, owner, depth - 1)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn directory_made_by_root_belongs_to_the_parents_owner() {
        if !is_root() {
            println!("skipped: a_directory_that_root_makes_…: only root may change owners");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
        let made = dir.path().join("one/two");
        create_dir_all(&made).unwrap();
        for path in [made.as_path(), made.parent().unwrap()] {
            assert_eq!(fs::metadata(path).unwrap().uid(), 65_534, "{}", path.display());
        }
    }

    #[test]
    fn the_world_reads_nothing_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a").join("b");
        create_dir_all(&deep).unwrap();
        append(&deep.join("log")).unwrap();
        write_secret(&deep.join("secret"), "x").unwrap();
        write_secret(&deep.join("secret"), "y").unwrap();
        assert_eq!([mode(&deep) & WORLD, mode(&deep.join("log")) & WORLD], [0, 0]);
        assert_eq!(mode(&deep.join("secret")), 0o600);
        assert_eq!(fs::read_to_string(deep.join("secret")).unwrap(), "y");
        fs::set_permissions(&deep, fs::Permissions::from_mode(0o755)).unwrap();
        hide_dir(&deep).unwrap();
        assert_eq!(mode(&deep), 0o750);
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "precious").unwrap();
        symlink(&target, &link).unwrap();
        assert!(open_plain(&link).unwrap_err().to_string().contains("symbolic link"));
        assert!(create_dir(&link).is_err());
        fresh(&link).unwrap();
        assert!(open_plain(&link).is_ok() && open_plain(dir.path()).is_err());
        assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    }

    #[test]
    fn lock_of_another_is_waited_for_within_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let open = || File::open(dir.path()).unwrap();
        let (other, file) = (open(), open());
        other.lock().unwrap();
        let lock = |file: &File, most| {
            lock_within(file, dir.path(), LockWait { most, is_logged: false }).unwrap()
        };
        assert!(!lock(&file, LOCK_PAUSE));
        drop(other);
        assert!(lock(&file, Duration::from_secs(60)));
        assert!(!lock(&open(), Duration::ZERO));
    }

    #[test]
    fn nothing_waits_for_the_other_end_of_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link, pipe) =
            (dir.path().join("file"), dir.path().join("link"), dir.path().join("pipe"));
        append(&file).unwrap().write_all(b"line").unwrap();
        symlink(&file, &link).unwrap();
        assert_eq!(io::read_to_string(open_file(&link).unwrap()).unwrap(), "line");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for not_a_file in [&pipe, dir.path(), Path::new("/dev/null")] {
            let refused = open_file(not_a_file).unwrap_err();
            assert_eq!(refused.to_string(), "it is not a file", "{}", not_a_file.display());
        }
        assert_eq!(append(&pipe).unwrap_err().raw_os_error(), Some(Errno::NXIO.raw_os_error()));
    }

    #[test]
    fn files_made_by_root_belong_to_the_directory_owner() {
        if !is_root() {
            eprintln!("skipped: files_made_by_root_belong_to_the_directory_owner: not root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (data, outside) = (dir.path().join("data"), dir.path().join("outside"));
        fs::create_dir_all(data.join("db")).unwrap();
        fs::write(data.join("db").join("x"), "").unwrap();
        fs::write(&outside, "").unwrap();
        fs::hard_link(&outside, data.join("hard")).unwrap();
        symlink(&outside, data.join("soft")).unwrap();
        std::os::unix::fs::chown(&data, Some(12_345), Some(12_346)).unwrap();
        give_to_owner(&data).unwrap();
        let owner = |path: &Path| fs::symlink_metadata(path).unwrap().uid();
        assert_eq!(owner(&data.join("db").join("x")), 12_345);
        assert_eq!(owner(&data.join("db")), 12_345);
        assert_eq!([owner(&outside), owner(&data.join("hard"))], [0, 0], "not out of it");
    }
}
