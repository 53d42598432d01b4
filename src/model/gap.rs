//! Where a reader of the bus cannot be given what was there, or should have been.
//!
//! What GitHub left out of an event is another matter: see [`super::gaps`].

use super::position::Position;
use super::window::Timestamp;

/// Why there is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
