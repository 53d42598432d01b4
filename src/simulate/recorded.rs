//! Recorded events: files with one event per line, plain or gzip, read as they are needed.
//!
//! A line is passed on byte for byte, whatever its content, as long as it is JSON. Other lines are
//! skipped, counted and, the first few times, logged, because they would damage the whole page.

use std::fs::File;
use std::io::{BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::gunzip::MaybeZipped;
use crate::model::window::Timestamp;

/// Longer lines are skipped. GitHub's longest events are below 3 MB.
const MAX_LINE_BYTES: u64 = 16 * 1024 * 1024;
/// Maximum number of bad lines that are logged individually.
const MAX_COMPLAINTS: u64 = 10;

/// The events of some files, one file after the other.
pub(super) struct Recorded {
    /// Remaining files, the next one last.
    files: Vec<PathBuf>,
    current: Option<Lines>,
    left_out: u64,
}

struct Lines {
    path: PathBuf,
    reader: MaybeZipped<File>,
    line: u64,
}

impl Recorded {
    /// Opens each file once, so that a missing one is detected at once.
    pub(super) fn open(files: &[PathBuf]) -> anyhow::Result<Self> {
        for path in files {
            Lines::open(path)?;
        }
        Ok(Self { files: files.iter().rev().cloned().collect(), current: None, left_out: 0 })
    }

    /// Number of lines that were not JSON.
    pub(super) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The next event; `None` after the last.
    pub(super) fn next_event(&mut self) -> Option<Arc<str>> {
        loop {
            let Some(lines) = &mut self.current else {
                match Lines::open(&self.files.pop()?) {
                    Ok(lines) => self.current = Some(lines),
                    Err(error) => tracing::warn!("recorded events: {error:#}"),
                }
                continue;
            };
            let read = lines.next_line();
            let (path, line) = (lines.path.display(), lines.line);
            match read {
                Ok(Some(Ok(text))) => return Some(text),
                Ok(Some(Err(reason))) => {
                    self.left_out += 1;
                    if self.left_out <= MAX_COMPLAINTS {
                        tracing::warn!("{path}:{line}: left out: {reason}");
                    }
                }
                Ok(None) => {
                    tracing::debug!("{path}: {line} lines served");
                    self.current = None;
                }
                // The rest of a damaged file cannot be read; the events before it remain valid.
                Err(error) => {
                    tracing::warn!("{path}: cannot be read after line {line}: {error}");
                    self.current = None;
                }
            }
        }
    }
}

/// An event, or why the line is not an event.
type RecordedLine = Result<Arc<str>, String>;

impl Lines {
    fn open(path: &Path) -> anyhow::Result<Self> {
        let what = || format!("cannot read the recorded events in {}", path.display());
        let file = File::open(path).with_context(what)?;
        let reader = MaybeZipped::open(file, 64 * 1024).with_context(what)?;
        Ok(Self { path: path.to_owned(), reader, line: 0 })
    }

    /// The next line that is not blank; `None` at the end of the file.
    fn next_line(&mut self) -> std::io::Result<Option<RecordedLine>> {
        let limit = MAX_LINE_BYTES + 1;
        loop {
            let mut bytes = Vec::new();
            (&mut self.reader).take(limit).read_until(b'\n', &mut bytes)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            self.line += 1;
            if bytes.len() as u64 == limit && bytes.last() != Some(&b'\n') {
                self.reader.skip_until(b'\n')?;
                return Ok(Some(Err(format!("longer than {MAX_LINE_BYTES} bytes"))));
            }
            while matches!(bytes.last(), Some(b'\n' | b'\r')) {
                bytes.pop();
            }
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let text = String::from_utf8(bytes).map_err(|error| error.to_string());
            return Ok(Some(text.and_then(|text| {
                match serde_json::from_str::<&RawValue>(&text) {
                    Ok(_) => Ok(text.into()),
                    Err(error) => Err(error.to_string()),
                }
            })));
        }
    }
}

/// GitHub's time of the event.
pub(super) fn created_at(text: &str) -> Option<Timestamp> {
    #[derive(Deserialize)]
    struct Created {
        created_at: String,
    }
    Timestamp::parse(&serde_json::from_str::<Created>(text).ok()?.created_at)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn all(files: &[PathBuf]) -> (Vec<String>, u64) {
        let mut recorded = Recorded::open(files).unwrap();
        let mut events = Vec::new();
        while let Some(event) = recorded.next_event() {
            events.push(event.to_string());
        }
        (events, recorded.left_out())
    }

    fn zipped(parts: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for part in parts {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(&mut bytes, level);
            encoder.write_all(part.as_bytes()).unwrap();
            encoder.finish().unwrap();
        }
        bytes
    }

    #[test]
    fn lines_are_served_unchanged_without_invalid_json() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        let good = [
            r#"{ "id" : "1",  "type":"X", "n": 1.0e+2, "e":"\u00e9" }"#,
            "[1, 2]",
            "null",
            r#""text""#,
            r#"  {"id":"1"}  "#,
            r#"{"id":"2","id":"3","big":123456789012345678901234567890}"#,
        ];
        let mut bytes = Vec::new();
        bytes.extend_from_slice(b"{\"half\":\n\n");
        bytes.extend_from_slice(good.join("\r\n").as_bytes());
        bytes.extend_from_slice(b"\n{\"bad\":\"\xff\"}\n{} {}\n{\"no\":\"newline\"}");
        std::fs::write(&path, bytes).unwrap();
        let (events, left_out) = all(&[path]);
        assert_eq!(events[..6], good);
        assert_eq!(events[6..], [r#"{"no":"newline"}"#]);
        assert_eq!(left_out, 3);
    }

    #[test]
    fn gzip_is_known_by_its_content_and_may_have_several_members() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.json.gz"), dir.path().join("b.ndjson"));
        std::fs::write(&a, zipped(&["{\"n\":1}\n", "{\"n\":2}\n"])).unwrap();
        std::fs::write(&b, zipped(&["{\"n\":3}\n"])).unwrap();
        let (events, left_out) = all(&[a, b]);
        assert_eq!(events, [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
        assert_eq!(left_out, 0);
    }

    #[test]
    fn damaged_file_serves_its_readable_part() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a.json.gz"), dir.path().join("b.json"));
        let mut rng = fastrand::Rng::with_seed(5);
        let line = |_| format!("{{\"n\":{}}}\n", rng.u64(..));
        let lines = (0..5_000).map(line).collect::<Vec<_>>().concat();
        let bytes = zipped(&[&lines]);
        std::fs::write(&a, &bytes[..bytes.len() / 2]).unwrap();
        std::fs::write(&b, "{\"last\":1}\n").unwrap();
        let (events, _) = all(&[a, b]);
        assert!(events.len() > 100 && events.len() < 5_000, "{}", events.len());
        assert_eq!(events.last().unwrap(), r#"{"last":1}"#);
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Recorded::open(&[PathBuf::from("/no/such.ndjson")]).err().unwrap();
        assert!(error.to_string().contains("/no/such.ndjson"), "{error:#}");
    }

    #[test]
    fn a_line_that_is_too_long_is_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        let long = format!("\"{}\"\n1\n", "x".repeat(usize::try_from(MAX_LINE_BYTES).unwrap()));
        std::fs::write(&path, long).unwrap();
        assert_eq!(all(&[path]), (vec!["1".to_owned()], 1));
    }
}
