//! The endpoints of a GitHub App: `GET /app/installations` and
//! `POST /app/installations/{id}/access_tokens`, for apps that sign with the right key.
//!
//! Assumed of GitHub, from its documentation: an assertion must be signed (RS256), name the app, be
//! dated in the past and end within ten minutes; what is wrong is answered with 401, an app that
//! does not exist with 404, a removed installation with 404, a suspended one with 403. Tokens begin
//! with `ghs_`, are valid for an hour, and have limits for each installation.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::installations::{PREFIX, SimulatedApp};
use super::json::Object;
use super::refusal::{SimulatedRefusal, json};
use super::state::SharedWorld;
use crate::secrets::is_signed;

/// The longest time for which GitHub accepts an assertion, seconds.
const LONGEST_ASSERTION: i64 = 600;
/// How far an assertion may be dated ahead, seconds.
const AHEAD: i64 = 5;
#[derive(Deserialize)]
struct Claims {
    iat: i64,
    exp: i64,
    iss: serde_json::Value,
}

/// Checks an assertion. The error is the message of the refusal.
fn check(app: &SimulatedApp, token: &str, now: i64) -> Result<(), (StatusCode, String)> {
    let refuse = |words: &str| (StatusCode::UNAUTHORIZED, words.to_owned());
    let undecodable = || refuse("A JSON web token could not be decoded");
    let (message, signature) = token.rsplit_once('.').ok_or_else(undecodable)?;
    let (head, claims) = message.split_once('.').ok_or_else(undecodable)?;
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| undecodable());
    let head: serde_json::Value =
        serde_json::from_slice(&bytes(head)?).map_err(|_| undecodable())?;
    let claims: Claims = serde_json::from_slice(&bytes(claims)?).map_err(|_| undecodable())?;
    let issuer = claims.iss.as_str().map_or_else(|| claims.iss.to_string(), str::to_owned);
    if issuer != app.id {
        return Err((StatusCode::NOT_FOUND, "Integration not found".to_owned()));
    }
    let signature = bytes(signature)?;
    if head["alg"] != "RS256" || !is_signed(&app.public_key, message.as_bytes(), &signature) {
        return Err(undecodable());
    }
    if claims.iat > now + AHEAD {
        return Err(refuse("'Issued at' claim ('iat') must be an Integer in the past"));
    }
    if claims.exp <= now {
        return Err(refuse("'Expiration time' claim ('exp') must be in the future"));
    }
    if claims.exp > now + LONGEST_ASSERTION {
        return Err(refuse("'Expiration time' claim ('exp') is too far in the future"));
    }
    Ok(())
}

/// The app of a request.
fn admit(shared: &SharedWorld, headers: &HeaderMap) -> Result<SimulatedApp, Box<Response>> {
    let app = shared.state().apps.app.clone();
    let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let checked = match (&app, token) {
        (Some(app), Some(token)) => check(app, token, shared.clock.now().second().0),
        _ => Err((StatusCode::UNAUTHORIZED, "Requires authentication".to_owned())),
    };
    match (checked, app) {
        (Ok(()), Some(app)) => Ok(app),
        (Err((status, message)), _) => {
            shared.count(format!("app {}", status.as_u16()));
            Err(Box::new(SimulatedRefusal::new(status, &message).into_response()))
        }
        (Ok(()), None) => {
            Err(Box::new(SimulatedRefusal::new(StatusCode::NOT_FOUND, "").into_response()))
        }
    }
}

pub(super) async fn installations(
    State(shared): State<Arc<SharedWorld>>,
    headers: HeaderMap,
) -> Response {
    let app = match admit(&shared, &headers) {
        Ok(app) => app,
        Err(refusal) => return *refusal,
    };
    let suspended = shared.state().apps.suspended.clone();
    let row = |(id, login): (&u64, &String)| {
        let account = Object::new().text("login", login).text("type", "Organization").end();
        let at = if suspended.contains(id) { r#""2026-01-01T00:00:00Z""# } else { "null" };
        Object::new().bare("id", *id).raw("account", &account).raw("suspended_at", at).end()
    };
    let rows: Vec<String> = app.installations.iter().map(row).collect();
    shared.count("app 200".to_owned());
    json(StatusCode::OK, format!("[{}]", rows.join(",")))
}

pub(super) async fn access_token(
    State(shared): State<Arc<SharedWorld>>,
    Path(id): Path<u64>,
    headers: HeaderMap,
) -> Response {
    let app = match admit(&shared, &headers) {
        Ok(app) => app,
        Err(refusal) => return *refusal,
    };
    let mut state = shared.state();
    let refusal = if !app.installations.contains_key(&id) {
        Some((StatusCode::NOT_FOUND, "Not Found"))
    } else if state.apps.suspended.contains(&id) {
        Some((StatusCode::FORBIDDEN, "This installation has been suspended"))
    } else {
        None
    };
    if let Some((status, message)) = refusal {
        drop(state);
        shared.count(format!("token {}", status.as_u16()));
        return SimulatedRefusal::new(status, message).into_response();
    }
    let number = state.apps.tokens(id) as u64 + 1;
    // GitHub states whole seconds.
    let until = shared.clock.now().plus(app.token_for).second().start();
    state.apps.give((id, number), until);
    drop(state);
    shared.count("token 201".to_owned());
    let body = Object::new()
        .text("token", &format!("{PREFIX}{id}/{number}"))
        .text("expires_at", &until.to_string())
        .end();
    json(StatusCode::CREATED, body)
}
