//! `GET /user`: the account of a token. A token that begins with `ghs_` belongs to an app
//! installation, which has no user.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};

use super::faults::FaultKind;
use super::json::Object;
use super::limits::{SimulatedCaller, account};
use super::refusal::{SimulatedRefusal, admit, fault_refusal, json, limited, refused, tell};
use super::state::SharedWorld;

/// The prefix of app installation tokens.
const INSTALLATION: &str = "ghs_";

pub(super) async fn user(
    State(shared): State<Arc<SharedWorld>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let caller = match admit(&shared, &headers, peer) {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    let SimulatedCaller::Token(token) = &caller else {
        return SimulatedRefusal::new(StatusCode::UNAUTHORIZED, "Requires authentication")
            .into_response();
    };
    let now = shared.clock.now();
    let standing = shared.state().limits.standing(&caller, now);
    let ticket = shared.begin_user(token);
    let ends = [FaultKind::Revoked, FaultKind::Suspended];
    if ends.into_iter().any(|kind| ticket.fault(kind).is_some())
        && let Some(refusal) = fault_refusal(&ticket, standing, now.second())
    {
        return refused(&shared, refusal);
    }
    if standing.remaining() == 0 {
        return refused(&shared, limited(standing));
    }
    let standing = shared.state().limits.spend(&caller, now);
    let (outcome, mut response) = if token.starts_with(INSTALLATION) {
        let message = "Resource not accessible by integration";
        ("user 403", SimulatedRefusal::new(StatusCode::FORBIDDEN, message).into_response())
    } else {
        let login = account(token);
        let body =
            Object::new().text("login", login).bare("id", number(login)).text("type", "User").end();
        ("user 200", json(StatusCode::OK, body))
    };
    tell(response.headers_mut(), standing);
    shared.count(outcome.to_owned());
    response
}

/// A stable number for an account.
fn number(login: &str) -> u32 {
    login.bytes().fold(1, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}
