//! `POST /graphql`: pull requests of the seeded world by node id or by name, and totals and commits
//! of its repositories by name, under the limits that GitHub has in addition to the number of
//! requests: ten seconds per query, a minute of work per minute and account, points per hour.
//! Recorded events have no world, so their pull requests are not found.

mod fields;
mod language;
mod objects;
mod schema;

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use serde_json::{Value, json};

use self::schema::{QueryAnswering, QueryTrouble};
use super::entrance::{AtOnce, SimulatedRequest, WAIT};
use super::faults::{Fault, FaultKind, lot};
use super::limits::{LimitStanding, account};
use super::refusal::{SECONDARY, SimulatedRefusal, counted, set_limits_of};
use super::state::{RequestKind, SharedWorld, Ticket};

/// GitHub aborts a query that takes longer.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Maximum number of points that a query costs.
const MOST_COST: u32 = 1_000;
/// Mixed into the randomness, so that what a fault does is independent of whether it applies.
const SALT: u64 = 65;

pub(super) async fn query(request: SimulatedRequest, body: Bytes) -> Response {
    let shared = &request.shared;
    let caller = match request.admit() {
        Ok(caller) => caller,
        Err(refusal) => return end("refused", refusal.into_response()),
    };
    let Some(token) = caller.token() else {
        let message = "This endpoint requires you to be authenticated.";
        return end("401", refused(StatusCode::UNAUTHORIZED, message));
    };
    let Some(_at_once) = AtOnce::begin(shared, &caller) else {
        return end("secondary", secondary(WAIT));
    };
    let ticket = shared.begin(RequestKind::Query, Some(token));
    if let Some(fault) = ticket.fault(FaultKind::QuerySlow) {
        shared.stop.run_until_cancelled(shared.clock.sleep(fault.wait)).await;
    }
    let now = shared.clock.now();
    let standing = shared.state().queries.standing(&caller, now);
    if let Some(response) = fault_response(shared, &ticket, standing).await {
        return response;
    }
    if standing.remaining() == 0 {
        return end("limited", over_limit(standing));
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = request["query"].as_str().unwrap_or_default();
    let fields = match language::read(text, &request["variables"]) {
        Ok(fields) => fields,
        Err(words) => return end("refused", errors_only(&words, standing)),
    };
    let is_heavy = |fault: &&Fault| {
        let only = fault.only.as_deref().and_then(|only| only.split_once('/'));
        let named = |(owner, name)| text.contains(&format!("owner:\"{owner}\",name:\"{name}\""));
        only.is_some_and(named)
    };
    if let Some(fault) = ticket.fault(FaultKind::QueryHeavy).filter(is_heavy) {
        shared.stop.run_until_cancelled(shared.clock.sleep(fault.wait)).await;
        return end(fault.kind.name(), bad_gateway());
    }
    let count = u32::try_from(schema::count(&fields)).unwrap_or(u32::MAX);
    let options = shared.query;
    let work = (options.delay + options.delay_each.saturating_mul(count)).min(TIME_LIMIT);
    let instant = shared.clock.instant();
    let added = shared.state().work.add(account(token), instant, work, options.work_a_minute);
    if let Some(wait) = added {
        return end("secondary", secondary(wait));
    }
    let cost = schema::cost(&fields);
    let standing = shared.state().queries.spend(&caller, cost.min(MOST_COST), now);
    if work > Duration::ZERO {
        shared.stop.run_until_cancelled(shared.clock.sleep(work)).await;
    }
    if work >= TIME_LIMIT {
        return end("502", bad_gateway());
    }
    answer(shared, &ticket, &fields, (count, cost), standing)
}

fn answer(
    shared: &SharedWorld,
    ticket: &Ticket,
    fields: &[language::Field],
    (count, cost): (u32, u32),
    standing: LimitStanding,
) -> Response {
    let (gone, partial) =
        (ticket.fault(FaultKind::QueryGone), ticket.fault(FaultKind::QueryPartial));
    let chance = |at: usize| lot(shared.seed, ticket.number, SALT + at as u64).u32(0..3) == 0;
    let stopped_at = count.div_ceil(2) as usize;
    let forbidden = ticket.fault(FaultKind::QueryForbidden);
    let left_out = |at: usize| match (gone, partial) {
        _ if forbidden.is_some() => Some(QueryTrouble::Forbidden),
        (_, Some(_)) if at >= stopped_at => Some(QueryTrouble::TooMuch),
        (Some(_), _) if chance(at) => Some(QueryTrouble::Gone),
        _ => None,
    };
    let rate = json!({
        "cost": cost, "limit": standing.limit, "remaining": standing.remaining(),
        "resetAt": super::payloads::time(standing.reset),
    });
    let foreign_ids = ticket.fault(FaultKind::QueryIds).is_some();
    let answered = shared.with_known(|known| {
        QueryAnswering { known, rate, foreign_ids, left_out: &left_out }.answer(fields)
    });
    let (data, mut errors) = match answered {
        Ok(answered) => answered,
        Err(words) => return end("refused", errors_only(&words, standing)),
    };
    if partial.is_some() {
        let message = "Resource limits for this query exceeded.";
        errors.push(json!({ "type": "RESOURCE_LIMITS_EXCEEDED", "message": message }));
    }
    let mut body = json!({ "data": data });
    if !errors.is_empty() {
        body["errors"] = Value::Array(errors);
    }
    let slow = ticket.fault(FaultKind::QuerySlow);
    let named = [gone, partial, forbidden, ticket.fault(FaultKind::QueryIds), slow];
    let fault = named.into_iter().flatten().next().map(|fault| fault.kind.name());
    end(fault.unwrap_or("200"), told(StatusCode::OK, &body, standing))
}

/// The response when a fault prevents an answer.
async fn fault_response(
    shared: &SharedWorld,
    ticket: &Ticket,
    standing: LimitStanding,
) -> Option<Response> {
    let kinds = [
        FaultKind::Revoked,
        FaultKind::Suspended,
        FaultKind::QueryBroken,
        FaultKind::QueryTimeout,
        FaultKind::QueryLimited,
        FaultKind::QuerySecondary,
        FaultKind::QueryError,
    ];
    let fault: &Fault = kinds.into_iter().find_map(|kind| ticket.fault(kind))?;
    let response = match fault.kind {
        FaultKind::Revoked => refused(StatusCode::UNAUTHORIZED, "Bad credentials"),
        FaultKind::Suspended => {
            refused(StatusCode::FORBIDDEN, "Sorry. Your account was suspended.")
        }
        FaultKind::QueryBroken => bad_gateway(),
        FaultKind::QueryTimeout => {
            shared.stop.run_until_cancelled(shared.clock.sleep(fault.wait)).await;
            bad_gateway()
        }
        FaultKind::QueryLimited => {
            let reset = shared.clock.now().plus(fault.wait).second();
            over_limit(LimitStanding { used: standing.limit, reset, ..standing })
        }
        FaultKind::QuerySecondary => secondary(fault.wait),
        _ => errors_only("Something went wrong while executing your query.", standing),
    };
    Some(end(fault.kind.name(), response))
}

/// The response, counted as this outcome.
fn end(outcome: &str, response: Response) -> Response {
    counted(response, format!("graphql {outcome}"))
}

fn told(status: StatusCode, body: &Value, standing: LimitStanding) -> Response {
    let mut response = super::refusal::json(status, body.to_string());
    set_limits_of(response.headers_mut(), standing, "graphql");
    response
}

fn errors_only(words: &str, standing: LimitStanding) -> Response {
    told(StatusCode::OK, &json!({ "data": null, "errors": [{ "message": words }] }), standing)
}

fn over_limit(standing: LimitStanding) -> Response {
    let error = json!({ "type": "RATE_LIMITED", "message": "API rate limit exceeded." });
    told(StatusCode::OK, &json!({ "errors": [error] }), standing)
}

fn secondary(wait: Duration) -> Response {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    SimulatedRefusal::new(StatusCode::FORBIDDEN, SECONDARY).retry_after(seconds).into_response()
}

fn refused(status: StatusCode, message: &str) -> Response {
    SimulatedRefusal::new(status, message).into_response()
}

fn bad_gateway() -> Response {
    refused(StatusCode::BAD_GATEWAY, "")
}
