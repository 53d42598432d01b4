//! What a reader may cost, whatever it asks for and however slowly it reads.

use super::super::group::{GROUP_BYTES, TAKE_BYTES};
use super::*;
use crate::hub::Path;
use crate::hub::query::PATH_BYTES;

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
fn wordy() -> (Choice, usize) {
    let path = |i: usize| format!("event.{i:0>width$}", width = PATH_BYTES - 6);
    let paths: Vec<Path> = (0..50).map(|i| Path::read(&path(i)).unwrap()).collect();
    let (filter, _) = Filter::compile(&StreamQuery::default()).unwrap();
    let choice = Choice::new(StreamAsk::new(filter, paths));
    let mut out = Vec::new();
    assert_eq!(choice.push(&mut out, StreamForm::Ndjson, &event(EVENTS), None), 1);
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
    let bell = Arc::new(Bell::default());
    let mut member = groups.join(&Arc::new(choice), StreamForm::Ndjson, 0, || 0, &bell);
    let mut list = Vec::new();
    groups.refresh(&mut list);
    let events: Vec<_> = (0..EVENTS).map(event).map(Arc::new).collect();
    assert_eq!(groups.deal(&list[0], 0, &events), EVENTS);
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
        groups.deal(&list[0], round * EVENTS, &events);
    }
    let held = list[0].held();
    assert!(held * most <= GROUP_BYTES, "{held} of {most} bytes");
    assert!((held + 1) * (2 * most) > GROUP_BYTES, "{held} of {most} bytes are too few");
}

#[tokio::test]
async fn a_reader_of_the_ring_takes_so_many_bytes_at_once_and_no_event_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Sync::EveryBatch, Clock::system()).unwrap();
    let hub = Arc::new(Hub::new(&HubOptions::default(), Clock::system()));
    let kept = Kept { duration: Duration::from_secs(60), bytes: 1 << 20 };
    hub.keep(StreamJournal { store, tag: TAG, applied: Some(Position::counted(1)), kept });
    let bell = Arc::new(Bell::default());
    let mut follower = hub.follow(StreamForm::Ndjson, &bell).unwrap();
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
