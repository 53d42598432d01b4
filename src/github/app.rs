//! GitHub App authentication: the installations of an app, and tokens for them.
//!
//! The app identifies itself by a JSON Web Token that its private key signs (RS256), and receives
//! for each installation a token that is valid for an hour ("Authenticating as a GitHub App
//! installation" in GitHub's documentation). The key file is read for each signature, so a new key
//! needs no restart; neither key nor token is ever printed.
//!
//! GitHub refuses assertions from the future and those valid for more than ten minutes. So they are
//! dated a minute back, and by GitHub's clock, which each response states: when ours is wrong, the
//! first refusal says by how much, and the request is sent once more.
//!
//! Nothing here waits: the caller repeats what failed.

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::{GitHubAppConfig, Secret};
use crate::github::limits::RateLimits;
use crate::github::rest::{API_VERSION, MEDIA_TYPE, said};
use crate::http::{self, Http, HttpError, HttpOptions, HttpRequest, HttpResponse};
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::window::Timestamp;
use crate::reload;
use crate::secrets::SigningKey;
use crate::sync::blocking;

/// Installations of one page; GitHub lists no more.
const PER_PAGE: usize = 100;
/// Most pages of installations that are read: as many installations as the pool has tokens.
const MOST_PAGES: usize = 10;
/// Maximum size of a response in bytes: a page of installations has about 2 KB for each.
const BODY_BYTES: usize = 4 << 20;
/// How far back an assertion is dated, as GitHub recommends.
const DATED_BACK: i64 = 60;
/// How long an assertion is valid from now on; with [`DATED_BACK`] GitHub's ten minutes.
const VALID_FOR: i64 = 540;
/// Clocks that differ by less are not corrected: the `Date` of a response is older than its
/// arrival.
const TOLERATED_SKEW: i64 = 20;
/// The longest token that is accepted, bytes; GitHub's have 40, and may get longer.
const LONGEST_TOKEN: usize = 4_096;
/// The longest life of a token that is believed; GitHub's is an hour.
const LONGEST_LIFE: Duration = Duration::from_secs(2 * 3_600);
/// Lines about GitHub's clock, which each response states.
static SKEW: LineLimit = LineLimit::per_minute(2);

/// Why a request about an app has no result.
#[derive(Debug, Error)]
pub enum AppError {
    /// The key file is unusable.
    #[error("key file {path}: {why}")]
    Key {
        /// Its path.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// GitHub does not accept the signature, or does not know the app.
    #[error(
        "key refused ({status}){said}; compare github.app.id and github.app.keyFile with the \
             app's settings at GitHub"
    )]
    KeyRefused {
        /// The status.
        status: u16,
        /// The beginning of the body after a colon, or empty.
        said: String,
    },
    /// The installation was removed or suspended.
    #[error("no token ({status}){said}; the installation is suspended or was removed")]
    Gone {
        /// The status.
        status: u16,
        /// The beginning of the body after a colon, or empty.
        said: String,
    },
    /// The app sends too many requests.
    #[error("GitHub wants fewer requests")]
    Limited {
        /// How long to wait, where GitHub specified it.
        wait: Option<Duration>,
    },
    /// No response came.
    #[error(transparent)]
    Away(#[from] HttpError),
    /// An unexpected response.
    #[error("{what} answered {status}{said}")]
    Trouble {
        /// What was requested, and the host.
        what: String,
        /// The status.
        status: u16,
        /// The beginning of the body after a colon, or empty.
        said: String,
    },
}

/// An installation of the app: on the account of a user or an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installation {
    /// GitHub's id of it.
    pub id: u64,
    /// The login of the account, at most 100 characters of it.
    pub account: String,
    /// Whether the account's owner, or GitHub, suspended it.
    pub is_suspended: bool,
}

/// A token of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallationToken {
    /// The token.
    pub token: Secret,
    /// When it expires, by GitHub's clock.
    pub expires_at: Timestamp,
    /// The same by ours.
    pub valid_until: Instant,
}

#[derive(Deserialize)]
struct ListedInstallation {
    id: u64,
    account: Option<ListedAccount>,
    #[serde(default)]
    suspended_at: Option<String>,
}

#[derive(Deserialize)]
struct ListedAccount {
    login: Option<String>,
    slug: Option<String>,
}

#[derive(Deserialize)]
struct GrantedToken {
    token: String,
    expires_at: String,
}

/// A client that acts as an app.
#[derive(Debug)]
pub struct AppClient {
    http: Http,
    base: String,
    app: GitHubAppConfig,
    clock: Clock,
    /// By how many seconds GitHub's clock is ahead of ours, as last seen.
    ahead: AtomicI64,
}

/// Checks the content of a key file. The error does not quote it.
pub fn check_app_key(pem: &[u8]) -> Result<(), String> {
    SigningKey::parse(pem).map(drop)
}

impl AppClient {
    /// Creates a client. Reads and sends nothing yet.
    ///
    /// # Errors
    /// When the URL is invalid or TLS cannot be set up.
    pub fn new(
        api_url: &str,
        app: GitHubAppConfig,
        timeout: Duration,
        clock: Clock,
    ) -> Result<Self, HttpError> {
        let base = api_url.trim().trim_end_matches('/').to_owned();
        http::check_address(&base)?;
        let http = Http::new(HttpOptions { timeout, body_limit: BODY_BYTES })?;
        Ok(Self { http, base, app, clock, ahead: AtomicI64::new(0) })
    }

    /// The app's id, as configured.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.app.id
    }

    /// The app's installations, at most `PER_PAGE` times `MOST_PAGES`. One that is listed again
    /// counts once, and a page without a new one is the last.
    pub async fn installations(&self) -> Result<Vec<Installation>, AppError> {
        let (mut all, mut ids) = (Vec::new(), HashSet::new());
        for page in 1..=MOST_PAGES {
            let path = format!("/app/installations?per_page={PER_PAGE}&page={page}");
            let response = self.send(&path, None).await?;
            if response.status != 200 {
                return Err(self.failure("/app/installations", &response));
            }
            let listed: Vec<ListedInstallation> = serde_json::from_slice(&response.body)
                .map_err(|_| self.trouble("/app/installations", &response))?;
            let (count, before) = (listed.len(), all.len());
            all.extend(listed.into_iter().map(installation).filter(|one| ids.insert(one.id)));
            if count < PER_PAGE || all.len() == before {
                break;
            }
        }
        Ok(all)
    }

    /// A new token of an installation.
    pub async fn token(&self, installation: u64) -> Result<InstallationToken, AppError> {
        let path = format!("/app/installations/{installation}/access_tokens");
        let response = self.send(&path, Some(Bytes::from_static(b"{}"))).await?;
        match response.status {
            200 | 201 => {}
            status @ (403 | 404) if !self.limits(&response).is_about_limits(&response.body) => {
                return Err(AppError::Gone { status, said: said(&response.body) });
            }
            _ => return Err(self.failure(&path, &response)),
        }
        // The body has a token, so an error must not quote it.
        let unusable = || {
            let what = format!("{}{path}", http::shown(&self.base));
            AppError::Trouble { what, status: response.status, said: String::new() }
        };
        let granted: GrantedToken =
            serde_json::from_slice(&response.body).map_err(|_| unusable())?;
        let is_token = |text: &str| {
            (1..=LONGEST_TOKEN).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        };
        // Requests with anything else could not be sent.
        if !is_token(&granted.token) {
            return Err(unusable());
        }
        let expires_at = Timestamp::parse(&granted.expires_at).ok_or_else(unusable)?;
        let server = response.headers.date().unwrap_or_else(|| self.clock.now());
        let life = expires_at.since(server).min(LONGEST_LIFE);
        let valid_until = self.clock.instant() + life;
        Ok(InstallationToken { token: Secret::new(granted.token), expires_at, valid_until })
    }

    /// Sends a request as the app; once more when the first response shows that the clocks differ.
    async fn send(&self, path: &str, body: Option<Bytes>) -> Result<HttpResponse, AppError> {
        let url = format!("{}{path}", self.base);
        let mut is_corrected = false;
        loop {
            let assertion = self.assertion().await?;
            let request = match &body {
                Some(body) => HttpRequest::post(&url, body.clone()),
                None => HttpRequest::get(&url),
            };
            let request = request
                .header("accept", MEDIA_TYPE)
                .header("x-github-api-version", API_VERSION)
                .bearer(assertion.expose());
            let response = self.http.send(request).await;
            metrics::REQUESTS.add_for("app", 1);
            let response = response?;
            let differs = self.learn_skew(&response) && response.status == 401;
            if !differs || is_corrected {
                return Ok(response);
            }
            is_corrected = true;
        }
    }

    /// Remembers how far GitHub's clock is ahead. Returns whether that differs from before.
    fn learn_skew(&self, response: &HttpResponse) -> bool {
        let Some(date) = response.headers.date() else { return false };
        let ahead = date.second().0 - self.clock.now().second().0;
        let before = self.ahead.load(Relaxed);
        let differs = (ahead - before).abs() > TOLERATED_SKEW;
        if differs {
            self.ahead.store(ahead, Relaxed);
            SKEW.log(|left_out| {
                let words = "the difference between GitHub's clock and this machine's has changed";
                tracing::info!(seconds_ahead = ahead, left_out, "{words}");
            });
        }
        differs
    }

    /// A signed statement of who asks (RFC 7519), valid for a few minutes.
    async fn assertion(&self) -> Result<Secret, AppError> {
        let now = self.clock.now().second().0 + self.ahead.load(Relaxed);
        let claims = serde_json::json!({
            "iat": now - DATED_BACK,
            "exp": now + VALID_FOR,
            "iss": self.app.id,
        });
        let path = self.app.key_file.clone();
        let signed = blocking(move || sign(&path, &claims.to_string())).await;
        let stopped = || "the process is stopping".to_owned();
        signed.unwrap_or_else(|_| Err(stopped())).map_err(|why| {
            let path = self.app.key_file.display().to_string();
            AppError::Key { path, why }
        })
    }

    fn limits(&self, response: &HttpResponse) -> RateLimits {
        RateLimits::read(&response.headers, self.clock.now())
    }

    fn failure(&self, what: &str, response: &HttpResponse) -> AppError {
        let limits = self.limits(response);
        match response.status {
            // A 404 is GitHub's answer to an app that does not exist.
            status @ (401 | 404) => AppError::KeyRefused { status, said: said(&response.body) },
            status @ (403 | 429) if limits.is_about_limits(&response.body) => AppError::Limited {
                wait: limits.refusal(status, &response.body, true).ok().flatten(),
            },
            _ => self.trouble(what, response),
        }
    }

    fn trouble(&self, what: &str, response: &HttpResponse) -> AppError {
        let what = format!("{}{what}", http::shown(&self.base));
        AppError::Trouble { what, status: response.status, said: said(&response.body) }
    }
}

fn installation(listed: ListedInstallation) -> Installation {
    let account = listed.account.and_then(|account| account.login.or(account.slug));
    Installation {
        id: listed.id,
        account: account.unwrap_or_default().chars().take(100).collect(),
        is_suspended: listed.suspended_at.is_some(),
    }
}

/// A JSON Web Token with these claims. Blocks while it reads the key file.
fn sign(key_file: &Path, claims: &str) -> Result<Secret, String> {
    let pem = reload::read_good(key_file, check_app_key)?;
    let key = SigningKey::parse(&pem)?;
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let message = format!("{}.{}", part(r#"{"alg":"RS256","typ":"JWT"}"#), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()));
    Ok(Secret::new(format!("{message}.{signature}")))
}

#[cfg(test)]
mod tests;
