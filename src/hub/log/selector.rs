//! What a reader of the stream asked for, compiled: which messages, and how they are written.

use std::sync::Arc;

use bytes::Bytes;

use super::encoding::StreamEncoding;
use crate::hub::fanout::frame::LARGE_BYTES;
use crate::hub::fanout::memory;
use crate::hub::log::filter::Filter;
use crate::hub::log::projection::{Of, Projection};
use crate::hub::log::query::FieldPath;
use crate::hub::log::tail::TailEvent;
use crate::model::json;
use crate::model::message::push_payload;
use crate::model::offset::Offset;
use crate::model::position::Cursor;

/// More entities than an event has: a place with so many is behind all of them.
const ALL_ENTITIES: u32 = u32::MAX;
/// What a message takes at most beside the values of its event: its key and its cursor, the
/// payload with a language of any length that is known, and what the form puts around it.
const MESSAGE_BYTES: usize = 400;

/// Which messages in which form. Readers who asked for the same share the work.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StreamSelection {
    /// Which.
    pub filter: Filter,
    /// Only these values of an event; all of it when there are none. Sorted, each once.
    fields: Vec<FieldPath>,
}

/// A [`StreamSelection`] made ready.
#[derive(Debug)]
pub struct StreamSelector {
    ask: Arc<StreamSelection>,
    projection: Option<Projection>,
}

impl StreamSelection {
    /// For this filter and these paths, in whatever order they came.
    #[must_use]
    pub fn new(filter: Filter, mut fields: Vec<FieldPath>) -> Self {
        fields.sort();
        fields.dedup();
        Self { filter, fields }
    }

    /// The paths, sorted, each once.
    #[must_use]
    pub fn fields(&self) -> &[FieldPath] {
        &self.fields
    }
}

impl StreamSelector {
    /// Makes it ready.
    #[must_use]
    pub fn new(ask: StreamSelection) -> Self {
        let projection = (!ask.fields.is_empty()).then(|| Projection::map(&ask.fields));
        Self { ask: Arc::new(ask), projection }
    }

    /// What it was made of; one copy, however many hold it.
    #[must_use]
    pub fn ask(&self) -> &Arc<StreamSelection> {
        &self.ask
    }

    /// The place behind an event and whatever is asked of it.
    pub(super) fn behind(&self, cursor: Cursor) -> Offset {
        let wants_entities = self.ask.filter.wants_entities();
        Offset { cursor, entities: if wants_entities { ALL_ENTITIES } else { 0 } }
    }

    /// Whether some of the entities of the event at this place are still to come.
    pub(super) fn is_partly_had(&self, place: Offset) -> bool {
        self.ask.filter.wants_entities() && place.entities != ALL_ENTITIES
    }

    /// Whether there may be something of this event.
    pub(super) fn takes(&self, event: &TailEvent) -> bool {
        let filter = &self.ask.filter;
        if !filter.wants_entities() {
            return filter.matches(event);
        }
        let mut keys = event.entities().iter().map(|entity| entity.key.as_str());
        filter.holds(event)
            && (filter.takes_key(event.index().key()) || keys.any(|key| filter.takes_key(key)))
    }

    /// Appends what is asked of an event, if anything is; gives how many messages that was. Of one
    /// that was had in part, only what lies behind that place.
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        form: StreamEncoding,
        event: &TailEvent,
        had: Option<Offset>,
    ) -> u64 {
        if !self.takes(event) {
            return 0;
        }
        let had = had.filter(|place| place.cursor == event.cursor);
        let mut messages = 0;
        if had.is_none() && self.ask.filter.takes_key(event.index().key()) {
            self.push_event(out, form, event);
            messages += 1;
        }
        if self.ask.filter.wants_entities() {
            let had = had.map_or(0, |place| place.entities);
            messages += self.push_entities(out, form, event, had);
        }
        messages
    }

    /// The most bytes that are written of an event that is taken, or held for it.
    pub(super) fn bytes_of(&self, event: &TailEvent) -> usize {
        let weight = event.weight();
        let projected = self.projection.as_ref().map_or(0, |form| form.bytes_of(weight));
        let wants_entities = self.ask.filter.wants_entities();
        let entities = if wants_entities { event.entities() } else { &[] };
        let documents: usize =
            entities.iter().map(|entity| entity.document.len() + MESSAGE_BYTES).sum();
        weight.max(projected) + MESSAGE_BYTES + documents
    }

    /// Whether an event is asked for of which much is written.
    pub(super) fn is_large(&self, event: &TailEvent) -> bool {
        // Its documents are parts of the event.
        let most = 2 * (event.weight() + MESSAGE_BYTES) + MESSAGE_BYTES;
        let may_be = most > LARGE_BYTES || self.projection.is_some();
        may_be && self.takes(event) && self.bytes_of(event) > LARGE_BYTES
    }

    fn push_entities(
        &self,
        out: &mut Vec<u8>,
        form: StreamEncoding,
        event: &TailEvent,
        had: u32,
    ) -> u64 {
        let mut messages = 0;
        for (number, entity) in (1_u32..).zip(event.entities()) {
            let key = entity.key.as_str();
            if number <= had || !self.ask.filter.takes_key(key) {
                continue;
            }
            let cursor = Offset { cursor: event.cursor, entities: number }.to_string();
            let parts = [
                "{\"type\":\"entity\",\"cursor\":\"",
                &cursor,
                "\",\"key\":\"",
                key,
                "\",\"document\":",
                &entity.document,
                "}",
            ];
            form.push(out, "entity", Some(&cursor), &parts);
            messages += 1;
        }
        messages
    }

    fn push_event(&self, out: &mut Vec<u8>, form: StreamEncoding, event: &TailEvent) {
        let cursor = event.cursor.to_string();
        let mut key = String::with_capacity(48);
        json::push_text(&mut key, event.index().key());
        let facts = &event.envelope.facts;
        let mut payload = String::with_capacity(160);
        push_payload(&mut payload, facts);
        let [a, b, c, d] = ["{\"type\":\"event\",\"cursor\":\"", &cursor, "\",\"key\":", &key];
        let text = &*event.envelope.event;
        match &self.projection {
            None => {
                let parts = [a, b, c, d, ",\"event\":", text, ",\"payload\":", &payload, "}"];
                form.push(out, "event", Some(&cursor), &parts);
            }
            Some(projection) => {
                let of = Of { text, flags: facts.flags, payload: &payload, zeros: false };
                let fields = projection.pick(&self.ask.fields, of, |parts| parts.concat());
                let parts = [a, b, c, d, ",\"fields\":", &fields, "}"];
                form.push(out, "event", Some(&cursor), &parts);
            }
        }
    }

    /// What is asked of an event that is known to be wanted, and how many messages it is. Whole
    /// events are encoded once, however many ask for them.
    pub(super) fn encode(&self, form: StreamEncoding, event: &TailEvent) -> (Bytes, u64) {
        if self.projection.is_none() && !self.ask.filter.wants_entities() {
            let encode = || {
                let is_deflated = form == StreamEncoding::Deflated;
                let room = if is_deflated { 0 } else { event.weight() + MESSAGE_BYTES };
                let mut out = Vec::with_capacity(room);
                self.push_event(&mut out, form, event);
                memory::hold(out)
            };
            return (event.streamed(form, encode).clone(), 1);
        }
        let mut out = Vec::new();
        let messages = self.push(&mut out, form, event, None);
        (memory::hold(out), messages)
    }
}
