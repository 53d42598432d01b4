//! Groups of `/sampling`: phases, lag, and what is held and shared.

use proptest::prelude::*;

use super::*;
use crate::hub::fanout::group_log::TRIM_FROM;
use crate::hub::fanout::turn::Turn;
use crate::hub::log::query::{Conditions, FieldPath};
use crate::hub::log::tail::tests::tail_event;
use crate::hub::log::tail::{TAIL_BYTES, Tail};
use crate::model::privacy::Privacy;

fn events(numbers: std::ops::RangeInclusive<u64>, kind: &str) -> Vec<Arc<TailEvent>> {
    numbers
        .map(|n| Arc::new(tail_event(n, &format!(r#"{{"id":"{n}","type":"{kind}"}}"#))))
        .collect()
}

fn ids() -> SamplingQuery {
    let encoding = SamplingEncoding::List(vec![FieldPath::read("event.id").unwrap()]);
    SamplingQuery { encoding, ..SamplingQuery::default() }
}

fn dispatch(groups: &SamplingSubscribers, events: &[Arc<TailEvent>]) -> u64 {
    let dispatch = |group: &Arc<SamplingGroup>| {
        let deliveries = groups.dispatch(group, events);
        group.notify(Turn::ALL);
        deliveries
    };
    groups.groups.groups().iter().map(dispatch).sum()
}

/// Takes until nothing is left, and returns the ids.
fn taken(subscriber: &mut SamplingSubscriber) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        let taken = subscriber.take();
        for frame in taken.messages {
            ids.push(frame.body().trim_matches(['[', ']', '"']).parse().unwrap());
        }
        if !taken.more {
            return ids;
        }
    }
}

#[test]
fn each_subscriber_counts_from_its_subscription() {
    let groups = SamplingSubscribers::new(1_000);
    let notifier = Arc::new(Notifier::default());
    let mut all = groups.subscribe(ids(), 1, &notifier);
    let mut thirds = groups.subscribe(ids(), 3, &notifier);
    dispatch(&groups, &events(1..=2, "A"));
    let mut late = groups.subscribe(ids(), 3, &notifier);
    assert_eq!(dispatch(&groups, &events(3..=8, "A")), 6 + 2 + 2);
    assert_eq!(taken(&mut all), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(taken(&mut thirds), [3, 6]);
    assert_eq!(taken(&mut late), [5, 8]);
    assert_eq!(groups.groups.groups().len(), 1);
}

#[test]
fn only_matching_events_count_and_empty_group_is_removed() {
    let groups = SamplingSubscribers::new(1_000);
    let notifier = Arc::new(Notifier::default());
    let conditions = Conditions { kind: Some("B".into()), ..Conditions::default() };
    let mut subscriber = groups.subscribe(SamplingQuery { conditions, ..ids() }, 2, &notifier);
    dispatch(&groups, &events(1..=3, "A"));
    dispatch(&groups, &events(4..=7, "B"));
    assert_eq!(taken(&mut subscriber), [5, 7]);
    drop(subscriber);
    assert_eq!(groups.groups.groups().len(), 0);
}

#[test]
fn lagging_subscriber_skips_events_and_keeps_its_phase() {
    let groups = SamplingSubscribers::new(10);
    let notifier = Arc::new(Notifier::default());
    let mut slow = groups.subscribe(ids(), 1, &notifier);
    let mut slow_thirds = groups.subscribe(ids(), 3, &notifier);
    for n in 1..=40 {
        dispatch(&groups, &events(n..=n, "A"));
    }
    assert_eq!(taken(&mut slow), (31..=40).collect::<Vec<_>>());
    assert_eq!(taken(&mut slow_thirds), [33, 36, 39]);
}

#[test]
fn events_that_all_have_taken_are_dropped() {
    let groups = SamplingSubscribers::new(100_000);
    let notifier = Arc::new(Notifier::default());
    let mut subscriber = groups.subscribe(ids(), 1, &notifier);
    let mut rare = groups.subscribe(ids(), 1_000_000, &notifier);
    for n in 1..=1_000 {
        dispatch(&groups, &events(n..=n, "A"));
        assert_eq!(taken(&mut subscriber), [n]);
    }
    assert_eq!(taken(&mut rare), [] as [u64; 0]);
    assert!(subscriber.0.group.held() <= TRIM_FROM);
}

#[test]
fn subscribers_share_the_bytes() {
    let groups = SamplingSubscribers::new(10);
    let notifier = Arc::new(Notifier::default());
    for subscription in [SamplingQuery::default(), ids()] {
        let mut one = groups.subscribe(subscription.clone(), 1, &notifier);
        let mut two = groups.subscribe(subscription, 1, &notifier);
        dispatch(&groups, &events(1..=1, "A"));
        let (one, two) = (one.take().messages.remove(0), two.take().messages.remove(0));
        assert_eq!(one.bytes().as_ptr(), two.bytes().as_ptr());
    }
}

proptest! {
    #[test]
    fn subscriber_receives_every_nth_matching_event(
        rate in 1_u64..7,
        before in 0_u64..10,
        batches in prop::collection::vec(1_u64..9, 1..12),
    ) {
        let groups = SamplingSubscribers::new(1_000);
        let notifier = Arc::new(Notifier::default());
        let _first = groups.subscribe(ids(), 1, &notifier);
        dispatch(&groups, &events(1..=before, "A"));
        let mut subscriber = groups.subscribe(ids(), rate, &notifier);
        let (mut at, mut got) = (before, Vec::new());
        for batch in batches {
            dispatch(&groups, &events(at + 1..=at + batch, "A"));
            at += batch;
            got.extend(taken(&mut subscriber));
        }
        let wanted: Vec<u64> =
            (before + 1..=at).filter(|n| (n - before) % rate == 0).collect();
        prop_assert_eq!(got, wanted);
    }
}

/// An event with a comment longer than GitHub allows.
fn large(number: u64) -> Arc<TailEvent> {
    let body = "word ".repeat(30_000);
    Arc::new(tail_event(number, &format!(r#"{{"id":"{number}","type":"A","body":"{body}"}}"#)))
}

#[tokio::test]
async fn large_event_is_encoded_on_another_thread_and_dropped() {
    for subscription in [
        SamplingQuery::default(),
        SamplingQuery {
            encoding: SamplingEncoding::Map(vec![FieldPath::read("event.body").unwrap()]),
            ..ids()
        },
    ] {
        let groups = SamplingSubscribers::new(1_000);
        let notifiers = [false, true].map(|deflates| Arc::new(Notifier::new(0, deflates)));
        let mut subscribers = notifiers
            .each_ref()
            .map(|notifier| groups.subscribe(subscription.clone(), 1, notifier));
        dispatch(&groups, &[events(1..=1, "A"), vec![large(2)], events(3..=3, "A")].concat());
        for (subscriber, notifier) in subscribers.iter_mut().zip(&notifiers) {
            let before = subscriber.take();
            assert_eq!((before.count, before.more), (1, false), "the large one is not there");
            let mut rest = subscriber.take().messages;
            while rest.len() < 2 {
                std::future::poll_fn(|cx| notifier.poll_notified(cx)).await;
                rest.extend(subscriber.take().messages);
            }
            assert!(rest[0].len() > 100_000 && rest[1].len() < 1_000);
            let sent = rest[0].clone();
            let sent = if notifier.deflates { sent.into_deflated() } else { sent.into() };
            assert_eq!(sent.len() < 10_000, notifier.deflates, "{} bytes", sent.len());
        }
        let held = subscribers[0].0.group.held();
        assert!(held <= 1, "{held} events are held");
    }
}

#[tokio::test]
async fn large_event_that_others_have_not_taken_is_not_charged_to_its_first_reader() {
    let groups = SamplingSubscribers::new(1_000);
    let connection = |client| Arc::new(Notifier::new(client, false));
    let has_room = |notifier: &Notifier| memory::has_room(memory::SHARED_BYTES + 1, notifier);
    let _idle = groups.subscribe(SamplingQuery::default(), 1, &connection(u64::MAX - 11));
    for (client, takes) in [(u64::MAX - 12, true), (u64::MAX - 13, false)] {
        let [one, other] = [client; 2].map(connection);
        let mut subscriber = groups.subscribe(SamplingQuery::default(), 1, &one);
        dispatch(&groups, &[large(client)]);
        assert!(one.take_notified());
        assert!(subscriber.take().messages.is_empty(), "it is encoded first");
        std::future::poll_fn(|cx| one.poll_notified(cx)).await;
        assert!(!has_room(&other), "it is charged");
        assert!(has_room(&one), "what is encoded for it may be taken");
        if takes {
            let batch = subscriber.take();
            assert_eq!(batch.count, 1);
            assert!(!has_room(&one), "it is being sent");
        } else {
            drop(subscriber);
        }
        assert!(has_room(&one) && has_room(&other), "{takes}");
    }
    assert_eq!(groups.groups.groups()[0].held(), 2, "the other connection has not taken them");
}

#[test]
fn subscribers_of_a_large_group_share_one_piece_for_a_batch() {
    let groups = SamplingSubscribers::new(1_000);
    let plain = Arc::new(Notifier::default());
    let mut all: Vec<_> = (0..40).map(|_| groups.subscribe(ids(), 1, &plain)).collect();
    let deflating = Arc::new(Notifier::new(0, true));
    let mut deflated = groups.subscribe(ids(), 1, &deflating);
    let mut thirds = groups.subscribe(ids(), 3, &plain);
    let mut behind = groups.subscribe(ids(), 1, &plain);
    dispatch(&groups, &events(1..=5, "A"));
    let frame = |n: u8| [0x81, 5, b'[', b'"', b'0' + n, b'"', b']'];
    let expected: Vec<u8> = (1..=5).flat_map(frame).collect();
    let mut pieces = all.iter_mut().map(|subscriber| {
        let taken = subscriber.take();
        assert_eq!((taken.count, taken.more, taken.messages.len()), (5, false, 1));
        taken.messages[0].bytes().clone()
    });
    let first = pieces.next().unwrap();
    assert_eq!(first, expected);
    assert!(pieces.all(|piece| piece.as_ptr() == first.as_ptr()));
    // Others take the same events in their own way.
    assert_eq!(deflated.take().messages.len(), 5);
    assert_eq!(taken(&mut thirds), [3]);
    // Later events are not in the piece, and one that is behind takes all.
    dispatch(&groups, &events(6..=6, "A"));
    assert_eq!(all[0].take().messages[0].body(), "[\"6\"]");
    assert_eq!(behind.take().count, 6);
    assert!(all[1..].iter_mut().all(|subscriber| subscriber.take().count == 1));
}

#[test]
fn shared_piece_has_nothing_that_is_left_out_since() {
    let groups = SamplingSubscribers::new(1_000);
    let notifier = Arc::new(Notifier::default());
    let mut all: Vec<_> = (0..40).map(|_| groups.subscribe(ids(), 1, &notifier)).collect();
    let tail = Tail::new(TAIL_BYTES);
    let text = r#"{"id":"1","type":"A","actor":{"login":"NAME"}}"#;
    let events = ["ann", "bob", "cid"].into_iter().zip(1..);
    tail.append(events.map(|(login, n)| tail_event(n, &text.replace("NAME", login))).collect());
    dispatch(&groups, &tail.read(0, 9).events);
    assert_eq!(all[0].take().count, 3);
    let taken = all[1].0.take().unwrap();
    assert!(taken.joined.is_some());
    let privacy = Privacy::default();
    privacy.set(&["ann".to_owned()], false);
    tail.leave_out(&privacy, || groups.groups.held_events());
    groups.groups.forget_shared();
    assert_eq!(all[2].take().count, 2);
    assert_eq!(all[3].take().count, 2);
}

#[test]
fn event_that_waits_is_left_out_after_the_ring_let_go_of_it() {
    // The ring drops it, or keeps a copy without encoded messages.
    for bytes in [1, TAIL_BYTES] {
        let groups = SamplingSubscribers::new(1_000);
        let notifier = Arc::new(Notifier::default());
        let mut subscriber = groups.subscribe(ids(), 1, &notifier);
        let tail = Tail::new(bytes);
        let body = "x".repeat(60_000);
        for n in 1..=100 {
            let login = if n == 1 { "ann" } else { "bob" };
            let text = format!(
                r#"{{"id":"{n}","type":"A","actor":{{"login":"{login}"}},"body":"{body}"}}"#
            );
            tail.append(vec![tail_event(n, &text)]);
            dispatch(&groups, &tail.newest_first(1));
        }
        let privacy = Privacy::default();
        privacy.set(&["ann".to_owned()], false);
        tail.leave_out(&privacy, || groups.groups.held_events());
        assert_eq!(taken(&mut subscriber), (2..=100).collect::<Vec<_>>(), "{bytes} bytes");
    }
}

#[tokio::test]
async fn each_turn_notifies_its_subscribers_also_of_events_that_came_after_it() {
    let groups = SamplingSubscribers::new(1_000);
    let subscribe = |_| {
        let notifier = Arc::new(Notifier::default());
        (groups.subscribe(ids(), 1, &notifier), notifier)
    };
    let mut subscribers: Vec<_> = (0..6).map(subscribe).collect();
    let group = Arc::clone(&groups.groups.groups()[0]);
    let turns = [0, 1, 2].map(|number| Turn { number, of: 3 });
    groups.dispatch(&group, &events(1..=1, "A"));
    assert_eq!(group.notify(turns[0]), 2);
    let mut notified = Vec::new();
    for (at, (subscriber, notifier)) in subscribers.iter_mut().enumerate() {
        if notifier.take_notified() {
            notified.push(at);
            assert_eq!(taken(subscriber), [1]);
        }
    }
    assert_eq!(notified, [0, 3]);
    // The others take both events in their turns; those two need another round.
    groups.dispatch(&group, &events(2..=2, "A"));
    assert_eq!(turns[1..].iter().map(|turn| group.notify(*turn)).sum::<usize>(), 4);
    for at in [1, 2, 4, 5] {
        assert!(subscribers[at].1.take_notified());
        assert_eq!(taken(&mut subscribers[at].0), [1, 2]);
    }
    assert_eq!(turns.map(|turn| group.notify(turn)), [2, 0, 0]);
    for at in [0, 3] {
        assert!(subscribers[at].1.take_notified());
        assert_eq!(taken(&mut subscribers[at].0), [2]);
    }
    assert_eq!(group.notify(Turn::ALL), 0);
}
