//! Writes the file of one hour: complete under its name, or absent.
//!
//! An existing file is kept: its bytes are copied, and new events are appended as a further gzip
//! member. Its events are read first, so that none is written twice, even after a crash.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::error::ArchiveError;
use super::lines::{self, BUFFER};
use super::name::file_name;
use super::recorded::key_of;
use super::target::ArchiveTarget;
use crate::fault;
use crate::model::event::Event;
use crate::model::privacy::hash_emails;
use crate::model::window::Hour;
use crate::private;

/// A file being written.
pub(super) struct PartialFile {
    path: PathBuf,
    /// The hidden name next to its own, under which it is written.
    part: PathBuf,
    seen: HashSet<u128, foldhash::fast::RandomState>,
    /// The bytes of an existing file that are kept: zeros or garbage behind a gzip stream would
    /// hide the appended events from most programs.
    whole: Option<u64>,
    /// Number of events in the existing file.
    before: u64,
    fresh: u64,
    out: Option<GzEncoder<BufWriter<File>>>,
    hashes_emails: bool,
}

impl PartialFile {
    /// Starts or extends the file of an hour.
    pub(super) fn open(to: &ArchiveTarget, hour: Hour) -> Result<Self, ArchiveError> {
        let name = file_name(hour);
        let (path, part) = (to.dir.join(&name), to.dir.join(format!(".{name}.part")));
        let (mut seen, mut whole) = (HashSet::default(), None);
        if is_there(&path)? {
            let file = private::open_plain(&path).map_err(ArchiveError::file("open", &path))?;
            let ending = lines::read_opened(
                file,
                &path,
                |_| (),
                |_, piece| {
                    if let Some(event) = piece.ok().and_then(|text| Event::read(text).ok()) {
                        seen.insert(key_of(&event));
                    }
                    Ok(())
                },
            )?;
            whole = ending.whole;
        }
        let before = seen.len() as u64;
        Ok(Self {
            path,
            part,
            seen,
            whole,
            before,
            fresh: 0,
            out: None,
            hashes_emails: to.hashes_emails,
        })
    }

    /// Whether a file with events exists.
    pub(super) fn is_there(&self) -> bool {
        self.before > 0
    }

    /// Adds an event, unless the file has it.
    pub(super) fn add(&mut self, event: &Event<'_>) -> Result<(), ArchiveError> {
        let hashed = if self.hashes_emails { hash_emails(event.text) } else { None };
        // What has no id is known by its text.
        match hashed.as_deref().map(Event::read) {
            Some(Ok(hashed)) => self.add_as_it_is(&hashed),
            _ => self.add_as_it_is(event),
        }
    }

    fn add_as_it_is(&mut self, event: &Event<'_>) -> Result<(), ArchiveError> {
        if !self.seen.insert(key_of(event)) {
            return Ok(());
        }
        let (failed, is_there) = (ArchiveError::file("write", &self.part), self.is_there());
        let out = match &mut self.out {
            Some(out) => out,
            none => {
                none.insert(begin(&self.path, &self.part, is_there, self.whole).map_err(&failed)?)
            }
        };
        out.write_all(event.text.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
        self.fresh += 1;
        Ok(())
    }

    /// Syncs the file and renames it. Returns the number of its events, and of the new ones.
    pub(super) fn finish(mut self) -> Result<(u64, u64), ArchiveError> {
        let counts = (self.before + self.fresh, self.fresh);
        let Some(out) = self.out.take() else { return Ok(counts) };
        let written = || -> io::Result<()> {
            let file = out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fault::point("export.before_rename");
            std::fs::rename(&self.part, &self.path)?;
            // The name is part of the directory, which is synced separately.
            self.path.parent().map_or(Ok(()), private::sync_dir)
        };
        written().map_err(ArchiveError::file("write", &self.path))?;
        Ok(counts)
    }
}

/// Whether the name exists, even as a dangling symbolic link.
fn is_there(path: &Path) -> Result<bool, ArchiveError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ArchiveError::file("look for", path)(error)),
    }
}

/// Removes an incomplete file.
impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            // A file that remains is overwritten by the next attempt.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// Creates a file under the hidden name, with the bytes of the existing one. Other users may write
/// to the directory: neither name is followed when it is a symbolic link.
fn begin(
    path: &Path,
    part: &Path,
    is_there: bool,
    whole: Option<u64>,
) -> io::Result<GzEncoder<BufWriter<File>>> {
    let mut file = private::fresh(part)?;
    if is_there {
        io::copy(&mut private::open_plain(path)?, &mut file)?;
    }
    if let Some(whole) = whole.filter(|_| is_there) {
        file.set_len(whole)?;
        file.seek(io::SeekFrom::End(0))?;
    }
    Ok(GzEncoder::new(BufWriter::with_capacity(BUFFER, file), Compression::default()))
}
