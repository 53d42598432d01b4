//! Gaps of each reason, at their place: missing events are never skipped without a message.

use std::sync::atomic::Ordering;

use super::bounds::with_one_blocking_thread;
use super::event_log::{PAGE_LEAST, PAGES_BYTES};
use super::*;
use crate::model::gap::{Gap, GapReason};
use crate::store::gaps;
use crate::sync::lock;

const TAG: BusTag = BusTag(3);
/// Writes that fill several of the smallest pages.
const WRITES: usize = 100;
/// So many followers that pages have the least size.
const READERS_OF_PAGES: usize = PAGES_BYTES / PAGE_LEAST;

struct Receiver {
    notifier: Arc<Notifier>,
    follower: Follower,
    text: String,
}

impl Receiver {
    fn new(world: &World) -> Self {
        let notifier = Arc::new(Notifier::default());
        let follower = world.hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        Self { notifier, follower, text: String::new() }
    }

    /// A follower of all events after an offset.
    fn behind(world: &World, place: Offset) -> Self {
        let mut received = Self::new(world);
        received.follower.ask(selector(0, false), StreamStart::Behind(place), Vec::new()).unwrap();
        received
    }

    /// All messages up to the first with this text; later ones are for the next call.
    async fn until(&mut self, mark: &str) -> Vec<Value> {
        loop {
            let at = self.text.find(mark);
            if let Some(end) = at.and_then(|at| Some(at + self.text[at..].find('\n')?)) {
                let lines: String = self.text.drain(..=end).collect();
                return lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            let batch = self.follower.take();
            for chunk in &batch.messages {
                self.text.push_str(std::str::from_utf8(chunk).unwrap());
            }
            if !batch.more && batch.messages.is_empty() {
                let notified = poll_fn(|cx| self.notifier.poll_notified(cx));
                let heard = tokio::time::timeout(Duration::from_secs(60), notified).await;
                assert!(heard.is_ok(), "no {mark} comes, only {}", self.text);
            }
        }
    }

    /// Waits until a heartbeat has this cursor, without any event in between.
    async fn moves_on_to(&mut self, cursor: Cursor) {
        let moved = async {
            while !String::from_utf8_lossy(&self.follower.heartbeat()).contains(&cursor.to_string())
            {
                assert!(
                    self.follower.take().messages.is_empty(),
                    "a message that nobody asked for"
                );
                // The end of a read from the store may notify nobody.
                let notified = poll_fn(|cx| self.notifier.poll_notified(cx));
                let _ = tokio::time::timeout(Duration::from_millis(5), notified).await;
            }
        };
        let moved = tokio::time::timeout(Duration::from_secs(60), moved).await;
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

fn gaps_in(messages: &[Value]) -> Vec<&Value> {
    messages.iter().filter(|message| is_gap(message)).collect()
}

fn world() -> (tempfile::TempDir, World) {
    let dir = tempfile::tempdir().unwrap();
    let store =
        Store::open(dir.path(), Durability::Every(Duration::from_secs(3_600)), Clock::system())
            .unwrap();
    (dir, World::new(&store, TAG, 1))
}

/// Records a gap between an event and the next one.
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

/// Writes until retention has dropped everything written before.
async fn outlive(world: &mut World) {
    world.minute += 10;
    world.write().await;
    world.deliver();
    world.retain().await;
}

#[tokio::test]
async fn expired_cursor_begins_at_the_oldest_event_with_a_gap() {
    let (_dir, mut world) = world();
    world.write().await;
    let had = Offset::after(world.items[0].0.cursor);
    for _ in 0..10 {
        world.write().await;
    }
    outlive(&mut world).await;
    let dropped = Offset::after(world.dropped().cursor);
    assert!(dropped > had, "it was dropped");
    let mut received = Receiver::behind(&world, had);
    let messages = received.until_event(&world).await;
    assert_eq!(gaps_in(&messages), [&gap(had, dropped, "retention")]);
    let at = messages.iter().position(is_gap).unwrap();
    assert_eq!(messages[at - 1]["type"], "ack", "before everything that is kept");
}

#[tokio::test]
async fn follower_overtaken_by_retention_receives_gap_slow() {
    let (_dir, mut world) = world();
    for _ in 0..WRITES {
        world.write().await;
    }
    world.deliver();
    // With many followers of the journal pages are small: here some fifty events.
    world.hub.log.journal().unwrap().readers.fetch_add(READERS_OF_PAGES, Ordering::Relaxed);
    let oldest = Offset::after(Cursor { tag: TAG, position: Position::default() });
    let mut received = Receiver::behind(&world, oldest);
    let messages = received.until(r#""type":"event""#).await;
    assert!(!messages.iter().any(is_gap), "{messages:?}");
    let had = received.follower.offset();
    // It takes nothing more until retention has dropped its next events.
    outlive(&mut world).await;
    let dropped = Offset::after(world.dropped().cursor);
    assert!(dropped > had, "it was dropped");
    let messages = received.until_event(&world).await;
    let gaps = gaps_in(&messages);
    assert_eq!(gaps.len(), 1, "{messages:?}");
    assert_eq!(gaps[0]["reason"], "slow");
    assert_eq!(gaps[0]["to"], dropped.to_string());
    // The page that was read already arrives; the events after it are a gap.
    let from: Offset = gaps[0]["from"].as_str().unwrap().parse().unwrap();
    assert!(from >= had && from < dropped, "{from}");
    // The gap of a later query has another reason.
    received.follower.ask(selector(1, false), StreamStart::Oldest, Vec::new()).unwrap();
    let messages = received.until("caught_up").await;
    assert!(!messages.iter().any(is_gap), "{messages:?}");
}

#[tokio::test]
async fn cursor_of_another_bus_begins_at_the_oldest_with_a_gap() {
    let (_dir, mut world) = world();
    world.write().await;
    world.deliver();
    let elsewhere = Cursor { tag: BusTag(4), position: Position::counted(1) };
    let mut received = Receiver::behind(&world, Offset::after(elsewhere));
    let messages = received.until_event(&world).await;
    let oldest = Offset::after(Cursor { tag: TAG, position: Position::default() });
    assert_eq!(gaps_in(&messages), [&gap(Offset::after(elsewhere), oldest, "bus_changed")]);
    let events = messages.iter().filter(|message| message["type"] == "event").count();
    let written = world.items.iter().filter(|(place, _)| place.entities == 0).count();
    assert_eq!(events, written, "all that is kept");
}

#[tokio::test]
async fn upstream_gap_reaches_a_live_follower_in_order() {
    let (_dir, mut world) = world();
    let mut received = Receiver::new(&world);
    world.write().await;
    world.deliver();
    received.until_event(&world).await;
    let after = newest(&world);
    miss_behind(&world, after).await;
    let messages = received.until("upstream").await;
    let after = Offset::after(after);
    assert_eq!(messages.last(), Some(&gap(after, after, "upstream")));
    world.write().await;
    world.deliver();
    let messages = received.until_event(&world).await;
    assert!(!messages.iter().any(is_gap), "once is enough: {messages:?}");
}

#[tokio::test]
async fn gap_after_the_first_page_is_sent_although_ring_has_the_rest() {
    let (_dir, mut world) = world();
    world.write().await;
    let first = Offset::after(newest(&world));
    for _ in 0..WRITES {
        world.write().await;
    }
    let after = newest(&world);
    miss_behind(&world, after).await;
    world.write().await;
    world.deliver();
    // Pages are small: the gap is several pages away.
    world.hub.log.journal().unwrap().readers.fetch_add(READERS_OF_PAGES, Ordering::Relaxed);
    let mut received = Receiver::behind(&world, first);
    let messages = received.until_event(&world).await;
    let gaps = gaps_in(&messages);
    let after = Offset::after(after);
    assert_eq!(gaps, [&gap(after, after, "upstream")]);
}

#[tokio::test]
async fn gap_is_sent_although_the_query_changes_meanwhile() {
    let (_dir, mut world) = world();
    let mut live = Receiver::new(&world);
    world.write().await;
    world.deliver();
    live.until_event(&world).await;
    let after = newest(&world);
    miss_behind(&world, after).await;
    // The journal is being read for it, or was just now.
    let mut more = true;
    while more {
        let batch = live.follower.take();
        for chunk in &batch.messages {
            live.text.push_str(std::str::from_utf8(chunk).unwrap());
        }
        more = batch.more;
    }
    live.follower.ask(selector(1, false), StreamStart::Here, Vec::new()).unwrap();
    let messages = live.until("caught_up").await;
    let gaps = gaps_in(&messages);
    let place = Offset::after(after);
    assert_eq!(gaps, [&gap(place, place, "upstream")], "{messages:?}");
    // The same for a follower that resumes and changes its query at once.
    let mut back = Receiver::behind(&world, place);
    back.follower.ask(selector(1, false), StreamStart::Here, Vec::new()).unwrap();
    let messages = back.until("caught_up").await;
    assert_eq!(gaps_in(&messages), [&gap(place, place, "upstream")], "{messages:?}");
}

/// With one blocking thread, which is busy, so that the requested page waits for it.
#[test]
fn gap_is_sent_although_its_page_is_not_taken() {
    with_one_blocking_thread(async {
        let (_dir, mut world) = world();
        let mut live = Receiver::new(&world);
        world.write().await;
        world.deliver();
        live.until("caught_up").await;
        let after = newest(&world);
        miss_behind(&world, after).await;
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        // Documents of the last event are still to come: they are read from the journal.
        live.follower.ask(selector(2, false), StreamStart::Here, Vec::new()).unwrap();
        drop(live.follower.take());
        live.follower.ask(selector(0, false), StreamStart::Here, Vec::new()).unwrap();
        let_go.send(()).unwrap();
        busy.await.unwrap().unwrap();
        let messages = live.until("caught_up").await;
        let place = Offset::after(after);
        assert_eq!(gaps_in(&messages), [&gap(place, place, "upstream")], "{messages:?}");
    });
}

#[tokio::test]
async fn follower_that_resumes_at_a_gap_receives_nothing_twice() {
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
    world.deliver();
    let end = world.items.last().unwrap().0.to_string();
    let documents = || selector(2, false);
    let mut received = Receiver::new(&world);
    received.follower.ask(documents(), StreamStart::Oldest, Vec::new()).unwrap();
    let messages = received.until(&format!(r#""cursor":"{end}""#)).await;
    let place = |message: &Value| {
        let place = message.get("to").or(message.get("cursor")).unwrap();
        place.as_str().unwrap().parse::<Offset>().unwrap()
    };
    let of = |messages: &[Value], kind: &str| -> Vec<Offset> {
        messages.iter().filter(|message| message["type"] == kind).map(place).collect()
    };
    let [at] = of(&messages, "gap")[..] else { panic!("one gap: {messages:?}") };
    assert!(at > had, "{at} is before {had}, which was received before it");
    assert!(messages.iter().map(place).is_sorted(), "{messages:?}");
    for from in [at, had] {
        let mut received = Receiver::new(&world);
        received.follower.ask(documents(), StreamStart::Behind(from), Vec::new()).unwrap();
        let again = received.until(&format!(r#""cursor":"{end}""#)).await;
        assert_eq!(of(&again, "entity"), world.wanted(2, had, world.items.last().unwrap().0));
    }
    // Nor is the gap before an event sent again if the event was sent in part.
    let next = world.items.iter().find(|(at, _)| at.cursor > after && at.entities > 0).unwrap().0;
    let mut received = Receiver::new(&world);
    received.follower.ask(documents(), StreamStart::Behind(next), Vec::new()).unwrap();
    let again = received.until("caught_up").await;
    assert!(again.iter().map(place).all(|at| at >= next), "behind {next}: {again:?}");
}

#[tokio::test]
async fn heartbeat_offset_moves_on_but_never_over_a_gap() {
    let (_dir, mut world) = world();
    let mut quiet = Receiver::new(&world);
    let types = vec!["NopeEvent".to_owned()];
    let query = StreamQuery { types, ..StreamQuery::default() };
    let (filter, _) = Filter::compile(&query).unwrap();
    let nothing = StreamSelector::new(StreamSelection::new(filter, Vec::new()));
    quiet.follower.ask(nothing, StreamStart::Here, Vec::new()).unwrap();
    quiet.until("caught_up").await;
    for _ in 0..3 {
        world.write().await;
        world.deliver();
        quiet.moves_on_to(newest(&world)).await;
    }
    let place = Offset::after(newest(&world));
    miss_behind(&world, place.cursor).await;
    let mut all = Receiver::new(&world);
    all.follower.ask(selector(0, false), StreamStart::Here, Vec::new()).unwrap();
    all.until("caught_up").await;
    world.write().await;
    world.deliver();
    // The event has reached another follower; here the gap before it comes first.
    all.until_event(&world).await;
    assert!(quiet.follower.heartbeat().ends_with(format!("\"{place}\"}}\n").as_bytes()));
    let messages = quiet.until("upstream").await;
    assert_eq!(messages.last(), Some(&gap(place, place, "upstream")));
}

#[tokio::test]
async fn more_gaps_than_fit_a_page_are_each_sent_once() {
    let (_dir, mut world) = world();
    while world.items.iter().filter(|(at, _)| at.entities == 0).count() <= 1_010 {
        world.write().await;
    }
    world.deliver();
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
        let mut received = Receiver::behind(&world, Offset::after(cursors[from]));
        let messages = received.until("caught_up").await;
        let gaps = gaps_in(&messages);
        assert_eq!(gaps.len(), cursors.len() - from, "who has {from} events");
        let events = messages.iter().filter(|message| message["type"] == "event").count();
        assert_eq!(events, cursors.len() - from - 1);
    }
}

#[tokio::test]
async fn follower_at_an_outage_receives_its_gap_after_retention() {
    let (_dir, mut world) = world();
    world.write().await;
    let had = newest(&world);
    miss_behind(&world, had).await;
    outlive(&mut world).await;
    assert_eq!(world.dropped().cursor, had, "everything before the outage is gone");
    let mut received = Receiver::behind(&world, Offset::after(had));
    let messages = received.until_event(&world).await;
    let gaps = gaps_in(&messages);
    let place = Offset::after(had);
    assert_eq!(gaps, [&gap(place, place, "upstream")]);
}

#[tokio::test]
async fn old_event_does_not_hide_the_gap_of_since() {
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
    world.deliver();
    let mut received = Receiver::new(&world);
    received.follower.ask(selector(0, false), StreamStart::Since(long_ago), Vec::new()).unwrap();
    let messages = received.until("caught_up").await;
    let gaps = gaps_in(&messages);
    assert_eq!(gaps.len(), 1, "{messages:?}");
    assert_eq!(gaps[0]["reason"], "retention");
}

#[tokio::test]
async fn latest_comes_from_memory_only_after_the_last_gap() {
    let (_dir, mut world) = world();
    world.write().await;
    world.deliver();
    let before = newest(&world);
    miss_behind(&world, before).await;
    let count = world.items.iter().filter(|(place, _)| place.entities == 0).count();
    while world.items.iter().filter(|(place, _)| place.entities == 0).count() < count + 1 {
        world.write().await;
    }
    world.deliver();
    let streams = world.hub.log.journal().unwrap();
    let is_known = async {
        while lock(&streams.last_gap).0 < streams.gaps() {
            tokio::task::yield_now().await;
        }
    };
    let known = tokio::time::timeout(Duration::from_secs(60), is_known).await;
    assert!(known.is_ok(), "the newest gap is not known");
    let mut near = Receiver::new(&world);
    near.follower.ask(selector(0, false), StreamStart::Latest(1), Vec::new()).unwrap();
    let first = near.follower.take();
    let first = String::from_utf8(first.messages.concat()).unwrap();
    assert!(first.contains(r#""type":"ack""#) && !first.contains(r#""type":"gap""#), "{first}");
    assert_eq!(streams.page_queue.running(), 0, "the journal is not searched");
    let all = world.items.iter().filter(|(place, _)| place.entities == 0).count();
    let mut far = Receiver::new(&world);
    far.follower.ask(selector(0, false), StreamStart::Latest(all), Vec::new()).unwrap();
    let received = far.until_event(&world).await;
    assert_eq!(received.iter().filter(|message| is_gap(message)).count(), 1, "{received:?}");
}

/// Writes zeroes, as of a bad sector, into the middle of the table with the journal.
fn damage(world: &World, backups: &std::path::Path) {
    // A backup flushes the memory to a table.
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
async fn damaged_block_is_a_gap_and_its_neighbours_are_sent() {
    let (_dir, mut world) = world();
    for _ in 0..2_000 {
        world.write().await;
    }
    world.deliver();
    let backups = tempfile::tempdir().unwrap();
    damage(&world, backups.path());
    let oldest = Offset::after(Cursor { tag: TAG, position: Position::default() });
    let mut received = Receiver::behind(&world, oldest);
    let messages = received.until("caught_up").await;
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
}
