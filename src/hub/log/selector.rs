//! The compiled query of a stream subscriber: which messages, and which fields of an event.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;

use super::encoding::StreamEncoding;
use crate::hub::fanout::frame::LARGE_BYTES;
use crate::hub::fanout::memory;
use crate::hub::log::filter::Filter;
use crate::hub::log::projection::{ProjectedEvent, Projection};
use crate::hub::log::query::FieldPath;
use crate::hub::log::streamed_event::StreamedEvent;
use crate::hub::log::tail::TailEvent;
use crate::model::json;
use crate::model::message::push_payload;
use crate::model::offset::Offset;
use crate::model::position::Cursor;

/// More entities than an event has: an offset with this number is after all of them.
const ALL_ENTITIES: u32 = u32::MAX;
/// The most bytes of a message in addition to the values of its event: the key, the cursor, the
/// payload with the longest known language, and what the encoding adds.
const MESSAGE_BYTES: usize = 420;
/// The member of messages about events of the simulated GitHub; others do not have it.
const SIMULATED: &str = ",\"simulated\":true";

/// About the bytes of a message besides its event, allocated at once.
const AROUND_EVENT: usize = 320;

/// Which messages, and which of their fields. Subscribers with an equal selection share a group.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct StreamSelection {
    /// Which messages.
    pub filter: Filter,
    /// The fields of an event to send; none sends the whole event. Sorted, without duplicates.
    fields: Vec<FieldPath>,
}

/// A compiled [`StreamSelection`].
#[derive(Debug)]
pub struct StreamSelector {
    /// What it was compiled from.
    pub selection: Arc<StreamSelection>,
    projection: Option<Projection>,
}

impl StreamSelection {
    /// With this filter and these paths in any order.
    #[must_use]
    pub fn new(filter: Filter, mut fields: Vec<FieldPath>) -> Self {
        fields.sort();
        fields.dedup();
        Self { filter, fields }
    }

    /// The paths, sorted, without duplicates.
    #[must_use]
    pub fn fields(&self) -> &[FieldPath] {
        &self.fields
    }
}

impl StreamSelector {
    /// Compiles a selection.
    #[must_use]
    pub fn new(selection: StreamSelection) -> Self {
        let projection = (!selection.fields.is_empty()).then(|| Projection::map(&selection.fields));
        Self { selection: Arc::new(selection), projection }
    }

    /// The offset after an event and all its wanted entities.
    pub(super) fn after(&self, cursor: Cursor) -> Offset {
        let wants_entities = self.selection.filter.wants_entities();
        Offset { cursor, entities: if wants_entities { ALL_ENTITIES } else { 0 } }
    }

    /// Whether some entities of the event at this offset have not been sent.
    pub(super) fn is_partly_sent(&self, offset: Offset) -> bool {
        self.selection.filter.wants_entities() && offset.entities != ALL_ENTITIES
    }

    /// Whether the event, or an entity derived from it, is wanted.
    pub(super) fn takes(&self, event: &impl StreamedEvent) -> bool {
        let filter = &self.selection.filter;
        if event.is_left_out() {
            return false;
        }
        if !filter.wants_entities() {
            return filter.matches(event);
        }
        let mut keys = event.entities().iter().map(|entity| entity.key.as_str());
        filter.holds(event)
            && (filter.takes_key(event.index().key()) || keys.any(|key| filter.takes_key(key)))
    }

    /// Appends the wanted messages of an event, and returns their number. If the event was sent in
    /// part, up to the offset `had`, only the rest is appended.
    pub(super) fn push(
        &self,
        out: &mut Vec<u8>,
        encoding: StreamEncoding,
        event: &impl StreamedEvent,
        had: Option<Offset>,
    ) -> u64 {
        if !self.takes(event) {
            return 0;
        }
        let had = had.filter(|offset| offset.cursor == event.cursor());
        let mut messages = 0;
        if had.is_none() && self.selection.filter.takes_key(event.index().key()) {
            self.push_event(out, encoding, event);
            messages += 1;
        }
        if self.selection.filter.wants_entities() {
            let had = had.map_or(0, |offset| offset.entities);
            messages += self.push_entities(out, encoding, event, had);
        }
        messages
    }

    /// The most bytes that an event takes, encoded or not.
    pub(super) fn bytes_of(&self, event: &TailEvent) -> usize {
        let weight = event.weight();
        let projected = self.projection.as_ref().map_or(0, |encoding| encoding.bytes_of(weight));
        let wants_entities = self.selection.filter.wants_entities();
        let entities = if wants_entities { event.entities() } else { &[] };
        let documents: usize =
            entities.iter().map(|entity| entity.document.len() + MESSAGE_BYTES).sum();
        weight.max(projected) + MESSAGE_BYTES + documents
    }

    /// Whether an event is wanted and too large to be encoded on an async worker.
    pub(super) fn is_large(&self, event: &TailEvent) -> bool {
        // The documents of entities are parts of the event.
        let most = 2 * (event.weight() + MESSAGE_BYTES) + MESSAGE_BYTES;
        let may_be = most > LARGE_BYTES || self.projection.is_some();
        may_be && self.takes(event) && self.bytes_of(event) > LARGE_BYTES
    }

    fn push_entities(
        &self,
        out: &mut Vec<u8>,
        encoding: StreamEncoding,
        event: &impl StreamedEvent,
        had: u32,
    ) -> u64 {
        let mut messages = 0;
        let mark = if event.facts().simulated { SIMULATED } else { "" };
        for (number, entity) in (1_u32..).zip(event.entities()) {
            let key = entity.key.as_str();
            if number <= had || !self.selection.filter.takes_key(key) {
                continue;
            }
            let cursor = Offset { cursor: event.cursor(), entities: number }.to_string();
            let parts = [
                "{\"type\":\"entity\",\"cursor\":\"",
                &cursor,
                "\",\"key\":\"",
                key,
                "\"",
                mark,
                ",\"document\":",
                &entity.document,
                "}",
            ];
            encoding.push(out, "entity", Some(&cursor), &parts);
            messages += 1;
        }
        messages
    }

    fn push_event(&self, out: &mut Vec<u8>, encoding: StreamEncoding, event: &impl StreamedEvent) {
        let facts = event.facts();
        let mut around = String::with_capacity(AROUND_EVENT);
        around.push_str("{\"type\":\"event\",\"cursor\":\"");
        let begin = around.len();
        let _ = write!(around, "{}", event.cursor());
        let cursor = begin..around.len();
        around.push_str("\",\"key\":");
        json::push_text(&mut around, event.index().key());
        if facts.simulated {
            around.push_str(SIMULATED);
        }
        let text = event.text();
        let Some(projection) = &self.projection else {
            around.push_str(",\"event\":");
            let lead = around.len();
            around.push_str(",\"payload\":");
            push_payload(&mut around, facts);
            around.push('}');
            let parts = [&around[..lead], text, &around[lead..]];
            return encoding.push(out, "event", Some(&around[cursor]), &parts);
        };
        let mut payload = String::with_capacity(AROUND_EVENT);
        push_payload(&mut payload, facts);
        let of = ProjectedEvent { text, flags: facts.flags, payload: &payload, zeros: false };
        let fields = projection.pick(&self.selection.fields, of, |parts| parts.concat());
        let parts = [&*around, ",\"fields\":", &fields, "}"];
        encoding.push(out, "event", Some(&around[cursor]), &parts);
    }

    /// The messages of an event that is known to be wanted, and their number. The message of a
    /// whole event is encoded once for all groups.
    pub(super) fn encode(&self, encoding: StreamEncoding, event: &TailEvent) -> (Bytes, u64) {
        if self.projection.is_none() && !self.selection.filter.wants_entities() {
            let encode = || {
                let is_deflated = encoding == StreamEncoding::Deflated;
                let room = if is_deflated { 0 } else { event.weight() + MESSAGE_BYTES };
                let mut out = Vec::with_capacity(room);
                self.push_event(&mut out, encoding, event);
                memory::hold(out)
            };
            return (event.streamed(encoding, encode).clone(), 1);
        }
        let mut out = Vec::new();
        let messages = self.push(&mut out, encoding, event, None);
        (memory::hold(out), messages)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::hub::StreamQuery;
    use crate::hub::log::tail::tests::tail_event;

    const STAR: &str = concat!(
        r#"{"id":"1","type":"WatchEvent","actor":{"id":1,"login":"a"},"#,
        r#""repo":{"id":7,"name":"a/b"},"payload":{"action":"started"}}"#
    );

    #[test]
    fn simulated_events_and_entities_say_so() {
        let query = StreamQuery { keys: vec!["#".to_owned()], ..StreamQuery::default() };
        for fields in [&[][..], &["event.id"]] {
            let fields = fields.iter().map(|path| FieldPath::read(path).unwrap()).collect();
            let (filter, _) = Filter::compile(&query).unwrap();
            let selector = StreamSelector::new(StreamSelection::new(filter, fields));
            for (is_simulated, mark) in [(false, Value::Null), (true, Value::Bool(true))] {
                let mut event = tail_event(1, STAR);
                event.envelope.facts.simulated = is_simulated;
                for encoding in [StreamEncoding::Ndjson, StreamEncoding::Sse] {
                    let (bytes, messages) = selector.encode(encoding, &event);
                    assert!(bytes.len() <= selector.bytes_of(&event));
                    let text = std::str::from_utf8(&bytes).unwrap();
                    let objects =
                        text.lines().filter_map(|line| line.find('{').map(|at| &line[at..]));
                    let objects: Vec<Value> =
                        objects.map(|object| serde_json::from_str(object).unwrap()).collect();
                    assert_eq!((objects.len() as u64, messages), (2, 2), "{text}");
                    let kinds = objects.iter().map(|object| object["type"].as_str().unwrap());
                    assert_eq!(kinds.collect::<Vec<_>>(), ["event", "entity"]);
                    assert!(objects.iter().all(|object| object["simulated"] == mark), "{text}");
                    assert_eq!(text.contains("simulated"), is_simulated, "absent otherwise");
                }
            }
        }
    }
}
