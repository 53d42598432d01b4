//! The messages of an event: the event itself, and the documents of its objects.

use crate::model::entity::{ObjectId, entities, event_document};
use crate::model::envelope::Envelope;
use crate::model::event::Event;
use crate::model::routing::RoutingKey;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutboundMessage {
    pub(super) key: RoutingKey,
    /// The same on every node and at every attempt, so that readers can deduplicate.
    pub(super) id: String,
    /// GitHub's event type, or the collection.
    pub(super) kind: String,
    /// Unix seconds of the event, by GitHub's clock where that is known.
    pub(super) at: u64,
    /// JSON, `_id` first.
    pub(super) body: String,
    /// Whether the event comes from the simulated GitHub.
    pub(super) simulated: bool,
}

/// The messages of an event, the event itself first; empty for an unreadable event.
pub(super) fn messages(envelope: &Envelope) -> Vec<OutboundMessage> {
    let Ok(event) = Event::read(&envelope.event) else { return Vec::new() };
    let kind = &event.key.kind;
    let id = ObjectId::of(kind, &event.key.id.to_string());
    let at = event.created_at.unwrap_or(envelope.facts.received_at).second().0;
    let at = u64::try_from(at).unwrap_or(0);
    let itself = OutboundMessage {
        key: RoutingKey::of_event(kind),
        id: id.to_string(),
        kind: kind.clone(),
        at,
        body: event_document(id, &envelope.event),
        simulated: envelope.facts.simulated,
    };
    let made = entities(&event, envelope.facts.inserted).into_iter();
    let made = made.enumerate().map(|(n, made)| OutboundMessage {
        kind: made.key.as_str().split('.').nth(1).unwrap_or_default().to_owned(),
        key: made.key,
        id: format!("{id}-{n}"),
        at,
        body: made.document,
        simulated: envelope.facts.simulated,
    });
    std::iter::once(itself).chain(made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::envelope::Facts;

    #[test]
    fn an_event_is_followed_by_its_documents() {
        let text = r#"{"id":"5","type":"IssuesEvent","repo":{"id":1,"name":"a/b"},"payload":
            {"action":"opened","issue":{"id":3,"title":"T"}},"created_at":"2026-02-24T21:33:46Z"}"#;
        let facts = Facts { inserted: 1, simulated: true, ..Facts::default() };
        let found = messages(&Envelope { facts, event: text.into() });
        let told: Vec<(&str, &str)> = found.iter().map(|m| (m.key.as_str(), &*m.kind)).collect();
        assert_eq!(told, [("evt.issues.insert", "IssuesEvent"), ("ent.issues.insert", "issues")]);
        assert_eq!(found[1].id, format!("{}-0", found[0].id));
        assert!(found.iter().all(|message| message.simulated));
        assert_eq!((found[0].at, found[1].at), (1_771_968_826, 1_771_968_826));
        let begin = format!(r#"{{"_id":{{"$oid":"{}"}},"id":"5","type""#, found[0].id);
        assert!(found[0].body.starts_with(&begin), "{}", found[0].body);
        assert!(messages(&Envelope { facts: Facts::default(), event: "[]".into() }).is_empty());
    }

    #[test]
    fn values_outside_json_models_are_published_unchanged() {
        let deep = ["[", "]"].map(|bracket| bracket.repeat(200)).concat();
        for odd in [r#""half \ud83d""#, "1e999", &deep, r#"{"\ud800":-0}"#] {
            let text = format!(
                r#"{{"id":"5","type":"IssuesEvent","actor":{odd},"repo":{odd},"payload":
                {{"action":{odd},"issue":{{"id":3,"title":{odd},"\udfff":{odd}}}}},"x":{odd}}}"#
            );
            let found =
                messages(&Envelope { facts: Facts::default(), event: text.as_str().into() });
            assert_eq!(found.len(), 2, "{odd}");
            assert!(found[0].body.ends_with(text.strip_prefix('{').unwrap()), "{odd}");
            let issue = format!(r#""id":3,"title":{odd},"\udfff":{odd}"#);
            assert!(found[1].body.contains(&issue), "{}", found[1].body);
        }
    }
}
