//! Searches of the journal: in slices, fair between clients, counted back from the newest event.

use super::searches::SEARCHES;
use super::*;
use crate::hub::{QUERY_GLOBS, TooManyWaiting};

const TAG: BusTag = BusTag(6);
/// More events than `latest` looks at in the ring, with more bytes than a page.
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

/// A journal and a ring with the same events.
async fn hub(store: &Store) -> Arc<Hub> {
    let hub = new_hub(store, TAG, Some(1), Clock::system());
    write_events(store, (1..=EVENTS).map(event)).await;
    hub.append((2..=EVENTS).map(event).collect());
    hub
}

fn selector(query: &StreamQuery) -> StreamSelector {
    StreamSelector::new(StreamSelection::new(Filter::compile(query).unwrap().0, Vec::new()))
}

/// A query with the most values with `*`, none of which matches.
fn expensive() -> StreamQuery {
    let glob = |i: usize| format!("{}*{i}", "*b".repeat(7));
    StreamQuery { repos: (0..QUERY_GLOBS).map(glob).collect(), ..StreamQuery::default() }
}

/// Takes until the follower ends. Returns the number of messages and the offset of `caught_up`.
async fn read_all(follower: &mut Follower, notifier: &Notifier) -> (u64, Offset) {
    let (mut messages, mut at) = (0, follower.offset());
    loop {
        let batch = follower.take();
        messages += batch.count;
        for chunk in &batch.messages {
            let caught_up = std::str::from_utf8(chunk)
                .unwrap()
                .lines()
                .find(|line| line.starts_with(r#"{"type":"caught_up""#));
            if let Some(line) = caught_up {
                let message: Value = serde_json::from_str(line).unwrap();
                at = message["cursor"].as_str().unwrap().parse().unwrap();
            }
        }
        if batch.ended.is_some() {
            return (messages, at);
        }
        if !batch.more {
            let woken = tokio::time::timeout(
                Duration::from_secs(60),
                poll_fn(|cx| notifier.poll_notified(cx)),
            );
            woken.await.expect("more comes");
        }
    }
}

#[tokio::test]
async fn latest_counts_back_from_where_a_poll_ends() {
    let (_dir, store) = new_store();
    let hub = hub(&store).await;
    // Committed, and not appended to the hub yet.
    write_events(&store, (EVENTS + 1..=EVENTS + 40).map(event)).await;
    for most in [5, 700, 2_000] {
        let notifier = Arc::new(Notifier::default());
        let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        follower
            .ask(selector(&StreamQuery::default()), StreamStart::Latest(most), Vec::new())
            .unwrap();
        follower.only_once(true, None);
        // Events from now on are newer than the head of the query.
        let head = hub.tail().newest().unwrap();
        let next = head.position.entry + 1;
        if next < EVENTS + 40 {
            hub.append(vec![event(next)]);
        }
        let (messages, at) = read_all(&mut follower, &notifier).await;
        assert_eq!((messages, at), (most as u64, Offset::after(head)), "latest={most}");
    }
}

/// Polls of the journal, of the ring, and across both.
#[tokio::test]
async fn limited_polls_continue_without_gap_or_duplicate() {
    let (_dir, store) = new_store();
    let hub = hub(&store).await;
    let mut offset = Offset::after(Cursor { tag: TAG, position: Position::counted(1) });
    let mut total = 0;
    for limit in [1, 700, 1, 1_000, 1_000, 500] {
        let notifier = Arc::new(Notifier::default());
        let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        let start = StreamStart::Behind(offset);
        follower.ask(selector(&StreamQuery::default()), start, Vec::new()).unwrap();
        follower.only_once(true, Some(limit));
        let (messages, at) = read_all(&mut follower, &notifier).await;
        assert_eq!(messages, limit.min(EVENTS - 1 - total), "limit={limit}");
        total += messages;
        let position = Position::counted(1 + total);
        assert_eq!(at, Offset::after(Cursor { tag: TAG, position }), "limit={limit}");
        offset = at;
    }
    assert_eq!(total, EVENTS - 1);
}

#[tokio::test]
async fn few_newest_events_come_from_memory_without_a_search() {
    let (_dir, store) = new_store();
    let hub = hub(&store).await;
    let notifier = Arc::new(Notifier::default());
    let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    follower.ask(selector(&StreamQuery::default()), StreamStart::Latest(5), Vec::new()).unwrap();
    follower.only_once(true, None);
    let (mut messages, mut ended) = (0, false);
    while !ended {
        let batch = follower.take();
        assert!(batch.more || batch.ended.is_some(), "nothing to wait for");
        messages += batch.count;
        ended = batch.ended.is_some();
    }
    assert_eq!(messages, 5);
    assert_eq!(hub.log.journal().unwrap().page_queue.running(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn expensive_searches_of_one_client_do_not_delay_another() {
    let (_dir, store) = new_store();
    let hub = hub(&store).await;
    let (mut greedy, mut refused) = (Vec::new(), 0);
    for _ in 0..400 {
        let notifier = Arc::new(Notifier::new(1, false));
        let mut follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        let start = StreamStart::Latest(10_000);
        match follower.ask(selector(&expensive()), start, Vec::new()) {
            Ok(()) => {
                follower.only_once(true, None);
                drop(follower.take());
                greedy.push((follower, notifier));
            }
            Err(full) => {
                assert_eq!(full, TooManyWaiting::Searches);
                refused += 1;
            }
        }
    }
    assert!(greedy.len() >= SEARCHES && refused > 0, "{refused} were refused");
    let waiting = greedy.len();
    let notifier = Arc::new(Notifier::new(2, false));
    let mut modest = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    modest.ask(selector(&StreamQuery::default()), StreamStart::Latest(1_500), Vec::new()).unwrap();
    modest.only_once(true, None);
    assert_eq!(read_all(&mut modest, &notifier).await.0, 1_500);
    let answered = greedy
        .iter_mut()
        .map(|(_, notifier)| poll_fn(|cx| Poll::Ready(notifier.poll_notified(cx).is_ready())));
    let answered = futures_util::future::join_all(answered).await;
    let answered = answered.into_iter().filter(|notified| *notified).count();
    assert!(answered < waiting, "all {answered} were answered before");
}
