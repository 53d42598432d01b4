//! Sources of events: GitHub's pages or recorded hours.

use std::path::PathBuf;

use bytes::Bytes;

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
    /// Its content.
    pub body: PageBody,
}

impl PolledPage {
    /// Whether it is part of a recorded hour instead of a page of the feed.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        matches!(self.body, PageBody::Lines(_))
    }
}

/// The content of a page, raw or split into entries.
#[derive(Debug, Clone)]
pub enum PageBody {
    /// A JSON list of events, as GitHub serves it.
    Array(Bytes),
    /// One event per line, as in recorded hours.
    Lines(Bytes),
    /// A list that is already split.
    Entries(Entries),
}

impl PageBody {
    /// Splits the content into entries.
    #[must_use]
    pub fn entries(&self) -> Entries {
        match self {
            Self::Array(bytes) => Entries::of_list(bytes),
            Self::Lines(bytes) => Entries::of_lines(bytes),
            Self::Entries(entries) => entries.clone(),
        }
    }
}

/// An error that ends a source. Temporary failures (GitHub unavailable, rate limits) are handled
/// inside the source.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A recorded hour cannot be read.
    #[error("cannot read recorded events from {path}: {reason}")]
    Recorded {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The client cannot be set up.
    #[error("cannot ask GitHub: {0}")]
    Client(String),
}

/// Returns events, round after round.
pub trait EventSource: Send + 'static {
    /// Returns the next round once it is due; `None` at the end of the source. It is called only
    /// when the previous round is in the store, and dropping the future loses nothing.
    fn next_poll(&mut self) -> impl Future<Output = Result<Option<Poll>, SourceError>> + Send;

    /// Since when nothing had been read before the last round, if that was unusually long;
    /// returned once.
    fn silent_since(&mut self) -> Option<Timestamp> {
        None
    }

    /// Whether the source was suspended before the last round because another node polled the
    /// feed; returned once.
    fn has_stood(&mut self) -> bool {
        false
    }
}
