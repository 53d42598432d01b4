//! Randomised runs of followers against a list of everything that was written: writes, subscribers
//! that connect, leave, change their query and are slow, a ring of a few events, retention, and
//! restarts. No message comes twice, none is left out, all are in order, and missing ones are
//! reported as gaps.
//!
//! `GHPULSE_SIM_SEED` repeats one run, `GHPULSE_SIM_RUNS` sets the number of runs.

mod bounds;
mod fair;
mod gaps;
mod queries;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::control::RetentionLimits;
use super::encoding::StreamEncoding;
use super::event_log::StreamJournal;
use super::follower::Follower;
use super::live::LiveSubscribers;
use super::page::StreamStart;
use super::selector::{StreamSelection, StreamSelector};
use super::{event_log, live, page, searches};
use crate::clock::Clock;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::fanout::turn::Turn;
use crate::hub::{Filter, Hub, HubOptions, StreamQuery, StreamedEvent as _, TailEvent};
use crate::model::envelope::{Envelope, Facts};
use crate::model::offset::Offset;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::Timestamp;
use crate::store::keys::{JournalKey, MinuteKey};
use crate::store::retention::{RetentionOptions, drop_due};
use crate::store::rows::{MinuteRow, push_journal};
use crate::store::{Durability, Store};

const RUNS: u64 = 600;
/// Runs that share a store. Each leaves deleted ranges in memory, which every new reader of RocksDB
/// sorts: 1,200 runs on one store take as long as 6,000 on sixty.
const RUNS_OF_A_STORE: usize = 100;
const STEPS: usize = 60;
const READERS: usize = 4;
/// About four events.
const RING_BYTES: usize = 600;
const QUERIES: [&[&str]; 5] = [
    &[],
    &["evt.push.*"],
    &["ent.#"],
    &["evt.watch.*", "ent.watchers.*"],
    &["!evt.watch.#", "evt.#"],
];

/// What was written, and how far it is known to whom.
struct World {
    store: Store,
    tag: BusTag,
    hub: Arc<Hub>,
    /// Ends the task that dispatches for the hub.
    dispatching: DropGuard,
    /// Every message there can be: its offset and its key.
    items: Vec<(Offset, String)>,
    last: u64,
    minute: i64,
    /// In the journal and not in the ring yet.
    pending: Vec<TailEvent>,
    rng: Rng,
}

/// A new store in a directory of its own.
fn new_store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
    (dir, store)
}

/// A hub with the journal of this store, in which `applied` is the last event.
fn new_hub(store: &Store, tag: BusTag, applied: Option<u64>, clock: Clock) -> Arc<Hub> {
    let hub = Arc::new(Hub::new(&HubOptions::default(), clock));
    let kept = RetentionLimits { duration: Duration::from_secs(60), bytes: 1 << 30 };
    let applied = applied.map(Position::counted);
    hub.attach_journal(StreamJournal {
        store: store.clone(),
        tag,
        applied,
        simulated: false,
        kept,
    });
    hub
}

/// Writes events to the journal, and does not append them to a hub.
async fn write_events(store: &Store, events: impl Iterator<Item = TailEvent>) {
    let rows: Vec<_> = events
        .map(|event| {
            let mut row = Vec::new();
            push_journal(&mut row, event.index(), &event.envelope.facts, &event.envelope.event);
            let Cursor { tag, position } = event.cursor;
            (JournalKey { tag, position }, row)
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

/// A follower, and what it has received.
struct Reader {
    notifier: Arc<Notifier>,
    follower: Follower,
    /// Index into [`QUERIES`].
    query: usize,
    /// Queries that are not acknowledged yet.
    asked: Vec<usize>,
    /// Everything up to here was received, or does not match.
    had: Offset,
    caught_up: bool,
    ended: bool,
}

fn takes(query: usize, key: &str) -> bool {
    let is_watch = key.starts_with("evt.watch.");
    match query {
        0 => key.starts_with("evt."),
        1 => key.starts_with("evt.push."),
        2 => key.starts_with("ent."),
        3 => is_watch || key.starts_with("ent.watchers."),
        _ => key.starts_with("evt.") && !is_watch,
    }
}

fn selector(query: usize, fields: bool) -> StreamSelector {
    let keys = QUERIES[query].iter().map(|key| (*key).to_owned()).collect();
    let (filter, _) = Filter::compile(&StreamQuery { keys, ..StreamQuery::default() }).unwrap();
    let fields =
        if fields { vec![crate::hub::FieldPath::read("event.id").unwrap()] } else { vec![] };
    StreamSelector::new(StreamSelection::new(filter, fields))
}

impl World {
    fn new(store: &Store, tag: BusTag, seed: u64) -> Self {
        let mut world = Self {
            store: store.clone(),
            tag,
            hub: Arc::new(Hub::new(&HubOptions::default(), Clock::system())),
            dispatching: CancellationToken::new().drop_guard(),
            items: Vec::new(),
            last: 0,
            minute: 0,
            pending: Vec::new(),
            rng: Rng::with_seed(seed),
        };
        world.start_hub();
        world
    }

    fn start_hub(&mut self) {
        let options = HubOptions { tail_bytes: RING_BYTES, ..HubOptions::default() };
        self.hub = Arc::new(Hub::new(&options, Clock::system()));
        let applied = Some(Position::counted(self.last)).filter(|_| self.last > 0);
        let kept = RetentionLimits { duration: Duration::from_secs(60), bytes: 1 << 20 };
        self.hub.attach_journal(StreamJournal {
            store: self.store.clone(),
            tag: self.tag,
            applied,
            simulated: false,
            kept,
        });
        let (hub, stop) = (Arc::clone(&self.hub), CancellationToken::new());
        self.dispatching = stop.clone().drop_guard();
        tokio::spawn(async move { hub.dispatch(stop).await });
    }

    fn event(&mut self) -> TailEvent {
        self.last += self.rng.u64(1..4);
        let (n, cursor) =
            (self.last, Cursor { tag: self.tag, position: Position::counted(self.last) });
        let text = if self.rng.bool() {
            format!(r#"{{"id":"{n}","type":"PushEvent"}}"#)
        } else {
            format!(
                r#"{{"id":"{n}","type":"WatchEvent","actor":{{"id":{n},"login":"a"}},"repo":{{"id":7,"name":"a/b"}},"payload":{{"action":"started"}}}}"#
            )
        };
        let received_at = Timestamp::from_seconds(self.minute * 60);
        let facts = Facts { received_at, ..Facts::default() };
        let event = TailEvent::new(cursor, Envelope { facts, event: text.into() });
        self.items.push((Offset::after(cursor), event.index().key().to_owned()));
        for (i, entity) in (1..).zip(event.entities()) {
            self.items.push((Offset { cursor, entities: i }, entity.key.to_string()));
        }
        event
    }

    async fn write(&mut self) {
        self.minute += i64::from(self.rng.u8(0..8) == 0);
        let events: Vec<TailEvent> = (0..self.rng.usize(1..6)).map(|_| self.event()).collect();
        let rows: Vec<_> = events
            .iter()
            .map(|event| {
                let (mut row, Envelope { facts, event: text }) = (Vec::new(), &event.envelope);
                if event.cursor.position.entry.is_multiple_of(2) {
                    push_journal(&mut row, event.index(), facts, text);
                } else {
                    // As older versions wrote it.
                    facts.encode(&mut row);
                    row.extend_from_slice(text.as_bytes());
                }
                (JournalKey { tag: self.tag, position: event.cursor.position }, row)
            })
            .collect();
        let key = MinuteKey { tag: self.tag, minute: crate::model::window::Minute(self.minute) };
        let work = move |batch: &mut crate::store::Batch<'_>| {
            let first = rows[0].0.position;
            let known = batch.get_as(&key, MinuteRow::decode)?;
            let row = known.unwrap_or(MinuteRow { first, bytes: 1 });
            batch.put(&key, &row.encode());
            for (key, row) in &rows {
                batch.put(key, row);
            }
            Ok(())
        };
        self.store.commit(work).await.unwrap();
        self.pending.extend(events);
    }

    fn deliver(&mut self) {
        self.hub.append(std::mem::take(&mut self.pending));
    }

    async fn retain(&mut self) {
        let retention = RetentionOptions {
            tag: self.tag,
            seen_for: Duration::from_secs(3_600),
            buckets: Duration::from_secs(3_600),
            journal_for: Duration::from_secs(60),
            journal_bytes: u64::MAX,
            held_by: None,
        };
        drop_due(&self.store, retention, Timestamp::from_seconds(self.minute * 60)).await.unwrap();
    }

    /// The matching messages after `from`, up to `to`.
    fn wanted(&self, query: usize, from: Offset, to: Offset) -> Vec<Offset> {
        let items = self.items.iter().filter(|(offset, key)| *offset > from && takes(query, key));
        items.map(|(offset, _)| *offset).filter(|offset| *offset <= to).collect()
    }

    fn dropped(&self) -> Offset {
        let dropped = self.store.watermarks().dropped.borrow().get(&self.tag).copied();
        let cursor = Cursor { tag: self.tag, position: dropped.unwrap_or_default() };
        Offset { cursor, entities: u32::MAX }
    }

    fn connect(&mut self, from: Option<Offset>) -> Reader {
        let notifier = Arc::new(Notifier::default());
        let follower = self.hub.follow(StreamEncoding::Ndjson, &notifier).unwrap();
        let had = follower.offset();
        let mut reader = Reader {
            notifier,
            follower,
            query: 0,
            asked: Vec::new(),
            had,
            caught_up: false,
            ended: false,
        };
        let query = self.rng.usize(..QUERIES.len());
        reader.ask(query, from.map_or(StreamStart::Here, StreamStart::Behind), self.rng.bool());
        reader
    }

    fn some_start(&mut self) -> StreamStart {
        match self.rng.u8(0..6) {
            0 => StreamStart::Oldest,
            1 => StreamStart::Latest(self.rng.usize(1..9)),
            2 => {
                let minute = self.rng.i64(0..=self.minute);
                StreamStart::Since(Timestamp::from_seconds(minute * 60))
            }
            3 if !self.items.is_empty() => {
                StreamStart::Behind(self.items[self.rng.usize(..self.items.len())].0)
            }
            4 => {
                let position = Position::counted(self.last + self.rng.u64(0..5));
                StreamStart::Behind(Offset::after(Cursor { tag: self.tag, position }))
            }
            _ => StreamStart::Here,
        }
    }
}

impl Reader {
    fn ask(&mut self, query: usize, start: StreamStart, fields: bool) {
        self.follower.ask(selector(query, fields), start, Vec::new()).unwrap();
        self.asked.push(query);
        self.caught_up = false;
    }

    /// Takes once and checks the messages.
    fn take(&mut self, world: &World) -> bool {
        let batch = self.follower.take();
        let mut messages = 0;
        for chunk in &batch.messages {
            for line in std::str::from_utf8(chunk).unwrap().lines() {
                let message: Value = serde_json::from_str(line).unwrap();
                messages += u64::from(matches!(message["type"].as_str(), Some("event" | "entity")));
                self.check(world, &message);
            }
        }
        assert_eq!(messages, batch.count);
        self.ended |= batch.ended.is_some();
        batch.more
    }

    fn check(&mut self, world: &World, message: &Value) {
        let offset = |name: &str| message[name].as_str().unwrap().parse::<Offset>().unwrap();
        match message["type"].as_str().unwrap() {
            "ack" => {
                // Each of several queries in a row is acknowledged, in their order.
                self.query = self.asked.remove(0);
                self.had = offset("cursor");
            }
            "event" | "entity" => {
                let at = offset("cursor");
                let before = world.wanted(self.query, self.had, at);
                assert_eq!(before, [at], "behind {} with {}", self.had, self.query);
                self.had = at;
                assert!(!message["key"].is_null());
            }
            "caught_up" | "heartbeat" => {
                let at = offset("cursor");
                assert!(at >= self.had, "{at} is before {}", self.had);
                assert_eq!(world.wanted(self.query, self.had, at), [], "left out at {at}");
                self.had = at;
                self.caught_up |= message["type"] == "caught_up";
            }
            "gap" => {
                let (from, to) = (offset("from"), offset("to"));
                assert!(to.cursor <= world.dropped().cursor, "a gap to {to} that is none");
                assert_eq!(world.wanted(self.query, self.had, from), [], "left out before a gap");
                self.had = to.max(self.had);
            }
            other => panic!("{other}"),
        }
    }

    /// Takes and checks a heartbeat.
    fn beat(&mut self, world: &World) {
        let heartbeat = self.follower.heartbeat();
        self.check(world, &serde_json::from_slice(&heartbeat).unwrap());
    }

    /// Takes and checks heartbeats until the offset is the newest, whatever the query.
    async fn come_to_the_newest(&mut self, world: &World) {
        let newest = world.hub.tail().newest().unwrap();
        while self.had.cursor < newest {
            tokio::task::yield_now().await;
            // Takes only after a notification, as connections do.
            let notified =
                poll_fn(|cx| Poll::Ready(self.notifier.poll_notified(cx).is_ready())).await;
            while notified && self.take(world) {}
            self.beat(world);
        }
    }

    /// Reads until it is live and has everything.
    async fn drain(&mut self, world: &World) {
        let end = Offset { cursor: world.items.last().unwrap().0.cursor, entities: u32::MAX };
        loop {
            if self.take(world) {
                continue;
            }
            let rest = world.wanted(self.query, self.had, end);
            let is_ahead = self.had.cursor > end.cursor;
            if self.asked.is_empty() && rest.is_empty() && (self.caught_up || is_ahead) {
                return;
            }
            let notified = poll_fn(|cx| self.notifier.poll_notified(cx));
            let waited = tokio::time::timeout(Duration::from_secs(60), notified).await;
            assert!(waited.is_ok(), "still to come behind {}: {rest:?}", self.had);
        }
    }
}

async fn run(store: &Store, seed: u64) {
    let tag = BusTag(u32::try_from(seed % 1_000_000).unwrap() + 1);
    let mut world = World::new(store, tag, seed);
    let mut readers: Vec<Reader> = (0..READERS).map(|_| world.connect(None)).collect();
    for _ in 0..STEPS {
        let at = world.rng.usize(..READERS);
        match world.rng.u8(0..20) {
            0..=5 => world.write().await,
            6..=8 => world.deliver(),
            9..=13 => drop(readers[at].take(&world)),
            14 => {
                let back = readers[at].had;
                readers[at] = world.connect(Some(back));
            }
            15 => {
                let query = world.rng.usize(..QUERIES.len());
                let (start, fields) = (world.some_start(), world.rng.bool());
                readers[at].ask(query, start, fields);
            }
            16 if world.rng.u8(0..3) == 0 => world.retain().await,
            17 if world.rng.u8(0..5) == 0 => {
                world.pending.clear();
                world.start_hub();
                for reader in &mut readers {
                    *reader = world.connect(Some(reader.had));
                }
            }
            18 if readers[at].asked.is_empty() => readers[at].beat(&world),
            _ => tokio::task::yield_now().await,
        }
    }
    world.write().await;
    world.deliver();
    for reader in &mut readers {
        reader.drain(&world).await;
    }
    world.write().await;
    world.deliver();
    for reader in &mut readers {
        let at_the_newest = reader.come_to_the_newest(&world);
        let came = tokio::time::timeout(Duration::from_secs(60), at_the_newest).await;
        assert!(came.is_ok(), "it stays at {}", reader.follower.offset());
    }
}

#[test]
fn replay_continues_into_live_without_a_seam() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds: Vec<u64> = match number("GHPULSE_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("GHPULSE_SIM_RUNS").unwrap_or(RUNS)).collect(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for seeds in seeds.chunks(RUNS_OF_A_STORE) {
        let dir = tempfile::tempdir().unwrap();
        let sync = Durability::Every(Duration::from_secs(3_600));
        let store = Store::open(dir.path(), sync, Clock::system()).unwrap();
        for seed in seeds {
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                runtime.block_on(run(&store, *seed));
            }));
            if let Err(panic) = ran {
                eprintln!("GHPULSE_SIM_SEED={seed} repeats this run");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[tokio::test]
async fn subscribers_are_notified_when_their_group_missed_events() {
    let (_dir, store) = new_store();
    let mut world = World::new(&store, BusTag(1), 1);
    let groups = LiveSubscribers::default();
    let notifier = Arc::new(Notifier::default());
    let pushes = Arc::new(selector(1, false));
    let mut subscriber = groups.subscribe(&pushes, StreamEncoding::Ndjson, 0, || 0, &notifier);
    let mut list = Vec::new();
    groups.groups.refresh(&mut list);
    let is_other = |event: &TailEvent| event.index().key() != "evt.push.insert";
    let other = std::iter::repeat_with(|| world.event()).find(is_other).unwrap();
    // The ring dropped five events before they were dispatched; some may have been pushes.
    assert_eq!(groups.dispatch(&list[0], 5, &[Arc::new(other)]), 0);
    assert_eq!(list[0].notify(Turn::ALL), 1);
    let woken = poll_fn(|cx| Poll::Ready(notifier.poll_notified(cx).is_ready())).await;
    assert!(woken, "the subscriber must look for the missed events");
    assert!(subscriber.take().is_none(), "it reads the ring, and then the journal");
}
