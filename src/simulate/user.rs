//! `GET /user`: the account of a token. A token that begins with `ghs_` belongs to an app
//! installation, which has no user.

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};

use super::entrance::SimulatedRequest;
use super::faults::FaultKind;
use super::installations::PREFIX;
use super::json::Object;
use super::limits::account;
use super::refusal::{SimulatedRefusal, counted, fault_refusal, json, limited, set_limits};

pub(super) async fn user(request: SimulatedRequest) -> Result<Response, SimulatedRefusal> {
    let caller = request.admit()?;
    let shared = &request.shared;
    let token = caller.token().ok_or_else(|| {
        SimulatedRefusal::new(StatusCode::UNAUTHORIZED, "Requires authentication")
    })?;
    let now = shared.clock.now();
    let standing = shared.state().limits.standing(&caller, now);
    let ticket = shared.begin_user(token);
    let ends = [FaultKind::Revoked, FaultKind::Suspended];
    if ends.into_iter().any(|kind| ticket.fault(kind).is_some())
        && let Some(refusal) = fault_refusal(&ticket, standing, now.second())
    {
        return Err(refusal.counted());
    }
    if standing.remaining() == 0 {
        return Err(limited(standing).counted());
    }
    let standing = shared.state().limits.spend(&caller, 1, now);
    let (outcome, mut response) = if token.starts_with(PREFIX) {
        let message = "Resource not accessible by integration";
        ("user 403", SimulatedRefusal::new(StatusCode::FORBIDDEN, message).into_response())
    } else {
        let login = account(token);
        let body =
            Object::new().text("login", login).bare("id", number(login)).text("type", "User").end();
        ("user 200", json(StatusCode::OK, body))
    };
    set_limits(response.headers_mut(), standing);
    Ok(counted(response, outcome.to_owned()))
}

/// A stable number for an account.
fn number(login: &str) -> u32 {
    login.bytes().fold(1, |sum: u32, byte| sum.wrapping_mul(31).wrapping_add(byte.into()))
}
