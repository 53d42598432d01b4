//! The tail: the newest events of the bus, in its order, for whoever follows it live.
//!
//! A byte-bounded ring. Readers name the place they are at by a number that grows by one an event;
//! who comes too late is told how many events are gone. Appending never waits for a reader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;

use super::encoding::StreamEncoding;
use crate::hub::fanout::frame::Frame;
use crate::model::entity::{Entity, entities};
use crate::model::envelope::{Envelope, Flags};
use crate::model::event::Event;
use crate::model::event_index::EventIndex;
use crate::model::json;
use crate::model::position::{Cursor, Position};

/// The most bytes of events that the ring holds.
pub const TAIL_BYTES: usize = 32 << 20;
/// Of so many bytes of the newest events the ring keeps the forms that readers were sent, too,
/// which may take a few times as much. Older ones are encoded again for readers that need them.
const ENCODED_BYTES: usize = 4 << 20;

/// An event at its place on the bus.
#[derive(Debug)]
pub struct TailEvent {
    /// Where it is.
    pub cursor: Cursor,
    /// The event and its facts.
    pub envelope: Envelope,
    head: OnceLock<EventIndex>,
    action: OnceLock<Option<Box<str>>>,
    entities: OnceLock<Box<[Entity]>>,
    whole: OnceLock<Frame>,
    /// As the stream has it, in each of its forms.
    streamed: [OnceLock<Bytes>; StreamEncoding::ALL.len()],
}

impl TailEvent {
    /// What readers choose by is read when the first of them asks.
    #[must_use]
    pub fn new(cursor: Cursor, envelope: Envelope) -> Self {
        let (head, action, entities, whole, streamed) = Default::default();
        Self { cursor, envelope, head, action, entities, whole, streamed }
    }

    /// For who has read the event already.
    #[must_use]
    pub fn with_index(cursor: Cursor, envelope: Envelope, head: EventIndex) -> Self {
        let event = Self::new(cursor, envelope);
        event.head.get_or_init(|| head);
        event
    }

    /// What readers choose by; empty when the event cannot be read.
    pub fn index(&self) -> &EventIndex {
        self.head.get_or_init(|| {
            let event = Event::read(&self.envelope.event);
            event.map_or_else(
                |_| EventIndex::default(),
                |e| EventIndex::of(&e, &self.envelope.facts),
            )
        })
    }

    /// `payload.action` with A to Z made a to z. Few ask for it, so it is not part of the head.
    pub fn action(&self) -> Option<&str> {
        let read = || {
            let action = json::at(&self.envelope.event, &["payload", "action"])?;
            Some(json::text(action)?.to_ascii_lowercase().into())
        };
        self.action.get_or_init(read).as_deref()
    }

    /// The documents that it makes, with their keys; made for the first who asks.
    pub fn entities(&self) -> &[Entity] {
        let Envelope { event, facts } = &self.envelope;
        let make = || Event::read(event).map(|event| entities(&event, facts.inserted).into());
        self.entities.get_or_init(|| make().unwrap_or_default())
    }

    /// `{"event":…,"payload":…}` as a frame, encoded by the first who asks.
    pub fn whole(&self) -> &Frame {
        self.whole.get_or_init(|| {
            let payload = payload(self.envelope.facts.flags);
            Frame::text(&["{\"event\":", &self.envelope.event, ",\"payload\":", &payload, "}"])
        })
    }

    /// The same where somebody has asked for it already.
    pub(in crate::hub) fn made_whole(&self) -> Option<&Frame> {
        self.whole.get()
    }

    /// The event as the stream has it, encoded by the first who asks.
    pub(in crate::hub) fn streamed(
        &self,
        form: StreamEncoding,
        encode: impl FnOnce() -> Bytes,
    ) -> &Bytes {
        self.streamed[form as usize].get_or_init(encode)
    }

    /// The same event without what was encoded of it.
    fn bare(&self) -> Self {
        let mut event = Self::new(self.cursor, self.envelope.clone());
        event.head = self.head.clone();
        event.action = self.action.clone();
        event
    }

    /// The bytes of the event's text, by which memory is counted.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.envelope.event.len()
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

/// What a reader got.
#[derive(Debug)]
pub struct TailBatch {
    /// The events, in the bus's order.
    pub events: Vec<Arc<TailEvent>>,
    /// The place behind them: where to read on.
    pub next: u64,
    /// How many events before them are gone from the ring.
    pub missed: u64,
}

/// The ring.
#[derive(Debug)]
pub struct Tail {
    ring: Mutex<Ring>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Ring {
    events: VecDeque<Arc<TailEvent>>,
    first: u64,
    bytes: usize,
    /// Bytes of the newest events that keep what was encoded of them, and how many they are.
    encoded_bytes: usize,
    encoded: usize,
    /// The newest event that is not held: all behind it are.
    floor: Option<Cursor>,
}

impl Ring {
    /// Drops what was encoded of events that are not among the newest.
    fn let_go_of_encoded(&mut self) {
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
    /// An empty ring for at most `limit` bytes of events; the newest event is always held.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { ring: Mutex::default(), limit }
    }

    /// Puts events behind the newest; the oldest make room.
    pub fn append(&self, events: Vec<TailEvent>) {
        let events: Vec<Arc<TailEvent>> = events.into_iter().map(Arc::new).collect();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = &mut *ring;
        for event in events {
            ring.bytes += event.weight();
            ring.encoded_bytes += event.weight();
            ring.encoded += 1;
            ring.events.push_back(event);
        }
        ring.let_go_of_encoded();
        while ring.bytes > self.limit && ring.events.len() > 1 {
            let gone = ring.events.pop_front().expect("more than one is there");
            if ring.encoded > ring.events.len() {
                ring.encoded = ring.events.len();
                ring.encoded_bytes -= gone.weight();
            }
            ring.bytes -= gone.weight();
            ring.first += 1;
            ring.floor = Some(gone.cursor);
        }
    }

    /// Says that everything up to here is elsewhere, and what comes next will be appended. Nothing
    /// happens once anything was.
    pub fn begin_behind(&self, cursor: Cursor) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if ring.first == 0 && ring.events.is_empty() {
            ring.floor = Some(cursor);
        }
    }

    /// The newest event; `None` while nothing is known.
    #[must_use]
    pub fn newest(&self) -> Option<Cursor> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.events.back().map(|event| event.cursor).or(ring.floor)
    }

    /// Where to read on behind a position of the bus; `None` when what lies behind it is not all
    /// held here.
    #[must_use]
    pub fn place_behind(&self, position: Position) -> Option<u64> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = ring.floor.or_else(|| ring.events.front().map(|event| event.cursor))?;
        if position < floor.position {
            return None;
        }
        let before = ring.events.partition_point(|event| event.cursor.position <= position);
        Some(ring.first + before as u64)
    }

    /// The place behind the newest event.
    #[must_use]
    pub fn end(&self) -> u64 {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.first + ring.events.len() as u64
    }

    /// At most `most` of the newest events, newest first.
    #[must_use]
    pub fn newest_first(&self, most: usize) -> Vec<Arc<TailEvent>> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.events.iter().rev().take(most).cloned().collect()
    }

    /// At most `most` events from `place` on.
    #[must_use]
    pub fn read(&self, place: u64, most: usize) -> TailBatch {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let from = place.max(ring.first);
        let skip = usize::try_from(from - ring.first).unwrap_or(usize::MAX);
        let events: Vec<_> = ring.events.iter().skip(skip).take(most).cloned().collect();
        TailBatch { next: from + events.len() as u64, missed: from - place, events }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::model::envelope::Facts;
    use crate::model::position::{BusTag, Position};

    /// An event as apply would append it.
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
    fn the_whole_form_is_the_event_as_it_came_and_seven_numbers() {
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
    fn who_comes_too_late_is_told_what_is_gone() {
        let weight = numbered(1).weight();
        let tail = Tail::new(3 * weight);
        tail.append((0..5).map(numbered).collect());
        let stretch = tail.read(0, 2);
        assert_eq!((stretch.missed, stretch.next, stretch.events.len()), (2, 4, 2));
        assert_eq!(stretch.events[0].cursor.position, Position::counted(2));
        let rest = tail.read(stretch.next, 10);
        assert_eq!((rest.missed, rest.next, rest.events.len()), (0, 5, 1));
        assert_eq!(tail.end(), 5);
        assert!(tail.read(5, 10).events.is_empty());
    }

    #[test]
    fn a_place_is_found_by_position_only_where_nothing_is_missing() {
        let weight = numbered(10).weight();
        let tail = Tail::new(3 * weight);
        assert_eq!((tail.newest(), tail.place_behind(Position::counted(9))), (None, None));
        tail.begin_behind(numbered(10).cursor);
        let behind = |n| tail.place_behind(Position::counted(n));
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
    fn older_events_are_held_without_what_was_encoded_of_them() {
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
        let made: Vec<bool> = events.iter().map(|event| event.made_whole().is_some()).collect();
        assert_eq!(made, [false, false, false, false, false, true, true, true]);
        assert_eq!(events[0].index().kind(), Some("A"));
        let tail = Tail::new(1);
        (1..=8).for_each(|number| tail.append(vec![large(number)]));
        assert_eq!(tail.read(0, 9).events.len(), 1);
    }

    #[test]
    fn the_newest_is_held_however_large_it_is() {
        let tail = Tail::new(1);
        tail.append(vec![numbered(1), numbered(2)]);
        assert_eq!(tail.read(0, 9).missed, 1);
        assert_eq!(tail.read(0, 9).events.len(), 1);
    }
}
