//! What is known of the completeness of an exported hour, in a file beside it:
//! `YYYY-MM-DD-H.coverage.json`, the hour as `/completeness` shows it, and whether its beginning
//! may be missing (`cut`). A file that was whole stays whole when events are added later.
//!
//! The file of the events goes by when they were created, its completeness by when they were
//! received: what is not known of that hour is `null`. It is replaced whenever the events are.
//! Where events of the simulated GitHub are among them, `simulated` is true, and stays so.
//! Where only events on lists were written, `lists` names these; the completeness is that of all
//! events. The comment in the gzip header of the rows (RFC 1952, section 2.3) names them too, so
//! that a file that this version began, and that was moved or renamed without its sidecar, is not
//! imported as a whole hour.

use std::borrow::Cow;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use flate2::bufread::GzDecoder;
use serde::{Deserialize, Serialize};

use super::error::ArchiveError;
use super::target::ArchiveTarget;
use crate::lists::ListSet;
use crate::model::activity::HourCompleteness;
use crate::model::activity::written::of_one;
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

/// How the file says that the hour has events of the simulated GitHub; the only member of that
/// name.
const SIMULATED: &str = "\"simulated\":true";

/// The file of an hour.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenHour {
    /// Its path.
    pub file: PathBuf,
    /// Number of events in it.
    pub events: u64,
    /// Number of events added; at 0 the file was left unchanged.
    pub fresh: u64,
    /// Whether the journal may be missing the hour's beginning, and so the file, unless it already
    /// had it.
    pub cut: bool,
    /// Whether events of the simulated GitHub are among those to be added, also among those that
    /// the file had already.
    #[serde(default)]
    pub simulated: bool,
}

impl WrittenHour {
    /// Whether the file beside it, at `path`, needs no change. After a crash it may not say yet
    /// what was added.
    fn is_up_to_date(&self, path: &Path) -> bool {
        let is_marked = || !self.simulated || self.had_member(path, SIMULATED);
        self.fresh == 0 && path.exists() && is_marked()
    }

    /// Whether the file had the hour's beginning before, as the file beside it, at `path`, says.
    fn was_whole(&self, path: &Path) -> bool {
        self.had_member(path, CUT[0])
    }

    /// Whether the file beside an hour that had events before, at `path`, has this member.
    fn had_member(&self, path: &Path, member: &str) -> bool {
        self.events > self.fresh && read(path).is_ok_and(|text| text.contains(member))
    }

    /// Adds to the text of the file beside it, to be written to `path`, whether the hour is
    /// simulated, and the lists by which the events were selected.
    fn with_marks(&self, text: String, path: &Path, lists: &ListSet) -> String {
        let is_simulated = self.simulated || self.had_member(path, SIMULATED);
        let is_marked = text.contains(SIMULATED) || !is_simulated;
        with_lists(if is_marked { text } else { with_member(text, SIMULATED) }, lists)
    }
}

/// Writes it beside the file of an hour that has changed, or that has none yet.
pub(super) fn write(
    reader: Reader<'_>,
    to: &ArchiveTarget,
    hour: Hour,
    written: &WrittenHour,
) -> Result<(), ArchiveError> {
    let path = to.dir.join(coverage_name(hour));
    if written.is_up_to_date(&path) {
        return Ok(());
    }
    let known = charts::completeness(reader, hour.0..hour.0.saturating_add(1))?;
    let known = known.first().copied().unwrap_or(HourCompleteness::unknown(hour));
    let shares = reader.audit_shares(hour.0..hour.0.saturating_add(1))?;
    let cut = written.cut && !written.was_whole(&path);
    let text = text_of(&of_one(&known, shares.get(&hour.0), cut), &path)?;
    put(&path, format!("{}\n", written.with_marks(text, &path, &to.lists)).as_bytes())
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
    written: &WrittenHour,
) -> Result<(), ArchiveError> {
    let (name, path) = (coverage_name(hour), to.dir.join(coverage_name(hour)));
    if written.is_up_to_date(&path) {
        return Ok(());
    }
    let (source, was_whole) = (from.join(name), written.was_whole(&path));
    let text = match read(&source) {
        Ok(text) if was_whole => text.replacen(CUT[1], CUT[0], 1),
        Ok(text) => text,
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(ArchiveError::file("read", &source)(error));
        }
        Err(_) if to.lists.is_empty() => return Ok(()),
        Err(_) => {
            let unknown = HourCompleteness::unknown(hour);
            text_of(&of_one(&unknown, None, written.cut && !was_whole), &path)?
        }
    };
    let text = written.with_marks(text.trim_end().to_owned(), &path, &to.lists);
    put(&path, format!("{text}\n").as_bytes())
}

/// Adds the lists by which the events were selected to the JSON text of a file without any:
/// `"lists":["mine","!bots"]`, behind all other members.
fn with_lists(text: String, lists: &ListSet) -> String {
    if lists.is_empty() {
        return text;
    }
    let mut member = "\"lists\":[".to_owned();
    for (at, term) in lists.terms().iter().enumerate() {
        member.push_str(if at == 0 { "" } else { "," });
        json::push_text(&mut member, term);
    }
    member.push(']');
    with_member(text, &member)
}

/// Adds a member to the JSON text of an object that has others.
fn with_member(mut text: String, member: &str) -> String {
    if text.pop() == Some('}') {
        text.extend([",", member, "}"]);
    }
    text
}

/// Expects the files of an hour to be absent, or to be of the lists of `to`.
pub(super) fn expect_lists(to: &ArchiveTarget, hour: Hour) -> Result<(), ArchiveError> {
    let files = [rows_name(hour), columns_name(hour)].map(|name| to.dir.join(name));
    let Some(path) = files.into_iter().find(|path| path.symlink_metadata().is_ok()) else {
        return Ok(());
    };
    let (found, wanted) = (lists_in(&to.dir.join(coverage_name(hour)))?, to.lists.terms());
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
fn lists_in(path: &Path) -> Result<Vec<String>, ArchiveError> {
    let about = match read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        about => about.map_err(ArchiveError::file("read", path))?,
    };
    let [terms] = json::pick(&about, ["lists"]);
    let terms = terms.map(|terms| json::items(terms, usize::MAX)).unwrap_or_default();
    Ok(terms.into_iter().filter_map(json::text).map(Cow::into_owned).collect())
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
    match commented(path)? {
        Some(lists) => Err(ArchiveError::OfLists { path: path.to_owned(), lists }),
        None => expect_no_lists_beside(path),
    }
}

/// Does the same with the file beside it alone, and does not open the file itself, which may be a
/// named pipe.
pub fn expect_no_lists_beside(path: &Path) -> Result<(), ArchiveError> {
    let beside = beside(path);
    let (lists, path) = (lists_in(&beside)?.join(", "), path.to_owned());
    if lists.is_empty() { Ok(()) } else { Err(ArchiveError::BesideLists { path, beside, lists }) }
}

/// Whether the file beside that of an hour says that it has events of the simulated GitHub.
#[must_use]
pub fn is_simulated(path: &Path) -> bool {
    read(&beside(path)).is_ok_and(|text| text.contains(SIMULATED))
}

/// The path of the file beside that of an hour.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let stem = name.strip_suffix(".gz").unwrap_or(&name);
    let stem = stem.strip_suffix(".json").unwrap_or(stem);
    path.with_file_name(format!("{stem}.coverage.json"))
}

/// The lists in the comment of a gzip's first header; `None` for any other file.
fn commented(path: &Path) -> Result<Option<String>, ArchiveError> {
    let file = private::open_file(path).map_err(ArchiveError::file("open", path))?;
    let packed = GzDecoder::new(BufReader::new(file.take(HEADER_BYTES)));
    let comment = packed.header().and_then(flate2::GzHeader::comment).map(String::from_utf8_lossy);
    Ok(comment.and_then(|comment| comment.strip_prefix(COMMENT).map(str::to_owned)))
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    private::open_plain(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if text.len() as u64 > LARGEST {
        return Err(io::Error::other(format!("it has more than {LARGEST} bytes")));
    }
    Ok(text)
}

/// Brings it to the disk under its name, as a whole.
fn put(path: &Path, text: &[u8]) -> Result<(), ArchiveError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let part = path.with_file_name(format!(".{name}.part"));
    private::write_whole(path, &part, text).map_err(ArchiveError::file("write", path))
}
