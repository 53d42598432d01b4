//! Files of hours, whole, broken, doubled and misnamed, against what the store holds afterwards.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::clock::Clock;
use crate::model::window::{Day, Timestamp};
use crate::store::Durability;
use crate::store::keys::{Scope, SizeKey};

const NAME: &str = "2015-01-01-15.json.gz";

struct Site {
    dir: tempfile::TempDir,
    store: Store,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data"), Durability::EveryBatch, Clock::system());
        Self { store: store.unwrap(), dir }
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    async fn import(&self, name: &str, text: &[u8]) -> Result<Imported, ArchiveError> {
        let path = self.file(name, &zipped(text));
        import(&self.store, &path, now(), |_| ()).await
    }

    fn count(&self, metric: HourMetric) -> i64 {
        let hour = Timestamp::parse("2015-01-01T15:00:00Z").unwrap().hour();
        let key = HourKey { hour, origin: HourSource::Archive, metric };
        self.store.reader().count(&key).unwrap()
    }

    fn developers(&self) -> i64 {
        let day = Day::parse("2015-01-01").unwrap();
        let key = SizeKey { scope: Scope::DeveloperDay, period: day.0 };
        self.store.reader().count(&key).unwrap()
    }
}

/// A time at which the hours of all these files are over.
fn now() -> Timestamp {
    Timestamp::parse("2026-11-01T00:00:00Z").unwrap()
}

fn zipped(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// A merge of 3 added and 1 deleted line, this many minutes after 15:00.
fn merge(id: u64, minutes: u64) -> String {
    let (hour, minute) = (15 + minutes / 60, minutes % 60);
    format!(
        "{{\"id\":\"{id}\",\"type\":\"PullRequestEvent\",\"actor\":{{\"id\":{id},\"login\":\"x\"}},\
         \"repo\":{{\"id\":8,\"name\":\"x/y\"}},\"payload\":{{\"action\":\"closed\",\
         \"pull_request\":{{\"merged\":true,\"additions\":3,\"deletions\":1}}}},\
         \"created_at\":\"2015-01-01T{hour}:{minute:02}:00Z\"}}"
    )
}

fn push(id: u64) -> String {
    let text = merge(id, 1).replace("PullRequestEvent", "PushEvent");
    assert!(text.contains("PushEvent"));
    text
}

fn lines_of(events: &[String]) -> Vec<u8> {
    events.iter().flat_map(|event| format!("{event}\n").into_bytes()).collect()
}

#[tokio::test]
async fn a_file_becomes_the_counts_of_its_hour_each_event_once() {
    let site = Site::new();
    let events = [merge(1, 0), push(1), merge(2, 59), merge(1, 0), merge(3, 60)];
    let imported = site.import(NAME, &lines_of(&events)).await.unwrap();
    assert_eq!(imported.state, ImportOutcome::Imported);
    assert_eq!(imported.hour.as_deref(), Some("2015-01-01-15"));
    assert_eq!((imported.events, imported.pull_requests), (3, 2));
    assert_eq!((imported.doubles, imported.strays, imported.broken), (1, 1, 0));
    assert_eq!((site.count(HourMetric::Events), site.count(HourMetric::Merged)), (3, 2));
    assert_eq!((site.count(HourMetric::Additions), site.count(HourMetric::Deletions)), (6, 2));
    assert_eq!(site.developers(), 2);
}

#[tokio::test]
async fn second_run_changes_nothing_another_file_replaces() {
    let site = Site::new();
    let first = lines_of(&[merge(1, 0), merge(2, 1)]);
    site.import(NAME, &first).await.unwrap();
    assert_eq!(site.import(NAME, &first).await.unwrap().state, ImportOutcome::Unchanged);
    assert_eq!(site.count(HourMetric::Merged), 2);
    let second = site.import(NAME, &lines_of(&[merge(2, 1)])).await.unwrap();
    assert_eq!((second.state, site.count(HourMetric::Merged)), (ImportOutcome::Imported, 1));
    assert_eq!(site.count(HourMetric::Events), 1);
    // Who was seen is a set: it only grows.
    assert_eq!(site.developers(), 2);
}

#[tokio::test]
async fn broken_lines_are_reported_and_the_others_imported() {
    let site = Site::new();
    let cut = &merge(4, 0)[..40];
    let text = [
        merge(1, 0),
        "no JSON".to_owned(),
        format!("{}{}\0\0", merge(2, 0), merge(3, 0)),
        format!("{cut}{}", merge(5, 0)),
        String::new(),
        "{\"message\":\"no event\"}".to_owned(),
        cut.to_owned(),
    ];
    let imported = site.import(NAME, &lines_of(&text)).await.unwrap();
    assert_eq!((imported.events, imported.broken), (4, 4));
    let named: Vec<u64> = imported.complaints.iter().map(|broken| broken.line).collect();
    assert_eq!(named, [2, 4, 6, 7]);
}

#[tokio::test]
async fn bytes_that_are_no_utf_8_and_huge_lines_are_no_end() {
    let site = Site::new();
    let mut text = merge(1, 0).replace("\"x\"", "\"\u{1}\"").into_bytes();
    let at = text.iter().position(|byte| *byte == 1).unwrap();
    text[at] = 0xff;
    text.push(b'\n');
    text.extend(std::iter::repeat_n(b'x', (64 << 20) + 9));
    text.push(b'\n');
    text.extend(lines_of(&[merge(2, 0)]));
    let imported = site.import(NAME, &text).await.unwrap();
    assert_eq!((imported.events, imported.broken, imported.complaints[0].line), (2, 1, 2));
}

#[tokio::test]
async fn of_a_file_that_breaks_off_nothing_is_counted() {
    let site = Site::new();
    let whole = zipped(&lines_of(&(0..5_000).map(|id| merge(id, 0)).collect::<Vec<_>>()));
    let mut bent = whole.clone();
    let middle = bent.len() / 2;
    bent[middle..middle + 40].fill(0xff);
    for bytes in [&whole[..whole.len() / 2], &bent, b"\x1f\x8bnonsense"] {
        let path = site.file(NAME, bytes);
        let error = import(&site.store, &path, now(), |_| ()).await.unwrap_err();
        assert!(matches!(error, ArchiveError::BreaksOff { .. }), "{error}");
        assert!(error.to_string().contains("at line "), "{error}");
        assert_eq!((site.count(HourMetric::Events), site.developers()), (0, 0));
    }
    let path = site.file(NAME, &whole);
    assert_eq!(import(&site.store, &path, now(), |_| ()).await.unwrap().events, 5_000);
}

#[tokio::test]
async fn an_hour_that_is_not_over_is_refused() {
    let site = Site::new();
    let bytes = zipped(&lines_of(&[merge(1, 0)]));
    // The second name is that of the same hour in Pacific time.
    for name in [NAME, "2015-01-01-7.json.gz"] {
        let path = site.file(name, &bytes);
        let early = Timestamp::parse("2015-01-01T15:59:59Z").unwrap();
        let error = import(&site.store, &path, early, |_| ()).await.unwrap_err();
        assert!(matches!(error, ArchiveError::NotOver { .. }) && !error.is_io(), "{error}");
        assert!(error.to_string().contains("the hour 2015-01-01-15 (UTC) is not over"), "{error}");
        assert_eq!(site.count(HourMetric::Events), 0);
    }
    let path = site.file(NAME, &bytes);
    let later = Timestamp::parse("2015-01-01T16:00:00Z").unwrap();
    assert_eq!(import(&site.store, &path, later, |_| ()).await.unwrap().events, 1);
}

#[tokio::test]
async fn files_that_hold_no_hour_are_refused() {
    let site = Site::new();
    let one = lines_of(&[merge(1, 0)]);
    let error = site.import("hour.json.gz", &one).await.unwrap_err();
    assert!(matches!(error, ArchiveError::Name { .. }), "{error}");
    let error = site.import("2015-01-01-14.json.gz", &one).await.unwrap_err();
    assert!(error.to_string().contains("2015-01-01-15"), "{error}");
    let error = site.import(NAME, b"x\n").await.unwrap_err();
    assert!(matches!(error, ArchiveError::Empty { broken: 1, .. }), "{error}");
    let error = import(&site.store, Path::new("/no/2015-01-01-1.json.gz"), now(), |_| ()).await;
    assert!(error.unwrap_err().is_io());
    assert_eq!(site.count(HourMetric::Events), 0);
}

#[tokio::test]
async fn the_timelines_hours_are_named_by_the_pacific_coast() {
    let site = Site::new();
    let event = "{\"created_at\":\"2015-01-01T07:10:00-08:00\",\"type\":\"PullRequestEvent\",\
                 \"actor\":\"ann\",\"payload\":{\"action\":\"opened\"},\"repository\":{\"id\":1}}";
    let imported = site.import("2015-01-01-7.json.gz", event.as_bytes()).await.unwrap();
    assert_eq!(imported.hour.as_deref(), Some("2015-01-01-15"));
    assert_eq!((site.count(HourMetric::Opened), site.developers()), (1, 1));
}

#[tokio::test]
async fn reported_bytes_equal_the_file_size() {
    let site = Site::new();
    let path = site.file(NAME, &zipped(&lines_of(&[merge(1, 0)])));
    let length = std::fs::metadata(&path).unwrap().len();
    for _ in 0..2 {
        let told = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
        let sum = std::sync::Arc::clone(&told);
        let add = move |n| {
            sum.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
        };
        import(&site.store, &path, now(), add).await.unwrap();
        assert_eq!(told.load(std::sync::atomic::Ordering::Relaxed), length);
    }
}

#[tokio::test]
async fn bytes_after_a_gzip_are_ignored_and_reported() {
    let events = lines_of(&[merge(1, 0), push(2)]);
    let zeros = vec![0; 4_096];
    let more = zipped(&lines_of(&[push(3)]));
    for (behind, counted, broken) in [
        (&zeros[..], 2, 0),
        (b"garbage", 2, 1),
        (&more, 3, 0),
        (&[&zeros[..], &more].concat(), 3, 0),
        (&[&more[..], &zeros].concat(), 3, 0),
    ] {
        let site = Site::new();
        let path = site.file(NAME, &[zipped(&events), behind.to_vec()].concat());
        let imported = import(&site.store, &path, now(), |_| ()).await.unwrap();
        assert_eq!((imported.events, imported.broken), (counted, broken), "{}", behind.len());
        if broken > 0 {
            let BrokenLine { line, reason } = &imported.complaints[0];
            assert!(*line == 3 && reason.starts_with("ignored 7 bytes after"), "{reason}");
        }
    }
    // What is cut off is not whole.
    let site = Site::new();
    let path = site.file(NAME, &[&zipped(&events), &more[..more.len() - 1]].concat());
    let error = import(&site.store, &path, now(), |_| ()).await.unwrap_err();
    assert!(matches!(error, ArchiveError::BreaksOff { line: 4, .. }), "{error}");
}

#[tokio::test]
async fn hour_as_a_list_is_read_on_one_line_refused_on_several() {
    let events = [merge(1, 0), push(2), merge(3, 5)];
    for (open, comma, close) in
        [("[", ",", "]"), ("[ ", " , ", " ]\n"), ("\u{feff}[\n", ",\n", "]")]
    {
        let site = Site::new();
        let list = [open, &events.join(comma), close].concat();
        let imported = site.import(NAME, list.as_bytes()).await.unwrap();
        assert_eq!((imported.events, imported.broken), (3, 0), "{list}");
    }
    let values: Vec<serde_json::Value> =
        events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
    let pretty = serde_json::to_string_pretty(&values).unwrap();
    let error = Site::new().import(NAME, pretty.as_bytes()).await.unwrap_err().to_string();
    assert!(error.contains("jq -c '.[]'"), "{error}");
    let error = Site::new().import(NAME, b"no event\n").await.unwrap_err().to_string();
    assert!(!error.contains("jq -c"), "{error}");
}
