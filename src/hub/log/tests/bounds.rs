//! The limits of what a follower may cost, whatever its query and however slow it is.

use super::event_log::PAGE_MOST;
use super::live::{GROUP_BYTES, TAKE_BYTES};
use super::*;
use crate::hub::fanout::memory::{self, ROOM_BYTES};
use crate::hub::log::query::PATH_BYTES;
use crate::hub::{FieldPath, ReaderBatch};

const TAG: BusTag = BusTag(5);
/// More events than a follower takes at once, from the group, the ring or the journal.
const EVENTS: u64 = 300;

/// An event of a few bytes.
fn event(number: u64) -> TailEvent {
    let cursor = Cursor { tag: TAG, position: Position::counted(number) };
    let event = format!(r#"{{"id":"{number}","type":"PushEvent"}}"#).into();
    TailEvent::new(cursor, Envelope { facts: Facts::default(), event })
}

/// A query for many long names of missing fields, which each message repeats; and the bytes of a
/// message.
fn wordy() -> (StreamSelector, usize) {
    let path = |i: usize| format!("event.{i:0>width$}", width = PATH_BYTES - 6);
    let paths: Vec<FieldPath> = (0..50).map(|i| FieldPath::read(&path(i)).unwrap()).collect();
    let (filter, _) = Filter::compile(&StreamQuery::default()).unwrap();
    let selector = StreamSelector::new(StreamSelection::new(filter, paths));
    let mut out = Vec::new();
    assert_eq!(selector.push(&mut out, StreamEncoding::Ndjson, &event(EVENTS), None), 1);
    assert!(out.len() > 50 * PATH_BYTES && out.len() <= selector.bytes_of(&event(EVENTS)));
    (selector, out.len())
}

fn bytes(chunks: &[bytes::Bytes]) -> usize {
    chunks.iter().map(bytes::Bytes::len).sum()
}

#[test]
fn group_counts_the_encoded_bytes_of_an_event() {
    let groups = LiveSubscribers::default();
    let (selector, most) = wordy();
    let notifier = Arc::new(Notifier::default());
    let mut subscriber =
        groups.subscribe(&Arc::new(selector), StreamEncoding::Ndjson, 0, || 0, &notifier);
    let mut list = Vec::new();
    groups.groups.refresh(&mut list);
    let events: Vec<_> = (0..EVENTS).map(event).map(Arc::new).collect();
    assert_eq!(groups.dispatch(&list[0], 0, &events), EVENTS);
    let (mut messages, mut more) = (0, true);
    while more {
        let mut taken = ReaderBatch::from(None);
        subscriber.take_after(Position::default(), &mut taken).unwrap();
        assert!(bytes(&taken.messages) < TAKE_BYTES + most, "{}", bytes(&taken.messages));
        messages += taken.count;
        more = taken.more;
    }
    // The first one is at the default position, and so not after it.
    assert_eq!(messages, EVENTS - 1);
    // Nothing is taken now: the encoded size of the held events is bounded.
    for round in 1..5 {
        groups.dispatch(&list[0], round * EVENTS, &events);
    }
    let held = list[0].held();
    assert!(held * most <= GROUP_BYTES, "{held} of {most} bytes");
    assert!((held + 1) * (2 * most) > GROUP_BYTES, "{held} of {most} bytes are too few");
}

#[tokio::test]
async fn follower_of_the_ring_takes_limited_bytes_and_all_events() {
    let (_dir, store) = new_store();
    let hub = new_hub(&store, TAG, Some(1), Clock::system());
    let notifier = Arc::new(Notifier::default());
    let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    hub.append((2..=EVENTS).map(event).collect());
    let (selector, most) = wordy();
    follower.ask(selector, StreamStart::Here, Vec::new()).unwrap();
    let mut positions = Vec::new();
    loop {
        let batch = follower.take();
        assert!(bytes(&batch.messages) < TAKE_BYTES + most + 100, "{}", bytes(&batch.messages));
        let text = batch.messages.concat();
        let lines = std::str::from_utf8(&text).unwrap().lines();
        let messages = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
        let events = messages.filter(|message| message["type"] == "event");
        let cursor = |message: Value| message["cursor"].as_str().unwrap().parse::<Cursor>();
        positions.extend(events.map(|message| cursor(message).unwrap().position));
        if !batch.more {
            break;
        }
    }
    assert_eq!(positions, (2..=EVENTS).map(Position::counted).collect::<Vec<_>>());
}

/// Reads a page of all events with this start.
fn page(store: &Store, start: StreamStart, is_wanted: bool) -> page::StreamPage {
    let mut wanted = page::PageRequest {
        selector: Arc::new(selector(0, false)),
        encoding: StreamEncoding::Ndjson,
        tag: TAG,
        start,
        reason: crate::model::gap::GapReason::Retention,
        bytes: PAGE_MOST,
        head: Position { ledger: u64::MAX, entry: u64::MAX, index: u32::MAX },
        until: None,
        most: None,
        search: None,
        progress: page::SearchProgress::default(),
    };
    loop {
        let page = page::read(store.reader(), &mut wanted, &|| is_wanted);
        if let Some(page) = page.unwrap() {
            return page;
        }
    }
}

#[tokio::test]
async fn page_that_is_not_wanted_is_not_read() {
    let (_dir, store) = new_store();
    let mut world = World::new(&store, TAG, 1);
    // With several in the last minute, of which those before its middle are skipped.
    let (mut minute, mut writes) = (0, 0);
    while world.items.len() < 100 || writes < 5 {
        world.write().await;
        (minute, writes) = (world.minute, if world.minute == minute { writes + 1 } else { 0 });
    }
    let middle = Timestamp::from_seconds(world.minute * 60 + 30);
    let is_event = |(offset, _): &&(Offset, String)| offset.entities == 0;
    let events = world.items.iter().filter(is_event).count() as u64;
    let last = Offset::after(world.items[world.items.len() - 1].0.cursor);
    for (start, all) in [
        (StreamStart::Oldest, events),
        (StreamStart::Latest(50), 50),
        (StreamStart::Since(middle), 0),
    ] {
        let mut read = page(&store, start, true);
        let mut messages = read.messages;
        // On a busy machine a slice of time ends a page early.
        while read.offset < last {
            let more = page(&store, StreamStart::Behind(read.offset), true);
            assert!(more.offset > read.offset, "{start:?}");
            (messages, read) = (messages + more.messages, more);
        }
        assert_eq!((messages, read.offset), (all, last), "{start:?}");
        let read = page(&store, start, false);
        assert!(read.messages <= 1, "{start:?}: {} were read", read.messages);
        let is_searched = matches!(start, StreamStart::Latest(_));
        assert_eq!(read.offset == last, is_searched, "{start:?}: from the newest or the oldest on");
    }
}

pub(super) fn with_one_blocking_thread(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(test);
}

/// With one blocking thread, which is busy, so that the requested page waits for it.
#[test]
fn dropped_follower_frees_its_turn_when_the_page_ends() {
    with_one_blocking_thread(async {
        let (_dir, store) = new_store();
        let mut world = World::new(&store, TAG, 1);
        world.write().await;
        let (let_go, held) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || held.recv());
        let queue = Arc::clone(&world.hub.log.journal().unwrap().page_queue);
        let notifier = Arc::new(Notifier::default());
        let mut follower = world.hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        follower.ask(selector(0, false), StreamStart::Latest(1), Vec::new()).unwrap();
        assert!(!follower.take().more);
        drop(follower);
        // Everything that ends with the follower has ended.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        assert_eq!(queue.running(), 1, "it may still be read");
        let_go.send(()).unwrap();
        busy.await.unwrap().unwrap();
        let is_given_back = async {
            while queue.running() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let given_back = tokio::time::timeout(Duration::from_secs(60), is_given_back).await;
        assert!(given_back.is_ok(), "a turn ends with the reading");
    });
}

/// With one blocking thread, which is busy until the memory is held.
#[test]
fn page_is_postponed_until_there_is_memory_for_its_client() {
    with_one_blocking_thread(async {
        let (_dir, store) = new_store();
        let mut world = World::new(&store, TAG, 1);
        world.write().await;
        let (let_go, busy) = std::sync::mpsc::channel::<()>();
        let busy = tokio::task::spawn_blocking(move || busy.recv());
        let notifier = Arc::new(Notifier::new(1 << 40, false));
        let mut follower = world.hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        follower.ask(selector(0, false), StreamStart::Latest(1), Vec::new()).unwrap();
        assert!(follower.take().messages.is_empty());
        // Others hold much, and this client more than its share.
        let held = memory::hold(vec![0; ROOM_BYTES + 1]);
        let charge = memory::charge(notifier.client, 2 << 20);
        let_go.send(()).unwrap();
        busy.await.unwrap().unwrap();
        poll_fn(|cx| notifier.poll_notified(cx)).await;
        assert!(follower.take().messages.is_empty(), "it is not read yet");
        drop((held, charge));
        let mut came = Vec::new();
        while came.is_empty() {
            poll_fn(|cx| notifier.poll_notified(cx)).await;
            came.extend(follower.take().messages.concat());
        }
        assert!(came.starts_with(br#"{"type":"ack""#), "{}", String::from_utf8_lossy(&came));
    });
}

#[tokio::test]
async fn ended_query_can_be_replaced() {
    let (_dir, store) = new_store();
    let mut world = World::new(&store, TAG, 1);
    world.write().await;
    world.deliver();
    for once in [true, false] {
        let notifier = Arc::new(Notifier::default());
        let mut follower = world.hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        follower.ask(selector(0, false), StreamStart::Here, Vec::new()).unwrap();
        follower.only_once(true, None);
        follower.ask(selector(0, false), StreamStart::Here, Vec::new()).unwrap();
        follower.only_once(once, None);
        let mut batch = follower.take();
        while batch.more {
            batch = follower.take();
        }
        assert_eq!(batch.ended.is_some(), once);
    }
}

#[test]
fn connection_waits_only_for_the_last_position_it_named() {
    let groups = LiveSubscribers::default();
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
async fn start_time_in_the_future_is_waited_for() {
    let (_dir, store) = new_store();
    let clock = Clock::starting_at(Timestamp::from_seconds(1_800_000_000));
    let hub = new_hub(&store, TAG, None, clock);
    let notifier = Arc::new(Notifier::default());
    let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    for (ahead, waits) in [(30, 30), (10_000, 60), (0, 0)] {
        let (before, since) = (clock.instant(), clock.now().plus(Duration::from_secs(ahead)));
        follower.ask(selector(0, false), StreamStart::Since(since), Vec::new()).unwrap();
        let mut came = Vec::new();
        while !String::from_utf8_lossy(&came).contains("caught_up") {
            let batch = follower.take();
            came.extend(batch.messages.concat());
            if !batch.more && batch.messages.is_empty() {
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

#[tokio::test]
async fn large_event_comes_in_order_and_before_caught_up() {
    let (_dir, store) = new_store();
    let hub = new_hub(&store, TAG, Some(1), Clock::system());
    let stop = CancellationToken::new();
    let dispatching = tokio::spawn({
        let (hub, stop) = (Arc::clone(&hub), stop.clone());
        async move { hub.dispatch(stop).await }
    });
    write_events(&store, (2..=6).map(maybe_large)).await;
    // One is live, one reads the ring, one reads the ring and ends when it has caught up.
    let mut readers = Vec::new();
    for (start, once) in [
        (StreamStart::Here, false),
        (StreamStart::Latest(5), false),
        (StreamStart::Latest(5), true),
    ] {
        let notifier = Arc::new(Notifier::default());
        let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        if matches!(start, StreamStart::Here) {
            follower.ask(selector(0, false), start, Vec::new()).unwrap();
            while follower.take().more {}
        }
        readers.push((start, once, notifier, follower));
    }
    hub.append((2..=6).map(maybe_large).collect());
    for (start, once, notifier, follower) in &mut readers {
        if !matches!(start, StreamStart::Here) {
            follower.ask(selector(0, false), *start, Vec::new()).unwrap();
            follower.only_once(*once, None);
        }
        let mut received = Vec::new();
        let is_event = |message: &&Value| message["type"] == "event";
        while received.iter().filter(is_event).count() < 5 {
            let batch = follower.take();
            let lines = batch.messages.concat();
            let lines = std::str::from_utf8(&lines).unwrap().lines();
            received.extend(lines.map(|line| serde_json::from_str::<Value>(line).unwrap()));
            if !batch.more && received.iter().filter(is_event).count() < 5 {
                let notified = poll_fn(|cx| notifier.poll_notified(cx));
                let waited = tokio::time::timeout(Duration::from_secs(60), notified);
                assert!(waited.await.is_ok(), "{start:?}: {received:?}");
            }
        }
        let ids = received.iter().filter_map(|message| message["event"]["id"].as_str());
        assert_eq!(ids.collect::<Vec<_>>(), ["2", "3", "4", "5", "6"], "{start:?}");
        let types: Vec<_> =
            received.iter().map(|message| message["type"].as_str().unwrap()).collect();
        let caught_up = types.iter().position(|kind| *kind == "caught_up");
        let first = types.iter().position(|kind| *kind == "event");
        assert!(caught_up.is_none_or(|at| at > first.unwrap() + 4), "{start:?}: {types:?}");
    }
    stop.cancel();
    dispatching.await.unwrap();
}
