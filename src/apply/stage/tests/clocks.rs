//! Clocks that jump, a `Date` of GitHub that lies, is missing, or is that of a proxy with the same
//! clock, restarts and takeovers, at random: each event is admitted once and applied once, nothing
//! is deleted before its time, and everything is in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::bus::outbox::{self, OutboxEntry};
use crate::clock::witness::{TOLERANCE, Witness};
use crate::collect::entries::Entries;
use crate::collect::ingest::admit;
use crate::collect::source::{Poll, PolledPage};
use crate::model::envelope::Facts;
use crate::model::event::{Event, EventId, EventKey};
use crate::model::message::Outgoing;
use crate::model::window::Minute;
use crate::store::journal::JournalItem;
use crate::store::keys::{BodyKey, InboxKey, MetaKey, OutboxKey};
use crate::store::retention::RetentionPasses;
use crate::store::rows::{decode_inbox, encode_outbox};
use crate::store::{ENTRIES, outages};

/// 2026-11-30, in seconds since 1970.
const START: i64 = 1_796_000_000;
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// What a machine's clock is off by, seconds.
const STEPS: &[i64] = &[0, 1, -1, 200, -200, 2 * HOUR, -2 * HOUR, 30 * HOUR, -30 * HOUR, 4 * DAY];
/// The same, by years.
const FAR_STEPS: &[i64] = &[700 * DAY, -700 * DAY, 20_000 * DAY, -START];
/// What GitHub's `Date` is off by, where it lies by itself.
const LIES: &[i64] =
    &[400, -400, 5 * HOUR, -5 * HOUR, 11 * DAY, -11 * DAY, -701 * DAY, 3_000 * DAY];
/// Events on GitHub's page, and how long it shows them.
const SHOWN: usize = 30;
const SHOWN_FOR: Duration = Duration::from_secs(3 * 3_600);
const JOURNAL_FOR: Duration = Duration::from_secs(12 * 3_600);
const CLAIMED_FOR: Duration = Duration::from_secs(24 * 3_600);
/// Without a `Date` GitHub's time is known from its events, to within this.
const EARLY: Duration = Duration::from_secs(1_000);
/// How long after its time something may be deleted: in the end a pass runs every 50 minutes.
const LATE: Duration = Duration::from_secs(2 * 3_600);
const TOPIC: BusTag = BusTag(0x7fff_ffff);
/// Steps of a run, and runs.
const OPERATIONS: usize = 120;
const SEEDS: u64 = 6;

struct Node {
    dir: TempDir,
    clock: Clock,
    /// What its clock is off by, microseconds.
    off: &'static AtomicI64,
    witness: Arc<Witness>,
    /// Both are `None` only while it restarts.
    store: Option<Store>,
    retention: Option<RetentionPasses>,
    /// Messages of the topic that it has applied.
    read: usize,
    /// The events that it has applied, and the times of receipt under which it did.
    applied: BTreeMap<u64, Timestamp>,
}

/// The `Date` of GitHub's responses.
#[derive(Clone, Copy)]
enum DateHeader {
    /// GitHub's, off by these seconds.
    Off(i64),
    Missing,
    /// Of a proxy on the producer's machine: it has the same clock.
    OfProducer,
}

struct World {
    seed: u64,
    draw: fastrand::Rng,
    /// The true time.
    clock: Clock,
    /// What GitHub has, with the true time.
    events: Vec<(Timestamp, String)>,
    date: DateHeader,
    /// When each event was first shown to a node.
    shown: BTreeMap<u64, Timestamp>,
    topic: Option<Vec<(Outgoing, Timestamp)>>,
    producer: usize,
    nodes: Vec<Node>,
}

fn id_of(key: &EventKey) -> u64 {
    let EventId::Number(id) = key.id else { panic!("ids are numbers") };
    id
}

fn shifted(at: Timestamp, seconds: i64) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_add(seconds.saturating_mul(1_000_000)))
}

impl Node {
    async fn start(clock: Clock, has_broker: bool) -> Self {
        let off: &'static AtomicI64 = Box::leak(Box::default());
        let clock = clock.with_steps(off);
        let witness = Arc::new(Witness::new(clock));
        let dir = tempfile::tempdir().unwrap();
        let (store, retention, applied) = (None, None, BTreeMap::new());
        let mut node = Self { dir, clock, off, witness, store, retention, read: 0, applied };
        node.restart(has_broker).await;
        node
    }

    async fn restart(&mut self, has_broker: bool) {
        (self.store, self.retention) = (None, None);
        let sync = Durability::Every(Duration::from_secs(3_600));
        let store = Store::open(self.dir.path(), sync, self.clock).unwrap();
        self.witness = Arc::new(Witness::new(self.clock));
        let options = RetentionOptions {
            tag: if has_broker { TOPIC } else { store.bus_tag() },
            seen_for: CLAIMED_FOR,
            buckets: Duration::from_secs(3_600),
            journal_for: JOURNAL_FOR,
            journal_bytes: u64::MAX,
            held_by: None,
        };
        let witness = Arc::clone(&self.witness);
        let begun = RetentionPasses::begin(store.clone(), options, witness, self.clock).await;
        (self.store, self.retention) = (Some(store), Some(begun.unwrap()));
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    /// Moves admitted events to the outbox, as the enrich stage does.
    async fn forward(&self) {
        let mut inbox = Vec::new();
        let take = |key: InboxKey, value: &[u8]| {
            inbox.push((key, decode_inbox(key, value)?));
            Ok(true)
        };
        self.store().reader().scan(&InboxKey(0), take).unwrap();
        let moved = self.store().commit(move |batch| {
            let mut head = 0;
            for (key, (received_at, _)) in inbox {
                let body = batch.get(&BodyKey(key.0))?.unwrap();
                let event = Event::read(std::str::from_utf8(&body).unwrap()).unwrap();
                let entry = batch.next_number(ENTRIES)?;
                let facts = Facts::of(&event, received_at);
                batch.put(&OutboxKey(entry), &encode_outbox(key.0, &facts));
                batch.delete(&key);
                head = entry;
            }
            Ok(head)
        });
        let head = moved.await.unwrap();
        if head > 0 {
            self.store().watermarks().outbox.send_replace(head);
        }
    }

    fn outbox(&self) -> Vec<OutboxEntry> {
        outbox::read(self.store().reader(), 0, usize::MAX, usize::MAX).unwrap()
    }

    /// Applies deliveries, and what the bus has to change with them.
    async fn apply(
        &mut self,
        tag: BusTag,
        arrived: Vec<ArrivedDelivery>,
        spent: Vec<outbox::OutboxReceipt>,
    ) {
        let (own, now) = (self.store().bus_tag(), self.clock.now());
        let counted = self.store().commit(move |batch| {
            let counted = apply_new(batch, arrived, (tag, own), now, CLAIMED_FOR)?;
            outbox::settle(&spent, batch)?;
            Ok(counted)
        });
        for event in counted.await.unwrap().fresh {
            let id = id_of(&event.key);
            let before = self.applied.insert(id, event.received_at);
            assert_eq!(before, None, "event {id} was applied twice");
        }
    }

    /// The events of the journal.
    fn journal(&self, tag: BusTag) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let journal = self.store().reader().journal(tag).unwrap();
        let walked = journal.walk_behind(Position::default(), |item| {
            let JournalItem::Event(_, row) = item else { panic!("it is whole") };
            let id = id_of(&Event::read(row.event).unwrap().key);
            assert!(found.insert(id), "event {id} is in the journal twice");
            Ok(true)
        });
        walked.unwrap();
        found
    }
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut draw = fastrand::Rng::with_seed(seed);
        let clock = Clock::starting_at(Timestamp::from_seconds(START));
        let has_broker = draw.bool();
        let mut nodes = Vec::new();
        for _ in 0..if has_broker { 2 } else { 1 } {
            nodes.push(Node::start(clock, has_broker).await);
        }
        Self {
            seed,
            draw,
            clock,
            events: Vec::new(),
            date: DateHeader::Off(0),
            shown: BTreeMap::new(),
            topic: has_broker.then(Vec::new),
            producer: 0,
            nodes,
        }
    }

    fn tag(&self, node: &Node) -> BusTag {
        if self.topic.is_some() { TOPIC } else { node.store().bus_tag() }
    }

    /// Adds events to GitHub. A few have a time that is wrong.
    fn happen(&mut self, count: usize) {
        let now = self.clock.now();
        for _ in 0..count {
            let id = self.events.len() + 1;
            let is_wrong = self.draw.u32(0..50) == 0;
            let created_at = if is_wrong { shifted(now, 30_000 * DAY) } else { now };
            let event = format!(
                r#"{{"id":"{id}","type":"PullRequestEvent","created_at":"{created_at}",
                "repo":{{"id":9,"name":"ann/tool"}},"payload":{{"action":"opened","pull_request":
                {{"id":{id},"merged":false,"base":{{"repo":{{"id":9,"language":"Rust"}}}}}}}}}}"#
            );
            self.events.push((now, event));
        }
    }

    /// The producer reads GitHub's page, and each node applies what is new.
    async fn poll(&mut self) {
        let now = self.clock.now();
        let is_shown = |(at, _): &&(Timestamp, String)| now.since(*at) < SHOWN_FOR;
        let page: Vec<_> = self.events.iter().rev().take_while(is_shown).take(SHOWN).collect();
        let ids = (self.events.len() - page.len() + 1) as u64..=self.events.len() as u64;
        let texts: Vec<&str> = page.iter().map(|(_, text)| text.as_str()).collect();
        let entries = Entries::of_list(&Bytes::from(format!("[{}]", texts.join(","))));
        let node = &self.nodes[self.producer];
        match self.date {
            DateHeader::Off(off) => node.witness.record_date(shifted(now, off)),
            DateHeader::OfProducer => node.witness.record_date(node.clock.now()),
            DateHeader::Missing => {}
        }
        let received_at = node.witness.stamp();
        let pages = vec![PolledPage { number: 1, entries }];
        let admitted = admit(node.store(), Poll { pages, received_at }).await.unwrap();
        let known = ids.clone().filter(|id| self.shown.contains_key(id)).count() as u64;
        let new = page.len() as u64 - known;
        assert_eq!((admitted.new, admitted.known), (new, known), "admitted once");
        for id in ids {
            self.shown.entry(id).or_insert(now);
        }
        node.forward().await;
        self.deliver().await;
    }

    async fn deliver(&mut self) {
        let node = &mut self.nodes[self.producer];
        let entries = node.outbox();
        let spent: Vec<_> = entries.iter().map(|entry| entry.spent).collect();
        let Some(topic) = &mut self.topic else {
            let tag = node.store().bus_tag();
            let arrived = entries.into_iter().map(|OutboxEntry { envelope, summary, spent }| {
                let cursor = Cursor { tag, position: Position::counted(spent.entry) };
                let read = Ok(Prepared::new(cursor, envelope, summary, FactsFrom::Here));
                ArrivedDelivery { cursor, outage: None, read }
            });
            let arrived = arrived.collect();
            return node.apply(tag, arrived, spent).await;
        };
        // The time of publication is the client's.
        let messages = entries.iter().map(|entry| Outgoing::new(&entry.envelope, &entry.summary));
        topic.extend(messages.map(|message| (message, node.clock.now())));
        node.apply(TOPIC, Vec::new(), spent).await;
        for node in &mut self.nodes {
            let arrived = (node.read..topic.len()).map(|n| {
                let (Outgoing { body, properties, .. }, published_at) = &topic[n];
                let properties = [Some(&*properties[0].1), Some(&*properties[2].1)];
                let position = Position::counted(n as u64 + 1);
                let cursor = Cursor { tag: TOPIC, position };
                let read = Incoming::read(body.as_bytes(), properties, *published_at);
                let Incoming { envelope, summary, flags_given } = read.unwrap();
                let facts_from = FactsFrom::of_message(flags_given);
                let read = Ok(Prepared::new(cursor, envelope, summary, facts_from));
                ArrivedDelivery { cursor, outage: None, read }
            });
            let arrived = arrived.collect();
            node.read = topic.len();
            node.apply(TOPIC, arrived, Vec::new()).await;
        }
    }

    /// Lets time pass, with looks of retention.
    async fn pass(&mut self, mut passing: Duration) {
        loop {
            let part = passing.min(Duration::from_secs(1_700));
            tokio::time::advance(part).await;
            for node in &mut self.nodes {
                node.retention.as_mut().unwrap().look().await.unwrap();
            }
            passing -= part;
            if passing.is_zero() {
                return;
            }
        }
    }

    async fn operate(&mut self) {
        let (which, node) = (self.draw.u32(0..100), self.draw.usize(0..self.nodes.len()));
        match which {
            0..45 => {
                // GitHub always shows some within seconds, by which a proxy's `Date` is known.
                let least = usize::from(matches!(self.date, DateHeader::OfProducer));
                let events = self.draw.usize(least..6);
                self.happen(events);
                self.poll().await;
                self.pass(Duration::from_secs(1)).await;
            }
            45..70 => {
                let passing = [2, 61, 600, 7_000, 30_000, 120_000];
                let passing = passing[self.draw.usize(0..passing.len())];
                self.pass(Duration::from_secs(passing)).await;
            }
            70..80 => {
                let steps = if self.draw.u32(0..5) == 0 { FAR_STEPS } else { STEPS };
                let off = steps[self.draw.usize(0..steps.len())];
                // A message of 1970 is a dead letter.
                let off = if self.topic.is_some() { off.max(-4_000 * DAY) } else { off };
                self.nodes[node].off.store(off * 1_000_000, Ordering::Relaxed);
            }
            80..88 => {
                self.date = match self.draw.u32(0..5) {
                    0 | 1 => DateHeader::Off(0),
                    2 => DateHeader::Missing,
                    3 => DateHeader::OfProducer,
                    _ => DateHeader::Off(LIES[self.draw.usize(0..LIES.len())]),
                };
            }
            88..95 => self.nodes[node].restart(self.topic.is_some()).await,
            _ => self.producer = node,
        }
    }

    /// What was received at the right time, and is young, is in the journal.
    fn assert_young_are_kept(&self) {
        let now = self.clock.now();
        for node in &self.nodes {
            let journal = node.journal(self.tag(node));
            for (id, at) in &node.applied {
                let shown = self.shown[id];
                let is_right = at.since(shown).max(shown.since(*at)) <= TOLERANCE;
                let is_young = now.since(shown) + EARLY < JOURNAL_FOR;
                let is_kept = !is_right || !is_young || journal.contains(id);
                assert!(is_kept, "event {id} was received at {at}, and is gone at {now}");
            }
        }
    }

    /// All clocks are right, and days pass.
    async fn end(&mut self) {
        for node in &self.nodes {
            node.off.store(0, Ordering::Relaxed);
        }
        self.date = DateHeader::Off(0);
        for _ in 0..20 {
            self.happen(2);
            self.poll().await;
            self.pass(Duration::from_secs(45)).await;
        }
        for _ in 0..80 {
            self.happen(1);
            self.poll().await;
            self.pass(Duration::from_secs(3_000)).await;
            self.happen(1);
            self.poll().await;
            self.pass(Duration::from_secs(1)).await;
        }
        let now = self.clock.now();
        for node in &self.nodes {
            assert_eq!(node.applied.len(), self.shown.len(), "each event was applied");
            for id in node.journal(self.tag(node)) {
                let age = now.since(self.shown[&id]);
                assert!(age < JOURNAL_FOR + LATE, "event {id} is kept after {age:?}");
            }
            self.assert_nothing_old(node, now);
        }
    }

    fn assert_nothing_old(&self, node: &Node, now: Timestamp) {
        let (reader, tag) = (node.store().reader(), self.tag(node));
        let days = now.minus(CLAIMED_FOR + LATE).day().0..=now.day().0;
        let kept = reader.days_of_applied(now.day()).unwrap();
        assert!(kept.iter().all(|day| days.contains(day)), "claims of {kept:?}, not of {days:?}");
        let mut seen = BTreeSet::new();
        let take = |key: SeenKey, _: &[u8]| {
            seen.insert(key.day.0);
            Ok(true)
        };
        reader.scan(&SeenKey::first_of(Day(i32::MIN)), take).unwrap();
        assert!(seen.iter().all(|day| days.contains(day)), "claims of {seen:?}, not of {days:?}");
        let mut marks = Vec::new();
        let take = |MetaKey(name): MetaKey, _: &[u8]| {
            marks.extend(name.strip_prefix("claimed.").map(|day| day.parse::<i32>().unwrap()));
            Ok(true)
        };
        reader.scan(&MetaKey("claimed.".to_owned()), take).unwrap();
        assert!(marks.iter().all(|day| days.contains(day)), "marks of {marks:?}, not of {days:?}");
        let mut minutes = Vec::new();
        let take = |key: MinuteKey, _: &[u8]| {
            minutes.extend(Some(key.minute).filter(|_| key.tag == tag));
            Ok(true)
        };
        reader.scan(&MinuteKey { tag, minute: Minute(i64::MIN) }, take).unwrap();
        let oldest = now.minus(JOURNAL_FOR + LATE).minute();
        let is_young = |minute: &Minute| *minute >= oldest && *minute <= now.minute();
        assert!(minutes.iter().all(is_young), "minutes {minutes:?}, not from {oldest:?} on");
        let mut buckets = Vec::new();
        let take = |key: BucketKey, _: &[u8]| {
            buckets.push(Timestamp::from_seconds(key.second.0));
            Ok(true)
        };
        let second = crate::model::window::Second(i64::MIN);
        reader.scan(&BucketKey { second, language: String::new() }, take).unwrap();
        let is_near = |at: &Timestamp| now.since(*at) < 2 * LATE && *at <= now;
        assert!(buckets.iter().all(is_near), "buckets of {buckets:?}");
        let complete = reader.journal(tag).unwrap().complete_from().unwrap();
        assert!(complete.is_some_and(|minute| minute <= now.minute()), "from {complete:?} on");
        assert!(outages::polled(reader).unwrap().is_some_and(|at| at <= now));
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_clocks_double_nothing_and_delete_nothing_young() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed).await;
        println!("seed {}, {} nodes", world.seed, world.nodes.len());
        for _ in 0..OPERATIONS {
            world.operate().await;
            world.assert_young_are_kept();
        }
        world.end().await;
    }
}
