//! The checks before a page of events, of all or of one feed.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::header::HeaderMap;

use super::at_once::{self, AtOnce};
use super::faults::FaultKind;
use super::limits::{LimitStanding, SimulatedCaller};
use super::refusal::{SimulatedRefusal, admit, fault_refusal, limited};
use super::state::{SharedWorld, Ticket};
use crate::model::window::Timestamp;

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

/// Checks a request for a page; `begin` starts it. A slow one waits here: a client that disconnects
/// meanwhile drops the future, and nothing is counted as served.
pub(super) async fn enter(
    shared: &Arc<SharedWorld>,
    headers: &HeaderMap,
    peer: SocketAddr,
    begin: impl FnOnce(&SharedWorld, Option<&str>) -> Ticket,
) -> Result<AdmittedPage, SimulatedRefusal> {
    let caller = admit(shared, headers, peer)?;
    let Some(at_once) = AtOnce::enter(shared, &caller) else { return Err(at_once::refusal()) };
    let ticket = begin(shared, caller.token());
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
