//! The tokens of a GitHub App's installations (`github.app`): requested at the start, renewed ten
//! minutes before they expire, and given to the pool beside the configured tokens.
//!
//! The installations are listed every ten minutes and after a refused token. What fails is tried
//! again with backoff; a token that still holds stays in use meanwhile.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::GitHubConfig;
use crate::github::app::{AppClient, AppError, Installation, InstallationToken};
use crate::github::tokens::TokenPool;
use crate::http::HttpError;
use crate::logging::line_limit::LineLimit;
use crate::model::part::{AppReport, InstallationReport};

/// Interval between two lists of installations.
const LIST_EVERY: Duration = Duration::from_secs(600);
/// How long before its end a token is renewed; a short-lived one after half of its life.
const RENEWED_BEFORE: Duration = Duration::from_secs(600);
/// Wait after the first failure, up to twice as long after each further one.
const FIRST_WAIT: Duration = Duration::from_secs(2);
/// Longest wait after failures.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// A token that was refused sooner than this counts as a failure of the installation.
const SOON: Duration = Duration::from_secs(60);
/// Number of tokens that are requested at once.
const AT_ONCE: usize = 10;
/// Lines about the list of installations: a server may list others each time, or refuse every
/// second request.
static LISTED: LineLimit = LineLimit::per_minute(10);
/// Lines about installations without a token.
static NO_TOKEN: LineLimit = LineLimit::per_minute(10);

/// Requests and renews the tokens.
pub(super) struct GitHubApp {
    client: AppClient,
    pool: Arc<TokenPool>,
    clock: Clock,
    installations: BTreeMap<u64, Tracked>,
    list_at: Instant,
    list_backoff: Backoff,
    /// Why the last list failed.
    error: Option<String>,
    standing: watch::Sender<AppReport>,
}

/// An installation.
struct Tracked {
    account: String,
    token: Option<InstallationToken>,
    asked_at: Instant,
    /// When to request the next token; `None` while it is suspended.
    due_at: Option<Instant>,
    backoff: Backoff,
    error: Option<String>,
}

impl GitHubApp {
    /// The configured app; `None` without one. Sends nothing yet.
    pub(super) fn new(
        github: &GitHubConfig,
        pool: Arc<TokenPool>,
        clock: Clock,
    ) -> Result<Option<Self>, HttpError> {
        let Some(app) = github.app.clone() else { return Ok(None) };
        let client = AppClient::new(&github.api_url, app, github.timeout, clock)?;
        pool.expect_installations();
        let standing = AppReport { id: client.id().to_owned(), ..AppReport::default() };
        Ok(Some(Self {
            client,
            pool,
            clock,
            installations: BTreeMap::new(),
            list_at: clock.instant(),
            list_backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            error: None,
            standing: watch::Sender::new(standing),
        }))
    }

    /// The state of the app, updated as it changes.
    pub(super) fn standing(&self) -> watch::Receiver<AppReport> {
        self.standing.subscribe()
    }

    /// Runs until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut refusals = self.pool.refusals();
        loop {
            if stop.run_until_cancelled(self.step()).await.is_none() {
                return Ok(());
            }
            let due = self.installations.values().filter_map(|one| one.due_at);
            let wake = due.fold(self.list_at, Instant::min);
            let wait = wake.saturating_duration_since(self.clock.instant());
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.clock.sleep(wait) => {}
                Ok(()) = refusals.changed() => self.drop_refused(),
            }
        }
    }

    /// Does what is due, and hands the tokens to the pool.
    async fn step(&mut self) {
        if self.list_at <= self.clock.instant() {
            let listed = self.client.installations().await;
            self.take_list(listed);
        }
        let now = self.clock.instant();
        let is_due = |one: &Tracked| one.due_at.is_some_and(|at| at <= now);
        let due = self.installations.iter().filter(|(_, one)| is_due(one)).map(|(id, _)| *id);
        let due: Vec<u64> = due.collect();
        let client = &self.client;
        let renewed = stream::iter(due)
            .map(async |id| (id, client.token(id).await))
            .buffer_unordered(AT_ONCE)
            .collect::<Vec<_>>()
            .await;
        for (id, renewed) in renewed {
            self.take_token(id, renewed);
        }
        self.publish();
    }

    fn take_list(&mut self, listed: Result<Vec<Installation>, AppError>) {
        let now = self.clock.instant();
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                self.list_at = now + wait_after(&error, &mut self.list_backoff);
                let words = error.to_string();
                if self.error.as_ref() != Some(&words) {
                    let app = self.client.id();
                    LISTED.log(|left_out| {
                        tracing::error!(app, left_out, "the GitHub App is unusable: {words}");
                    });
                }
                self.error = Some(words);
                return;
            }
        };
        if self.error.take().is_some() {
            let app = self.client.id();
            LISTED.log(|left_out| tracing::info!(app, left_out, "the GitHub App is usable again"));
        }
        self.list_backoff.reset();
        self.list_at = now + LIST_EVERY;
        let mut before = std::mem::take(&mut self.installations);
        for Installation { id, account, is_suspended } in listed {
            let mut one = before.remove(&id).unwrap_or_else(|| {
                LISTED.log(|left_out| {
                    let words = "GitHub App installation found";
                    tracing::info!(installation = id, account, left_out, "{words}");
                });
                Tracked::new(account.clone(), now)
            });
            one.account = account;
            if is_suspended {
                (one.token, one.due_at) = (None, None);
                one.error = Some("it is suspended at GitHub".to_owned());
            } else if one.due_at.is_none() {
                (one.due_at, one.error) = (Some(now), None);
            }
            self.installations.insert(id, one);
        }
        for (id, Tracked { account, .. }) in before {
            LISTED.log(|left_out| {
                tracing::warn!(installation = id, account, left_out, "installation was removed");
            });
        }
    }

    fn take_token(&mut self, id: u64, renewed: Result<InstallationToken, AppError>) {
        let now = self.clock.instant();
        let Some(one) = self.installations.get_mut(&id) else { return };
        match renewed {
            Ok(token) => {
                let life = token.valid_until.saturating_duration_since(now);
                if now.saturating_duration_since(one.asked_at) >= SOON {
                    one.backoff.reset();
                }
                let due_at = token.valid_until - RENEWED_BEFORE.min(life / 2);
                // A token that has expired already, or nearly, must not be requested in a tight
                // loop.
                let pause =
                    if life <= FIRST_WAIT { one.backoff.next_wait() } else { Duration::ZERO };
                one.due_at = Some(due_at.max(now + pause));
                one.asked_at = now;
                tracing::debug!(installation = id, expires_at = %token.expires_at, "token renewed");
                (one.token, one.error) = (Some(token), None);
            }
            Err(error) => {
                one.due_at = Some(now + wait_after(&error, &mut one.backoff));
                let words = error.to_string();
                if one.error.as_ref() != Some(&words) {
                    let account = &one.account;
                    NO_TOKEN.log(|left_out| {
                        tracing::warn!(installation = id, account, left_out, "{words}");
                    });
                }
                one.error = Some(words);
                if matches!(error, AppError::Gone { .. }) {
                    one.token = None;
                    // The next list says whether it was suspended or removed.
                    self.list_at = self.list_at.min(now + FIRST_WAIT);
                }
            }
        }
    }

    /// Requests new tokens in place of those that GitHub refuses, and the list of installations.
    fn drop_refused(&mut self) {
        let now = self.clock.instant();
        for id in self.pool.refused_installations() {
            let Some(one) = self.installations.get_mut(&id) else { continue };
            if now.saturating_duration_since(one.asked_at) >= SOON {
                one.backoff.reset();
            }
            one.token = None;
            one.error = Some("GitHub refuses its token".to_owned());
            one.due_at = Some(now + one.backoff.next_wait());
        }
        self.list_at = self.list_at.min(now + FIRST_WAIT);
    }

    /// Gives the valid tokens to the pool, and the state to `/status`.
    fn publish(&mut self) {
        let now = self.clock.instant();
        for one in self.installations.values_mut() {
            one.token = one.token.take().filter(|token| token.valid_until > now);
        }
        let tokens = self.installations.iter().filter_map(|(id, one)| {
            let token = one.token.as_ref()?;
            Some((*id, token.token.clone()))
        });
        self.pool.install(tokens.collect());
        let standing = AppReport {
            id: self.client.id().to_owned(),
            error: self.error.clone(),
            installations: self.installations.iter().map(|(id, one)| one.standing(*id)).collect(),
        };
        self.standing.send_if_modified(|before| {
            let differs = *before != standing;
            *before = standing;
            differs
        });
    }
}

impl Tracked {
    fn new(account: String, now: Instant) -> Self {
        let backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let due_at = Some(now);
        Self { account, token: None, asked_at: now, due_at, backoff, error: None }
    }

    fn standing(&self, id: u64) -> InstallationReport {
        InstallationReport {
            id,
            account: self.account.clone(),
            token_expires_at: self.token.as_ref().map(|token| token.expires_at),
            error: self.error.clone(),
        }
    }
}

/// How long to wait after a failure.
fn wait_after(error: &AppError, backoff: &mut Backoff) -> Duration {
    let wait = backoff.next_wait();
    match error {
        AppError::Limited { wait: Some(least) } => wait.max(*least),
        AppError::Limited { wait: None } => LONGEST_WAIT,
        _ => wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Request};
    use crate::github::tokens::PoolOptions;
    use crate::logging::captured;

    #[tokio::test]
    async fn lines_about_installations_have_a_limit() {
        let set = [("GHPULSE_GITHUB_APP_ID", "1"), ("GHPULSE_GITHUB_APP_KEYFILE", "app.pem")];
        let set = set.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let github = config::load(&Request::of_variables(set.to_vec())).unwrap().config.github;
        let options = PoolOptions { tokens: Vec::new(), share: 0.9, burst: 3 };
        let pool = TokenPool::new(options, Clock::system());
        let mut app = GitHubApp::new(&github, pool, Clock::system()).unwrap().unwrap();
        let one = |id| Installation { id, account: "octo".to_owned(), is_suspended: false };
        let ((), log) = captured(|| {
            // Others each time.
            for first in [0, 100] {
                app.take_list(Ok((first..first + 100).map(one).collect()));
            }
            for id in 100..200 {
                app.take_token(id, Err(AppError::Gone { status: 403, said: String::new() }));
            }
        });
        assert_eq!(app.installations.len(), 100);
        let lines = |words: &str| log.lines().filter(|line| line.contains(words)).count();
        let listed = lines("installation found") + lines("installation was removed");
        assert!((1..=10).contains(&listed) && lines("no token (403)") <= 10, "{log}");
    }
}
