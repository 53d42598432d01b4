//! What one message of the bus looks like: the peer's own format, so either can produce for the
//! other.
//!
//! The body is `{"event":{…},"payload":{…}}`, with seven flags in `payload` and, in ours, what
//! enrichment added. What belongs to the message and not to the event is in properties. Reading
//! is tolerant: a message without `schema` (the peer's) says nothing that is believed but its
//! event; one that says more than we know is read for what we know.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use super::envelope::{Envelope, Facts, Flags, written_back};
use super::event::{Event, InvalidEvent};
use super::event_summary::EventSummary;
use super::gap::Outage;
use super::json;
use super::routing::RoutingKey;
use super::window::Timestamp;

/// When the collector first saw the event, in microseconds since 1970.
pub const RECEIVED: &str = "received";
/// The routing key.
pub const KEY: &str = "key";
/// What is missing before the message, where something is: [`Outage::property`].
pub const GAP: &str = "gap";
/// The version of what is said beside the event; absent in the peer's messages.
pub const SCHEMA: &str = "schema";
/// The version that we write.
const OUR_SCHEMA: &str = "1";
/// Bytes of a body beside its event, about.
const AROUND_EVENT: usize = 200;
/// How long a message may have waited for its broker; `received` before that is not believed.
const WAITED: Duration = Duration::from_secs(400 * 86_400);
/// How far the clocks of two machines may be apart; `received` beyond it is not believed.
const APART: Duration = Duration::from_secs(86_400);

/// A message to be produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The repository's id, where the event has one.
    pub key: Option<String>,
    /// Names and values beside the body.
    pub properties: [(&'static str, String); 3],
    /// The time before the event in which GitHub was not read; property [`GAP`].
    pub outage: Option<Outage>,
    /// The body, JSON.
    pub body: String,
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The event with its facts.
    pub envelope: Envelope,
    /// What was read of that event.
    pub summary: EventSummary,
    /// Whether whoever produced it says what was seen for the first time; otherwise whoever
    /// applies it finds out.
    pub flags_given: bool,
}

/// Why a message cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableMessage {
    /// Bytes that are no text.
    #[error("the body is no UTF-8")]
    NoText,
    /// Text that is not JSON, has something behind its JSON value, or is not an object.
    #[error("the body is not one JSON object and nothing else")]
    NotOneObject,
    /// A JSON object without an `event`.
    #[error("the body is a JSON object without an `event` in it")]
    NoEventInside,
    /// An `event` that is none.
    #[error("its `event` is {0}")]
    InvalidEvent(#[from] InvalidEvent),
}

impl Outgoing {
    /// The message of an envelope; `summary` is of its event.
    #[must_use]
    pub fn new(envelope: &Envelope, summary: &EventSummary) -> Self {
        let Envelope { facts, event } = envelope;
        let properties = [
            (RECEIVED, facts.received_at.micros().to_string()),
            (KEY, RoutingKey::of_event(&summary.key.kind).to_string()),
            (SCHEMA, OUR_SCHEMA.to_owned()),
        ];
        let mut body = String::with_capacity(event.len() + AROUND_EVENT);
        body.push_str("{\"event\":");
        body.push_str(event);
        body.push_str(",\"payload\":");
        push_payload(&mut body, facts);
        body.push('}');
        let key = summary.repo_id.map(|id| id.to_string());
        Self { key, properties, outage: None, body }
    }

    /// Bytes that it takes on the way, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        const AROUND: usize = 120;
        self.body.len() + AROUND
    }
}

/// Writes the payload: the seven flags and what enrichment added.
pub fn push_payload(body: &mut String, facts: &Facts) {
    for (i, (name, set)) in facts.flags.named().into_iter().enumerate() {
        let open = if i == 0 { '{' } else { ',' };
        let _ = write!(body, "{open}\"{name}\":{}", u8::from(set));
    }
    body.push(',');
    push_enrichment(body, facts);
    body.push('}');
}

fn push_enrichment(body: &mut String, facts: &Facts) {
    let number = |n: Option<u64>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
    body.push_str("\"language\":");
    match &facts.language {
        Some(language) => json::push_text(body, language),
        None => body.push_str("null"),
    }
    let (additions, deletions) = (number(facts.additions), number(facts.deletions));
    let enriched = u8::from(facts.enriched);
    let _ = write!(
        body,
        ",\"additions\":{additions},\"deletions\":{deletions},\"enriched\":{enriched}"
    );
}

impl Incoming {
    /// Reads a message: its body, what its properties say, and when it was published, which is
    /// when it was received where it does not say. The same on every node that reads it.
    pub fn read<'p>(
        body: &[u8],
        property: impl Fn(&str) -> Option<&'p str>,
        published_at: Timestamp,
    ) -> Result<Self, UnreadableMessage> {
        let body = std::str::from_utf8(body).map_err(|_| UnreadableMessage::NoText)?;
        if !json::is_only_object(body) {
            return Err(UnreadableMessage::NotOneObject);
        }
        let [event, payload] = json::pick(body, ["event", "payload"]);
        let event = Event::read(event.ok_or(UnreadableMessage::NoEventInside)?)?;
        let received_at = property(RECEIVED)
            .and_then(|text| text.parse().ok())
            .map(Timestamp::from_micros)
            .filter(|at| (published_at.minus(WAITED)..=published_at.plus(APART)).contains(at))
            .unwrap_or(published_at);
        let given = property(SCHEMA)
            .filter(|schema| schema.parse::<u32>().is_ok_and(|version| version > 0))
            .and(payload.filter(|payload| json::is_object(payload)));
        let (facts, text) = if let Some(payload) = given {
            (given_facts(payload, received_at), event.compact())
        } else {
            let facts = Facts::of(&event, received_at);
            let text = written_back(&event, &facts);
            (facts, text)
        };
        let text: Arc<str> = Arc::from(text);
        // An event without an id is known by its text, so what is read is what is kept.
        let event = if *text == *event.text { event } else { Event::read(&text)? };
        let summary = EventSummary::of(event);
        Ok(Self {
            envelope: Envelope { facts, event: text },
            summary,
            flags_given: given.is_some(),
        })
    }
}

fn given_facts(payload: &str, received_at: Timestamp) -> Facts {
    let names = Flags::default().named().map(|(name, _)| name);
    let set = json::pick(payload, names).map(|value| matches!(value, Some("1" | "true")));
    let [language, additions, deletions, enriched] =
        json::pick(payload, ["language", "additions", "deletions", "enriched"]);
    Facts {
        received_at,
        flags: Flags::from_named(set),
        enriched: matches!(enriched, Some("1" | "true")),
        language: language
            .and_then(json::text)
            .filter(|language| !language.is_empty())
            .map(std::borrow::Cow::into_owned),
        additions: additions.and_then(json::whole),
        deletions: deletions.and_then(json::whole),
        ..Facts::default()
    }
}

#[cfg(test)]
mod tests;
