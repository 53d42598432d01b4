//! Finds the account of a token: `GET /user`, which GitHub answers for a user's token of any kind
//! and with any permissions.
//!
//! An app installation has no user and is refused; its limits are its own. A refusal that is not
//! about limits is not a reason to quarantine the token: the requests for pages show whether it
//! works.

use std::time::Duration;

use super::Rest;
use crate::config::Secret;
use crate::github::limits::{DeadToken, RateLimits};
use crate::github::tokens::{Identity, Lease, TokenVerdict};
use crate::http::{HttpError, HttpRequest, HttpResponse};
use crate::metrics;
use crate::model::json;

/// GitHub's response to a token that is only checked.
#[derive(Debug)]
pub enum TokenCheck {
    /// GitHub accepts the token.
    Accepted,
    /// GitHub refuses the token.
    Refused(DeadToken),
    /// Its account has no requests left now, or has sent too many.
    Limited,
    /// A response with this status that is neither.
    Unclear(u16),
    /// No response.
    Away(HttpError),
}

impl Rest {
    /// Checks a token, at the cost of one request.
    pub async fn try_token(&self, token: &Secret) -> TokenCheck {
        let response = match self.ask_user(token).await.0 {
            Ok(response) => response,
            Err(error) => return TokenCheck::Away(error),
        };
        let limits = RateLimits::read(&response.headers, self.clock.now());
        match (response.status, read(&response, &limits).0) {
            (_, TokenVerdict::Served) => TokenCheck::Accepted,
            (_, TokenVerdict::Refused(dead)) => TokenCheck::Refused(dead),
            (_, TokenVerdict::Limited(_)) => TokenCheck::Limited,
            // GitHub describes a suspension only in the message.
            (403, _) if String::from_utf8_lossy(&response.body).contains("suspended") => {
                TokenCheck::Refused(DeadToken::Suspended)
            }
            // An app installation has no user, and is refused only this request.
            (403, _) if token.expose().starts_with("ghs_") => TokenCheck::Accepted,
            (status, _) => TokenCheck::Unclear(status),
        }
    }

    /// Asks GitHub for the account of the lease's token and settles the lease with the outcome.
    /// `None` when the account is not known yet.
    pub async fn fetch_identity(&self, lease: Lease) -> Option<Identity> {
        let (result, took) = self.ask_user(lease.token()?).await;
        let (limits, (verdict, identity)) = match result {
            Ok(response) => {
                let limits = RateLimits::read(&response.headers, self.clock.now());
                (limits, read(&response, &limits))
            }
            Err(error) => (RateLimits::default(), (TokenVerdict::without_response(&error), None)),
        };
        lease.settle(verdict, &limits, took);
        metrics::REQUESTS.add_for("identity", 1);
        identity
    }

    async fn ask_user(&self, token: &Secret) -> (Result<HttpResponse, HttpError>, Duration) {
        let url = format!("{}/user", self.base);
        self.send(HttpRequest::get(&url), Some(token), None).await
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
        // Other servers may not implement it at all.
        404 => (TokenVerdict::Failed, Some(Identity::Nobody)),
        // The response for an app installation, or from other servers that serve only pages.
        403 if !limits.is_about_limits(body) => (TokenVerdict::Failed, Some(Identity::Nobody)),
        status @ (403 | 429) => {
            let wait = limits.refusal(status, body, true).ok().flatten();
            (TokenVerdict::Limited(wait), None)
        }
        _ => (TokenVerdict::Failed, None),
    }
}
