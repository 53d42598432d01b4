//! Reads the file of an hour: in general one event per line.
//!
//! Handles the damage found in the archive's own files: several events on one line, or all of an
//! hour's on one; a truncated event followed by the next one; runs of NUL bytes, in the text or
//! behind the gzip stream. Readable events are returned, the rest is reported by line.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use super::error::ArchiveError;
use crate::gunzip::MaybeZipped;
use crate::model::event::{Event, is_event};
use crate::model::json;
use crate::private;

/// Buffer size for reading and writing files, bytes.
pub(super) const BUFFER: usize = 256 << 10;

/// The longest line that is read, bytes: hours of 2012 without line ends have about 20 MB.
const LONGEST_LINE: u64 = 64 << 20;

/// Properties of a file that was read to its end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct FileEnd {
    /// Whether it begins as a JSON array.
    pub(super) is_list: bool,
    /// For gzip: the bytes up to the end of the last member.
    pub(super) whole: Option<u64>,
}

/// Calls `take` with the line number and each event, or the error in its place. Calls `read` with
/// the number of bytes read from disk.
pub(super) fn read_file(
    path: &Path,
    read: impl FnMut(u64),
    take: impl FnMut(u64, Result<&str, String>) -> Result<(), ArchiveError>,
) -> Result<FileEnd, ArchiveError> {
    let file = private::open_file(path).map_err(ArchiveError::file("open", path))?;
    read_opened(file, (path, "download it again"), read, take)
}

/// Calls `take` with each event of a file of our own, which is not followed when it is a symbolic
/// link. What is not an event is passed over.
pub(super) fn read_events(
    path: &Path,
    mut take: impl FnMut(&Event<'_>) -> Result<(), ArchiveError>,
) -> Result<FileEnd, ArchiveError> {
    let file = private::open_plain(path).map_err(ArchiveError::file("open", path))?;
    let take = |_, piece: Result<&str, String>| match piece.ok().map(Event::read) {
        Some(Ok(event)) => take(&event),
        _ => Ok(()),
    };
    read_opened(file, (path, "repair it or remove it"), |_| (), take)
}

/// Does the same as [`read_file`] with an open file; its path, and what to do when it is damaged,
/// are used in errors.
fn read_opened(
    file: File,
    (path, cure): (&Path, &'static str),
    read: impl FnMut(u64),
    mut take: impl FnMut(u64, Result<&str, String>) -> Result<(), ArchiveError>,
) -> Result<FileEnd, ArchiveError> {
    let file = MaybeZipped::open(CountingReader { file, read }, BUFFER);
    let mut file = file.map_err(ArchiveError::file("read", path))?;
    let (lines, is_list) = read_lines((path, cure), &mut file, &mut take)?;
    let Some(gunzip) = file.gunzip() else { return Ok(FileEnd { is_list, whole: None }) };
    let garbage = gunzip.garbage();
    if garbage > 0 {
        let reason = format!("ignored {garbage} bytes after the end of the gzip stream");
        take(lines + 1, Err(reason))?;
    }
    Ok(FileEnd { is_list, whole: Some(gunzip.whole()) })
}

/// A file that counts the bytes read from it.
struct CountingReader<F> {
    file: File,
    read: F,
}

impl<F: FnMut(u64)> Read for CountingReader<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        (self.read)(n as u64);
        Ok(n)
    }
}

/// Returns the number of lines, and whether the first non-blank one begins an array.
fn read_lines(
    (path, cure): (&Path, &'static str),
    mut from: impl BufRead,
    take: &mut impl FnMut(u64, Result<&str, String>) -> Result<(), ArchiveError>,
) -> Result<(u64, bool), ArchiveError> {
    let (mut line, mut is_list) = (Vec::new(), None);
    for number in 1_u64.. {
        let breaks_off = |error: io::Error| {
            // The disk failed, not the file.
            if error.raw_os_error().is_some() {
                return ArchiveError::file("read", path)(error);
            }
            let (path, reason) = (path.to_owned(), error.to_string());
            ArchiveError::BreaksOff { path, line: number, reason, cure }
        };
        line.clear();
        let read = from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if read.map_err(breaks_off)? == 0 {
            return Ok((number - 1, is_list == Some(true)));
        }
        if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
            from.skip_until(b'\n').map_err(breaks_off)?;
            take(number, Err(format!("line longer than {LONGEST_LINE} bytes")))?;
            continue;
        }
        // Names and messages of the first years are not always UTF-8; counted fields are.
        let text = String::from_utf8_lossy(&line);
        let first = text.trim_start_matches('\u{feff}').trim_ascii_start().bytes().next();
        is_list = is_list.or(first.map(|first| first == b'['));
        json::pieces(&text, is_event, |piece| {
            take(number, piece.map_err(|broken| broken.reason.to_string()))
        })?;
    }
    unreachable!("a file has fewer than 2^64 lines")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> (Vec<String>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hour.json");
        std::fs::write(&path, text).unwrap();
        let (mut whole, mut broken) = (Vec::new(), 0);
        let taken = read_file(
            &path,
            |_| (),
            |_, piece| {
                match piece {
                    Ok(text) => whole.push(text.to_owned()),
                    Err(_) => broken += 1,
                }
                Ok(())
            },
        );
        assert_eq!(taken.unwrap().is_list, text.starts_with('['));
        (whole, broken)
    }

    /// An event with one of several field orders and spacings.
    fn event(n: u32, form: usize) -> String {
        match form {
            0 => format!(r#"{{"id":"{n}","type":"PushEvent","actor":{{"id":7,"url":"u"}}}}"#),
            1 => format!(r#"{{"id": "{n}", "type": "PushEvent", "actor": {{"id": 7}}}}"#),
            2 => format!(r#"{{"repo":{{"id":7}},"type":"PushEvent","id":"{n}"}}"#),
            _ => format!(r#"{{ "created_at" : "x", "type" : "PushEvent" , "id":"{n}"}}"#),
        }
    }

    #[test]
    fn an_event_glued_to_a_broken_one_is_found_in_every_form() {
        for (first, second) in (0..16).map(|n| (n / 4, n % 4)) {
            let (one, two) = (event(1, first), event(2, second));
            for cut in (2..one.len() - 1).filter(|cut| one.is_char_boundary(*cut)) {
                let text = format!("{}\n{}{two}\n", event(3, first), &one[..cut]);
                let (whole, broken) = split(&text);
                assert_eq!(whole, [event(3, first), two.clone()], "{text}");
                assert_eq!(broken, 1, "{text}");
            }
        }
    }

    #[test]
    fn a_list_on_one_line_is_read_in_every_spacing() {
        for (comma, form) in [(",", 0), (", ", 1), (" ,\t", 2)] {
            let events = (0..50).map(|n| event(n, form)).collect::<Vec<_>>();
            assert_eq!(split(&format!("[{}]\n", events.join(comma))), (events, 0), "{comma}");
        }
        let pretty = "[\n  {\n    \"id\": \"1\",\n    \"type\": \"PushEvent\"\n  }\n]\n";
        assert_eq!(split(pretty).0.len(), 0);
    }

    #[test]
    fn a_long_line_of_joined_events_is_read_once() {
        let events: Vec<String> = (0..30_000)
            .map(|n| {
                format!("{{\"id\":\"{n}\",\"payload\":{{\"commits\":[{{\"sha\":\"{n:x}\"}}]}}}}")
            })
            .collect();
        let (whole, broken) = split(&events.join(","));
        assert!(whole == events && broken == 0);
    }
}
