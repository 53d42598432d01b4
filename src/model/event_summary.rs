//! What is kept of a reading by who carries the text elsewhere, so that it is read once.

use super::entity::{EntityRef, entity_refs};
use super::event::{Event, EventKey};
use super::window::Timestamp;

/// An event without its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSummary {
    /// What makes it the same event.
    pub key: EventKey,
    /// `created_at`, when it is a time.
    pub created_at: Option<Timestamp>,
    /// `actor.id`.
    pub actor_id: Option<u64>,
    /// `actor.login`.
    pub actor_login: Option<Box<str>>,
    /// `repo.id`.
    pub repo_id: Option<u64>,
    /// `repo.name`.
    pub repo_name: Option<Box<str>>,
    /// `org.login`.
    pub org_login: Option<Box<str>>,
    /// The objects that it has documents of.
    pub entity_refs: Box<[EntityRef]>,
}

impl EventSummary {
    /// Of an event that was read.
    #[must_use]
    pub fn of(event: Event<'_>) -> Self {
        let entity_refs = entity_refs(&event).into();
        Self {
            key: event.key,
            created_at: event.created_at,
            actor_id: event.actor_id,
            actor_login: event.actor_login.map(Box::from),
            repo_id: event.repo_id,
            repo_name: event.repo_name.map(Box::from),
            org_login: event.org_login.map(Box::from),
            entity_refs,
        }
    }
}
