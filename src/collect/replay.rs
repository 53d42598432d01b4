//! Replays recorded hours as a source: files with one event per line, plain or gzip.
//!
//! Guarantees: every line that is not blank is returned once, in the order of the files. All
//! members of a gzip file are read. An error names the file and the line, and is returned after
//! everything before it. A file with one JSON list (a saved page) is accepted too.
//!
//! A separate thread reads and decompresses, a few batches ahead at most, because both block.
//! Dropping a future of [`Replay::next_poll`] loses nothing that was read.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::sync::{mpsc, watch};

use super::source::{EventSource, PageBody, Poll, PolledPage, SourceError};
use super::status::{SourceMode, SourceState, SourceStatus};
use crate::clock::Clock;
use crate::gunzip::{Gunzip, MaybeZipped};

/// Maximum length of a line or list in bytes; the largest events have a few hundred kilobytes.
const LONGEST_LINE: u64 = 32 << 20;
/// A batch is returned at this many bytes, however few its lines.
const BATCH_BYTES: usize = 8 << 20;
/// Maximum number of batches read ahead.
const AHEAD: usize = 2;

type ReplayBatch = Result<PageBody, SourceError>;

/// The source that replays recorded hours.
#[derive(Debug)]
pub struct Replay {
    clock: Clock,
    batches: mpsc::Receiver<ReplayBatch>,
    status: watch::Sender<SourceStatus>,
}

impl Replay {
    /// Starts to read. Each poll has up to `batch` events.
    ///
    /// # Errors
    /// When a file cannot be opened, or the thread cannot be started.
    pub fn new(paths: Vec<PathBuf>, batch: usize, clock: Clock) -> Result<Self, SourceError> {
        // Fails at once, not after hours of reading the files before it.
        for path in &paths {
            File::open(path).map_err(|error| unreadable(path, &error.to_string()))?;
        }
        let (sender, batches) = mpsc::channel(AHEAD);
        let first = paths.first().cloned().unwrap_or_default();
        std::thread::Builder::new()
            .name("replay".to_owned())
            .spawn(move || read_all(&paths, batch.max(1), &sender))
            .map_err(|error| unreadable(&first, &error.to_string()))?;
        let mut status = SourceStatus::new(SourceMode::Replay, clock.now());
        status.turn(SourceState::Ok, clock.now());
        Ok(Self { clock, batches, status: watch::Sender::new(status) })
    }

    /// The status, updated as it changes.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<SourceStatus> {
        self.status.subscribe()
    }
}

impl EventSource for Replay {
    async fn next_poll(&mut self) -> Result<Option<Poll>, SourceError> {
        let batch = self.batches.recv().await;
        let now = self.clock.now();
        match batch {
            None => Ok(None),
            Some(Ok(body)) => {
                self.status.send_modify(|status| status.last_poll_at = Some(now));
                Ok(Some(Poll { pages: vec![PolledPage { number: 1, body }], received_at: now }))
            }
            Some(Err(error)) => {
                self.status.send_modify(|status| {
                    status.turn(SourceState::Down, now);
                });
                Err(error)
            }
        }
    }
}

/// The receiver was dropped.
struct Gone;

fn read_all(paths: &[PathBuf], batch: usize, sender: &mpsc::Sender<ReplayBatch>) {
    let mut lines = HourLines { batch, count: 0, bytes: BytesMut::new(), sender };
    for path in paths {
        match read_file(path, &mut lines) {
            Ok(Ok(())) => {}
            Ok(Err(Gone)) => return,
            Err(reason) => {
                if lines.flush().is_ok() {
                    // The receiver may be dropped in between; then the error is not needed.
                    let _ = sender.blocking_send(Err(unreadable(path, &reason)));
                }
                return;
            }
        }
    }
    // The last batch; the reader ends here even if the receiver is gone.
    let _ = lines.flush();
}

fn read_file(path: &Path, lines: &mut HourLines<'_>) -> Result<Result<(), Gone>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut file = MaybeZipped::open(file, 256 << 10).map_err(|error| error.to_string())?;
    let brought = read_lines(&mut file, lines);
    let garbage = file.gunzip().map_or(0, Gunzip::garbage);
    if garbage > 0 {
        tracing::warn!(file = %path.display(), garbage, "bytes behind the gzip are passed over");
    }
    brought
}

fn read_lines(
    mut from: impl BufRead,
    lines: &mut HourLines<'_>,
) -> Result<Result<(), Gone>, String> {
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        let read = from.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|error| broken(number, &error))?;
        if read == 0 {
            break;
        }
        if line.len() as u64 > LONGEST_LINE {
            return Err(format!("line {number} has more than {LONGEST_LINE} bytes"));
        }
        let text = line.trim_ascii();
        if number == 1 && is_list(text) {
            from.by_ref().take(LONGEST_LINE).read_to_end(&mut line).map_err(|e| broken(1, &e))?;
            return Ok(lines.list(&line));
        }
        if !text.is_empty() && lines.push(text).is_err() {
            return Ok(Err(Gone));
        }
    }
    Ok(Ok(()))
}

/// Whether a first line begins a JSON list; no event begins like that.
fn is_list(text: &[u8]) -> bool {
    text.starts_with(b"[")
}

fn broken(number: u64, error: &io::Error) -> String {
    format!("it breaks off at line {number} ({error}); is the download complete")
}

fn unreadable(path: &Path, reason: &str) -> SourceError {
    SourceError::Recorded { path: path.to_owned(), reason: reason.to_owned() }
}

/// Lines collected into batches.
struct HourLines<'a> {
    batch: usize,
    count: usize,
    bytes: BytesMut,
    sender: &'a mpsc::Sender<ReplayBatch>,
}

impl HourLines<'_> {
    fn push(&mut self, line: &[u8]) -> Result<(), Gone> {
        self.bytes.extend_from_slice(line);
        self.bytes.extend_from_slice(b"\n");
        self.count += 1;
        let full = self.count >= self.batch || self.bytes.len() >= BATCH_BYTES;
        if full { self.flush() } else { Ok(()) }
    }

    fn list(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.flush()?;
        self.send(PageBody::Array(Bytes::copy_from_slice(bytes)))
    }

    fn flush(&mut self) -> Result<(), Gone> {
        if self.count == 0 {
            return Ok(());
        }
        self.count = 0;
        let bytes = self.bytes.split().freeze();
        self.send(PageBody::Lines(bytes))
    }

    fn send(&self, body: PageBody) -> Result<(), Gone> {
        self.sender.blocking_send(Ok(body)).map_err(|_| Gone)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn zip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn numbered(range: std::ops::Range<u32>) -> String {
        let lines: Vec<_> = range.map(|n| format!("{{\"id\":\"{n}\"}}\n")).collect();
        lines.concat()
    }

    /// Replays these files. Returns the text of each poll and the final error.
    async fn brought(files: &[(&str, &[u8])], batch: usize) -> (Vec<String>, Option<SourceError>) {
        let dir = tempfile::tempdir().unwrap();
        let write = |(name, bytes): &(&str, &[u8])| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let paths = files.iter().map(write).collect();
        let mut replay = Replay::new(paths, batch, Clock::system()).unwrap();
        let mut polls = Vec::new();
        loop {
            match replay.next_poll().await {
                Ok(None) => return (polls, None),
                Err(error) => return (polls, Some(error)),
                Ok(Some(poll)) => match &poll.pages[0].body {
                    PageBody::Lines(bytes) | PageBody::Array(bytes) => {
                        polls.push(String::from_utf8(bytes.to_vec()).unwrap());
                    }
                    PageBody::Entries(_) => panic!("it passes on what it read"),
                },
            }
        }
    }

    #[tokio::test]
    async fn lines_are_replayed_in_order_and_batches() {
        let (first, second) = (numbered(0..25), zip(&numbered(25..42)));
        let (polls, error) =
            brought(&[("a.ndjson", first.as_bytes()), ("b.json.gz", &second)], 10).await;
        assert!(error.is_none());
        assert_eq!(polls.concat(), numbered(0..42));
        let sizes: Vec<_> = polls.iter().map(|poll| poll.lines().count()).collect();
        assert_eq!(sizes, [10, 10, 10, 10, 2]);
    }

    #[tokio::test]
    async fn a_gzip_of_several_members_is_read_to_its_end() {
        let members: Vec<u8> = (0..5).flat_map(|n| zip(&numbered(n * 10..n * 10 + 10))).collect();
        // The format is detected from the content, not from the name.
        let (polls, error) = brought(&[("hour.json", &members)], 1_000).await;
        assert!(error.is_none());
        assert_eq!(polls.concat(), numbered(0..50));
    }

    #[tokio::test]
    async fn blank_lines_and_line_ends_of_others_are_no_events() {
        let text = b"\r\n{\"id\":\"1\"}\r\n\n   \n{\"id\":\"2\"}";
        let (polls, error) = brought(&[("a.ndjson", text)], 10).await;
        assert!(error.is_none());
        assert_eq!(polls, ["{\"id\":\"1\"}\n{\"id\":\"2\"}\n"]);
        let (polls, error) = brought(&[("empty.ndjson", b""), ("e.gz", &zip(""))], 10).await;
        assert!(polls.is_empty() && error.is_none());
        let (polls, error) = brought(&[], 10).await;
        assert!(polls.is_empty() && error.is_none());
    }

    #[tokio::test]
    async fn a_saved_page_is_a_page() {
        let page = b"[\n {\"id\":\"1\"},\n {\"id\":\"2\"}\n]\n";
        let before = numbered(0..1);
        let (polls, error) =
            brought(&[("a.ndjson", before.as_bytes()), ("p.json", page)], 10).await;
        assert!(error.is_none());
        assert_eq!(polls, [before, String::from_utf8(page.to_vec()).unwrap()]);
    }

    #[tokio::test]
    async fn lines_before_a_broken_one_are_replayed() {
        let whole = zip(&numbered(0..100_000));
        let mut bent = whole.clone();
        let middle = bent.len() / 2;
        bent[middle..middle + 40].fill(0xff);
        for bytes in [&whole[..whole.len() / 2], &bent[..]] {
            let (polls, error) = brought(&[("hour.json.gz", bytes)], 1_000).await;
            let said = error.unwrap().to_string();
            assert!(said.contains("hour.json.gz") && said.contains("at line "), "{said}");
            let brought = polls.concat();
            assert!(brought.len() > 1_000 && numbered(0..100_000).starts_with(&brought));
        }
        let (polls, error) = brought(&[("a.gz", b"\x1f\x8bnonsense")], 10).await;
        assert!(polls.is_empty() && error.unwrap().to_string().contains("a.gz"));
    }

    #[test]
    fn a_file_that_is_not_there_is_named_at_once() {
        let error = Replay::new(vec!["no/such.ndjson".into()], 1, Clock::system()).unwrap_err();
        assert!(error.to_string().contains("no/such.ndjson"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_future_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.ndjson");
        std::fs::write(&path, numbered(0..1_000)).unwrap();
        let mut replay = Replay::new(vec![path], 7, Clock::system()).unwrap();
        let mut all = String::new();
        loop {
            // Polled once and dropped, again and again.
            let poll = futures_util::FutureExt::now_or_never(replay.next_poll());
            match poll {
                None => tokio::task::yield_now().await,
                Some(poll) => match poll.unwrap() {
                    None => break,
                    Some(poll) => match &poll.pages[0].body {
                        PageBody::Lines(bytes) | PageBody::Array(bytes) => {
                            all.push_str(std::str::from_utf8(bytes).unwrap());
                        }
                        PageBody::Entries(_) => panic!("it passes on what it read"),
                    },
                },
            }
        }
        assert_eq!(all, numbered(0..1_000));
    }
}
