//! Counts a caller's concurrent requests: GitHub refuses more than a hundred of one account, for
//! pages and queries together.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;

use super::limits::SimulatedCaller;
use super::refusal::{SECONDARY, SimulatedRefusal};
use super::state::SharedWorld;

/// GitHub's secondary limit.
const MOST: u32 = 100;
/// The wait that GitHub asks for in that case.
pub(super) const WAIT: Duration = Duration::from_secs(60);

/// A request in flight, until it is dropped.
pub(super) struct AtOnce {
    shared: Arc<SharedWorld>,
    payer: SimulatedCaller,
}

impl AtOnce {
    /// Counts another request of this caller; `None` when there are too many.
    pub(super) fn begin(shared: &Arc<SharedWorld>, caller: &SimulatedCaller) -> Option<Self> {
        let payer = caller.payer();
        let mut state = shared.state();
        let known = state.at_once.get(&payer).copied().unwrap_or(0);
        if known >= MOST {
            return None;
        }
        state.at_once.insert(payer.clone(), known + 1);
        state.most_at_once = state.most_at_once.max(known + 1);
        drop(state);
        Some(Self { shared: shared.clone(), payer })
    }
}

impl Drop for AtOnce {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let left = state.at_once.get(&self.payer).map_or(0, |known| known.saturating_sub(1));
        if left == 0 {
            state.at_once.remove(&self.payer);
        } else {
            state.at_once.insert(self.payer.clone(), left);
        }
    }
}

/// The response to a request above the limit.
pub(super) fn refusal() -> SimulatedRefusal {
    SimulatedRefusal::new(StatusCode::FORBIDDEN, SECONDARY).retry_after(WAIT.as_secs())
}
