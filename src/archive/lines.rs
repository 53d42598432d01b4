//! Reading a file of an hour as it really is: an event a line, mostly.
//!
//! Known damage, all of it seen in the archive's own files: events joined on one line, or all of
//! an hour's on one; an event cut off in the middle with the next one glued to it; runs of NUL
//! bytes. What can be read is read, the rest is complained of by its line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;
use serde_json::value::RawValue;

use super::{ArchiveError, BUFFER};

/// The longest line that is read, bytes: hours of 2012 without line ends have about 20 MB.
const LONGEST_LINE: u64 = 64 << 20;
/// How events begin, as far as it tells them from the objects inside of them.
const BEGINNINGS: [&str; 3] = ["{\"id\":\"", "{\"created_at\":\"", "{\"repository\":{"];
/// What is read in vain of a line, at most, in lengths of it: of pieces that are open to its end,
/// one inside of the other, each would be read to there.
const VAIN: usize = 16;

/// Calls `take` with the line and each event of a file, or why there is none. `read` is told of
/// bytes that were read from the disk.
pub(super) fn read_file(
    path: &Path,
    read: impl FnMut(u64),
    take: impl FnMut(u64, Result<&str, String>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let file = File::open(path).map_err(ArchiveError::file("open", path))?;
    read_opened(file, path, read, take)
}

/// The same of a file that is open; `path` is what errors call it.
pub(super) fn read_opened(
    file: File,
    path: &Path,
    read: impl FnMut(u64),
    mut take: impl FnMut(u64, Result<&str, String>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut raw = BufReader::with_capacity(BUFFER, Told { file, read });
    let is_zipped = raw.fill_buf().map_err(ArchiveError::file("read", path))?;
    if is_zipped.starts_with(&[0x1f, 0x8b]) {
        read_lines(path, BufReader::with_capacity(BUFFER, MultiGzDecoder::new(raw)), &mut take)
    } else {
        read_lines(path, raw, &mut take)
    }
}

/// A file that tells how much of it was read.
struct Told<F> {
    file: File,
    read: F,
}

impl<F: FnMut(u64)> Read for Told<F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(buffer)?;
        (self.read)(n as u64);
        Ok(n)
    }
}

fn read_lines(
    path: &Path,
    mut from: impl BufRead,
    take: &mut impl FnMut(u64, Result<&str, String>) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        let breaks_off = |error: io::Error| ArchiveError::BreaksOff {
            path: path.to_owned(),
            line: number,
            reason: error.to_string(),
        };
        line.clear();
        let read = from.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line);
        if read.map_err(breaks_off)? == 0 {
            break;
        }
        if line.len() as u64 == LONGEST_LINE && !line.ends_with(b"\n") {
            from.skip_until(b'\n').map_err(breaks_off)?;
            take(number, Err(format!("a line of more than {LONGEST_LINE} bytes")))?;
            continue;
        }
        // Names and messages of the first years are not always UTF-8; what is counted is.
        let text = String::from_utf8_lossy(&line);
        pieces(&text, |piece| take(number, piece))?;
    }
    Ok(())
}

/// Calls `take` with each event of a line, and why what stands between them is none. Takes time in
/// proportion to the line, whatever is in it.
fn pieces<'a, E>(
    line: &'a str,
    mut take: impl FnMut(Result<&'a str, String>) -> Result<(), E>,
) -> Result<(), E> {
    let mut patience = line.len().saturating_mul(VAIN);
    let mut rest = trimmed(line);
    while !rest.is_empty() {
        match first_object(rest) {
            Ok((object, behind)) => {
                take(Ok(object))?;
                rest = trimmed(behind);
            }
            Err(broken) => {
                patience = patience.saturating_sub(broken.read);
                take(Err(broken.reason))?;
                let Some(next) = next_readable(rest, &mut patience) else {
                    let reason = "too broken; the rest of the line is passed over".to_owned();
                    return take(Err(reason));
                };
                rest = next;
            }
        }
    }
    Ok(())
}

fn trimmed(text: &str) -> &str {
    text.trim_matches(|c: char| c == '\0' || c.is_ascii_whitespace())
}

/// Why a text does not begin with an object.
struct NoObject {
    reason: String,
    /// Bytes that were read to see it.
    read: usize,
}

/// The object that a text begins with, and what comes behind it.
fn first_object(text: &str) -> Result<(&str, &str), NoObject> {
    if !text.starts_with('{') {
        return Err(NoObject { reason: "not a JSON object".to_owned(), read: 1 });
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    match values.next() {
        Some(Ok(object)) => Ok((object.get(), &text[values.byte_offset()..])),
        Some(Err(error)) => {
            // A text has one line, so the column is the byte.
            let read = error.column();
            Err(NoObject { reason: format!("broken JSON at byte {read} of it"), read })
        }
        None => Err(NoObject { reason: "nothing".to_owned(), read: 1 }),
    }
}

/// Where the next whole event begins behind a broken one; empty when there is none, `None` when
/// there is no patience left to look for it.
fn next_readable<'a>(text: &'a str, patience: &mut usize) -> Option<&'a str> {
    for (at, _) in text.match_indices('{').filter(|(at, _)| *at > 0) {
        let found = &text[at..];
        if !BEGINNINGS.iter().any(|begin| found.starts_with(begin)) {
            continue;
        }
        match first_object(found) {
            Ok(_) => return Some(found),
            Err(broken) if broken.read < *patience => *patience -= broken.read,
            Err(_) => return None,
        }
    }
    Some("")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(line: &str) -> (Vec<String>, usize) {
        let (mut whole, mut broken) = (Vec::new(), 0);
        let taken = pieces(line, |piece| {
            match piece {
                Ok(text) => whole.push(text.to_owned()),
                Err(_) => broken += 1,
            }
            Ok::<(), ()>(())
        });
        assert_eq!(taken, Ok(()));
        (whole, broken)
    }

    #[test]
    fn joined_events_are_told_apart() {
        let line = "{\"a\":\"}{\"}{\"b\":{}}\0\0 {\"c\":1}\r\n";
        let (whole, broken) = split(line);
        assert_eq!(whole, ["{\"a\":\"}{\"}", "{\"b\":{}}", "{\"c\":1}"]);
        assert_eq!(broken, 0);
    }

    #[test]
    fn an_event_glued_to_a_broken_one_is_found() {
        let line = "{\"id\":\"1\",\"actor\":{\"id\":7,\"url\":\"https://api.{\"id\":\"2\",\"x\":1}";
        assert_eq!(split(line), (vec!["{\"id\":\"2\",\"x\":1}".to_owned()], 1));
        assert_eq!(split("{\"id\":\"1\",\"x"), (Vec::new(), 1));
        assert_eq!(split("[1]"), (Vec::new(), 1));
        assert_eq!(split("\0\0 \n"), (Vec::new(), 0));
    }

    #[test]
    fn a_long_line_of_joined_events_is_read_once() {
        let events: Vec<String> = (0..30_000)
            .map(|n| {
                format!("{{\"id\":\"{n}\",\"payload\":{{\"commits\":[{{\"sha\":\"{n:x}\"}}]}}}}")
            })
            .collect();
        // Each comma is a broken piece, with all of the line behind it.
        let (whole, broken) = split(&events.join(","));
        assert_eq!(broken, events.len() - 1);
        assert!(whole == events);
    }

    #[test]
    fn pieces_that_are_all_open_to_the_end_are_given_up() {
        let open = "{\"id\":\"1\",\"x\":[{\"id\":\"2\"},";
        let (whole, broken) = split(&open.repeat(3));
        assert_eq!((whole.len(), broken), (3, 4), "so many are read through");
        let (whole, broken) = split(&open.repeat(1_000));
        // Each event that is found has cost the reading of what is open around the next.
        assert!((VAIN - 1..=VAIN).contains(&whole.len()), "{}", whole.len());
        assert_eq!(broken, whole.len() + 2);
    }

    proptest! {
        #[test]
        fn any_line_is_split_without_a_panic(line in "[{}\":,a-zé\\\\\0]{0,80}") {
            let _ = split(&line);
        }
    }
}
