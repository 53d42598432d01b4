//! What is known of the completeness of an exported hour, in a file beside it:
//! `YYYY-MM-DD-H.coverage.json`, the hour as `/completeness` shows it, and whether its beginning
//! may be missing (`cut`). A file that was whole stays whole when events are added later.
//!
//! The file of the events goes by when they were created, its completeness by when they were
//! received: what is not known of that hour is `null`. It is replaced whenever the events are.
//! Where only events on lists were written, `lists` names these; the completeness is that of all
//! events. The comment in the gzip header of the rows (RFC 1952, section 2.3) names them too, so
//! that a file that was moved or renamed without its sidecar is not imported as a whole hour.

use std::borrow::Cow;
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::Path;

use flate2::bufread::GzDecoder;
use serde::Serialize;

use super::error::ArchiveError;
use super::target::ArchiveTarget;
use crate::lists::ListSet;
use crate::model::activity::{HourCompleteness, written};
use crate::model::hour_file::{columns_name, coverage_name, rows_name};
use crate::model::json;
use crate::model::window::Hour;
use crate::private;
use crate::store::{Reader, charts};

/// The largest that is read, bytes; one has about 2 KiB.
const LARGEST: u64 = 1 << 20;
/// The bytes of a gzip in which its header with the comment is looked for.
const HEADER_BYTES: u64 = 64 << 10;
/// How the comment of a gzip begins that holds only events on lists; their names follow.
const COMMENT: &str = "ghpulse, only events on the lists ";

/// How the file says that the hour is not cut, and that it is; the only member of that name.
const CUT: [&str; 2] = ["\"cut\":false", "\"cut\":true"];

/// What an export does to the file of an hour.
#[derive(Debug, Clone, Copy)]
pub(super) struct HourChange {
    /// Whether the file had events before.
    pub(super) was_there: bool,
    /// Number of events in it afterwards.
    pub(super) events: u64,
    /// Number of events added.
    pub(super) fresh: u64,
    /// Whether the hour's beginning may be missing.
    pub(super) cut: bool,
}

/// Writes it beside the file of an hour that has changed, or that has none yet.
pub(super) fn write(
    reader: Reader<'_>,
    to: &ArchiveTarget,
    hour: Hour,
    change: HourChange,
) -> Result<(), ArchiveError> {
    let path = to.dir.join(coverage_name(hour));
    if change.fresh == 0 && path.exists() {
        return Ok(());
    }
    let known = charts::completeness(reader, hour.0..hour.0.saturating_add(1))?;
    let known = known.first().copied().unwrap_or(HourCompleteness::unknown(hour));
    let shares = reader.audit_shares(hour.0..hour.0.saturating_add(1))?;
    let cut = change.cut && !(change.was_there && was_whole(&path));
    let text = text_of(&written::of_one(&known, shares.get(&hour.0), cut), &path)?;
    put(&path, format!("{}\n", with_lists(text, &to.lists)).as_bytes())
}

fn text_of(written: &impl Serialize, path: &Path) -> Result<String, ArchiveError> {
    let text = serde_json::to_string(written).map_err(io::Error::from);
    text.map_err(ArchiveError::file("write", path))
}

/// Brings what an appliance wrote beside the file of an hour. One of an earlier version writes
/// none: then one that names the lists is written, where only events on lists are.
pub(super) fn bring(
    from: &Path,
    to: &ArchiveTarget,
    hour: Hour,
    change: HourChange,
) -> Result<(), ArchiveError> {
    let (name, path) = (coverage_name(hour), to.dir.join(coverage_name(hour)));
    if change.fresh == 0 && path.exists() {
        return Ok(());
    }
    let (source, was_whole) = (from.join(name), change.was_there && was_whole(&path));
    let text = match read(&source) {
        Ok(text) if was_whole => text.replacen(CUT[1], CUT[0], 1),
        Ok(text) => text,
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ArchiveError::file("read", &source)(error));
        }
        Err(_) if to.lists.is_empty() => return Ok(()),
        Err(_) => {
            let unknown = HourCompleteness::unknown(hour);
            text_of(&written::of_one(&unknown, None, change.cut && !was_whole), &path)?
        }
    };
    let text = with_lists(text.trim_end().to_owned(), &to.lists);
    put(&path, format!("{text}\n").as_bytes())
}

/// Adds the lists by which the events were selected to the JSON text of a file without any:
/// `"lists":["mine","!bots"]`, behind all other members.
fn with_lists(mut text: String, lists: &ListSet) -> String {
    if !lists.is_empty() && text.pop() == Some('}') {
        text.push_str(",\"lists\":[");
        for (at, term) in lists.terms().iter().enumerate() {
            text.push_str(if at == 0 { "" } else { "," });
            json::push_text(&mut text, term);
        }
        text.push_str("]}");
    }
    text
}

/// Expects the files of an hour to be absent, or to be of the lists of `to`.
pub(super) fn expect_lists(to: &ArchiveTarget, hour: Hour) -> Result<(), ArchiveError> {
    let files = [rows_name(hour), columns_name(hour)].map(|name| to.dir.join(name));
    let Some(path) = files.into_iter().find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(());
    };
    let (found, wanted) = (lists_in(&to.dir.join(coverage_name(hour))), to.lists.terms());
    if found == wanted {
        return Ok(());
    }
    let shown = |terms: Vec<String>| match &terms[..] {
        [] => "all events".to_owned(),
        terms => format!("the lists {}", terms.join(", ")),
    };
    Err(ArchiveError::OtherLists { path, found: shown(found), wanted: shown(wanted) })
}

/// The lists that the file beside an hour names; none when it does not exist.
fn lists_in(path: &Path) -> Vec<String> {
    let about = read(path).unwrap_or_default();
    let [terms] = json::pick(&about, ["lists"]);
    let terms = terms.map(|terms| json::items(terms, usize::MAX)).unwrap_or_default();
    terms.into_iter().filter_map(json::text).map(Cow::into_owned).collect()
}

/// The comment of a gzip with only events on these lists; `None` for one of all events.
pub(super) fn comment_of(lists: &ListSet) -> Option<String> {
    let terms = lists.terms();
    (!terms.is_empty()).then(|| format!("{COMMENT}{}", terms.join(", ")))
}

/// Expects a file of an hour to hold all events, not only those on lists: neither the file beside
/// it nor the comment in its gzip header may name any. A file that was unpacked or packed anew
/// passes when its sidecar is not beside it.
pub(super) fn expect_all_events(path: &Path) -> Result<(), ArchiveError> {
    expect_no_lists_beside(path)?;
    commented(path)?.map_or(Ok(()), |lists| Err(of_lists(path, lists)))
}

/// Does the same with the file beside it alone, and does not open the file itself, which may be a
/// named pipe.
pub fn expect_no_lists_beside(path: &Path) -> Result<(), ArchiveError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    let beside = lists_in(&path.with_file_name(format!("{stem}.coverage.json")));
    if beside.is_empty() { Ok(()) } else { Err(of_lists(path, beside.join(", "))) }
}

fn of_lists(path: &Path, lists: String) -> ArchiveError {
    ArchiveError::OfLists { path: path.to_owned(), lists }
}

/// The lists in the comment of a gzip's first header; `None` for any other file.
fn commented(path: &Path) -> Result<Option<String>, ArchiveError> {
    let file = std::fs::File::open(path).map_err(ArchiveError::file("open", path))?;
    let packed = GzDecoder::new(BufReader::new(file.take(HEADER_BYTES)));
    let comment = packed.header().and_then(flate2::GzHeader::comment).map(String::from_utf8_lossy);
    Ok(comment.and_then(|comment| comment.strip_prefix(COMMENT).map(str::to_owned)))
}

/// Whether the file beside an hour says that the hour is whole.
fn was_whole(path: &Path) -> bool {
    read(path).is_ok_and(|text| text.contains(CUT[0]))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = private::open_plain(path)?;
    io::Read::read_to_string(&mut io::Read::take(file, LARGEST), &mut text)?;
    Ok(text)
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
    let written = written();
    if written.is_err() {
        // On a full disk it would keep others from writing.
        let _ = std::fs::remove_file(&part);
    }
    written.map_err(ArchiveError::file("write", path))
}
