//! The parts of a request, the checks before a page of events, of all or of one feed, and how many
//! requests of a caller are in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::ExtensionRejection;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::header::HeaderMap;
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, Uri};

use super::faults::FaultKind;
use super::limits::{LimitStanding, SimulatedCaller};
use super::refusal::{SECONDARY, SimulatedRefusal, admit, fault_refusal, limited};
use super::state::{RequestKind, SharedWorld, Ticket};
use crate::model::window::Timestamp;

/// GitHub's secondary limit: requests of an account at the same time, pages and queries together.
const MOST: u32 = 100;
/// The wait that GitHub asks for in that case.
pub(super) const WAIT: Duration = Duration::from_secs(60);

/// What handlers look at of a request.
pub(super) struct SimulatedRequest {
    pub(super) shared: Arc<SharedWorld>,
    peer: SocketAddr,
    pub(super) method: Method,
    pub(super) uri: Uri,
    pub(super) headers: HeaderMap,
}

impl FromRequestParts<Arc<SharedWorld>> for SimulatedRequest {
    type Rejection = ExtensionRejection;

    async fn from_request_parts(
        parts: &mut Parts,
        shared: &Arc<SharedWorld>,
    ) -> Result<Self, ExtensionRejection> {
        let ConnectInfo(peer) = ConnectInfo::from_request_parts(parts, shared).await?;
        let (method, uri) = (parts.method.clone(), parts.uri.clone());
        Ok(Self { shared: Arc::clone(shared), peer, method, uri, headers: parts.headers.clone() })
    }
}

/// A request for a page that passed the checks.
pub(super) struct AdmittedPage {
    pub(super) caller: SimulatedCaller,
    pub(super) ticket: Ticket,
    /// The caller's limit before this request.
    pub(super) standing: LimitStanding,
    /// When it passed.
    pub(super) now: Timestamp,
    /// Counts it as in flight.
    pub(super) at_once: AtOnce,
}

impl SimulatedRequest {
    /// Identifies the caller, if it is admitted.
    pub(super) fn admit(&self) -> Result<SimulatedCaller, SimulatedRefusal> {
        admit(&self.shared, &self.headers, self.peer)
    }

    /// Checks a request for a page. A slow one waits here: a client that disconnects meanwhile
    /// drops the future, and nothing is counted as served.
    pub(super) async fn enter(&self, kind: RequestKind) -> Result<AdmittedPage, SimulatedRefusal> {
        let shared = &self.shared;
        let caller = self.admit()?;
        let Some(at_once) = AtOnce::begin(shared, &caller) else { return Err(too_many()) };
        let ticket = shared.begin(kind, caller.token());
        if let Some(slow) = ticket.fault(FaultKind::Slow) {
            shared.stop.run_until_cancelled(shared.clock.sleep(slow.wait)).await;
        }
        let now = shared.clock.now();
        let standing = shared.state().limits.standing(&caller, now);
        if let Some(refusal) = fault_refusal(&ticket, standing, now.second()) {
            return Err(refusal);
        }
        if standing.remaining() == 0 {
            return Err(limited(standing));
        }
        Ok(AdmittedPage { caller, ticket, standing, now, at_once })
    }
}

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
fn too_many() -> SimulatedRefusal {
    SimulatedRefusal::new(StatusCode::FORBIDDEN, SECONDARY).retry_after(WAIT.as_secs())
}
