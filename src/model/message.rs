//! The format of a message on the bus, which is also the peer's (ossinsight-plugin's), so that
//! either can consume the other's messages.
//!
//! The body is `{"event":{…},"payload":{…}}`, with seven flags in `payload` and, in our messages,
//! the enrichment. Data about the message itself is in its properties. Of a message without the
//! property `schema`, the peer's, only the event is used. Unknown fields are ignored.

use std::sync::Arc;
use std::time::Duration;

use super::envelope::{Envelope, Facts, Flags, written_back};
use super::event::{Event, InvalidEvent};
use super::event_summary::EventSummary;
use super::gap::Outage;
use super::json;
use super::position::Cursor;
use super::routing::RoutingKey;
use super::window::Timestamp;

/// Property: when the collector first received the event, in microseconds since 1970.
pub const RECEIVED: &str = "received";
/// Property: the routing key.
pub const KEY: &str = "key";
/// Property: the outage before the message, if there was one: [`Outage::property`].
pub const GAP: &str = "gap";
/// Property: the cursor of a message that precedes this one on the topic, the newest that its
/// producer knew when it sent this one; others may lie between. A node whose last applied entry is
/// older has missed some.
pub const AFTER: &str = "after";
/// Property: `1` for an event of the simulated GitHub. Other messages have none, and nodes that do
/// not know it ignore it.
pub const SIMULATED: &str = "simulated";
/// Its value.
pub const IS_SIMULATED: &str = "1";
/// Property: the version of everything but the event; missing in the peer's messages.
pub const SCHEMA: &str = "schema";
/// The version that this build writes.
const OUR_SCHEMA: &str = "1";
/// A body is an object of two members: these are its texts before them.
const BEFORE_EVENT: &str = "{\"event\":";
const BEFORE_PAYLOAD: &str = ",\"payload\":";
/// Estimated bytes of a body in addition to its event.
const AROUND_EVENT: usize = 200;
/// How long a message may have waited for its broker; an earlier `received` is ignored.
const WAITED: Duration = Duration::from_secs(400 * 86_400);
/// How far the clocks of two machines may differ; a later `received` is ignored.
const APART: Duration = Duration::from_secs(86_400);

/// When a message can have been published, in seconds since 1970: from the first event that GitHub
/// Archive has to the year 2100. Another time would keep its claims for ever, or for no time.
const PUBLISHED: std::ops::Range<i64> = 1_297_468_800..4_102_444_800;

/// A message to be produced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The message key: the repository's id, if the event has one.
    pub key: Option<String>,
    /// The properties.
    pub properties: [(&'static str, String); 3],
    /// The outage of polling before the event; property [`GAP`].
    pub outage: Option<Outage>,
    /// The newest message that is known to precede this one on the topic; property [`AFTER`].
    pub after: Option<Cursor>,
    /// Whether the event comes from the simulated GitHub; property [`SIMULATED`].
    pub simulated: bool,
    /// The body, JSON.
    pub body: String,
}

/// A message that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The event with its facts.
    pub envelope: Envelope,
    /// The parsed fields of that event.
    pub summary: EventSummary,
    /// Whether its first-time flags are set; otherwise the apply stage claims them.
    pub flags_given: bool,
}

/// Why a message cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableMessage {
    /// The body is not text.
    #[error("the body is not UTF-8")]
    NoText,
    /// The body is not JSON, not an object, or has text after the object.
    #[error("the body is not exactly one JSON object")]
    NotOneObject,
    /// Its publish time is before GitHub's first event, or after the year 2099, and it has no
    /// [`RECEIVED`] within that time.
    #[error("its publish time, {0}, cannot be true, and no property says when it was received")]
    ImpossibleTime(Timestamp),
    /// The body has no `event`.
    #[error("the body has no member `event`")]
    NoEventInside,
    /// The member `event` is not an event.
    #[error("its `event` is {0}")]
    InvalidEvent(#[from] InvalidEvent),
}

impl Outgoing {
    /// Makes the message of an envelope; `summary` is of its event.
    #[must_use]
    pub fn new(envelope: &Envelope, summary: &EventSummary) -> Self {
        let Envelope { facts, event } = envelope;
        let properties = [
            (RECEIVED, facts.received_at.micros().to_string()),
            (KEY, RoutingKey::of_event(&summary.key.kind).to_string()),
            (SCHEMA, OUR_SCHEMA.to_owned()),
        ];
        let mut body = String::with_capacity(event.len() + AROUND_EVENT);
        body.push_str(BEFORE_EVENT);
        body.push_str(event);
        body.push_str(BEFORE_PAYLOAD);
        push_payload(&mut body, facts);
        body.push('}');
        let key = summary.repo_id.map(|id| id.to_string());
        let simulated = facts.simulated;
        Self { key, properties, outage: None, after: None, simulated, body }
    }
}

/// Writes the payload: the seven flags and the enrichment.
pub fn push_payload(body: &mut String, facts: &Facts) {
    for (i, (name, set)) in facts.flags.named().into_iter().enumerate() {
        let open = if i == 0 { "{\"" } else { ",\"" };
        body.extend([open, name, if set { "\":1" } else { "\":0" }]);
    }
    body.push(',');
    push_enrichment(body, facts);
    body.push('}');
}

fn push_enrichment(body: &mut String, facts: &Facts) {
    body.push_str("\"language\":");
    match &facts.language {
        Some(language) => json::push_text(body, language),
        None => body.push_str("null"),
    }
    for (name, lines) in [("additions", facts.additions), ("deletions", facts.deletions)] {
        body.extend([",\"", name, "\":"]);
        match lines {
            Some(lines) => body.push_str(&lines.to_string()),
            None => body.push_str("null"),
        }
    }
    body.push_str(if facts.enriched { ",\"enriched\":1" } else { ",\"enriched\":0" });
}

impl Incoming {
    /// Parses a message: its body, its properties [`RECEIVED`] and [`SCHEMA`], and its publish
    /// time, which is used when `received` is missing or implausible. The result is the same on
    /// every node.
    ///
    /// # Errors
    /// When the body has no valid event, or neither time can be true.
    pub fn read(
        body: &[u8],
        [received, schema]: [Option<&str>; 2],
        published_at: Timestamp,
    ) -> Result<Self, UnreadableMessage> {
        let body = std::str::from_utf8(body).map_err(|_| UnreadableMessage::NoText)?;
        let (event, payload) = match event_and_payload(body) {
            Some((event, payload)) => (event, Some(payload)),
            None => parse(body)?,
        };
        let received = received.and_then(|text| text.parse().ok());
        let received_at = received_at(received.map(Timestamp::from_micros), published_at)
            .ok_or(UnreadableMessage::ImpossibleTime(published_at))?;
        let given = schema
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
        // The identity of an event without an id is its text, so the kept text is parsed again.
        let event = if *text == *event.text { event } else { Event::read(&text)? };
        let summary = EventSummary::of(event);
        Ok(Self {
            envelope: Envelope { facts, event: text },
            summary,
            flags_given: given.is_some(),
        })
    }
}

/// The event and the payload of a body of any form.
fn parse(body: &str) -> Result<(Event<'_>, Option<&str>), UnreadableMessage> {
    if !json::is_only_object(body) {
        return Err(UnreadableMessage::NotOneObject);
    }
    let [event, payload] = json::pick(body, ["event", "payload"]);
    Ok((Event::read(event.ok_or(UnreadableMessage::NoEventInside)?)?, payload))
}

/// The same of a body in the form of [`Outgoing::new`], in one pass over it instead of three;
/// `None` for any other body.
fn event_and_payload(body: &str) -> Option<(Event<'_>, &str)> {
    let members = body.strip_prefix(BEFORE_EVENT)?.strip_suffix('}')?;
    let (event, payload) = members.rsplit_once(BEFORE_PAYLOAD)?;
    // `Event::read` accepts control characters in names, which are not JSON.
    let has_control = event.bytes().min() < Some(b' ');
    let is_bare = payload.starts_with('{') && payload.ends_with('}');
    if has_control || !is_bare || !json::is_only_object(payload) {
        return None;
    }
    // An event is compact only when its text is exactly one object.
    let event = Event::read(event).ok().filter(Event::is_compact)?;
    Some((event, payload))
}

/// When a message was received: what it says, or else its publish time; `None` when neither can be
/// true.
fn received_at(received: Option<Timestamp>, published_at: Timestamp) -> Option<Timestamp> {
    let is_possible = |at: &Timestamp| PUBLISHED.contains(&at.second().0);
    if !is_possible(&published_at) {
        return received.filter(is_possible);
    }
    let about = published_at.minus(WAITED)..=published_at.plus(APART);
    Some(received.filter(|at| about.contains(at)).unwrap_or(published_at))
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
