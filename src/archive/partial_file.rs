//! Writes the files of one hour: each complete under its name, or absent.
//!
//! An existing file is kept: its bytes are copied, and new events are appended as a further gzip
//! member. Its events are read first, so that none is written twice, even after a crash.
//!
//! Events are written as rows first. A file of columns is made from them: of all rows where they
//! are kept, so that both files have the same events also after a crash between the two; else of
//! the new rows, which are removed afterwards, behind what the file has.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufWriter, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use flate2::write::GzEncoder;
use flate2::{Compression, GzBuilder};

use super::columns;
use super::error::ArchiveError;
use super::lines::{self, BUFFER};
use super::recorded::key_of;
use super::sidecar::{self, WrittenHour};
use super::target::ArchiveTarget;
use crate::config::HourFormat;
use crate::fault;
use crate::model::event::Event;
use crate::model::hour_file::{columns_name, rows_name};
use crate::model::privacy::hash_emails;
use crate::model::window::Hour;
use crate::private;

/// Keys of events.
type Keys = HashSet<u128, foldhash::fast::RandomState>;

/// The files of an hour being written.
pub(super) struct PartialFile {
    format: HourFormat,
    /// The file of rows.
    path: PathBuf,
    /// The hidden name next to its own, under which it is written.
    part: PathBuf,
    /// The file of columns.
    columns: PathBuf,
    /// Its hidden name.
    columns_part: PathBuf,
    seen: Keys,
    /// The bytes of an existing file that are kept: zeros or garbage behind a gzip stream would
    /// hide the appended events from most programs.
    whole: Option<u64>,
    /// Number of events in the existing file.
    before: u64,
    fresh: u64,
    out: Option<GzEncoder<BufWriter<File>>>,
    hashes_emails: bool,
    /// The comment of the gzip.
    comment: Option<String>,
    /// Whether events of the simulated GitHub are among those to be added, also among those that
    /// the file had already.
    pub(super) is_simulated: bool,
}

impl PartialFile {
    /// Starts or extends the file of an hour.
    pub(super) fn open(to: &ArchiveTarget, hour: Hour) -> Result<Self, ArchiveError> {
        sidecar::expect_lists(to, hour)?;
        let hidden = |name: &str| to.dir.join(format!(".{name}.part"));
        let (rows, columns) = (rows_name(hour), columns_name(hour));
        let (part, columns_part) = (hidden(&rows), hidden(&columns));
        let (path, columns) = (to.dir.join(rows), to.dir.join(columns));
        let (mut seen, mut whole) = (HashSet::default(), None);
        if to.format.has_rows() && is_there(&path)? {
            whole = read_keys(&path, &mut seen)?;
        } else if !to.format.has_rows() && is_there(&columns)? {
            let failed = ArchiveError::file("read", &columns);
            columns::read_keys(&columns, &mut seen).map_err(failed)?;
        }
        let before = seen.len() as u64;
        Ok(Self {
            format: to.format,
            path,
            part,
            columns,
            columns_part,
            seen,
            whole,
            before,
            fresh: 0,
            out: None,
            hashes_emails: to.hashes_emails,
            comment: sidecar::comment_of(&to.lists),
            is_simulated: false,
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
        let failed = ArchiveError::file("write", &self.part);
        let is_there = self.is_there() && self.format.has_rows();
        let out = match &mut self.out {
            Some(out) => out,
            none => {
                let file = begin(&self.path, &self.part, is_there, self.whole).map_err(&failed)?;
                none.insert(packed(file, self.comment.as_deref()))
            }
        };
        out.write_all(event.text.as_bytes()).and_then(|()| out.write_all(b"\n")).map_err(failed)?;
        self.fresh += 1;
        Ok(())
    }

    /// The file with what was added so far; of both, that of the rows.
    pub(super) fn written(&self, cut: bool) -> WrittenHour {
        let file = if self.format.has_rows() { &self.path } else { &self.columns };
        let (events, fresh) = (self.before + self.fresh, self.fresh);
        let simulated = self.is_simulated;
        WrittenHour { file: file.clone(), events, fresh, cut, simulated }
    }

    /// Syncs the files and renames them, and has `beside` write what is known of the hour: first
    /// where only events on lists are written, because a file alone passes for one of all events.
    /// A file for which `may_be_named` is false directly before is removed instead. Returns whether
    /// none was.
    pub(super) fn finish_with(
        self,
        to: &ArchiveTarget,
        may_be_named: impl Fn() -> bool,
        mut beside: impl FnMut() -> Result<(), ArchiveError>,
    ) -> Result<bool, ArchiveError> {
        if !to.lists.is_empty() {
            beside()?;
            return self.finish(may_be_named);
        }
        let is_finished = self.finish(may_be_named)?;
        if is_finished {
            beside()?;
        }
        Ok(is_finished)
    }

    /// Syncs the files and renames them, or removes them.
    fn finish(mut self, may_be_named: impl Fn() -> bool) -> Result<bool, ArchiveError> {
        let events = self.before + self.fresh;
        let has_fresh = match self.out.take() {
            Some(out) => {
                let written = self.finish_rows(out, &may_be_named);
                if !matches!(written, Ok(true)) {
                    // On a full disk it would keep others from writing.
                    let _ = std::fs::remove_file(&self.part);
                }
                let wanted = if self.format.has_rows() { &self.path } else { &self.columns };
                if !written.map_err(ArchiveError::file("write", wanted))? {
                    return Ok(false);
                }
                true
            }
            None => false,
        };
        if self.format.has_columns() && (has_fresh || self.lacks_columns(events)) {
            return self.write_columns(may_be_named);
        }
        Ok(true)
    }

    /// Brings the rows to their name, if they may have it. Rows that are not kept stay under the
    /// hidden one.
    fn finish_rows(
        &self,
        out: GzEncoder<BufWriter<File>>,
        may_be_named: impl Fn() -> bool,
    ) -> io::Result<bool> {
        let file = out.finish()?.into_inner().map_err(io::IntoInnerError::into_error)?;
        if !self.format.has_rows() {
            return Ok(true);
        }
        file.sync_all()?;
        fault::point("export.before_rename");
        rename_if(may_be_named, &self.part, &self.path)
    }

    /// Whether the columns lack events of the rows: a crash came between the two, or columns were
    /// not wanted when the rows were written.
    fn lacks_columns(&self, rows: u64) -> bool {
        self.format.has_rows()
            && rows > 0
            && columns::rows(&self.columns).ok().is_none_or(|there| there != rows)
    }

    /// Makes the file of columns from the rows, and removes rows that are not kept.
    fn write_columns(&self, may_be_named: impl Fn() -> bool) -> Result<bool, ArchiveError> {
        let keeps_rows = self.format.has_rows();
        let rows = if keeps_rows { &self.path } else { &self.part };
        let written = self.columns_of(rows, keeps_rows, may_be_named);
        if !keeps_rows {
            // Rows that remain are overwritten by the next attempt.
            let _ = std::fs::remove_file(rows);
        }
        if !matches!(written, Ok(true)) {
            let _ = std::fs::remove_file(&self.columns_part);
        }
        written
    }

    fn columns_of(
        &self,
        rows: &Path,
        keeps_rows: bool,
        may_be_named: impl Fn() -> bool,
    ) -> Result<bool, ArchiveError> {
        let failed = ArchiveError::file("write", &self.columns);
        let existing = if !keeps_rows && is_there(&self.columns)? {
            Some(private::open_plain(&self.columns).map_err(&failed)?)
        } else {
            None
        };
        let file = private::fresh(&self.columns_part).map_err(&failed)?;
        let mut out = columns::ColumnFile::create(file, existing).map_err(&failed)?;
        let mut seen = Keys::default();
        lines::read_events(rows, |event| {
            if seen.insert(key_of(event)) { out.add(event).map_err(&failed) } else { Ok(()) }
        })?;
        let written = || -> io::Result<bool> {
            out.finish()?.sync_all()?;
            fault::point("export.columns_before_rename");
            rename_if(may_be_named, &self.columns_part, &self.columns)
        };
        written().map_err(failed)
    }
}

/// Gives a synced file its name, if it may have it. Returns whether it has. The name is part of the
/// directory, which is synced separately.
fn rename_if(may_be_named: impl Fn() -> bool, part: &Path, path: &Path) -> io::Result<bool> {
    if !may_be_named() {
        return Ok(false);
    }
    std::fs::rename(part, path)?;
    path.parent().map_or(Ok(()), private::sync_dir)?;
    Ok(true)
}

/// Adds the keys of a file of rows to `seen`. Returns the bytes of it that are whole.
fn read_keys(path: &Path, seen: &mut Keys) -> Result<Option<u64>, ArchiveError> {
    let ending = lines::read_events(path, |event| {
        seen.insert(key_of(event));
        Ok(())
    });
    Ok(ending?.whole)
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
fn begin(path: &Path, part: &Path, is_there: bool, whole: Option<u64>) -> io::Result<File> {
    let mut file = private::fresh(part)?;
    let mut copy = || -> io::Result<()> {
        if is_there {
            io::copy(&mut private::open_plain(path)?, &mut file)?;
        }
        if let Some(whole) = whole.filter(|_| is_there) {
            file.set_len(whole)?;
            file.seek(io::SeekFrom::End(0))?;
        }
        Ok(())
    };
    if let Err(error) = copy() {
        // On a full disk it would keep others from writing.
        let _ = std::fs::remove_file(part);
        return Err(error);
    }
    Ok(file)
}

/// Begins a gzip member.
fn packed(file: File, comment: Option<&str>) -> GzEncoder<BufWriter<File>> {
    let header = comment.map_or_else(GzBuilder::new, |text| GzBuilder::new().comment(text));
    header.write(BufWriter::with_capacity(BUFFER, file), Compression::default())
}
