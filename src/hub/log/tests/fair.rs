//! Searches of the journal: in slices, in a fair order, and counted back from what readers have.

use super::super::searches::SEARCHES;
use super::*;
use crate::hub::{QUERY_GLOBS, TooManySearches};

const TAG: BusTag = BusTag(6);
/// More than `latest` is looked for in the ring, and of more bytes than a page.
const EVENTS: u64 = 3_000;

fn event(number: u64) -> TailEvent {
    let cursor = Cursor { tag: TAG, position: Position::counted(number) };
    let text = format!(
        r#"{{"id":"{number}","type":"PushEvent","repo":{{"name":"a/{}"}},"x":"{}"}}"#,
        "b".repeat(100),
        "x".repeat(1_000)
    );
    TailEvent::new(cursor, Envelope { facts: Facts::default(), event: text.into() })
}

async fn write(store: &Store, numbers: std::ops::RangeInclusive<u64>) {
    let rows: Vec<_> = numbers
        .map(event)
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

/// A journal and a ring with the same events.
async fn hub(store: &Store) -> Arc<Hub> {
    let hub = Arc::new(Hub::new(&HubOptions::default(), Clock::system()));
    let kept = RetentionLimits { duration: Duration::from_secs(60), bytes: 1 << 30 };
    let applied = Some(Position::counted(1));
    hub.attach_journal(StreamJournal { store: store.clone(), tag: TAG, applied, kept });
    write(store, 1..=EVENTS).await;
    hub.append((2..=EVENTS).map(event).collect());
    hub
}

fn choice(query: &StreamQuery) -> StreamSelector {
    StreamSelector::new(StreamSelection::new(Filter::compile(query).unwrap().0, Vec::new()))
}

/// As many values with `*` as a query takes, which match nothing here.
fn expensive() -> StreamQuery {
    let glob = |i: usize| format!("{}*{i}", "*b".repeat(7));
    StreamQuery { repos: (0..QUERY_GLOBS).map(glob).collect(), ..StreamQuery::default() }
}

/// Reads a poll to its end: its events, and where it said that it had caught up.
async fn read_all(follower: &mut Follower, notifier: &Notifier) -> (u64, Offset) {
    let (mut messages, mut at) = (0, follower.place());
    loop {
        let portion = follower.take();
        messages += portion.messages;
        for chunk in &portion.chunks {
            let caught_up = std::str::from_utf8(chunk)
                .unwrap()
                .lines()
                .find(|line| line.starts_with(r#"{"type":"caught_up""#));
            if let Some(line) = caught_up {
                let message: Value = serde_json::from_str(line).unwrap();
                at = message["cursor"].as_str().unwrap().parse().unwrap();
            }
        }
        if portion.ended {
            return (messages, at);
        }
        if !portion.more {
            let rung = tokio::time::timeout(
                Duration::from_secs(60),
                poll_fn(|cx| notifier.poll_notified(cx)),
            );
            rung.await.expect("more comes");
        }
    }
}

#[tokio::test]
async fn latest_counts_back_from_where_a_poll_ends() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let hub = hub(&store).await;
    // Committed, and not told to readers yet.
    write(&store, EVENTS + 1..=EVENTS + 40).await;
    for most in [5, 700, 2_000] {
        let notifier = Arc::new(Notifier::default());
        let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        follower.ask(choice(&StreamQuery::default()), StreamStart::Latest(most), Vec::new());
        follower.only_once(true);
        // What comes now is newer than what was asked for.
        let head = hub.tail().newest().unwrap();
        let next = head.position.entry + 1;
        if next < EVENTS + 40 {
            hub.append(vec![event(next)]);
        }
        let (messages, at) = read_all(&mut follower, &notifier).await;
        assert_eq!((messages, at), (most as u64, Offset::after(head)), "latest={most}");
    }
}

#[tokio::test]
async fn few_of_the_newest_come_from_memory_without_a_search() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let hub = hub(&store).await;
    let notifier = Arc::new(Notifier::default());
    let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    follower.ask(choice(&StreamQuery::default()), StreamStart::Latest(5), Vec::new());
    follower.only_once(true);
    let (mut messages, mut ended) = (0, false);
    while !ended {
        let portion = follower.take();
        assert!(portion.more || portion.ended, "it waits for nobody");
        messages += portion.messages;
        ended = portion.ended;
    }
    assert_eq!(messages, 5);
    assert_eq!(hub.streams().unwrap().turns.running(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_clients_expensive_searches_do_not_hold_up_another() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    let hub = hub(&store).await;
    let (mut greedy, mut refused) = (Vec::new(), 0);
    for _ in 0..400 {
        let notifier = Arc::new(Notifier::for_client(1));
        let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        let start = StreamStart::Latest(10_000);
        match follower.try_ask(choice(&expensive()), start, Vec::new()) {
            Ok(()) => {
                follower.only_once(true);
                drop(follower.take());
                greedy.push((follower, notifier));
            }
            Err(TooManySearches) => refused += 1,
        }
    }
    assert!(greedy.len() >= SEARCHES && refused > 0, "{refused} were refused");
    let waiting = greedy.len();
    let notifier = Arc::new(Notifier::for_client(2));
    let mut modest = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    modest.ask(choice(&StreamQuery::default()), StreamStart::Latest(1_500), Vec::new());
    modest.only_once(true);
    assert_eq!(read_all(&mut modest, &notifier).await.0, 1_500);
    let answered = greedy
        .iter_mut()
        .map(|(_, notifier)| poll_fn(|cx| Poll::Ready(notifier.poll_notified(cx).is_ready())));
    let answered = futures_util::future::join_all(answered).await;
    let answered = answered.into_iter().filter(|rung| *rung).count();
    assert!(answered < waiting, "all {answered} were answered before");
}
