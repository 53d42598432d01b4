//! The file of one hour on its way to the disk: complete under its name, or not there.
//!
//! A file that is there already is kept: its bytes are copied, and what is new comes behind them
//! as a further gzip member. Which events it has is read from it, so nothing is in it twice,
//! whatever happened to whoever wrote it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::recorded::key_of;
use super::{ArchiveError, BUFFER, file_name, lines};
use crate::fault;
use crate::model::event::Event;
use crate::model::window::Hour;
use crate::private;

/// A file being written.
pub(super) struct PartialFile {
    path: PathBuf,
    /// Under which name it grows: a hidden one beside its own.
    part: PathBuf,
    seen: HashSet<u128, foldhash::fast::RandomState>,
    /// Of a file that is there the bytes that are kept: zeros and garbage behind a gzip would hide
    /// what is added from most programs.
    whole: Option<u64>,
    /// Events that the file had before.
    before: u64,
    fresh: u64,
    out: Option<GzEncoder<BufWriter<File>>>,
}

impl PartialFile {
    /// Begins, or goes on with, the file of an hour.
    pub(super) fn open(dir: &Path, hour: Hour) -> Result<Self, ArchiveError> {
        let name = file_name(hour);
        let (path, part) = (dir.join(&name), dir.join(format!(".{name}.part")));
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
        Ok(Self { path, part, seen, whole, before, fresh: 0, out: None })
    }

    /// Whether there was a file with events already.
    pub(super) fn is_there(&self) -> bool {
        self.before > 0
    }

    /// Adds an event, unless the file has it.
    pub(super) fn add(&mut self, event: &Event<'_>) -> Result<(), ArchiveError> {
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

    /// Brings it to the disk under its name. Gives back what it has, and what of it is new.
    pub(super) fn finish(mut self) -> Result<(u64, u64), ArchiveError> {
        let counts = (self.before + self.fresh, self.fresh);
        let Some(out) = self.out.take() else { return Ok(counts) };
        let written = || -> io::Result<()> {
            let file = out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
            file.sync_all()?;
            fault::point("export.before_rename");
            std::fs::rename(&self.part, &self.path)?;
            // The name is a part of the directory, which has a sync of its own.
            self.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        written().map_err(ArchiveError::file("write", &self.path))?;
        Ok(counts)
    }
}

/// Whether something has the name, a symbolic link that leads nowhere included.
fn is_there(path: &Path) -> Result<bool, ArchiveError> {
    match std::fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(ArchiveError::file("look for", path)(error)),
    }
}

/// Nobody is served by half a file.
impl Drop for PartialFile {
    fn drop(&mut self) {
        if self.out.take().is_some() {
            // What stays behind is overwritten by the next attempt.
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// A new file under the hidden name, with the bytes of the one that is there. The directory may be
/// one that others write to: neither name is followed when it is a symbolic link.
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
