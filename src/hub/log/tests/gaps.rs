//! A gap of each reason, at its place: what is missing is never passed over in silence.

use super::*;
use crate::model::gap::{Gap, GapReason};
use crate::store::gaps;

const TAG: BusTag = BusTag(3);
/// Writes that fill several of the smallest pages.
const WRITES: usize = 100;
/// So many that pages are as small as they get.
const READERS_OF_PAGES: usize = PAGES_BYTES / PAGE_LEAST;

struct Told {
    notifier: Arc<Notifier>,
    follower: Follower,
    said: String,
}

impl Told {
    fn new(world: &World) -> Self {
        let notifier = Arc::new(Notifier::default());
        let follower = world.hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        Self { notifier, follower, said: String::new() }
    }

    /// For all events behind a place.
    fn behind(world: &World, place: Offset) -> Self {
        let mut told = Self::new(world);
        told.follower.ask(choice(0, false), StreamStart::Behind(place), Vec::new());
        told
    }

    /// Everything up to the first line with this mark; what comes behind it is heard next.
    async fn until(&mut self, mark: &str) -> Vec<Value> {
        loop {
            let at = self.said.find(mark);
            if let Some(end) = at.and_then(|at| Some(at + self.said[at..].find('\n')?)) {
                let lines: String = self.said.drain(..=end).collect();
                return lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            let portion = self.follower.take();
            for chunk in &portion.chunks {
                self.said.push_str(std::str::from_utf8(chunk).unwrap());
            }
            if !portion.more && portion.chunks.is_empty() {
                let rung = poll_fn(|cx| self.notifier.poll_notified(cx));
                let heard = tokio::time::timeout(Duration::from_secs(20), rung).await;
                assert!(heard.is_ok(), "no {mark} comes, only {}", self.said);
            }
        }
    }

    /// Until a heartbeat names this event, with nothing to deliver.
    async fn moves_on_to(&mut self, cursor: Cursor) {
        let moved = async {
            while !String::from_utf8_lossy(&self.follower.heartbeat()).contains(&cursor.to_string())
            {
                assert!(self.follower.take().chunks.is_empty(), "a message that nobody asked for");
                // A reading from the store that ends may ring nobody.
                let rung = poll_fn(|cx| self.notifier.poll_notified(cx));
                let _ = tokio::time::timeout(Duration::from_millis(5), rung).await;
            }
        };
        let moved = tokio::time::timeout(Duration::from_secs(20), moved).await;
        assert!(moved.is_ok(), "the heartbeat does not reach {cursor}");
    }

    async fn until_event(&mut self, world: &World) -> Vec<Value> {
        let newest = newest(world);
        self.until(&format!(r#""cursor":"{newest}","key""#)).await
    }
}

fn newest(world: &World) -> Cursor {
    world.items.last().expect("something was written").0.cursor
}

fn gap(from: Offset, to: Offset, reason: &str) -> Value {
    let (from, to) = (from.to_string(), to.to_string());
    serde_json::json!({ "type": "gap", "from": from, "to": to, "count": null, "reason": reason })
}

fn is_gap(message: &Value) -> bool {
    message["type"] == "gap"
}

fn world() -> (tempfile::TempDir, World) {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(dir.path(), Durability::Every(Duration::from_secs(3_600)), Clock::system())
            .unwrap();
    (dir, World::new(&store, TAG, 1))
}

/// Something is missing between an event and the next one.
async fn miss_behind(world: &World, after: Cursor) {
    let gap = Gap {
        after: after.position,
        until: after.position,
        count: None,
        reason: GapReason::Upstream,
        noticed_at: Timestamp::default(),
    };
    world.store.commit(move |batch| gaps::record(batch, TAG, gap)).await.unwrap();
}

/// Writes so that nothing written before is kept.
async fn outlive(world: &mut World) {
    world.minute += 10;
    world.write().await;
    world.tell();
    world.retain().await;
}

#[tokio::test]
async fn who_comes_back_too_late_begins_at_the_oldest_with_a_gap_of_the_retention() {
    let (_dir, mut world) = world();
    world.write().await;
    let had = Offset::after(world.items[0].0.cursor);
    for _ in 0..10 {
        world.write().await;
    }
    outlive(&mut world).await;
    let dropped = Offset::after(world.dropped().cursor);
    assert!(dropped > had, "it was dropped");
    let mut told = Told::behind(&world, had);
    let messages = told.until_event(&world).await;
    let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
    assert_eq!(gaps, [&gap(had, dropped, "retention")]);
    let at = messages.iter().position(is_gap).unwrap();
    assert_eq!(messages[at - 1]["type"], "ack", "before everything that is kept");
    world.stop.cancel();
}

#[tokio::test]
async fn who_is_overtaken_by_the_retention_on_its_way_is_told_that_it_was_slow() {
    let (_dir, mut world) = world();
    for _ in 0..WRITES {
        world.write().await;
    }
    world.tell();
    // Where many read the journal, each is given small pages: here some fifty events.
    world.hub.streams().unwrap().readers.fetch_add(READERS_OF_PAGES, Ordering::Relaxed);
    let oldest = Offset::after(Cursor { tag: TAG, position: Position::default() });
    let mut told = Told::behind(&world, oldest);
    let messages = told.until(r#""type":"event""#).await;
    assert!(!messages.iter().any(is_gap), "{messages:?}");
    let had = told.follower.place();
    // It takes nothing more for so long that the journal lets go of what was to come.
    outlive(&mut world).await;
    let dropped = Offset::after(world.dropped().cursor);
    assert!(dropped > had, "it was dropped");
    let messages = told.until_event(&world).await;
    let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
    assert_eq!(gaps.len(), 1, "{messages:?}");
    assert_eq!(gaps[0]["reason"], "slow");
    assert_eq!(gaps[0]["to"], dropped.to_string());
    // A page that was read already is given; what lay behind it is said to be missing.
    let from: Offset = gaps[0]["from"].as_str().unwrap().parse().unwrap();
    assert!(from >= had && from < dropped, "{from}");
    // A query of its own afterwards is not slow any more.
    told.follower.ask(choice(1, false), StreamStart::Oldest, Vec::new());
    let messages = told.until("caught_up").await;
    assert!(!messages.iter().any(is_gap), "{messages:?}");
    world.stop.cancel();
}

#[tokio::test]
async fn a_cursor_of_another_bus_begins_at_the_oldest_with_a_gap() {
    let (_dir, mut world) = world();
    world.write().await;
    world.tell();
    let elsewhere = Cursor { tag: BusTag(4), position: Position::counted(1) };
    let mut told = Told::behind(&world, Offset::after(elsewhere));
    let messages = told.until_event(&world).await;
    let oldest = Offset::after(Cursor { tag: TAG, position: Position::default() });
    let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
    assert_eq!(gaps, [&gap(Offset::after(elsewhere), oldest, "bus_changed")]);
    let events = messages.iter().filter(|message| message["type"] == "event").count();
    let written = world.items.iter().filter(|(place, _)| place.entities == 0).count();
    assert_eq!(events, written, "all that is kept");
    world.stop.cancel();
}

#[tokio::test]
async fn a_gap_upstream_that_is_found_while_a_reader_is_live_is_told_at_its_place() {
    let (_dir, mut world) = world();
    let mut told = Told::new(&world);
    world.write().await;
    world.tell();
    told.until_event(&world).await;
    let after = newest(&world);
    miss_behind(&world, after).await;
    let messages = told.until("upstream").await;
    let after = Offset::after(after);
    assert_eq!(messages.last(), Some(&gap(after, after, "upstream")));
    world.write().await;
    world.tell();
    let messages = told.until_event(&world).await;
    assert!(!messages.iter().any(is_gap), "once is enough: {messages:?}");
    world.stop.cancel();
}

#[tokio::test]
async fn a_gap_behind_the_first_page_is_told_though_the_ring_has_all_the_rest() {
    let (_dir, mut world) = world();
    world.write().await;
    let first = Offset::after(newest(&world));
    for _ in 0..WRITES {
        world.write().await;
    }
    let after = newest(&world);
    miss_behind(&world, after).await;
    world.write().await;
    world.tell();
    // Small pages: the gap is several of them away.
    world.hub.streams().unwrap().readers.fetch_add(READERS_OF_PAGES, Ordering::Relaxed);
    let mut told = Told::behind(&world, first);
    let messages = told.until_event(&world).await;
    let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
    let after = Offset::after(after);
    assert_eq!(gaps, [&gap(after, after, "upstream")]);
    world.stop.cancel();
}

#[tokio::test]
async fn a_gap_is_told_though_the_query_changes_while_it_is_looked_up() {
    let (_dir, mut world) = world();
    let mut live = Told::new(&world);
    world.write().await;
    world.tell();
    live.until_event(&world).await;
    let after = newest(&world);
    miss_behind(&world, after).await;
    // The journal is being read for it, or has been just now.
    let mut more = true;
    while more {
        let portion = live.follower.take();
        for chunk in &portion.chunks {
            live.said.push_str(std::str::from_utf8(chunk).unwrap());
        }
        more = portion.more;
    }
    live.follower.ask(choice(1, false), StreamStart::Here, Vec::new());
    let messages = live.until("caught_up").await;
    let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
    let place = Offset::after(after);
    assert_eq!(gaps, [&gap(place, place, "upstream")], "{messages:?}");
    // The same for who comes back and changes its mind at once.
    let mut back = Told::behind(&world, place);
    back.follower.ask(choice(1, false), StreamStart::Here, Vec::new());
    let messages = back.until("caught_up").await;
    let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
    assert_eq!(gaps, [&gap(place, place, "upstream")], "{messages:?}");
    world.stop.cancel();
}

#[tokio::test]
async fn who_comes_back_to_a_gap_is_given_nothing_again() {
    let (_dir, mut world) = world();
    let is_document = |world: &World| world.items.last().is_some_and(|(at, _)| at.entities > 0);
    while !is_document(&world) {
        world.write().await;
    }
    let after = newest(&world);
    let had = world.items.last().unwrap().0;
    miss_behind(&world, after).await;
    while newest(&world) == after || !is_document(&world) {
        world.write().await;
    }
    world.tell();
    let end = world.items.last().unwrap().0.to_string();
    let documents = || choice(2, false);
    let mut told = Told::new(&world);
    told.follower.ask(documents(), StreamStart::Oldest, Vec::new());
    let messages = told.until(&format!(r#""cursor":"{end}""#)).await;
    let place = |message: &Value| {
        let place = message.get("to").or(message.get("cursor")).unwrap();
        place.as_str().unwrap().parse::<Offset>().unwrap()
    };
    let of = |messages: &[Value], kind: &str| -> Vec<Offset> {
        messages.iter().filter(|message| message["type"] == kind).map(place).collect()
    };
    let [at] = of(&messages, "gap")[..] else { panic!("one gap: {messages:?}") };
    assert!(at > had, "{at} is before {had}, which was told before it");
    assert!(messages.iter().map(place).is_sorted(), "{messages:?}");
    for from in [at, had] {
        let mut told = Told::new(&world);
        told.follower.ask(documents(), StreamStart::Behind(from), Vec::new());
        let again = told.until(&format!(r#""cursor":"{end}""#)).await;
        assert_eq!(of(&again, "entity"), world.wanted(2, had, world.items.last().unwrap().0));
    }
    // Nor of an event that was had in part is the gap before it told again.
    let next = world.items.iter().find(|(at, _)| at.cursor > after && at.entities > 0).unwrap().0;
    let mut told = Told::new(&world);
    told.follower.ask(documents(), StreamStart::Behind(next), Vec::new());
    let again = told.until("caught_up").await;
    assert!(again.iter().map(place).all(|at| at >= next), "behind {next}: {again:?}");
    world.stop.cancel();
}

#[tokio::test]
async fn a_heartbeat_moves_on_where_nothing_matches_and_never_over_a_gap() {
    let (_dir, mut world) = world();
    let mut quiet = Told::new(&world);
    let types = vec!["NopeEvent".to_owned()];
    let query = StreamQuery { types, ..StreamQuery::default() };
    let (filter, _) = Filter::compile(&query).unwrap();
    let nothing = StreamSelector::new(StreamSelection::new(filter, Vec::new()));
    quiet.follower.ask(nothing, StreamStart::Here, Vec::new());
    quiet.until("caught_up").await;
    for _ in 0..3 {
        world.write().await;
        world.tell();
        quiet.moves_on_to(newest(&world)).await;
    }
    let place = Offset::after(newest(&world));
    miss_behind(&world, place.cursor).await;
    let mut all = Told::new(&world);
    all.follower.ask(choice(0, false), StreamStart::Here, Vec::new());
    all.until("caught_up").await;
    world.write().await;
    world.tell();
    // The event has reached another reader; the gap before it is told first.
    all.until_event(&world).await;
    assert!(quiet.follower.heartbeat().ends_with(format!("\"{place}\"}}\n").as_bytes()));
    let messages = quiet.until("upstream").await;
    assert_eq!(messages.last(), Some(&gap(place, place, "upstream")));
    world.stop.cancel();
}

#[tokio::test]
async fn more_gaps_than_a_page_looks_at_are_all_told_once() {
    let (_dir, mut world) = world();
    while world.items.iter().filter(|(at, _)| at.entities == 0).count() <= 1_010 {
        world.write().await;
    }
    world.tell();
    let cursors: Vec<Cursor> =
        world.items.iter().filter(|(at, _)| at.entities == 0).map(|(at, _)| at.cursor).collect();
    let places = cursors.clone();
    let record = world.store.commit(move |batch| {
        places.into_iter().try_for_each(|Cursor { position, .. }| {
            let (after, until, noticed_at) = (position, position, Timestamp::default());
            let reason = GapReason::Upstream;
            gaps::record(batch, TAG, Gap { after, until, count: None, reason, noticed_at })
        })
    });
    record.await.unwrap();
    for from in [0, 3, 997, 1_004] {
        let mut told = Told::behind(&world, Offset::after(cursors[from]));
        let messages = told.until("caught_up").await;
        let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
        assert_eq!(gaps.len(), cursors.len() - from, "who has {from} events");
        let events = messages.iter().filter(|message| message["type"] == "event").count();
        assert_eq!(events, cursors.len() - from - 1);
    }
    world.stop.cancel();
}

#[tokio::test]
async fn reader_at_the_last_event_before_an_outage_gets_the_gap_after_retention() {
    let (_dir, mut world) = world();
    world.write().await;
    let had = newest(&world);
    miss_behind(&world, had).await;
    outlive(&mut world).await;
    assert_eq!(world.dropped().cursor, had, "everything before the outage is gone");
    let mut told = Told::behind(&world, Offset::after(had));
    let messages = told.until_event(&world).await;
    let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
    let place = Offset::after(had);
    assert_eq!(gaps, [&gap(place, place, "upstream")]);
    world.stop.cancel();
}

#[tokio::test]
async fn event_received_long_ago_does_not_take_the_gap_of_since_away() {
    let (_dir, mut world) = world();
    world.minute = 10_000;
    world.write().await;
    outlive(&mut world).await;
    let long_ago = Timestamp::from_seconds((world.minute - 15) * 60);
    let minute = std::mem::replace(&mut world.minute, 5_000);
    let late = MinuteKey { tag: TAG, minute: crate::model::window::Minute(5_000) };
    world.write().await;
    let row = MinuteRow { first: newest(&world).position, bytes: 1 };
    let put = world.store.commit(move |batch| {
        batch.put(&late, &row.encode());
        Ok(())
    });
    put.await.unwrap();
    world.minute = minute;
    world.tell();
    let mut told = Told::new(&world);
    told.follower.ask(choice(0, false), StreamStart::Since(long_ago), Vec::new());
    let messages = told.until("caught_up").await;
    let gaps: Vec<&Value> = messages.iter().filter(|message| is_gap(message)).collect();
    assert_eq!(gaps.len(), 1, "{messages:?}");
    assert_eq!(gaps[0]["reason"], "retention");
}

#[tokio::test]
async fn latest_comes_from_memory_behind_a_gap_and_tells_the_gap_before_it() {
    let (_dir, mut world) = world();
    world.write().await;
    world.tell();
    let before = newest(&world);
    miss_behind(&world, before).await;
    let count = world.items.iter().filter(|(place, _)| place.entities == 0).count();
    while world.items.iter().filter(|(place, _)| place.entities == 0).count() < count + 1 {
        world.write().await;
    }
    world.tell();
    let streams = world.hub.streams().unwrap();
    let is_known = async {
        while lock(&streams.last_gap).0 < streams.gaps() {
            tokio::task::yield_now().await;
        }
    };
    let known = tokio::time::timeout(Duration::from_secs(20), is_known).await;
    assert!(known.is_ok(), "the newest gap is not known");
    let mut near = Told::new(&world);
    near.follower.ask(choice(0, false), StreamStart::Latest(1), Vec::new());
    let first = near.follower.take();
    let first = String::from_utf8(first.chunks.concat()).unwrap();
    assert!(first.contains(r#""type":"ack""#) && !first.contains(r#""type":"gap""#), "{first}");
    assert_eq!(streams.turns.running(), 0, "nobody searches");
    let all = world.items.iter().filter(|(place, _)| place.entities == 0).count();
    let mut far = Told::new(&world);
    far.follower.ask(choice(0, false), StreamStart::Latest(all), Vec::new());
    let told = far.until_event(&world).await;
    assert_eq!(told.iter().filter(|message| is_gap(message)).count(), 1, "{told:?}");
    world.stop.cancel();
}

/// Zeroes of a bad sector, in the middle of the table that the journal is in.
fn damage(world: &World, backups: &std::path::Path) {
    // A backup brings what is in memory into a table.
    crate::store::checkpoint::backup(&world.store, &backups.join("one"), Clock::system()).unwrap();
    let files = std::fs::read_dir(world.store.dir().join("db")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let tables = files.filter(|path| path.extension().is_some_and(|end| end == "sst"));
    let table = tables.max_by_key(|path| std::fs::metadata(path).unwrap().len()).unwrap();
    let middle = std::fs::metadata(&table).unwrap().len() / 2;
    let table = std::fs::OpenOptions::new().write(true).open(table).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&table, &[0; 64], middle).unwrap();
}

#[tokio::test]
async fn damaged_block_is_a_gap_and_all_around_it_is_given() {
    let (_dir, mut world) = world();
    for _ in 0..2_000 {
        world.write().await;
    }
    world.tell();
    let backups = tempfile::tempdir().unwrap();
    damage(&world, backups.path());
    let oldest = Offset::after(Cursor { tag: TAG, position: Position::default() });
    let mut told = Told::behind(&world, oldest);
    let messages = told.until("caught_up").await;
    let place =
        |message: &Value, key: &str| -> Offset { message[key].as_str().unwrap().parse().unwrap() };
    let (mut given, mut missing) = (Vec::new(), Vec::new());
    for message in &messages {
        match message["type"].as_str().unwrap() {
            "event" => given.push(place(message, "cursor")),
            "gap" => {
                assert_eq!(message["reason"], "retention");
                missing.extend(world.wanted(0, place(message, "from"), place(message, "to")));
            }
            _ => {}
        }
    }
    assert!(!missing.is_empty() && missing.len() < given.len() / 4, "{}", missing.len());
    given.extend(missing);
    given.sort_unstable();
    let all =
        world.wanted(0, oldest, Offset { entities: u32::MAX, ..Offset::after(newest(&world)) });
    assert_eq!(given, all, "each event once, or in a gap");
    world.stop.cancel();
}
