//! Where a reader of the bus cannot be given what was there, or should have been.
//!
//! What GitHub left out of an event is another matter: see [`super::gaps`].

use schemars::JsonSchema;
use serde::Serialize;

use super::position::Position;
use super::window::Timestamp;

/// Why there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// It was there and is kept no longer.
    Retention = 1,
    /// The reader was too slow, and cannot come back to it.
    Slow = 2,
    /// It never came from GitHub.
    Upstream = 3,
    /// It is on another bus.
    BusChanged = 4,
}

/// A gap of the bus, as this node knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// The last place before it.
    pub after: Position,
    /// The first place behind it, or `after` itself when nothing on the bus was skipped.
    pub until: Position,
    /// Events in it, if that is known.
    pub count: Option<u64>,
    /// Why.
    pub reason: GapReason,
    /// When this node found it.
    pub noticed_at: Timestamp,
}

/// A time in which GitHub was not read although events passed: an `upstream` gap on its way to
/// every node, beside the first event behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// When GitHub was last read before it.
    pub since: Timestamp,
    /// When GitHub was read again.
    pub until: Timestamp,
}

impl Outage {
    /// As the value of a message's property: `upstream:SINCE:UNTIL`, microseconds since 1970.
    #[must_use]
    pub fn property(&self) -> String {
        let name = GapReason::Upstream.name();
        format!("{name}:{}:{}", self.since.micros(), self.until.micros())
    }

    /// Reads what [`Self::property`] wrote; `None` for anything else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let name = parts.next()?;
        let mut time = || Some(Timestamp::from_micros(parts.next()?.parse().ok()?));
        let (since, until) = (time()?, time()?);
        let is_whole = name == GapReason::Upstream.name() && parts.next().is_none();
        (is_whole && since <= until).then_some(Self { since, until })
    }

    /// One that covers both.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self { since: self.since.min(other.since), until: self.until.max(other.until) }
    }
}

impl GapReason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Retention, Self::Slow, Self::Upstream, Self::BusChanged];

    /// Its name, as readers are told.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Slow => "slow",
            Self::Upstream => "upstream",
            Self::BusChanged => "bus_changed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outage_comes_back_from_its_property() {
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
