//! What is known of the completeness of an exported hour, in a file beside it:
//! `YYYY-MM-DD-H.coverage.json`, the hour as `/completeness` shows it.
//!
//! The file of the events goes by when they were created, its completeness by when they were
//! received: what is not known of that hour is `null`. It is replaced whenever the events are.

use std::io::{self, Write as _};
use std::path::Path;

use super::ArchiveError;
use crate::model::activity::{HourCompleteness, written};
use crate::model::hour_file::coverage_name;
use crate::model::window::Hour;
use crate::private;
use crate::store::{Reader, charts};

/// The largest that is read, bytes; one has about 2 KiB.
const LARGEST: u64 = 1 << 20;

/// Writes it beside the file of an hour that has changed, or that has none yet.
pub(super) fn write(
    reader: Reader<'_>,
    dir: &Path,
    hour: Hour,
    has_changed: bool,
) -> Result<(), ArchiveError> {
    let path = dir.join(coverage_name(hour));
    if !has_changed && path.exists() {
        return Ok(());
    }
    let known = charts::completeness(reader, hour.0..hour.0.saturating_add(1))?;
    let known = known.first().copied().unwrap_or(HourCompleteness::unknown(hour));
    let text = serde_json::to_string(&written::of_one(&known)).map_err(io::Error::from);
    let text = text.map_err(ArchiveError::file("write", &path))?;
    put(&path, format!("{text}\n").as_bytes())
}

/// Brings what an appliance wrote beside the file of an hour.
pub(super) fn bring(
    from: &Path,
    to: &Path,
    hour: Hour,
    has_changed: bool,
) -> Result<(), ArchiveError> {
    let (name, path) = (coverage_name(hour), to.join(coverage_name(hour)));
    if !has_changed && path.exists() {
        return Ok(());
    }
    let source = from.join(name);
    let read = private::open_plain(&source).and_then(|file| {
        let mut text = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, LARGEST), &mut text)?;
        Ok(text)
    });
    match read {
        Ok(text) => put(&path, &text),
        // An appliance of an earlier version writes none.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ArchiveError::file("read", &source)(error)),
    }
}

/// Brings it to the disk under its name, as a whole.
fn put(path: &Path, text: &[u8]) -> Result<(), ArchiveError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.part"));
    let written = || -> io::Result<()> {
        let mut file = private::fresh(&part)?;
        file.write_all(text)?;
        file.sync_all()?;
        std::fs::rename(&part, path)?;
        path.parent().map_or(Ok(()), private::sync_dir)
    };
    written().map_err(ArchiveError::file("write", path))
}
