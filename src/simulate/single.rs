//! `/repos/{owner}/{name}/events`, `/orgs/{org}/events`, `/users/{user}/events/public`: the feed of
//! one repository, organization or person.
//!
//! Assumed of GitHub, from its documentation: the same pages, `ETag`s, limits and `X-Poll-Interval`
//! as `/events`; a 304 does not count; an organization's path is 404 for a user; a renamed
//! repository is redirected to `/repositories/{id}/events`. A name of which nothing is known exists
//! and has no events, so that quiet repositories need not be made.

use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::entrance::{AdmittedPage, SimulatedRequest};
use super::feed::VISIBLE;
use super::histories::HistoryOf;
use super::json::list;
use super::page::{etag_of, is_known};
use super::refusal::{SimulatedRefusal, counted, json, set_limits};
use super::server::{POLL_INTERVAL, asked, value};
use super::state::RequestKind;

pub(super) async fn repository(
    Path((owner, name)): Path<(String, String)>,
    request: SimulatedRequest,
) -> Result<Response, SimulatedRefusal> {
    let name = format!("{owner}/{name}").to_ascii_lowercase();
    let new = request.shared.state().histories.renamed.get(&name).cloned();
    if let Some(new) = new {
        let query = request.uri.query().unwrap_or("");
        let to = format!("/repositories/{}/events?{query}", id_of(&new));
        let moved = (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response();
        return Ok(counted(moved, "feed 301".to_owned()));
    }
    feed(request, HistoryOf::Repository(name)).await
}

pub(super) async fn by_id(
    Path(id): Path<String>,
    request: SimulatedRequest,
) -> Result<Response, SimulatedRefusal> {
    let is_it = |new: &&String| id_of(new) == id;
    let renamed = request.shared.state().histories.renamed.values().find(is_it).cloned();
    feed(request, HistoryOf::Repository(renamed.ok_or_else(not_found)?)).await
}

pub(super) async fn organization(
    Path(org): Path<String>,
    request: SimulatedRequest,
) -> Result<Response, SimulatedRefusal> {
    let org = org.to_ascii_lowercase();
    if request.shared.state().histories.is_person(&org) {
        request.shared.state().requests[RequestKind::Feed as usize] += 1;
        return Err(not_found());
    }
    feed(request, HistoryOf::Organization(org)).await
}

pub(super) async fn person(
    Path(login): Path<String>,
    request: SimulatedRequest,
) -> Result<Response, SimulatedRefusal> {
    feed(request, HistoryOf::Person(login.to_ascii_lowercase())).await
}

/// A stable id of a repository.
fn id_of(name: &str) -> String {
    (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 32).to_string()
}

fn not_found() -> SimulatedRefusal {
    SimulatedRefusal::new(StatusCode::NOT_FOUND, "Not Found").counted_by("feed")
}

async fn feed(request: SimulatedRequest, of: HistoryOf) -> Result<Response, SimulatedRefusal> {
    let admitted = request.enter(RequestKind::Feed).await.map_err(SimulatedRefusal::counted)?;
    let AdmittedPage { caller, standing, now, at_once: _at_once, .. } = admitted;
    let shared = &request.shared;
    let (number, per_page) = asked(request.uri.query().unwrap_or_default());
    let closed = shared.state().histories.closed.get(&of).copied();
    let is_behind = (number - 1).saturating_mul(per_page) >= VISIBLE;
    let status = closed.or(is_behind.then_some(422));
    let entries = shared.state().histories.page(&of, (number, per_page), now);
    let body = list(entries.iter().map(|entry| &*entry.text));
    let etag = etag_of(&body);
    let is_known = status.is_none() && is_known(&request.headers, &etag);
    let standing = if is_known { standing } else { shared.state().limits.spend(&caller, 1, now) };
    let mut response = match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => SimulatedRefusal::new(status, "This feed is not shown").into_response(),
        None if is_known => StatusCode::NOT_MODIFIED.into_response(),
        None => {
            shared.state().ledger.serve(&entries);
            json(StatusCode::OK, body)
        }
    };
    let all = response.headers_mut();
    set_limits(all, standing);
    if status.is_none() {
        all.insert(header::ETAG, value(etag));
    }
    all.insert(POLL_INTERVAL, HeaderValue::from(shared.poll_interval));
    let outcome = format!("feed {}", response.status().as_u16());
    Ok(counted(response, outcome))
}
