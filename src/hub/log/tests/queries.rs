//! Queries that are replaced: each is answered, and a start that is looked for is kept.

use super::bounds::with_one_blocking_thread;
use super::*;
use crate::hub::QueryWarning;

const TAG: BusTag = BusTag(8);

/// The warnings of a query, by which its `ack` is known.
fn named(value: &str) -> Vec<QueryWarning> {
    vec![QueryWarning { field: "query", value: value.to_owned(), message: String::new() }]
}

fn follower(hub: &Arc<Hub>) -> (Arc<Notifier>, Follower) {
    let notifier = Arc::new(Notifier::default());
    let follower = hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
    (notifier, follower)
}

/// All messages up to `caught_up`: the cursor and the name of each answer, then the rest.
async fn answers(
    notifier: &Notifier,
    follower: &mut Follower,
) -> (Vec<(Value, Value)>, Vec<Value>) {
    let mut text = String::new();
    while !text.contains("caught_up") {
        let batch = follower.take();
        text.push_str(std::str::from_utf8(&batch.messages.concat()).unwrap());
        if !batch.more && batch.messages.is_empty() {
            let more = poll_fn(|cx| notifier.poll_notified(cx));
            let waited = tokio::time::timeout(Duration::from_secs(600), more);
            assert!(waited.await.is_ok(), "only {text}");
        }
    }
    let messages = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let messages: Vec<Value> = messages.collect();
    let is_answer = |message: &Value| ["ack", "error"].map(Value::from).contains(&message["type"]);
    let begin = messages.iter().position(|message| !is_answer(message)).unwrap();
    let named = messages[..begin].iter().map(|message| {
        let name = message.pointer("/warnings/0/value").or(message.get("message"));
        (message["cursor"].clone(), name.unwrap().clone())
    });
    (named.collect(), messages[begin..].to_vec())
}

#[test]
fn start_is_kept_while_it_is_looked_for() {
    with_one_blocking_thread(async {
        let (_dir, store) = new_store();
        let mut world = World::new(&store, TAG, 1);
        for _ in 0..60 {
            world.write().await;
        }
        world.deliver();
        let middle = Timestamp::from_seconds(world.minute * 30);
        for start in [StreamStart::Since(middle), StreamStart::Latest(30)] {
            let (notifier, mut alone) = follower(&world.hub);
            alone.ask(selector(1, false), start, named("alone")).unwrap();
            let (acks, expected) = answers(&notifier, &mut alone).await;
            let at = acks[0].0.clone();
            assert!(expected.len() > 20, "{start:?}: {expected:?}");
            for is_requested in [false, true] {
                let (let_go, held) = std::sync::mpsc::channel::<()>();
                let busy = tokio::task::spawn_blocking(move || held.recv());
                let (notifier, mut changing) = follower(&world.hub);
                changing.ask(selector(0, false), start, named("first")).unwrap();
                if is_requested {
                    assert!(changing.take().messages.is_empty());
                }
                changing.ask(selector(2, false), StreamStart::Here, named("second")).unwrap();
                changing.refuse("invalid_query", None, "refused");
                changing.ask(selector(1, false), StreamStart::Here, named("third")).unwrap();
                // A reader that resumed from a cursor of these would lose the start.
                for message in [changing.heartbeat(), changing.bye("stopping", 1)] {
                    let message: Value = serde_json::from_slice(&message).unwrap();
                    assert_eq!(message.get("cursor"), None, "{message}");
                }
                let_go.send(()).unwrap();
                busy.await.unwrap().unwrap();
                let (acks, messages) = answers(&notifier, &mut changing).await;
                let mut wanted = ["first", "second", "refused", "third"]
                    .map(|name| (at.clone(), Value::from(name)));
                wanted[2].0 = Value::Null;
                assert_eq!(acks, wanted, "{start:?}");
                assert_eq!(messages, expected, "{start:?}");
                // Once it is found, the next query continues from where the reader is.
                let beat: Value = serde_json::from_slice(&changing.heartbeat()).unwrap();
                assert_eq!(beat["cursor"], expected.last().unwrap()["cursor"]);
                changing.refuse("invalid_query", None, "refused");
                changing.ask(selector(0, false), StreamStart::Here, named("fourth")).unwrap();
                let (acks, messages) = answers(&notifier, &mut changing).await;
                let end = expected.last().unwrap()["cursor"].clone();
                let wanted = vec![(Value::Null, "refused".into()), (end, "fourth".into())];
                assert_eq!((acks, messages.len()), (wanted, 1));
            }
            // A query with a start of its own replaces it.
            let (let_go, held) = std::sync::mpsc::channel::<()>();
            let busy = tokio::task::spawn_blocking(move || held.recv());
            let (notifier, mut changing) = follower(&world.hub);
            changing.ask(selector(1, false), start, named("first")).unwrap();
            assert!(changing.take().messages.is_empty());
            changing.ask(selector(0, false), StreamStart::Oldest, named("second")).unwrap();
            let_go.send(()).unwrap();
            busy.await.unwrap().unwrap();
            let (acks, messages) = answers(&notifier, &mut changing).await;
            let names: Vec<_> = acks.iter().map(|(_, name)| name.clone()).collect();
            assert_eq!(names, ["first", "second"], "{start:?}");
            let events = world.items.iter().filter(|(at, _)| at.entities == 0).count();
            assert_eq!(messages.len(), events + 1, "{start:?}");
        }
    });
}

#[tokio::test]
async fn kept_latest_counts_back_from_where_it_was_asked() {
    let (_dir, store) = new_store();
    let mut world = World::new(&store, TAG, 1);
    for _ in 0..60 {
        world.write().await;
    }
    world.deliver();
    let events = |world: &World| world.items.iter().filter(|(at, _)| at.entities == 0).count();
    let before = events(&world);
    // They are the newest ones only once they are delivered.
    for _ in 0..20 {
        world.write().await;
    }
    let later = events(&world) - before;
    let (notifier, mut changing) = follower(&world.hub);
    changing.ask(selector(0, false), StreamStart::Latest(30), named("first")).unwrap();
    world.deliver();
    changing.ask(selector(0, false), StreamStart::Here, named("second")).unwrap();
    let (acks, messages) = answers(&notifier, &mut changing).await;
    assert_eq!(acks.len(), 2);
    assert_eq!(messages.len(), 30 + later + 1, "with `caught_up`");
}

#[tokio::test(start_paused = true)]
async fn start_in_the_future_is_kept() {
    let (_dir, store) = new_store();
    let clock = Clock::starting_at(Timestamp::from_seconds(1_800_000_000));
    let hub = new_hub(&store, TAG, None, clock);
    let (notifier, mut changing) = follower(&hub);
    let (before, since) = (clock.instant(), clock.now().plus(Duration::from_secs(30)));
    changing.ask(selector(0, false), StreamStart::Since(since), named("first")).unwrap();
    assert!(changing.take().messages.is_empty());
    changing.ask(selector(1, false), StreamStart::Here, named("second")).unwrap();
    let (acks, _) = answers(&notifier, &mut changing).await;
    let names: Vec<_> = acks.iter().map(|(_, name)| name.clone()).collect();
    assert_eq!(names, ["first", "second"]);
    assert_eq!((clock.instant() - before).as_secs(), 30);
}
