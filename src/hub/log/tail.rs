//! The tail: the newest events of the bus in its order, for live subscribers.
//!
//! A ring bounded in bytes. Events have consecutive numbers, and a reader continues from a number;
//! it learns how many events before its batch are gone from the ring. Appending never waits for a
//! reader.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;

use super::encoding::StreamEncoding;
use super::streamed_event::{DerivedFields, StreamedEvent};
use crate::hub::fanout::frame::Frame;
use crate::model::envelope::{Envelope, Facts, Flags};
use crate::model::event_index::EventIndex;
use crate::model::position::{Cursor, Position};
use crate::model::privacy::Privacy;
use crate::sync::lock;

/// The default limit of the ring in bytes of events.
pub const TAIL_BYTES: usize = 32 << 20;
/// The newest events of this many bytes keep their encoded messages too, which may take a few times
/// as much. Older events are encoded again for readers that need them.
const ENCODED_BYTES: usize = 4 << 20;

/// An event, its cursor, and what was derived from it so far.
#[derive(Debug)]
pub struct TailEvent {
    /// Its position on the bus.
    pub cursor: Cursor,
    /// The event and its facts.
    pub envelope: Envelope,
    derived: DerivedFields,
    whole: OnceLock<Frame>,
    /// The message of `/stream` in each encoding.
    streamed: [OnceLock<Bytes>; StreamEncoding::ALL.len()],
    /// Whether `privacy.exclude` leaves it out since it was appended.
    is_left_out: AtomicBool,
}

impl TailEvent {
    /// The index is read from the event when it is first needed.
    #[must_use]
    pub fn new(cursor: Cursor, envelope: Envelope) -> Self {
        let (derived, whole, streamed) = Default::default();
        let is_left_out = AtomicBool::new(false);
        Self { cursor, envelope, derived, whole, streamed, is_left_out }
    }

    /// An event whose index is known already.
    #[must_use]
    pub fn with_index(cursor: Cursor, envelope: Envelope, index: EventIndex) -> Self {
        let derived = DerivedFields::with_index(Some(index));
        Self { derived, ..Self::new(cursor, envelope) }
    }

    /// The frame `{"event":…,"payload":…}` of `/sampling`, encoded on the first call.
    pub fn whole(&self) -> &Frame {
        self.whole.get_or_init(|| {
            let payload = payload(self.envelope.facts.flags);
            Frame::text(&["{\"event\":", &self.envelope.event, ",\"payload\":", &payload, "}"])
        })
    }

    /// That frame, if it is encoded already.
    pub(in crate::hub) fn encoded_whole(&self) -> Option<&Frame> {
        self.whole.get()
    }

    /// The message of `/stream` for the whole event, encoded on the first call.
    pub(in crate::hub) fn streamed(
        &self,
        encoding: StreamEncoding,
        encode: impl FnOnce() -> Bytes,
    ) -> &Bytes {
        self.streamed[encoding as usize].get_or_init(encode)
    }

    /// A copy without encoded messages.
    fn bare(&self) -> Self {
        Self {
            derived: self.derived.without_entities(),
            is_left_out: AtomicBool::new(self.is_left_out()),
            ..Self::new(self.cursor, self.envelope.clone())
        }
    }

    /// Bytes of the event's text, by which memory is counted.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.envelope.event.len()
    }
}

impl StreamedEvent for TailEvent {
    fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn text(&self) -> &str {
        &self.envelope.event
    }

    fn facts(&self) -> &Facts {
        &self.envelope.facts
    }

    fn is_left_out(&self) -> bool {
        self.is_left_out.load(Ordering::Relaxed)
    }

    fn derived(&self) -> &DerivedFields {
        &self.derived
    }
}

/// The payload of `/sampling`: exactly seven keys, whole numbers.
#[must_use]
pub(in crate::hub) fn payload(flags: Flags) -> String {
    let mut text = String::with_capacity(80);
    for (name, set) in flags.named() {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.extend(["\"", name, "\":", if set { "1" } else { "0" }]);
    }
    text.push('}');
    text
}

/// Consecutive events of the ring.
#[derive(Debug, Default)]
pub struct TailBatch {
    /// The events in the order of the bus.
    pub events: Vec<Arc<TailEvent>>,
    /// The number to continue with.
    pub next: u64,
    /// Number of requested events that are gone from the ring.
    pub missed: u64,
}

/// The ring.
#[derive(Debug)]
pub struct Tail {
    ring: Mutex<Ring>,
    limit: usize,
    /// Held while events are marked.
    marking: Mutex<()>,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<TailEvent>>,
    first: u64,
    bytes: usize,
    /// Bytes and number of the newest events that keep their encoded messages.
    encoded_bytes: usize,
    encoded: usize,
    /// The newest event that is not in the ring; every later event is.
    before_first: Option<Cursor>,
}

impl Ring {
    /// Drops the encoded messages of events that are not among the newest.
    fn drop_encoded(&mut self) {
        while self.encoded_bytes > ENCODED_BYTES && self.encoded > 1 {
            let oldest = self.events.len().checked_sub(self.encoded);
            if let Some(event) = oldest.and_then(|at| self.events.get_mut(at)) {
                self.encoded_bytes -= event.weight();
                *event = Arc::new(event.bare());
            }
            self.encoded -= 1;
        }
    }
}

impl Tail {
    /// An empty ring for up to `limit` bytes of events. The newest event is always kept.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { ring: Mutex::default(), limit, marking: Mutex::default() }
    }

    /// Appends events; the oldest ones are dropped beyond the limit.
    pub fn append(&self, events: Vec<TailEvent>) {
        let events: Vec<Arc<TailEvent>> = events.into_iter().map(Arc::new).collect();
        let mut ring = lock(&self.ring);
        let ring = &mut *ring;
        for event in events {
            ring.bytes += event.weight();
            ring.encoded_bytes += event.weight();
            ring.encoded += 1;
            ring.events.push_back(event);
        }
        ring.drop_encoded();
        while ring.bytes > self.limit && ring.events.len() > 1 {
            let gone = ring.events.pop_front().expect("more than one is there");
            if ring.encoded > ring.events.len() {
                ring.encoded = ring.events.len();
                ring.encoded_bytes -= gone.weight();
            }
            ring.bytes -= gone.weight();
            ring.first += 1;
            ring.before_first = Some(gone.cursor);
        }
    }

    /// Marks the events that are left out now, and no others: those of the ring, and those that the
    /// dispatcher and subscribers hold, which the ring may have dropped or copied. The rules are
    /// read once no other thread marks, so that older rules never replace the marks of newer ones.
    pub fn leave_out(&self, privacy: &Privacy, held: impl FnOnce() -> Vec<Arc<TailEvent>>) {
        let _marking = lock(&self.marking);
        let excluded = privacy.excluded();
        let events: Vec<_> = lock(&self.ring).events.iter().cloned().collect();
        let is_among = |event: &TailEvent| {
            let index = event.index();
            let [repo, actor, org] = index.names();
            excluded.hold(actor, org, repo)
        };
        let mut marks: HashMap<Cursor, bool> =
            events.iter().map(|event| (event.cursor, is_among(event))).collect();
        // Looking at names takes long, and an event may be a new copy by now.
        for event in &lock(&self.ring).events {
            let is_left_out = marks.get(&event.cursor).is_some_and(|is_left_out| *is_left_out);
            event.is_left_out.store(is_left_out, Ordering::Relaxed);
        }
        for event in held() {
            let is_left_out = *marks.entry(event.cursor).or_insert_with(|| is_among(&event));
            event.is_left_out.store(is_left_out, Ordering::Relaxed);
        }
    }

    /// Sets the cursor after which events will be appended; everything up to it is in the journal.
    /// Without effect after the first append.
    pub fn begin_behind(&self, cursor: Cursor) {
        let mut ring = lock(&self.ring);
        if ring.first == 0 && ring.events.is_empty() {
            ring.before_first = Some(cursor);
        }
    }

    /// The newest event, or where the ring begins; `None` before either is known.
    #[must_use]
    pub fn newest(&self) -> Option<Cursor> {
        let ring = lock(&self.ring);
        ring.events.back().map(|event| event.cursor).or(ring.before_first)
    }

    /// The number of the first event after a position of the bus; `None` if not all events after it
    /// are in the ring.
    #[must_use]
    pub fn number_after(&self, position: Position) -> Option<u64> {
        let ring = lock(&self.ring);
        let front = || ring.events.front().map(|event| event.cursor);
        if position < ring.before_first.or_else(front)?.position {
            return None;
        }
        let before = ring.events.partition_point(|event| event.cursor.position <= position);
        Some(ring.first + before as u64)
    }

    /// The number after the newest event.
    #[must_use]
    pub fn end(&self) -> u64 {
        let ring = lock(&self.ring);
        ring.first + ring.events.len() as u64
    }

    /// Up to `most` of the newest events, newest first.
    #[must_use]
    pub fn newest_first(&self, most: usize) -> Vec<Arc<TailEvent>> {
        let ring = lock(&self.ring);
        ring.events.iter().rev().take(most).cloned().collect()
    }

    /// Up to `most` events from number `from` on.
    #[must_use]
    pub fn read(&self, from: u64, most: usize) -> TailBatch {
        let ring = lock(&self.ring);
        let first = from.max(ring.first);
        let skip = usize::try_from(first - ring.first).unwrap_or(usize::MAX);
        let events: Vec<_> = ring.events.iter().skip(skip).take(most).cloned().collect();
        TailBatch { next: first + events.len() as u64, missed: first - from, events }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::event::Event;
    use crate::model::position::{BusTag, Position};

    /// An event as the apply stage would append it.
    pub(crate) fn tail_event(number: u64, text: &str) -> TailEvent {
        let event = Event::read(text).unwrap();
        let facts = Facts::of(&event, crate::model::window::Timestamp::default());
        let cursor = Cursor { tag: BusTag(1), position: Position::counted(number) };
        TailEvent::new(cursor, Envelope { facts, event: text.into() })
    }

    fn numbered(number: u64) -> TailEvent {
        tail_event(number, &format!(r#"{{"id":"{number}","type":"PushEvent"}}"#))
    }

    #[test]
    fn whole_frame_has_the_event_and_seven_numbers() {
        let text = r#"{"id":"1","type":"PullRequestEvent","payload":{"action":"opened"},"n":1.50}"#;
        assert_eq!(
            tail_event(1, text).whole().body(),
            [
                r#"{"event":"#,
                text,
                r#","payload":{"pr":1,"open":1,"merge":0,"close":0,"#,
                r#""devDay":0,"devYear":0,"repoYear":0}}"#
            ]
            .concat()
        );
    }

    #[test]
    fn late_reader_learns_how_many_events_are_gone() {
        let weight = numbered(1).weight();
        let tail = Tail::new(3 * weight);
        tail.append((0..5).map(numbered).collect());
        let batch = tail.read(0, 2);
        assert_eq!((batch.missed, batch.next, batch.events.len()), (2, 4, 2));
        assert_eq!(batch.events[0].cursor.position, Position::counted(2));
        let rest = tail.read(batch.next, 10);
        assert_eq!((rest.missed, rest.next, rest.events.len()), (0, 5, 1));
        assert_eq!(tail.end(), 5);
        assert!(tail.read(5, 10).events.is_empty());
    }

    #[test]
    fn number_is_found_only_if_no_later_event_is_missing() {
        let weight = numbered(10).weight();
        let tail = Tail::new(3 * weight);
        assert_eq!((tail.newest(), tail.number_after(Position::counted(9))), (None, None));
        tail.begin_behind(numbered(10).cursor);
        let behind = |n| tail.number_after(Position::counted(n));
        assert_eq!([9, 10, 11].map(behind), [None, Some(0), Some(0)]);
        tail.append([12, 14].map(numbered).into());
        assert_eq!(
            [9, 10, 11, 12, 13, 14, 15].map(behind),
            [None, Some(0), Some(0), Some(1), Some(1), Some(2), Some(2)]
        );
        tail.append([16, 18].map(numbered).into());
        assert_eq!([11, 12, 14, 18].map(behind), [None, Some(1), Some(2), Some(4)]);
        assert_eq!(tail.newest().map(|cursor| cursor.position), Some(Position::counted(18)));
    }

    #[test]
    fn older_events_are_kept_without_encoded_messages() {
        let tail = Tail::new(TAIL_BYTES);
        let large = |number: u64| {
            let body = "x".repeat(1 << 20);
            tail_event(number, &format!(r#"{{"id":"{number}","type":"A","body":"{body}"}}"#))
        };
        for number in 1..=8 {
            tail.append(vec![large(number)]);
            tail.newest_first(1)[0].whole();
        }
        let events = tail.read(0, 9).events;
        let made: Vec<bool> = events.iter().map(|event| event.encoded_whole().is_some()).collect();
        assert_eq!(made, [false, false, false, false, false, true, true, true]);
        assert_eq!(events[0].index().key(), "evt.a.insert");
        let tail = Tail::new(1);
        (1..=8).for_each(|number| tail.append(vec![large(number)]));
        assert_eq!(tail.read(0, 9).events.len(), 1);
    }

    #[test]
    fn marks_follow_the_rules_of_the_moment_when_they_are_made() {
        let (tail, privacy) = (Tail::new(TAIL_BYTES), Privacy::default());
        tail.append(vec![tail_event(1, r#"{"id":"1","type":"A","actor":{"login":"ann"}}"#)]);
        std::thread::scope(|scope| {
            let marking = lock(&tail.marking);
            let later = scope.spawn(|| tail.leave_out(&privacy, Vec::new));
            privacy.set(&["ann".to_owned()], false);
            drop(marking);
            later.join().unwrap();
        });
        assert!(tail.newest_first(1)[0].is_left_out());
    }

    #[test]
    fn newest_event_is_kept_whatever_its_size() {
        let tail = Tail::new(1);
        tail.append(vec![numbered(1), numbered(2)]);
        assert_eq!(tail.read(0, 9).missed, 1);
        assert_eq!(tail.read(0, 9).events.len(), 1);
    }
}
