//! Where events come from: GitHub's pages, or recorded hours.

use std::path::PathBuf;

use bytes::Bytes;

use super::entries::Entries;
use crate::model::window::Timestamp;

/// What one round of a source brought.
#[derive(Debug, Clone)]
pub struct Poll {
    /// The pages that were due together.
    pub pages: Vec<PolledPage>,
    /// When the last of them was here.
    pub received_at: Timestamp,
}

/// One page.
#[derive(Debug, Clone)]
pub struct PolledPage {
    /// Its number, from 1.
    pub number: u8,
    /// What is on it.
    pub body: PageBody,
}

impl PolledPage {
    /// Whether it is a part of a recorded hour and no page of the feed.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        matches!(self.body, PageBody::Lines(_))
    }
}

/// What is on a page, as it came or taken apart.
#[derive(Debug, Clone)]
pub enum PageBody {
    /// A JSON list of events, as GitHub serves it.
    Array(Bytes),
    /// An event a line, as recorded hours have it.
    Lines(Bytes),
    /// A list that was taken apart already.
    Entries(Entries),
}

impl PageBody {
    /// The entries.
    #[must_use]
    pub fn entries(&self) -> Entries {
        match self {
            Self::Array(bytes) => Entries::of_list(bytes),
            Self::Lines(bytes) => Entries::of_lines(bytes),
            Self::Entries(entries) => entries.clone(),
        }
    }
}

/// A source that cannot go on. What may pass (GitHub away, limits) is waited for inside.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A recorded hour cannot be read.
    #[error("cannot read recorded events from {path}: {reason}")]
    Recorded {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The client cannot be set up.
    #[error("cannot ask GitHub: {0}")]
    Client(String),
}

/// Brings events, round after round.
pub trait EventSource: Send + 'static {
    /// The next round; waits until it is due. `None`: there are no more. It is asked for only
    /// when the round before is in the store, and dropping the future loses nothing.
    fn next_poll(&mut self) -> impl Future<Output = Result<Option<Poll>, SourceError>> + Send;

    /// Since when nothing had been read before the last round, if that was unusually long; told
    /// once.
    fn silent_since(&mut self) -> Option<Timestamp> {
        None
    }

    /// Whether the source was not asked for a while before the last round, because another node
    /// read the feed; told once.
    fn has_stood(&mut self) -> bool {
        false
    }
}
