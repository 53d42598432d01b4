//! Gaps of the bus: events that a subscriber cannot get, and why.
//!
//! Fields that GitHub left out of an event are in [`super::missing_fields`].

use schemars::JsonSchema;
use serde::Serialize;

use super::names::names;
use super::position::Position;
use super::window::Timestamp;

/// Why events are missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// They are no longer kept, here or on the topic, or they are damaged: in the journal, or as
    /// the topic delivers them.
    Retention = 1,
    /// The subscriber was too slow, and cannot go back to them.
    Slow = 2,
    /// They were not received from GitHub, or are too large for the broker.
    Upstream = 3,
    /// They are on another bus.
    BusChanged = 4,
}

/// A gap of the bus, as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last position before it.
    pub after: Position,
    /// The first position after it, or `after` itself when no position was skipped.
    pub until: Position,
    /// The number of missing events, if it is known.
    pub count: Option<u64>,
    /// The reason.
    pub reason: GapReason,
    /// When this node noticed it.
    pub noticed_at: Timestamp,
}

/// A time in which GitHub was not polled although there were events, or one of no length where an
/// event cannot be on the topic. It travels to every node with the first event after it, and
/// becomes an `upstream` gap there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When GitHub was last polled before it.
    pub since: Timestamp,
    /// When GitHub was polled again.
    pub until: Timestamp,
}

impl Outage {
    /// Whether it stands for one event that cannot be on the topic.
    #[must_use]
    pub fn is_one_event(self) -> bool {
        self.since == self.until
    }

    /// The value of the message's property: `upstream:SINCE:UNTIL`, microseconds since 1970.
    #[must_use]
    pub fn property(&self) -> String {
        let name = GapReason::Upstream.name();
        format!("{name}:{}:{}", self.since.micros(), self.until.micros())
    }

    /// Parses the value of the property; `None` for other text.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let name = parts.next()?;
        let mut time = || Some(Timestamp::from_micros(parts.next()?.parse().ok()?));
        let (since, until) = (time()?, time()?);
        let is_whole = name == GapReason::Upstream.name() && parts.next().is_none();
        (is_whole && since <= until).then_some(Self { since, until })
    }

    /// An outage that covers both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { since: self.since.min(other.since), until: self.until.max(other.until) }
    }
}

names!(GapReason {
    Retention: "retention",
    Slow: "slow",
    Upstream: "upstream",
    BusChanged: "bus_changed",
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schema_names_both_causes_of_a_retention_gap() {
        let schema = schemars::schema_for!(GapReason).to_value();
        let reasons = schema["oneOf"].as_array().unwrap();
        let of = |name: &str| reasons.iter().find(|reason| reason["const"] == name).unwrap();
        let text = of("retention")["description"].as_str().unwrap();
        assert!(text.contains("no longer kept") && text.contains("damaged"), "{text}");
    }

    #[test]
    fn outage_parses_from_its_property() {
        let at = Timestamp::from_micros;
        let outage = Outage { since: at(5), until: at(1_800_000_000_000_000) };
        assert_eq!(outage.property(), "upstream:5:1800000000000000");
        assert_eq!(Outage::read(&outage.property()), Some(outage));
        for odd in ["", "upstream", "upstream:5", "upstream:5:4", "slow:1:2", "upstream:1:2:3"] {
            assert_eq!(Outage::read(odd), None, "{odd}");
        }
        let other = Outage { since: at(9), until: at(11) };
        assert_eq!(outage.with(other), outage);
    }
}
