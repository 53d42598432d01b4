//! Hours of a journal that is written row by row, and the files they become.

use std::io::Read as _;

use flate2::read::MultiGzDecoder;

use super::*;
use crate::model::position::BusTag;
use crate::store::Sync;

struct Site {
    dir: tempfile::TempDir,
    store: Store,
    tag: BusTag,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data"), Sync::EveryBatch, Clock::system());
        let store = store.unwrap();
        Self { tag: store.bus_tag(), store, dir }
    }

    fn to(&self) -> PathBuf {
        self.dir.path().join("hours")
    }

    /// Puts events, by id and created time, at their ids' positions, received at a time.
    async fn journal(&self, received: &str, events: &[(u64, &str)]) {
        let received_at = Timestamp::parse(received).unwrap();
        let tag = self.tag;
        let rows: Vec<_> = events.iter().map(|(id, at)| (*id, event(*id, at))).collect();
        let put = self.store.commit(move |batch| {
            let mut first = None;
            for (id, text) in rows {
                let position = Position::counted(id);
                first.get_or_insert(position);
                let mut row = Vec::new();
                Facts { received_at, ..Facts::default() }.encode(&mut row);
                row.extend_from_slice(text.as_bytes());
                batch.put(&JournalKey { tag, position }, &row);
                let applied = Cursor { tag, position };
                batch.put(&CursorKey(APPLIED.to_owned()), &encode_cursor(applied));
            }
            let row = MinuteRow { first: first.unwrap(), bytes: 1 };
            batch.put(&MinuteKey { tag, minute: received_at.minute() }, &row.encode());
            Ok(())
        });
        put.await.unwrap();
    }

    fn ids(&self, name: &str) -> Vec<u64> {
        let file = std::fs::File::open(self.to().join(name)).unwrap();
        let mut text = String::new();
        MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
        assert!(text.ends_with('\n'));
        let id = |line: &str| line.split('"').nth(3).unwrap().parse().unwrap();
        text.lines().map(id).collect()
    }

    fn names(&self) -> Vec<String> {
        let read = std::fs::read_dir(self.to()).unwrap();
        let mut names: Vec<_> =
            read.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn event(id: u64, at: &str) -> String {
    format!("{{\"id\":\"{id}\",\"type\":\"PushEvent\",\"created_at\":\"2026-02-03T{at}Z\"}}")
}

fn hour(text: &str) -> Hour {
    Timestamp::parse(&format!("2026-02-03T{text}Z")).unwrap().hour()
}

#[tokio::test]
async fn events_are_in_the_file_of_the_hour_they_were_created_in() {
    let site = Site::new();
    site.journal("2026-02-03T10:00:30Z", &[(1, "09:59:00"), (2, "10:00:00")]).await;
    site.journal("2026-02-03T11:20:00Z", &[(3, "10:59:59"), (4, "11:00:00")]).await;
    std::fs::create_dir(site.to()).unwrap();
    let exported = export(&site.store, hour("10:00:00"), hour("11:00:00"), &site.to()).unwrap();
    assert_eq!(site.names(), ["2026-02-03-10.json.gz"]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [2, 3]);
    assert_eq!((exported.hours[0].events, exported.hours[0].fresh), (2, 2));
    assert_eq!(exported.begins_within.as_deref(), Some("2026-02-03-10"));
    let all = export(&site.store, hour("00:00:00"), hour("12:00:00"), &site.to()).unwrap();
    let fresh: Vec<_> = all.hours.iter().map(|hour| hour.fresh).collect();
    assert_eq!(fresh, [1, 0, 1]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [2, 3]);
}

#[tokio::test]
async fn the_stage_writes_settled_hours_and_adds_what_comes_late() {
    let site = Site::new();
    let settled = |at: &str| settled_until(Timestamp::parse(at).unwrap());
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00"), (2, "10:29:30")]).await;
    site.journal("2026-02-03T11:05:00Z", &[(3, "11:01:00"), (4, "10:58:00")]).await;
    let early = pass(&site.store, settled("2026-02-03T11:09:59Z"), &site.to()).await.unwrap();
    assert_eq!(early, []);
    pass(&site.store, settled("2026-02-03T11:10:00Z"), &site.to()).await.unwrap();
    assert_eq!(site.names(), ["2026-02-03-10.json.gz"]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [1, 2, 4]);
    site.journal("2026-02-03T11:40:00Z", &[(5, "10:59:00"), (6, "11:39:00")]).await;
    let late = pass(&site.store, settled("2026-02-03T12:10:00Z"), &site.to()).await.unwrap();
    assert_eq!(late.iter().map(|hour| hour.fresh).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [1, 2, 4, 5]);
    assert_eq!(site.ids("2026-02-03-11.json.gz"), [3, 6]);
    let again = pass(&site.store, settled("2026-02-03T12:20:00Z"), &site.to()).await.unwrap();
    assert!(again.iter().all(|hour| hour.fresh == 0), "{again:?}");
}

#[tokio::test]
async fn a_lost_cursor_and_a_half_written_file_do_no_harm() {
    let site = Site::new();
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00"), (2, "10:29:30")]).await;
    let until = hour("11:00:00");
    pass(&site.store, until, &site.to()).await.unwrap();
    let whole = std::fs::read(site.to().join("2026-02-03-10.json.gz")).unwrap();
    let forget = |batch: &mut crate::store::Batch<'_>| {
        batch.delete(&CursorKey(CURSOR.to_owned()));
        Ok(())
    };
    site.store.commit(forget).await.unwrap();
    std::fs::write(site.to().join(".2026-02-03-10.json.gz.part"), b"half").unwrap();
    pass(&site.store, until, &site.to()).await.unwrap();
    assert_eq!(std::fs::read(site.to().join("2026-02-03-10.json.gz")).unwrap(), whole);
}

#[tokio::test]
async fn more_hours_than_are_open_at_once_are_all_written() {
    let site = Site::new();
    let times: Vec<String> = (0..24).map(|hour| format!("{hour:02}:30:00")).collect();
    let events: Vec<_> = (1..).zip(times.iter().map(String::as_str)).collect();
    site.journal("2026-02-03T23:59:00Z", &events).await;
    let start = Cursor { tag: site.tag, position: Position::default() };
    std::fs::create_dir(site.to()).unwrap();
    let open = 5;
    let (hours, behind) =
        write_with(site.store.reader(), start, |_| true, &site.to(), open).unwrap();
    assert_eq!((hours.len(), site.names().len()), (24, 24));
    assert_eq!(behind.unwrap().position, Position::counted(24));
}

#[tokio::test]
async fn an_empty_journal_has_no_hours() {
    let site = Site::new();
    let exported = export(&site.store, hour("00:00:00"), hour("12:00:00"), &site.to()).unwrap();
    assert_eq!(exported, Exported::default());
}
