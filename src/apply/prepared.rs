//! A delivery of the bus after parsing.

use crate::bus::FactsFrom;
use crate::model::entity::EntityRef;
use crate::model::envelope::Envelope;
use crate::model::event::EventKey;
use crate::model::event_index::EventIndex;
use crate::model::event_summary::EventSummary;
use crate::model::position::Cursor;
use crate::model::privacy::Privacy;
use crate::model::window::Timestamp;

/// A delivery after parsing.
pub(super) struct Prepared {
    pub(super) cursor: Cursor,
    pub(super) key: EventKey,
    pub(super) happened_at: Timestamp,
    pub(super) received_at: Timestamp,
    pub(super) actor_id: Option<u64>,
    pub(super) repo_id: Option<u64>,
    pub(super) facts_from: FactsFrom,
    pub(super) index: EventIndex,
    pub(super) is_left_out: bool,
    /// The objects whose documents it contains.
    pub(super) entity_refs: Box<[EntityRef]>,
    pub(super) envelope: Envelope,
}

impl Prepared {
    pub(super) fn new(
        cursor: Cursor,
        envelope: Envelope,
        summary: EventSummary,
        facts_from: FactsFrom,
    ) -> Self {
        let received_at = envelope.facts.received_at;
        Self {
            cursor,
            happened_at: summary.created_at.unwrap_or(received_at),
            received_at,
            actor_id: summary.actor_id,
            repo_id: summary.repo_id,
            facts_from,
            index: EventIndex::of_summary(&summary, &envelope.facts),
            entity_refs: summary.entity_refs,
            key: summary.key,
            envelope,
            is_left_out: false,
        }
    }

    /// The same with what is not passed on of it decided: events may come from a node with other
    /// settings, or were admitted before these.
    pub(super) fn under(mut self, privacy: &Privacy) -> Self {
        let [repo, actor, org] = self.index.names();
        self.is_left_out = privacy.leaves_out(actor, org, repo);
        if let Some(hashed) = privacy.hashed(&self.envelope.event) {
            self.envelope.event = hashed.into();
        }
        self
    }
}
