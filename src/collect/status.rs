//! The status of a source, for `/readyz`, `/status` and the pages; updated as it changes.

use std::sync::Arc;

use crate::github::tokens::TokenMode;
use crate::model::coverage::Report;
use crate::model::part::{PartState, SourceReport};
use crate::model::window::Timestamp;

/// The status of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceStatus {
    /// Whether events arrive: `Degraded` when fewer than possible (a page fails, a rate limit
    /// applies, or tokens are refused), `Down` when none did for some time.
    pub state: PartState,
    /// What `/status` says of it. Contains no secret, and nothing of the GitHub App.
    pub report: SourceReport,
    /// Whether the server reports that it is simulated.
    pub simulated: bool,
    /// For each page, from the first: the fraction of its events that the previous read also had,
    /// 0 to 1; `None` until it was read twice. Zero means that events were missed.
    pub overlap: Vec<Option<f64>>,
    /// The coverage of the feed; `None` before the first responses.
    pub completeness: Option<Arc<Report>>,
}

impl SourceStatus {
    /// The initial status of a source with this many pages.
    #[must_use]
    pub fn new(mode: TokenMode, pages: usize, now: Timestamp) -> Self {
        let state = PartState::Degraded;
        let (mode, name) = (mode.name().into(), state.name().into());
        Self {
            state,
            report: SourceReport { mode, state: name, since: now, ..SourceReport::default() },
            simulated: false,
            overlap: vec![None; pages],
            completeness: None,
        }
    }

    /// Changes the state. Returns whether it differs from the previous one.
    pub fn turn(&mut self, state: PartState, now: Timestamp) -> bool {
        let turned = self.state != state;
        if turned {
            self.state = state;
            (self.report.state, self.report.since) = (state.name().into(), now);
        }
        turned
    }
}
