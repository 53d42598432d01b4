//! The tail: the newest events of the bus, in its order, for whoever follows it live.
//!
//! A byte-bounded ring. Readers name the place they are at by a number that grows by one an event;
//! who comes too late is told how many events are gone. Appending never waits for a reader.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::frame::Frame;
use crate::model::envelope::{Envelope, Flags};
use crate::model::event::{self, Event};
use crate::model::position::Cursor;

/// The most bytes of events that the ring holds; each may be held twice, raw and as a frame.
pub const TAIL_BYTES: usize = 32 << 20;

/// An event at its place on the bus.
#[derive(Debug)]
pub struct TailEvent {
    /// Where it is.
    pub cursor: Cursor,
    /// The event and its facts.
    pub envelope: Envelope,
    /// What readers choose by.
    pub head: Head,
    whole: OnceLock<Frame>,
}

/// What readers choose events by, read once an event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Head {
    /// GitHub's type.
    pub kind: Option<Box<str>>,
    /// `owner/name`.
    pub repo_name: Option<Box<str>>,
    /// The actor's login.
    pub actor_login: Option<Box<str>>,
}

impl Head {
    /// Of an event that was read.
    #[must_use]
    pub fn of(event: &Event<'_>) -> Self {
        let [repo_name, actor_login] =
            [&event.repo_name, &event.actor_login].map(|text| text.as_deref().map(Box::from));
        Self::new(&event.key.kind, repo_name, actor_login)
    }

    /// Of what was read before; an event without a type has an empty one.
    #[must_use]
    pub fn new(kind: &str, repo_name: Option<Box<str>>, actor_login: Option<Box<str>>) -> Self {
        let kind = Some(kind).filter(|kind| !kind.is_empty()).map(Box::from);
        Self { kind, repo_name, actor_login }
    }

    /// Whether it is of the type that is counted by day and by language.
    #[must_use]
    pub fn is_pull_request(&self) -> bool {
        self.kind.as_deref() == Some(event::PULL_REQUEST)
    }
}

impl TailEvent {
    /// Reads the head from the event's text; one that cannot be read has an empty head.
    #[must_use]
    pub fn new(cursor: Cursor, envelope: Envelope) -> Self {
        let head = Event::read(&envelope.event).map_or_else(|_| Head::default(), |e| Head::of(&e));
        Self::with_head(cursor, envelope, head)
    }

    /// For who has read the event already.
    #[must_use]
    pub fn with_head(cursor: Cursor, envelope: Envelope, head: Head) -> Self {
        Self { cursor, envelope, head, whole: OnceLock::new() }
    }

    /// `{"event":…,"payload":…}` as a frame, encoded by the first who asks.
    pub fn whole(&self) -> &Frame {
        self.whole.get_or_init(|| {
            let payload = payload(self.envelope.facts.flags);
            Frame::text(&["{\"event\":", &self.envelope.event, ",\"payload\":", &payload, "}"])
        })
    }

    /// The bytes of the event's text, by which memory is counted.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.envelope.event.len()
    }
}

/// The payload of `/sampling`: exactly seven keys, whole numbers.
#[must_use]
pub(super) fn payload(flags: Flags) -> String {
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
pub struct Stretch {
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
        for event in events {
            ring.bytes += event.weight();
            ring.events.push_back(event);
        }
        while ring.bytes > self.limit && ring.events.len() > 1 {
            let gone = ring.events.pop_front().expect("more than one is there");
            ring.bytes -= gone.weight();
            ring.first += 1;
        }
    }

    /// The place behind the newest event.
    #[must_use]
    pub fn end(&self) -> u64 {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.first + ring.events.len() as u64
    }

    /// At most `most` events from `place` on.
    #[must_use]
    pub fn read(&self, place: u64, most: usize) -> Stretch {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let from = place.max(ring.first);
        let skip = usize::try_from(from - ring.first).unwrap_or(usize::MAX);
        let events: Vec<_> = ring.events.iter().skip(skip).take(most).cloned().collect();
        Stretch { next: from + events.len() as u64, missed: from - place, events }
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
    fn the_newest_is_held_however_large_it_is() {
        let tail = Tail::new(1);
        tail.append(vec![numbered(1), numbered(2)]);
        assert_eq!(tail.read(0, 9).missed, 1);
        assert_eq!(tail.read(0, 9).events.len(), 1);
    }
}
