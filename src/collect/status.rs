//! How a source stands, for `/readyz`, `/status` and the pages: told as it changes.

use std::sync::Arc;
use std::time::Duration;

use crate::model::coverage::Report;
use crate::model::window::Timestamp;

/// Whether events come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceState {
    /// As they should.
    Ok,
    /// Fewer than there could be: a page fails, a limit is waited for, tokens are refused.
    Degraded,
    /// None, for a while now.
    Down,
}

impl SourceState {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Down => "down",
        }
    }
}

/// Where the events come from, and by what right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SourceMode {
    /// GitHub, without a token.
    Anonymous,
    /// GitHub, with tokens.
    Tokens,
    /// Recorded hours.
    Replay,
}

impl SourceMode {
    /// Its name on the wire.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Tokens => "tokens",
            Self::Replay => "replay",
        }
    }
}

/// The last thing that went wrong; it stays when all is well again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// When.
    pub at: Timestamp,
    /// What, for a person; no secret is in it.
    pub message: String,
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    /// Whether events come.
    pub state: SourceState,
    /// Since when it is in this state.
    pub since: Timestamp,
    /// The last thing that went wrong.
    pub last_error: Option<LastError>,
    /// Whether the server says that it is simulated.
    pub simulated: bool,
    /// With tokens, without, or recorded.
    pub mode: SourceMode,
    /// Tokens neither quarantined nor used up for now.
    pub tokens_usable: usize,
    /// Tokens that GitHub refuses.
    pub tokens_quarantined: usize,
    /// Accounts that the tokens are of, as far as GitHub has told: tokens of one share its limits.
    pub accounts: usize,
    /// When a page was last answered, changed or not.
    pub last_poll_at: Option<Timestamp>,
    /// When the next page is due; `None` while one is under way.
    pub next_poll_at: Option<Timestamp>,
    /// The usual time between two reads of a page with tokens, the shortest one without.
    pub poll_interval: Duration,
    /// Of each page, from the first: the share of its events that the read before it had too,
    /// 0 to 1; `None` until it was read twice. None in common means that events were missed.
    pub overlap: Vec<Option<f64>>,
    /// How complete the feed is; `None` before the first answers, and for recorded hours.
    pub completeness: Option<Arc<Report>>,
}

impl SourceStatus {
    /// A source that nothing is known of yet.
    #[must_use]
    pub fn new(mode: SourceMode, now: Timestamp) -> Self {
        Self {
            state: SourceState::Degraded,
            since: now,
            last_error: None,
            simulated: false,
            mode,
            tokens_usable: 0,
            tokens_quarantined: 0,
            accounts: 0,
            last_poll_at: None,
            next_poll_at: None,
            poll_interval: Duration::ZERO,
            overlap: Vec::new(),
            completeness: None,
        }
    }

    /// Moves to a state; whether that is another one.
    pub fn turn(&mut self, state: SourceState, now: Timestamp) -> bool {
        let turned = self.state != state;
        if turned {
            (self.state, self.since) = (state, now);
        }
        turned
    }
}
