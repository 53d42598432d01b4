//! A source of events: GitHub's pages.

use super::entries::Entries;
use crate::model::window::Timestamp;

/// The result of one round of a source.
#[derive(Debug, Clone)]
pub struct Poll {
    /// The pages that were due together.
    pub pages: Vec<PolledPage>,
    /// When the last of them arrived.
    pub received_at: Timestamp,
}

/// One page.
#[derive(Debug, Clone)]
pub struct PolledPage {
    /// Its number, from 1.
    pub number: u8,
    /// Its entries.
    pub entries: Entries,
}

/// Why a source cannot be set up. Later failures (GitHub unavailable, rate limits) are handled
/// inside the source.
#[derive(Debug, thiserror::Error)]
#[error("cannot ask GitHub: {0}")]
pub struct SourceError(pub String);

/// Returns events, round after round.
pub trait EventSource: Send + 'static {
    /// Returns the next round once it is due. It is called only when the previous round is in the
    /// store, and dropping the future loses nothing.
    fn next_poll(&mut self) -> impl Future<Output = Poll> + Send;

    /// Since when nothing had been read before the last round, if that was unusually long;
    /// returned once.
    fn outage_since(&mut self) -> Option<Timestamp> {
        None
    }

    /// When any node last polled the feed, as known when the source began or continued after a
    /// time in which another node may have polled; returned once.
    fn polled_before(&mut self) -> Option<Timestamp> {
        None
    }
}
