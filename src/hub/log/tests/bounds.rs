//! What a reader may cost, whatever it asks for and however slowly it reads.

use super::super::live::{GROUP_BYTES, TAKE_BYTES};
use super::*;
use crate::hub::FieldPath;
use crate::hub::log::query::PATH_BYTES;

const TAG: BusTag = BusTag(5);
/// Longer than what a reader takes at once, in any of its ways.
const EVENTS: u64 = 300;

/// An event of a few bytes.
fn event(number: u64) -> TailEvent {
    let cursor = Cursor { tag: TAG, position: Position::counted(number) };
    let event = format!(r#"{{"id":"{number}","type":"PushEvent"}}"#).into();
    TailEvent::new(cursor, Envelope { facts: Facts::default(), event })
}

/// Asks for many long names of nothing, which each message repeats; and how long a message is.
fn wordy() -> (StreamSelector, usize) {
    let path = |i: usize| format!("event.{i:0>width$}", width = PATH_BYTES - 6);
    let paths: Vec<FieldPath> = (0..50).map(|i| FieldPath::read(&path(i)).unwrap()).collect();
    let (filter, _) = Filter::compile(&StreamQuery::default()).unwrap();
    let choice = StreamSelector::new(StreamSelection::new(filter, paths));
    let mut out = Vec::new();
    assert_eq!(choice.push(&mut out, StreamEncoding::Ndjson, &event(EVENTS), None), 1);
    assert!(out.len() > 50 * PATH_BYTES && out.len() <= choice.bytes_of(&event(EVENTS)));
    (choice, out.len())
}

fn bytes(chunks: &[bytes::Bytes]) -> usize {
    chunks.iter().map(bytes::Bytes::len).sum()
}

#[test]
fn a_group_counts_what_is_written_of_an_event_and_not_only_the_event() {
    let groups = Arc::new(StreamGroups::default());
    let (choice, most) = wordy();
    let notifier = Arc::new(Notifier::default());
    let mut member = groups.join(&Arc::new(choice), StreamEncoding::Ndjson, 0, || 0, &notifier);
    let mut list = Vec::new();
    groups.refresh(&mut list);
    let events: Vec<_> = (0..EVENTS).map(event).map(Arc::new).collect();
    assert_eq!(groups.dispatch(&list[0], 0, &events), EVENTS);
    let (mut messages, mut more) = (0, true);
    while more {
        let taken = member.take(Position::default()).unwrap();
        assert!(bytes(&taken.chunks) < TAKE_BYTES + most, "{}", bytes(&taken.chunks));
        messages += taken.messages;
        more = taken.more;
    }
    // The first is not behind the place before all others.
    assert_eq!(messages, EVENTS - 1);
    // Nobody takes anything: what is held is what it would be written as.
    for round in 1..5 {
        groups.dispatch(&list[0], round * EVENTS, &events);
    }
    let held = list[0].held();
    assert!(held * most <= GROUP_BYTES, "{held} of {most} bytes");
    assert!((held + 1) * (2 * most) > GROUP_BYTES, "{held} of {most} bytes are too few");
}

#[tokio::test]
async fn a_reader_of_the_ring_takes_so_many_bytes_at_once_and_no_event_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let hub = Arc::new(Hub::new(&HubOptions::default(), Clock::system()));
    let kept = RetentionLimits { duration: Duration::from_secs(60), bytes: 1 << 20 };
    hub.attach_journal(StreamJournal {
        store,
        tag: TAG,
        applied: Some(Position::counted(1)),
        kept,
    });
    let notifier = Arc::new(Notifier::default());
    let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    hub.append((2..=EVENTS).map(event).collect());
    let (choice, most) = wordy();
    follower.ask(choice, StreamStart::Here, Vec::new());
    let mut positions = Vec::new();
    loop {
        let portion = follower.take();
        assert!(bytes(&portion.chunks) < TAKE_BYTES + most + 100, "{}", bytes(&portion.chunks));
        let text = portion.chunks.concat();
        let lines = std::str::from_utf8(&text).unwrap().lines();
        let messages = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let events = messages.filter(|message| message["type"] == "event");
        let cursor = |message: Value| message["cursor"].as_str().unwrap().parse::<Cursor>();
        positions.extend(events.map(|message| cursor(message).unwrap().position));
        if !portion.more {
            break;
        }
    }
    assert_eq!(positions, (2..=EVENTS).map(Position::counted).collect::<Vec<_>>());
}

/// A page that begins so, of all events, read while it is waited for or not.
fn page(store: &Store, start: StreamStart, is_waited_for: bool) -> super::super::page::Page {
    let mut wanted = super::super::page::Wanted {
        choice: Arc::new(choice(0, false)),
        form: StreamEncoding::Ndjson,
        tag: TAG,
        start,
        ack: None,
        reason: crate::model::gap::GapReason::Retention,
        bytes: PAGE_MOST,
        head: Position { ledger: u64::MAX, entry: u64::MAX, index: u32::MAX },
        until: None,
        search: None,
        searched: super::super::page::Searched::default(),
    };
    loop {
        let page = super::super::page::read(store.reader(), &mut wanted, &|| is_waited_for);
        if let Some(page) = page.unwrap() {
            return page;
        }
    }
}

#[tokio::test]
async fn a_page_that_nobody_waits_for_is_not_read_on_and_not_searched_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let mut world = World::new(&store, TAG, 1);
    // Several of the last minute too: those that are older than its middle are passed over.
    let (mut minute, mut writes) = (0, 0);
    while world.items.len() < 100 || writes < 5 {
        world.write().await;
        (minute, writes) = (world.minute, if world.minute == minute { writes + 1 } else { 0 });
    }
    let middle = Timestamp::from_seconds(world.minute * 60 + 30);
    let is_event = |(place, _): &&(Offset, String)| place.entities == 0;
    let events = world.items.iter().filter(is_event).count() as u64;
    let last = Offset::after(world.items[world.items.len() - 1].0.cursor);
    for (start, all) in [
        (StreamStart::Oldest, events),
        (StreamStart::Latest(50), 50),
        (StreamStart::Since(middle), 0),
    ] {
        let read = page(&store, start, true);
        assert_eq!((read.messages, read.place), (all, last), "{start:?}");
        let read = page(&store, start, false);
        assert!(read.messages <= 1, "{start:?}: {} were read", read.messages);
        let is_searched = matches!(start, StreamStart::Latest(_));
        assert_eq!(read.place == last, is_searched, "{start:?}: from the newest or the oldest on");
    }
    world.stop.cancel();
}

/// One thread for all that blocks, so that a page that was sent for waits for it.
#[test]
fn who_goes_while_its_page_is_read_leaves_its_turn_when_the_reading_ends() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
        let mut world = World::new(&store, TAG, 1);
        world.write().await;
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let turns = Arc::clone(&world.hub.streams().unwrap().turns);
        let notifier = Arc::new(Notifier::default());
        let mut follower = world.hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        follower.ask(choice(0, false), StreamStart::Latest(1), Vec::new());
        assert!(!follower.take().more);
        drop(follower);
        // Whatever was to end with the reader has ended.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(turns.running(), 1, "it may still be read");
        let_go.send(()).unwrap();
        busy.await.unwrap().unwrap();
        let is_given_back = async {
            while turns.running() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let given_back = tokio::time::timeout(Duration::from_secs(20), is_given_back).await;
        assert!(given_back.is_ok(), "a turn ends with the reading");
        world.stop.cancel();
    });
}

#[tokio::test]
async fn a_query_that_was_to_end_is_replaced_by_one_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let mut world = World::new(&store, TAG, 1);
    world.write().await;
    world.tell();
    for once in [true, false] {
        let notifier = Arc::new(Notifier::default());
        let mut follower = world.hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        follower.ask(choice(0, false), StreamStart::Here, Vec::new());
        follower.only_once(true);
        follower.ask(choice(0, false), StreamStart::Here, Vec::new());
        follower.only_once(once);
        let mut portion = follower.take();
        while portion.more {
            portion = follower.take();
        }
        assert_eq!(portion.ended, once);
    }
    world.stop.cancel();
}

#[test]
fn who_asks_again_and_again_for_what_is_to_come_waits_once() {
    let groups = StreamGroups::default();
    let [one, other, gone] = [0; 3].map(|_| Arc::new(Notifier::default()));
    for ahead in 1..100 {
        groups.wait_for(Position::counted(ahead), &one);
    }
    groups.wait_for(Position::counted(50), &gone);
    drop(gone);
    groups.wait_for(Position::counted(50), &other);
    assert_eq!(groups.waiting(), 2);
    groups.arrived(Position::counted(98));
    assert_eq!(groups.waiting(), 1, "it waits for what it asked for last");
    groups.arrived(Position::counted(99));
    assert_eq!(groups.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_time_that_has_still_to_come_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let clock = Clock::starting_at(Timestamp::from_seconds(1_800_000_000));
    let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
    let kept = RetentionLimits { duration: Duration::from_secs(60), bytes: 1 << 20 };
    hub.attach_journal(StreamJournal { store, tag: TAG, applied: None, kept });
    let notifier = Arc::new(Notifier::default());
    let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    for (ahead, waits) in [(30, 30), (10_000, 60), (0, 0)] {
        let (before, since) = (clock.instant(), clock.now().plus(Duration::from_secs(ahead)));
        follower.ask(choice(0, false), StreamStart::Since(since), Vec::new());
        let mut came = Vec::new();
        while !String::from_utf8_lossy(&came).contains("caught_up") {
            let portion = follower.take();
            came.extend(portion.chunks.concat());
            if !portion.more && portion.chunks.is_empty() {
                poll_fn(|cx| notifier.poll_notified(cx)).await;
            }
        }
        assert!(came.starts_with(br#"{"type":"ack""#), "{}", String::from_utf8_lossy(&came));
        assert_eq!((clock.instant() - before).as_secs(), waits, "{ahead}");
    }
}

/// The fourth of these events is a large one.
fn maybe_large(number: u64) -> TailEvent {
    let body = if number == 4 { "x".repeat(200_000) } else { String::new() };
    let text = format!(r#"{{"id":"{number}","type":"PushEvent","body":"{body}"}}"#);
    let cursor = Cursor { tag: TAG, position: Position::counted(number) };
    TailEvent::new(cursor, Envelope { facts: Facts::default(), event: text.into() })
}

async fn write_with_a_large_one(store: &Store) {
    let rows: Vec<_> = (2..=6)
        .map(maybe_large)
        .map(|event| {
            let mut row = Vec::new();
            push_journal(&mut row, event.index(), &event.envelope.facts, &event.envelope.event);
            (JournalKey { tag: TAG, position: event.cursor.position }, row)
        })
        .collect();
    let written = store.commit(move |batch| {
        for (key, row) in &rows {
            batch.put(key, row);
        }
        Ok(())
    });
    written.await.unwrap();
}

#[tokio::test]
async fn a_large_event_comes_in_its_place_and_nobody_has_caught_up_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let hub = Arc::new(Hub::new(&HubOptions::default(), Clock::system()));
    let kept = RetentionLimits { duration: Duration::from_secs(60), bytes: 1 << 20 };
    let applied = Some(Position::counted(1));
    hub.attach_journal(StreamJournal { store: store.clone(), tag: TAG, applied, kept });
    let stop = CancellationToken::new();
    let dealing = tokio::spawn({
        let (hub, stop) = (Arc::clone(&hub), stop.clone());
        async move { hub.dispatch(stop).await }
    });
    write_with_a_large_one(&store).await;
    // One follows live, one reads the ring from a cursor, one reads it to its end and goes.
    let mut readers = Vec::new();
    for (start, once) in [
        (StreamStart::Here, false),
        (StreamStart::Latest(5), false),
        (StreamStart::Latest(5), true),
    ] {
        let notifier = Arc::new(Notifier::default());
        let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        if matches!(start, StreamStart::Here) {
            follower.ask(choice(0, false), start, Vec::new());
            while follower.take().more {}
        }
        readers.push((start, once, notifier, follower));
    }
    hub.append((2..=6).map(maybe_large).collect());
    for (start, once, notifier, follower) in &mut readers {
        if !matches!(start, StreamStart::Here) {
            follower.ask(choice(0, false), *start, Vec::new());
            follower.only_once(*once);
        }
        let mut told = Vec::new();
        while told.iter().filter(|message: &&Value| message["type"] == "event").count() < 5 {
            let portion = follower.take();
            let lines = portion.chunks.concat();
            let lines = std::str::from_utf8(&lines).unwrap().lines();
            told.extend(lines.map(|line| serde_json::from_str::<Value>(line).unwrap()));
            if !portion.more {
                let rung = poll_fn(|cx| notifier.poll_notified(cx));
                let waited = tokio::time::timeout(Duration::from_secs(20), rung);
                assert!(waited.await.is_ok() || told.len() >= 5, "{start:?}: {told:?}");
            }
        }
        let ids = told.iter().filter_map(|message| message["event"]["id"].as_str());
        assert_eq!(ids.collect::<Vec<_>>(), ["2", "3", "4", "5", "6"], "{start:?}");
        let types: Vec<_> = told.iter().map(|message| message["type"].as_str().unwrap()).collect();
        let caught_up = types.iter().position(|kind| *kind == "caught_up");
        let first = types.iter().position(|kind| *kind == "event");
        assert!(caught_up.is_none_or(|at| at > first.unwrap() + 4), "{start:?}: {types:?}");
    }
    stop.cancel();
    dealing.await.unwrap();
}
