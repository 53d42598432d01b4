//! What the subscribers of one kind of endpoint may ask for.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::OnceLock;

use crate::hub::log::tail::TailEvent;

/// What happens to a subscriber that is further behind than its group's log reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum LagPolicy {
    /// It is moved forward; the metric of skipped events counts what it misses.
    Skip,
    /// [`Subscriber::take`](super::subscribers::Subscriber::take) returns `None`, and it reads the
    /// missing events elsewhere.
    ReadElsewhere,
}

/// What a group's subscribers asked for: how an event is encoded, and the group's limits.
pub(in crate::hub) trait SubscriberQuery: Debug + Send + Sync + 'static {
    /// Equal for subscribers that share a group.
    type Key: Debug + Clone + Eq + Hash + Send + Sync;
    /// An encoded event; a clone shares the bytes.
    type Encoded: Debug + Clone + Send + Sync;

    /// What happens to a subscriber that is further behind than the log reaches.
    const LAG: LagPolicy;
    /// The most bytes that one group's log holds for its slow subscribers.
    const GROUP_BYTES: usize;
    /// The most bytes in one take; one event is always taken.
    const TAKE_BYTES: usize;

    /// The most bytes that the event and its encoding take.
    fn bytes_of(&self, event: &TailEvent) -> usize;

    /// The encoded event; `cache` belongs to this event and this query.
    fn encode(&self, event: &TailEvent, cache: &OnceLock<Self::Encoded>) -> Self::Encoded;

    /// Whether [`Self::encode`] would return at once, for a connection that takes messages deflated
    /// (or not).
    fn is_encoded(
        &self,
        event: &TailEvent,
        cache: &OnceLock<Self::Encoded>,
        deflates: bool,
    ) -> bool;

    /// Does all the work for which [`Self::is_encoded`] waits.
    fn prepare(&self, event: &TailEvent, cache: &OnceLock<Self::Encoded>, deflates: bool);
}
