//! `/repos/{owner}/{name}/events`, `/orgs/{org}/events`, `/users/{user}/events/public`: the feed of
//! one repository, organization or person.
//!
//! Assumed of GitHub, from its documentation: the same pages, `ETag`s, limits and `X-Poll-Interval`
//! as `/events`; a 304 does not count; an organization's path is 404 for a user; a renamed
//! repository is redirected to `/repositories/{id}/events`. A name of which nothing is known exists
//! and has no events, so that quiet repositories need not be made.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};

use super::entrance::{AdmittedPage, enter};
use super::feed::VISIBLE;
use super::histories::HistoryOf;
use super::json::list;
use super::page;
use super::refusal::{SimulatedRefusal, json, refused, tell};
use super::server::{POLL_INTERVAL, asked};
use super::state::SharedWorld;

type SingleRequest = (State<Arc<SharedWorld>>, ConnectInfo<SocketAddr>, Uri, HeaderMap);

pub(super) async fn repository(
    Path((owner, name)): Path<(String, String)>,
    from: SingleRequest,
) -> Response {
    let name = format!("{owner}/{name}").to_ascii_lowercase();
    let new = from.0.0.state().histories.renamed.get(&name).cloned();
    if let Some(new) = new {
        let to = format!("/repositories/{}/events?{}", id_of(&new), from.2.query().unwrap_or(""));
        from.0.0.count("feed 301".to_owned());
        return (StatusCode::MOVED_PERMANENTLY, [(header::LOCATION, to)]).into_response();
    }
    feed(from, HistoryOf::Repository(name)).await
}

pub(super) async fn by_id(Path(id): Path<String>, from: SingleRequest) -> Response {
    let renamed = from.0.0.state().histories.renamed.values().find(|new| id_of(new) == id).cloned();
    match renamed {
        Some(name) => feed(from, HistoryOf::Repository(name)).await,
        None => not_found(&from.0.0),
    }
}

pub(super) async fn organization(Path(org): Path<String>, from: SingleRequest) -> Response {
    let org = org.to_ascii_lowercase();
    if from.0.0.state().histories.is_person(&org) {
        from.0.0.state().histories.requests += 1;
        return not_found(&from.0.0);
    }
    feed(from, HistoryOf::Organization(org)).await
}

pub(super) async fn person(Path(login): Path<String>, from: SingleRequest) -> Response {
    feed(from, HistoryOf::Person(login.to_ascii_lowercase())).await
}

/// A stable id of a repository.
fn id_of(name: &str) -> String {
    (xxhash_rust::xxh3::xxh3_64(name.as_bytes()) >> 32).to_string()
}

fn not_found(shared: &SharedWorld) -> Response {
    shared.count("feed 404".to_owned());
    SimulatedRefusal::new(StatusCode::NOT_FOUND, "Not Found").into_response()
}

async fn feed((shared, peer, uri, headers): SingleRequest, of: HistoryOf) -> Response {
    let (State(shared), ConnectInfo(peer)) = (shared, peer);
    let admitted = match enter(&shared, &headers, peer, SharedWorld::begin_feed).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refused(&shared, refusal),
    };
    let AdmittedPage { caller, standing, now, at_once: _at_once, .. } = admitted;
    let (number, per_page) = asked(uri.query().unwrap_or_default());
    let closed = shared.state().histories.closed.get(&of).copied();
    let is_behind = (number - 1).saturating_mul(per_page) >= VISIBLE;
    let status = closed.or(is_behind.then_some(422));
    let entries = shared.state().histories.page(&of, (number, per_page), now);
    let body = list(entries.iter().map(|entry| &*entry.text));
    let etag = format!("W/\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(body.as_bytes()));
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = status.is_none() && known.is_some_and(|known| page::is_known(known, &etag));
    let standing = if is_known { standing } else { shared.state().limits.spend(&caller, now) };
    let mut response = match status.and_then(|status| StatusCode::from_u16(status).ok()) {
        Some(status) => SimulatedRefusal::new(status, "This feed is not shown").into_response(),
        None if is_known => StatusCode::NOT_MODIFIED.into_response(),
        None => {
            shared.state().ledger.serve(&entries);
            json(StatusCode::OK, body)
        }
    };
    shared.count(format!("feed {}", response.status().as_u16()));
    let all = response.headers_mut();
    tell(all, standing);
    if let Ok(etag) = HeaderValue::from_str(&etag)
        && status.is_none()
    {
        all.insert(header::ETAG, etag);
    }
    all.insert(POLL_INTERVAL, HeaderValue::from(shared.poll_interval));
    response
}
