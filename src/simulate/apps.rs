//! The endpoints of a GitHub App: `GET /app/installations` and
//! `POST /app/installations/{id}/access_tokens`, for apps that sign with the right key.
//!
//! Assumed of GitHub, from its documentation: an assertion must be signed (RS256), name the app, be
//! dated in the past and end within ten minutes; what is wrong is answered with 401, an app that
//! does not exist with 404, a removed installation with 404, a suspended one with 403. Tokens begin
//! with `ghs_`, are valid for an hour, and have limits for each installation.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::entrance::SimulatedRequest;
use super::installations::{PREFIX, SimulatedApp};
use super::json::{Object, list};
use super::refusal::{SimulatedRefusal, counted, json};
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

/// Checks an assertion.
fn check(app: &SimulatedApp, token: &str, now: i64) -> Result<(), SimulatedRefusal> {
    let refuse = |words: &str| SimulatedRefusal::new(StatusCode::UNAUTHORIZED, words);
    let undecodable = || refuse("A JSON web token could not be decoded");
    let (message, signature) = token.rsplit_once('.').ok_or_else(undecodable)?;
    let (head, claims) = message.split_once('.').ok_or_else(undecodable)?;
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| undecodable());
    let head: serde_json::Value =
        serde_json::from_slice(&bytes(head)?).map_err(|_| undecodable())?;
    let claims: Claims = serde_json::from_slice(&bytes(claims)?).map_err(|_| undecodable())?;
    let issuer = claims.iss.as_str().map_or_else(|| claims.iss.to_string(), str::to_owned);
    if issuer != app.id {
        return Err(SimulatedRefusal::new(StatusCode::NOT_FOUND, "Integration not found"));
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
fn admit(request: &SimulatedRequest) -> Result<SimulatedApp, SimulatedRefusal> {
    let app = request.shared.state().apps.app.clone();
    let token = request.headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.strip_prefix("Bearer "));
    let checked = match (app, token) {
        (Some(app), Some(token)) => {
            check(&app, token, request.shared.clock.now().second().0).map(|()| app)
        }
        _ => Err(SimulatedRefusal::new(StatusCode::UNAUTHORIZED, "Requires authentication")),
    };
    checked.map_err(|refusal| refusal.counted_by("app"))
}

pub(super) async fn installations(request: SimulatedRequest) -> Result<Response, SimulatedRefusal> {
    let app = admit(&request)?;
    let suspended = request.shared.state().apps.suspended.clone();
    let row = |(id, login): (&u64, &String)| {
        let account = Object::new().text("login", login).text("type", "Organization").end();
        let at = if suspended.contains(id) { r#""2026-01-01T00:00:00Z""# } else { "null" };
        Object::new().bare("id", *id).raw("account", &account).raw("suspended_at", at).end()
    };
    let rows = list(app.installations.iter().map(row));
    Ok(counted(json(StatusCode::OK, rows), "app 200".to_owned()))
}

pub(super) async fn access_token(
    Path(id): Path<u64>,
    request: SimulatedRequest,
) -> Result<Response, SimulatedRefusal> {
    let app = admit(&request)?;
    let mut state = request.shared.state();
    let refuse = |status, message| SimulatedRefusal::new(status, message).counted_by("token");
    if !app.installations.contains_key(&id) {
        return Err(refuse(StatusCode::NOT_FOUND, "Not Found"));
    }
    if state.apps.suspended.contains(&id) {
        return Err(refuse(StatusCode::FORBIDDEN, "This installation has been suspended"));
    }
    let number = state.apps.tokens(id) as u64 + 1;
    // GitHub states whole seconds.
    let until = request.shared.clock.now().plus(app.token_for).second().start();
    state.apps.give((id, number), until);
    let body = Object::new()
        .text("token", &format!("{PREFIX}{id}/{number}"))
        .text("expires_at", &until.to_string())
        .end();
    Ok(counted(json(StatusCode::CREATED, body), "token 201".to_owned()))
}
