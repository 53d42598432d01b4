//! The status of a source, for `/readyz`, `/status` and the pages; updated as it changes.

use std::sync::Arc;
use std::time::Duration;

use crate::github::tokens::TokenMode;
use crate::model::coverage::Report;
use crate::model::part::{ErrorReport, PartState};
use crate::model::window::Timestamp;

/// The status of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    /// Whether events arrive: `Degraded` when fewer than possible (a page fails, a rate limit
    /// applies, or tokens are refused), `Down` when none did for some time.
    pub state: PartState,
    /// Since when it has been in this state.
    pub since: Timestamp,
    /// The last error; it remains after recovery. Contains no secret.
    pub last_error: Option<ErrorReport>,
    /// Whether the server reports that it is simulated.
    pub simulated: bool,
    /// With tokens or without.
    pub mode: TokenMode,
    /// Number of tokens neither quarantined nor exhausted.
    pub tokens_usable: usize,
    /// Number of tokens that GitHub refuses.
    pub tokens_quarantined: usize,
    /// Number of accounts that own the tokens, as far as GitHub has reported; tokens of one
    /// account share its limits.
    pub accounts: usize,
    /// When a page was last answered, changed or not.
    pub last_poll_at: Option<Timestamp>,
    /// When the next page is due; `None` while a request is in flight.
    pub next_poll_at: Option<Timestamp>,
    /// The usual interval between two reads of a page with tokens, the shortest one without.
    pub poll_interval: Duration,
    /// For each page, from the first: the fraction of its events that the previous read also had,
    /// 0 to 1; `None` until it was read twice. Zero means that events were missed.
    pub overlap: Vec<Option<f64>>,
    /// The coverage of the feed; `None` before the first responses.
    pub completeness: Option<Arc<Report>>,
}

impl SourceStatus {
    /// The initial status of a source.
    #[must_use]
    pub fn new(mode: TokenMode, now: Timestamp) -> Self {
        Self {
            state: PartState::Degraded,
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

    /// Changes the state. Returns whether it differs from the previous one.
    pub fn turn(&mut self, state: PartState, now: Timestamp) -> bool {
        let turned = self.state != state;
        if turned {
            (self.state, self.since) = (state, now);
        }
        turned
    }
}
