//! Whose a token is: `GET /user`, which GitHub answers to a user's token of any kind and right.
//!
//! An installation of an app has no user and is refused; its limits are its own. A refusal that
//! is no word about limits is no reason to leave the token alone: its pages tell how it stands.

use super::{API_VERSION, MEDIA_TYPE, Rest};
use crate::config::Secret;
use crate::github::limits::{LimitRefusal, RateLimits};
use crate::github::tokens::{DeadToken, Identity, Lease, TokenVerdict};
use crate::http::{HttpError, HttpRequest, HttpResponse};
use crate::metrics;
use crate::model::json;

/// What GitHub says of a token that is only tried.
#[derive(Debug)]
pub enum TokenCheck {
    /// It serves requests with it.
    Accepted,
    /// It serves none.
    Refused(DeadToken),
    /// Its account has no request left now, or has asked too often.
    Limited,
    /// An answer with this status that says neither.
    Unclear(u16),
    /// No answer.
    Away(HttpError),
}

impl Rest {
    /// Tries a token, at the cost of one request.
    pub async fn try_token(&self, token: &Secret) -> TokenCheck {
        let url = format!("{}/user", self.base);
        let authorization = format!("Bearer {}", token.expose());
        let request = HttpRequest::get(&url)
            .header("accept", MEDIA_TYPE)
            .header("x-github-api-version", API_VERSION)
            .secret("authorization", &authorization);
        let response = match self.http.send(request).await {
            Ok(response) => response,
            Err(error) => return TokenCheck::Away(error),
        };
        let limits = RateLimits::read(&response.headers, self.clock.now());
        match (response.status, read(&response, &limits).0) {
            (_, TokenVerdict::Served) => TokenCheck::Accepted,
            (_, TokenVerdict::Refused(dead)) => TokenCheck::Refused(dead),
            (_, TokenVerdict::Limited(_)) => TokenCheck::Limited,
            // GitHub describes a suspension only in words.
            (403, _) if String::from_utf8_lossy(&response.body).contains("suspended") => {
                TokenCheck::Refused(DeadToken::Suspended)
            }
            // An installation of an app has no user, and is refused only this.
            (403, _) if token.expose().starts_with("ghs_") => TokenCheck::Accepted,
            (status, _) => TokenCheck::Unclear(status),
        }
    }

    /// Asks whose the lease's token is, and settles the lease with what came of it; `None` when
    /// that is not known yet.
    pub async fn fetch_identity(&self, lease: Lease) -> Option<Identity> {
        let url = format!("{}/user", self.base);
        let authorization = format!("Bearer {}", lease.token()?.expose());
        let request = HttpRequest::get(&url)
            .header("accept", MEDIA_TYPE)
            .header("x-github-api-version", API_VERSION)
            .secret("authorization", &authorization);
        let start = self.clock.instant();
        let result = self.http.send(request).await;
        let took = self.clock.instant() - start;
        let (verdict, limits, identity) = match result {
            Ok(response) => {
                let limits = RateLimits::read(&response.headers, self.clock.now());
                let (verdict, identity) = read(&response, &limits);
                (verdict, limits, identity)
            }
            Err(error) if error.is_unsent() => (TokenVerdict::Unsent, RateLimits::default(), None),
            Err(_) => (TokenVerdict::Failed, RateLimits::default(), None),
        };
        lease.settle(verdict, &limits, took);
        metrics::REQUESTS.add_for("identity", 1);
        identity
    }
}

fn read(response: &HttpResponse, limits: &RateLimits) -> (TokenVerdict, Option<Identity>) {
    let body = &response.body;
    match response.status {
        200 => {
            let [id] = json::pick(String::from_utf8_lossy(body).trim(), ["id"])
                .map(|id| id.and_then(json::whole));
            (TokenVerdict::Served, id.map(Identity::User))
        }
        401 => (TokenVerdict::Refused(DeadToken::Revoked), None),
        // A server of one's own may not have it at all.
        404 => (TokenVerdict::Failed, Some(Identity::Nobody)),
        // An installation is refused like this; so is whom a server of one's own shows pages only.
        403 if !limits.is_about_limits(body) => (TokenVerdict::Failed, Some(Identity::Nobody)),
        status @ (403 | 429) => {
            let wait = match limits.refusal(status, body, true) {
                LimitRefusal::Wait(wait) => Some(wait),
                LimitRefusal::WaitLonger | LimitRefusal::Suspended => None,
            };
            (TokenVerdict::Limited(wait), None)
        }
        _ => (TokenVerdict::Failed, None),
    }
}
