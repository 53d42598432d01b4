//! An event of the stream, from the ring or from the journal.

use std::sync::OnceLock;

use crate::model::entity::{Entity, entities};
use crate::model::envelope::Facts;
use crate::model::event::Event;
use crate::model::event_index::EventIndex;
use crate::model::json;
use crate::model::position::Cursor;
use crate::store::rows::JournalRow;

/// What queries select by in an event, and what is sent of it.
pub trait StreamedEvent {
    /// Its position on the bus.
    fn cursor(&self) -> Cursor;
    /// The event as compact JSON.
    fn text(&self) -> &str;
    /// The event's facts.
    fn facts(&self) -> &Facts;
    /// Whether `privacy.exclude` leaves it out.
    fn is_left_out(&self) -> bool;
    /// What was derived from it so far.
    fn derived(&self) -> &DerivedFields;

    /// The fields that queries select by; empty if the event cannot be parsed.
    fn index(&self) -> &EventIndex {
        self.derived().index.get_or_init(|| {
            let event = Event::read(self.text());
            event.map_or_else(|_| EventIndex::default(), |e| EventIndex::of(&e, self.facts()))
        })
    }

    /// `payload.action` in lower case (A to Z). Few queries need it, so it is not in the index.
    fn action(&self) -> Option<&str> {
        let read = || {
            let action = json::at(self.text(), &["payload", "action"])?;
            Some(json::text(action)?.to_ascii_lowercase().into())
        };
        self.derived().action.get_or_init(read).as_deref()
    }

    /// The entities derived from the event, computed on the first call.
    fn entities(&self) -> &[Entity] {
        let inserted = self.facts().inserted;
        let make = || Event::read(self.text()).map(|event| entities(&event, inserted).into());
        self.derived().entities.get_or_init(|| make().unwrap_or_default())
    }
}

/// Fields that are read from an event when they are first needed.
#[derive(Debug, Clone, Default)]
pub struct DerivedFields {
    index: OnceLock<EventIndex>,
    action: OnceLock<Option<Box<str>>>,
    entities: OnceLock<Box<[Entity]>>,
}

impl DerivedFields {
    /// With an index that is known already.
    pub(super) fn with_index(index: Option<EventIndex>) -> Self {
        let derived = Self::default();
        if let Some(index) = index {
            derived.index.get_or_init(|| index);
        }
        derived
    }

    /// The same without entities, which take as much memory as the event.
    pub(super) fn without_entities(&self) -> Self {
        let (index, action) = (self.index.clone(), self.action.clone());
        Self { index, action, ..Self::default() }
    }
}

/// An event of the journal. Its text is not copied.
pub(super) struct JournalEvent<'v> {
    cursor: Cursor,
    row: JournalRow<'v>,
    derived: DerivedFields,
}

impl<'v> JournalEvent<'v> {
    /// The event of a row that is not left out.
    pub(super) fn new(cursor: Cursor, row: JournalRow<'v>) -> Self {
        let derived = DerivedFields::with_index(row.index());
        Self { cursor, row, derived }
    }
}

impl StreamedEvent for JournalEvent<'_> {
    fn cursor(&self) -> Cursor {
        self.cursor
    }

    fn text(&self) -> &str {
        self.row.event
    }

    fn facts(&self) -> &Facts {
        &self.row.facts
    }

    fn is_left_out(&self) -> bool {
        false
    }

    fn derived(&self) -> &DerivedFields {
        &self.derived
    }
}
