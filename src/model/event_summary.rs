//! The parsed fields of an event without its text, so that the text is parsed only once.

use super::entity::{EntityRef, entity_refs};
use super::event::{Event, EventKey};
use super::window::Timestamp;

/// The summary of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSummary {
    /// The event's identity.
    pub key: EventKey,
    /// `created_at`, when it is a valid time.
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
    /// The objects of its documents.
    pub entity_refs: Box<[EntityRef]>,
}

impl EventSummary {
    /// The summary of a parsed event.
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
