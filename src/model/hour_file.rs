//! Names of the files of hours: `YYYY-MM-DD-H`, the hour without a leading zero.

use std::fmt;
use std::path::Path;

use super::names::names;
use super::window::{Day, Hour};

/// Suffix of an hour's file.
const ENDS: [&str; 2] = [".json.gz", ".json"];

/// The hour in a file's name. Until 2014 GitHub wrote Pacific time, and the files are named after
/// it; the events tell which hour of UTC it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourName(pub Hour);

impl HourName {
    /// Parses a file's name; `None` when it does not give an hour.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let stem = ENDS.iter().find_map(|end| name.strip_suffix(end))?;
        hour_at_end(stem).map(Self)
    }

    /// Whether events of that hour of UTC belong into a file of this name: the same hour in UTC, or
    /// in Pacific time, summer or winter.
    #[must_use]
    pub fn fits(self, hour: Hour) -> bool {
        matches!(hour.0 - self.0.0, 0 | 7 | 8)
    }
}

/// `2015-01-31-5`.
impl fmt::Display for HourName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.0.day();
        write!(f, "{day}-{}", self.0.0 - day.start().hour().0)
    }
}

/// A file of an archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveFile {
    /// Its hour.
    pub hour: Hour,
    /// What is in it.
    pub kind: FileKind,
}

/// What is in a file of an archive. Its name is the ending of the file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileKind {
    /// Events as JSON lines in gzip.
    Rows,
    /// Events as columns, in Parquet.
    Columns,
    /// How complete the hour is, in JSON.
    Coverage,
}

impl ArchiveFile {
    /// Parses a file's name; `None` for any other spelling than [`Self::name`] gives.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (stem, ending) = name.split_once('.')?;
        let kind = FileKind::ALL.into_iter().find(|kind| kind.name() == ending)?;
        let file = Self { hour: hour_at_end(stem)?, kind };
        (file.name() == name).then_some(file)
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}.{}", HourName(self.hour), self.kind.name())
    }
}

names!(FileKind { Rows: "json.gz", Columns: "parquet", Coverage: "coverage.json" });

impl FileKind {
    /// Its media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Rows => "application/gzip",
            Self::Columns => "application/vnd.apache.parquet",
            Self::Coverage => "application/json",
        }
    }
}

/// The hour that ends a text. Any prefix before the date is accepted: `gharchive-2015-01-01-0`.
fn hour_at_end(stem: &str) -> Option<Hour> {
    let (before, hour) = stem.rsplit_once('-')?;
    let day = before.get(before.len().checked_sub(10)?..)?;
    let is_plain = (1..=2).contains(&hour.len()) && hour.bytes().all(|b| b.is_ascii_digit());
    let number = hour.parse::<u8>().ok().filter(|number| is_plain && *number < 24)?;
    Some(Hour(Day::parse(day)?.start().hour().0 + i64::from(number)))
}

/// Name of an hour's file of rows: `2015-01-31-5.json.gz`.
#[must_use]
pub fn rows_name(hour: Hour) -> String {
    ArchiveFile { hour, kind: FileKind::Rows }.name()
}

/// Name of an hour's file of columns: `2015-01-31-5.parquet`.
#[must_use]
pub fn columns_name(hour: Hour) -> String {
    ArchiveFile { hour, kind: FileKind::Columns }.name()
}

/// Name of the file that says how complete an hour is: `2015-01-31-5.coverage.json`.
#[must_use]
pub fn coverage_name(hour: Hour) -> String {
    ArchiveFile { hour, kind: FileKind::Coverage }.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["2015-01-01-0.json.gz", "2012-02-29-23.json.gz"] {
            let name = HourName::of(Path::new(text)).unwrap();
            assert_eq!(rows_name(name.0), text);
        }
        let prefixed = HourName::of(Path::new("/x/gharchive-2015-01-01-7.json")).unwrap();
        assert_eq!(prefixed.to_string(), "2015-01-01-7");
    }

    #[test]
    fn only_the_spelling_of_an_archive_is_a_file_of_it() {
        for (name, kind) in [
            ("2026-11-29-5.json.gz", FileKind::Rows),
            ("2026-11-29-0.parquet", FileKind::Columns),
            ("2026-11-29-23.coverage.json", FileKind::Coverage),
        ] {
            let file = ArchiveFile::parse(name).unwrap();
            assert_eq!((file.kind, file.name().as_str()), (kind, name));
        }
        for name in [
            "",
            "2026-11-29-05.json.gz",
            "2026-11-29-24.json.gz",
            "2026-11-29-+5.json.gz",
            "x2026-11-29-5.json.gz",
            ".2026-11-29-5.json.gz.part",
            "2026-11-29-5.json",
            "2026-11-29-5.json.gz/",
            "../2026-11-29-5.json.gz",
            "2026-11-29.json.gz",
            "2026-02-30-5.parquet",
        ] {
            assert_eq!(ArchiveFile::parse(name), None, "{name}");
        }
    }

    #[test]
    fn other_names_are_no_hours() {
        for text in [
            "",
            "x.json.gz",
            "2015-01-01-24.json.gz",
            "2015-13-01-1.json.gz",
            "-1.json",
            "2015-01-01-1.csv",
            "2015-01-01.json.gz",
            "2015-01-01-+1.json.gz",
            "é-01-01-1.json.gz",
        ] {
            assert_eq!(HourName::of(Path::new(text)), None, "{text}");
        }
    }
}
