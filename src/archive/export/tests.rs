//! Hours of a journal that is written row by row, and the files they become.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;

use super::*;
use crate::clock::Stopwatch;
use crate::config::HourFormat;
use crate::lists::{ListSet, Lists};
use crate::model::envelope::Facts;
use crate::model::position::BusTag;
use crate::store::APPLIED;
use crate::store::Durability;
use crate::store::keys::{CursorKey, MinuteKey};
use crate::store::rows::MinuteRow;
use crate::store::rows::encode_cursor;

mod beginnings;
mod unusable;

struct Site {
    dir: tempfile::TempDir,
    store: Store,
    tag: BusTag,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("data"), Durability::EveryBatch, Clock::system());
        let store = store.unwrap();
        Self { tag: store.bus_tag(), store, dir }
    }

    fn target(&self) -> ArchiveTarget {
        ArchiveTarget {
            dir: self.to(),
            format: HourFormat::Json,
            hashes_emails: true,
            lists: ListSet::default(),
        }
    }

    fn to(&self) -> PathBuf {
        self.dir.path().join("hours")
    }

    /// Puts events, by id and created time, at their ids' positions, received at a time; with
    /// none only that the journal reaches back to then. Ids from [`SIMULATED`] on are simulated.
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
                let simulated = id >= SIMULATED;
                Facts { received_at, simulated, ..Facts::default() }.encode(&mut row);
                row.extend_from_slice(text.as_bytes());
                batch.put(&JournalKey { tag, position }, &row);
                let applied = Cursor { tag, position };
                batch.put(&CursorKey(APPLIED.to_owned()), &encode_cursor(applied));
            }
            let row = MinuteRow { first: first.unwrap_or_default(), bytes: 1 };
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
        let names = read.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let names = names.filter(|name| name != ".ghpulse.lock");
        let (beside, mut names): (Vec<_>, Vec<_>) =
            names.partition(|name| name.ends_with(".coverage.json"));
        let of = |name: &String| name.replace(".json.gz", ".coverage.json");
        assert!(names.iter().all(|name| beside.contains(&of(name))), "one beside each");
        names.sort();
        names
    }
}

/// The first id of simulated events.
const SIMULATED: u64 = 1_000_000;

/// An event; without a time it has `null`.
fn event(id: u64, at: &str) -> String {
    if at.is_empty() {
        return format!("{{\"id\":\"{id}\",\"type\":\"PushEvent\",\"created_at\":null}}");
    }
    // Of even ids is bob's repository, of ids below 10 ann the actor.
    let owner = if id.is_multiple_of(2) { "Bob" } else { "cid" };
    let actor = if id < 10 { "Ann" } else { "dan" };
    format!(
        "{{\"id\":\"{id}\",\"type\":\"PushEvent\",\"actor\":{{\"id\":1,\"login\":\"{actor}\"}},\
         \"repo\":{{\"id\":2,\"name\":\"{owner}/tool\"}},\"created_at\":\"2026-02-03T{at}Z\"}}"
    )
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
    let exported = export(&site.store, hour("10:00:00"), hour("11:00:00"), &site.target()).unwrap();
    assert_eq!(site.names(), ["2026-02-03-10.json.gz"]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [2, 3]);
    assert_eq!((exported.hours[0].events, exported.hours[0].fresh), (2, 2));
    assert!(exported.hours[0].cut, "the journal begins in that hour");
    assert_eq!(exported.begins_within.as_deref(), Some("2026-02-03-10"));
    let all = export(&site.store, hour("00:00:00"), hour("12:00:00"), &site.target()).unwrap();
    let fresh: Vec<_> = all.hours.iter().map(|hour| hour.fresh).collect();
    assert_eq!(fresh, [1, 0, 1]);
    let cut: Vec<_> = all.hours.iter().map(|hour| hour.cut).collect();
    assert_eq!(cut, [true, true, false]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [2, 3]);
}

#[tokio::test]
async fn only_events_on_lists_are_exported_and_named_beside() {
    let site = Site::new();
    site.journal("2026-02-03T10:00:30Z", &[(1, "09:59:00"), (2, "10:01:00")]).await;
    site.journal("2026-02-03T11:20:00Z", &[(3, "10:59:59"), (12, "10:59:59"), (13, "11:00:00")])
        .await;
    let lists = site.dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    std::fs::write(lists.join("bobs.txt"), "bob/*").unwrap();
    std::fs::write(lists.join("anns.txt"), "@ann").unwrap();
    let lists = Lists::open(&lists);
    let target = |dir: &str, terms: &[&str]| {
        let terms: Vec<_> = terms.iter().map(|term| lists.term(term).unwrap()).collect();
        let dir = site.dir.path().join(dir);
        std::fs::create_dir_all(&dir).unwrap();
        ArchiveTarget { dir, lists: ListSet::new(&terms), ..site.target() }
    };
    let range = (hour("09:00:00"), hour("12:00:00"));
    let export_to = |to: &ArchiveTarget| export(&site.store, range.0, range.1, to);
    let counts = |exported: Exported| -> Vec<(u64, u64)> {
        exported.hours.iter().map(|hour| (hour.events, hour.fresh)).collect()
    };
    let both = target("hours", &["bobs", "!anns"]);
    assert_eq!(counts(export_to(&both).unwrap()), [(1, 1)]);
    assert_eq!(site.names(), ["2026-02-03-10.json.gz"], "no file without an event");
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [12]);
    assert_eq!(counts(export_to(&both).unwrap()), [(1, 0)], "nothing new");
    let beside = std::fs::read_to_string(site.to().join("2026-02-03-10.coverage.json")).unwrap();
    let beside: serde_json::Value = serde_json::from_str(&beside).unwrap();
    assert_eq!(beside["lists"], serde_json::json!(["bobs", "!anns"]));

    // Other lists, and all events, need another directory.
    for terms in [&["bobs"][..], &[]] {
        let refused = export_to(&target("hours", terms)).unwrap_err().to_string();
        assert!(refused.contains("was written for the lists bobs, !anns"), "{refused}");
    }
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [12]);

    // An appliance's export of all events is selected from when it is delivered.
    let all = target("all", &[]);
    let exported = export_to(&all).unwrap();
    assert_eq!(exported.hours.len(), 3);
    let format = if cfg!(feature = "parquet") { HourFormat::Parquet } else { HourFormat::Json };
    let to = ArchiveTarget { format, ..target("delivered", &["bobs", "!anns"]) };
    let delivered = super::super::deliver(exported, &all.dir, &to).unwrap();
    assert_eq!(counts(delivered), [(1, 1)]);
    let beside =
        |dir: &std::path::Path| std::fs::read_to_string(dir.join("2026-02-03-10.coverage.json"));
    assert_eq!(beside(&to.dir).unwrap(), beside(&site.to()).unwrap());
    let refused = export_to(&target("all", &["bobs"])).unwrap_err().to_string();
    assert!(refused.contains("was written for all events"), "{refused}");
}

#[tokio::test]
async fn hours_with_simulated_events_say_so_beside_them() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[(1, "09:58:00")]).await;
    site.journal("2026-02-03T10:02:00Z", &[(2, "09:59:00"), (SIMULATED, "10:01:00")]).await;
    let range = (hour("09:00:00"), hour("11:00:00"));
    let export_to = |to: &ArchiveTarget| export(&site.store, range.0, range.1, to).unwrap();
    let said = |dir: &std::path::Path| {
        [9, 10].map(|hour| {
            let path = dir.join(format!("2026-02-03-{hour}.coverage.json"));
            let text = std::fs::read_to_string(path).unwrap();
            let said: serde_json::Value = serde_json::from_str(&text).unwrap();
            said["simulated"].as_bool()
        })
    };
    std::fs::create_dir(site.to()).unwrap();
    let exported = export_to(&site.target());
    assert_eq!(exported.hours.iter().map(|h| h.simulated).collect::<Vec<_>>(), [false, true]);
    assert_eq!(said(&site.to()), [None, Some(true)]);
    let delivered = ArchiveTarget { dir: site.dir.path().join("delivered"), ..site.target() };
    super::super::deliver(exported, &site.to(), &delivered).unwrap();
    assert_eq!(said(&delivered.dir), [None, Some(true)]);
    // An event of GitHub is added to both.
    site.journal("2026-02-03T10:03:00Z", &[(SIMULATED + 1, "10:02:00")]).await;
    let late = Cursor { tag: site.tag, position: Position::counted(SIMULATED + 1) };
    let real = site.store.commit(move |batch| {
        let mut row = Vec::new();
        Facts::default().encode(&mut row);
        row.extend_from_slice(event(SIMULATED + 1, "10:02:00").as_bytes());
        batch.put(&JournalKey { tag: late.tag, position: late.position }, &row);
        batch.delete(&JournalKey { tag: late.tag, position: Position::counted(SIMULATED) });
        Ok(())
    });
    real.await.unwrap();
    let added = export_to(&site.target());
    let hours: Vec<_> = added.hours.iter().map(|h| (h.events, h.fresh, h.simulated)).collect();
    assert_eq!(hours, [(2, 0, false), (2, 1, false)]);
    assert_eq!(said(&site.to()), [None, Some(true)]);
    super::super::deliver(added, &site.to(), &delivered).unwrap();
    assert_eq!(said(&delivered.dir), [None, Some(true)]);
    // As after a crash between the events and the file beside them.
    site.journal("2026-02-03T10:04:00Z", &[(SIMULATED + 2, "09:59:30")]).await;
    let beside = site.to().join("2026-02-03-9.coverage.json");
    let before = std::fs::read(&beside).unwrap();
    export_to(&site.target());
    std::fs::write(&beside, before).unwrap();
    assert_eq!(export_to(&site.target()).hours[0].fresh, 0);
    assert_eq!(said(&site.to()), [Some(true), Some(true)]);
}

#[tokio::test]
async fn files_of_lists_are_not_imported() {
    let site = Site::new();
    site.journal("2026-02-03T10:00:30Z", &[(2, "10:01:00"), (3, "10:02:00")]).await;
    let lists = site.dir.path().join("lists");
    std::fs::create_dir(&lists).unwrap();
    std::fs::write(lists.join("bobs.txt"), "bob/*").unwrap();
    let term = Lists::open(&lists).term("bobs").unwrap();
    std::fs::create_dir(site.to()).unwrap();
    let range = (hour("10:00:00"), hour("11:00:00"));
    let export_with = |to: &ArchiveTarget| export(&site.store, range.0, range.1, to).unwrap();
    export_with(&ArchiveTarget { lists: ListSet::new(&[term]), ..site.target() });

    let file = site.to().join("2026-02-03-10.json.gz");
    let now = Clock::system().now();
    let refused = async |file: &std::path::Path| {
        let imported = crate::archive::import(&site.store, file, now, |_| ()).await;
        imported.err().map(|error| error.to_string())
    };
    // The file itself names its lists, and so does the one beside it, also when it was packed anew.
    let alone = site.dir.path().join("2026-02-03-10.json.gz");
    std::fs::copy(&file, &alone).unwrap();
    let mut text = String::new();
    MultiGzDecoder::new(std::fs::File::open(&file).unwrap()).read_to_string(&mut text).unwrap();
    std::fs::write(site.to().join("2026-02-03-10.json"), &text).unwrap();
    for file in [&file, &alone] {
        let words = refused(file).await.unwrap();
        assert!(words.contains("has only events on the lists bobs"), "{words}");
    }
    let words = refused(&site.to().join("2026-02-03-10.json")).await.unwrap();
    assert!(words.contains("10.coverage.json beside it names the lists bobs"), "{words}");
    assert!(words.contains("import it from another directory"), "{words}");
    // Unpacked and without its sidecar it passes for an hour, and so does an export of all events.
    let plain = site.dir.path().join("2026-02-03-10.json");
    std::fs::write(&plain, &text).unwrap();
    assert_eq!(refused(&plain).await, None);
    let all = ArchiveTarget { dir: site.dir.path().join("all"), ..site.target() };
    std::fs::create_dir(&all.dir).unwrap();
    export_with(&all);
    assert_eq!(refused(&all.dir.join("2026-02-03-10.json.gz")).await, None);

    // What cannot be read beside it may name lists.
    let beside = site.dir.path().join("2026-02-03-10.coverage.json");
    std::os::unix::fs::symlink(site.to().join("2026-02-03-10.coverage.json"), &beside).unwrap();
    let words = refused(&plain).await.unwrap();
    assert!(words.contains("10.coverage.json: it is a symbolic link"), "{words}");
    std::fs::remove_file(&beside).unwrap();
    std::fs::write(&beside, " ".repeat(2 << 20)).unwrap();
    let words = refused(&plain).await.unwrap();
    assert!(words.contains("10.coverage.json: it has more than 1048576 bytes"), "{words}");
}

#[tokio::test]
async fn name_left_out_meanwhile_is_in_no_unfinished_file() {
    let site = Site::new();
    site.journal("2026-02-03T10:00:30Z", &[(2, "10:01:00"), (12, "10:02:00")]).await;
    std::fs::create_dir(site.to()).unwrap();
    let (reader, to) = (site.store.reader(), site.target());
    let hours = hour("10:00:00")..hour("11:00:00");
    let wanted = WantedHours { since: hours.start, hours, cut_too: true };
    let start = Cursor { tag: site.tag, position: Position::default() };
    let (wanted, to, written) = (&wanted, &to, WrittenHours::default());
    let mut export = RunningExport { reader, start, wanted, to, written, is_whole: true };
    let files = export.read(OPEN).unwrap();
    site.store.privacy().set(&["ann".to_owned()], false);
    assert!(!export.finish(files).unwrap());
    assert_eq!(std::fs::read_dir(site.to()).unwrap().count(), 0);

    // The rules change while the file is being finished.
    let format = if cfg!(feature = "parquet") { HourFormat::Parquet } else { HourFormat::Json };
    for format in [HourFormat::Json, format] {
        let to = ArchiveTarget { format, ..site.target() };
        let mut file = PartialFile::open(&to, hour("10:00:00")).unwrap();
        file.add(&Event::read(&event(2, "10:01:00")).unwrap()).unwrap();
        assert!(!file.finish_with(&to, || false, || panic!("it has no name")).unwrap());
        assert_eq!(std::fs::read_dir(site.to()).unwrap().count(), 0, "{format:?}");
    }
    let files = export.read(OPEN).unwrap();
    assert!(export.finish(files).unwrap());
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [12]);
}

#[tokio::test]
async fn events_without_a_time_are_in_the_hour_they_were_received_in() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[]).await;
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00"), (2, ""), (3, "09:30:00")]).await;
    site.journal("2026-02-03T11:01:00Z", &[(4, ""), (5, "10:59:00")]).await;
    std::fs::create_dir(site.to()).unwrap();
    let exported = export(&site.store, hour("10:00:00"), hour("11:00:00"), &site.target()).unwrap();
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [1, 2, 5]);
    assert_eq!(exported.hours[0].events, 3);
    export(&site.store, hour("11:00:00"), hour("12:00:00"), &site.target()).unwrap();
    assert_eq!(site.ids("2026-02-03-11.json.gz"), [4]);
}

#[tokio::test]
async fn settled_hours_are_written_and_late_events_added() {
    let site = Site::new();
    let settled = |at: &str| settled_until(Timestamp::parse(at).unwrap());
    site.journal("2026-02-03T09:59:00Z", &[]).await;
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00"), (2, "10:29:30")]).await;
    site.journal("2026-02-03T11:05:00Z", &[(3, "11:01:00"), (4, "10:58:00")]).await;
    let early =
        pass(&site.store, settled("2026-02-03T11:09:59Z"), &site.target(), &BTreeSet::new())
            .await
            .unwrap();
    assert!(early.hours.is_empty());
    pass(&site.store, settled("2026-02-03T11:10:00Z"), &site.target(), &BTreeSet::new())
        .await
        .unwrap();
    assert_eq!(site.names(), ["2026-02-03-10.json.gz"]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [1, 2, 4]);
    site.journal("2026-02-03T11:40:00Z", &[(5, "10:59:00"), (6, "11:39:00")]).await;
    let late = pass(&site.store, settled("2026-02-03T12:10:00Z"), &site.target(), &BTreeSet::new())
        .await
        .unwrap();
    assert_eq!(late.hours.values().map(|hour| hour.fresh).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(site.ids("2026-02-03-10.json.gz"), [1, 2, 4, 5]);
    assert_eq!(site.ids("2026-02-03-11.json.gz"), [3, 6]);
    let again =
        pass(&site.store, settled("2026-02-03T12:20:00Z"), &site.target(), &BTreeSet::new())
            .await
            .unwrap();
    assert!(again.hours.values().all(|hour| hour.fresh == 0), "{:?}", again.hours);
}

#[tokio::test(start_paused = true)]
async fn no_hour_is_written_while_the_clock_is_contradicted() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[]).await;
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00")]).await;
    let clock = Clock::starting_at(Timestamp::parse("2026-02-03T11:20:00Z").unwrap());
    let (witness, stop) = (Arc::new(Witness::new(clock)), CancellationToken::new());
    witness.record_date(clock.now().minus(Duration::from_secs(3_600)));
    let (passes, count) = tokio::sync::watch::channel(0);
    let went = move |_: Option<&ArchiveError>| passes.send_modify(|passes| *passes += 1);
    let exported = Sender::new(None);
    let until = exported.subscribe();
    let (results, given) = ((went, exported), (site.store.clone(), site.target()));
    let run = run(given.0, given.1, Arc::clone(&witness), results, clock, stop.clone());
    let running = tokio::spawn(run);
    clock.sleep(Duration::from_secs(600)).await;
    assert_eq!((*count.borrow(), site.to().exists()), (0, false), "GitHub's Date is earlier");
    assert_eq!(*until.borrow(), None);
    witness.record_date(clock.now());
    // The store works in real time, which tokio's clock runs ahead of.
    let waited = Stopwatch::start();
    while *count.borrow() == 0 {
        assert!(waited.elapsed() < Duration::from_secs(120), "it is due");
        clock.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(site.names(), ["2026-02-03-10.json.gz"]);
    assert_eq!(*until.borrow(), Some(hour("11:00:00")));
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[test]
fn directory_that_stays_locked_is_a_failure_in_the_end() {
    let (start, mut busy) = (Clock::system().instant(), BusyDirectory::default());
    let mut is_tolerated_after = |is_busy, seconds| {
        let now = start + Duration::from_secs(seconds);
        busy.record(is_busy, now);
        busy.is_tolerated(now)
    };
    assert!(is_tolerated_after(true, 0), "another one may write a month");
    assert!(is_tolerated_after(true, 599));
    assert!(!is_tolerated_after(true, 600) && !is_tolerated_after(true, 635));
    assert!(!is_tolerated_after(false, 670), "it is free");
    assert!(is_tolerated_after(true, 700), "another one has it");
}

#[tokio::test]
async fn a_lost_cursor_and_a_half_written_file_do_no_harm() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[]).await;
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00"), (2, "10:29:30")]).await;
    let until = hour("11:00:00");
    pass(&site.store, until, &site.target(), &BTreeSet::new()).await.unwrap();
    let whole = std::fs::read(site.to().join("2026-02-03-10.json.gz")).unwrap();
    let forget = |batch: &mut crate::store::Batch<'_>| {
        batch.delete(&CursorKey(CURSOR.to_owned()));
        Ok(())
    };
    site.store.commit(forget).await.unwrap();
    std::fs::write(site.to().join(".2026-02-03-10.json.gz.part"), b"half").unwrap();
    pass(&site.store, until, &site.target(), &BTreeSet::new()).await.unwrap();
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
    let (open, all) = (5, Hour(i64::MIN)..Hour(i64::MAX));
    let wanted = WantedHours { hours: all, since: Hour(i64::MIN), cut_too: true };
    let written = write(site.store.reader(), start, &wanted, &site.target(), open).unwrap();
    assert_eq!((written.hours.len(), site.names().len()), (24, 24));
    assert_eq!(written.behind.unwrap().position, Position::counted(24));
}

#[tokio::test]
async fn hours_before_the_journal_are_marked_as_cut() {
    let site = Site::new();
    site.journal("2026-02-03T12:42:00Z", &[(1, "10:12:00"), (2, "12:41:00")]).await;
    std::fs::create_dir(site.to()).unwrap();
    let exported = export(&site.store, hour("10:00:00"), hour("12:00:00"), &site.target()).unwrap();
    assert_eq!(exported.begins_within.as_deref(), Some("2026-02-03-12"));
    let said: Vec<_> = exported.hours.iter().map(|hour| (hour.events, hour.cut)).collect();
    assert_eq!(said, [(1, true)]);
}

#[tokio::test]
async fn older_journal_is_complete_even_with_a_slow_feed() {
    let site = Site::new();
    site.journal("2026-02-03T09:10:00Z", &[(1, "09:09:00")]).await;
    site.journal("2026-02-03T10:20:00Z", &[(2, "10:19:00")]).await;
    std::fs::create_dir(site.to()).unwrap();
    let exported = export(&site.store, hour("10:00:00"), hour("11:00:00"), &site.target()).unwrap();
    assert_eq!(exported.begins_within, None);
    assert!(!exported.hours[0].cut);
    // Where it has nothing to give, it still says where it begins.
    let before = export(&site.store, hour("08:00:00"), hour("09:00:00"), &site.target()).unwrap();
    assert_eq!(before.begins_within.as_deref(), Some("2026-02-03-9"));
    assert_eq!(before.hours, []);
}

#[tokio::test]
async fn stage_creates_no_file_for_a_cut_hour() {
    let site = Site::new();
    let early = [(1, "10:12:00"), (2, "12:41:00"), (3, "12:42:00")];
    site.journal("2026-02-03T12:42:00Z", &early).await;
    site.journal("2026-02-03T13:01:00Z", &[(4, "12:59:00"), (5, "13:00:00")]).await;
    let passed =
        pass(&site.store, hour("14:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    assert_eq!(passed.hours.len(), 1);
    assert_eq!(site.names(), ["2026-02-03-13.json.gz"]);
    assert_eq!(site.ids("2026-02-03-13.json.gz"), [5]);
    // What comes late of such an hour makes no file either, and holds nothing up.
    site.journal("2026-02-03T14:05:00Z", &[(6, "12:58:00"), (7, "13:59:00")]).await;
    site.journal("2026-02-03T14:06:00Z", &[(8, "14:05:00")]).await;
    pass(&site.store, hour("15:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    assert_eq!(site.names(), ["2026-02-03-13.json.gz", "2026-02-03-14.json.gz"]);
    assert_eq!(site.ids("2026-02-03-13.json.gz"), [5, 7]);
}

#[tokio::test]
async fn late_event_does_not_recreate_a_removed_file() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[]).await;
    site.journal("2026-02-03T10:30:00Z", &[(1, "10:29:00"), (2, "10:29:30")]).await;
    site.journal("2026-02-03T11:01:00Z", &[(3, "11:00:30")]).await;
    pass(&site.store, hour("11:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    let name = "2026-02-03-10.json.gz";
    std::fs::remove_file(site.to().join(name)).unwrap();
    site.journal("2026-02-03T11:02:00Z", &[(4, "10:59:59")]).await;
    pass(&site.store, hour("12:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
    assert_eq!(site.names(), ["2026-02-03-11.json.gz"]);
    // Who asks for the hour gets all of it.
    let exported = export(&site.store, hour("10:00:00"), hour("11:00:00"), &site.target()).unwrap();
    assert!(!exported.hours[0].cut);
    assert_eq!(site.ids(name), [1, 2, 4]);
}

#[tokio::test]
async fn an_empty_journal_has_no_hours() {
    let site = Site::new();
    let exported = export(&site.store, hour("00:00:00"), hour("12:00:00"), &site.target()).unwrap();
    assert_eq!(exported, Exported::default());
}

#[tokio::test]
async fn hour_with_dropped_beginning_is_cut_despite_a_late_event() {
    let site = Site::new();
    site.journal("2026-02-03T08:30:00Z", &[(1, "08:29:00")]).await;
    site.journal("2026-02-03T10:10:00Z", &[(2, "10:09:00")]).await;
    site.journal("2026-02-03T10:40:00Z", &[(3, "10:39:00")]).await;
    let retention = crate::store::retention::RetentionOptions {
        tag: site.tag,
        seen_for: Duration::from_secs(3_600),
        buckets: Duration::from_secs(3_600),
        journal_for: Duration::from_secs(600),
        journal_bytes: u64::MAX,
        held_by: None,
    };
    let now = Timestamp::parse("2026-02-03T10:45:00Z").unwrap();
    crate::store::retention::drop_due(&site.store, retention, now).await.unwrap();
    // It was received long before: it was stuck somewhere, or was a dead letter.
    site.journal("2026-02-01T07:00:00Z", &[(4, "07:00:00")]).await;
    site.journal("2026-02-03T11:30:00Z", &[(5, "11:29:00")]).await;
    std::fs::create_dir(site.to()).unwrap();
    let exported = export(&site.store, hour("10:00:00"), hour("12:00:00"), &site.target()).unwrap();
    assert_eq!(exported.begins_within.as_deref(), Some("2026-02-03-10"));
    let said: Vec<_> = exported.hours.iter().map(|hour| (hour.events, hour.cut)).collect();
    assert_eq!(said, [(1, true), (1, false)]);
    pass(&site.store, hour("12:00:00"), &site.target(), &BTreeSet::new()).await.unwrap();
}

#[tokio::test]
async fn additions_to_a_padded_file_follow_its_last_member() {
    let site = Site::new();
    site.journal("2026-02-03T09:59:00Z", &[(1, "10:00:00")]).await;
    std::fs::create_dir(site.to()).unwrap();
    let write = || export(&site.store, hour("10:00:00"), hour("11:00:00"), &site.target()).unwrap();
    write();
    let name = "2026-02-03-10.json.gz";
    let path = site.to().join(name);
    let whole = std::fs::read(&path).unwrap();
    for (id, behind) in [(2, &b"\0\0\0\0\0"[..]), (3, b"garbage")] {
        let mut padded = std::fs::read(&path).unwrap();
        padded.extend_from_slice(behind);
        std::fs::write(&path, padded).unwrap();
        site.journal("2026-02-03T10:01:00Z", &[(id, "10:00:30")]).await;
        assert_eq!(write().hours[0].fresh, 1);
        // flate2's own reader takes neither padding nor garbage.
        assert_eq!(site.ids(name), (1..=id).collect::<Vec<_>>());
        assert!(std::fs::read(&path).unwrap().starts_with(&whole));
    }
}
