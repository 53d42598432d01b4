//! Posts alerts to a webhook when a condition lasts longer than tolerated, and again when it is
//! over.
//!
//! Guarantees: for each condition there is one message when it begins and one when it is over. A
//! failure that passes within the tolerance is not reported. The same condition is reported as
//! beginning at most once per pause. Raising and clearing never wait and never fail. There is no
//! queue: only the state of each condition and what was reported of it are kept, so at most one
//! message per condition is waiting, and a webhook that was unavailable receives the current
//! state, not the history. This state lasts as long as the process: after a restart, a condition
//! that persists begins anew, and one that has passed is not reported as over.
//!
//! A webhook's URL is a secret: only its host is ever shown.

mod condition;
mod format;
mod ledger;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::condition::AlertCondition;
use self::ledger::{AlertLedger, AlertMessage};
use crate::clock::Clock;
use crate::config::{self, AlertFormat, Secret};
use crate::http::{self, Http, HttpError, HttpOptions, HttpRequest};
use crate::metrics;
use crate::model::window::Timestamp;

/// Timeout of one post.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum size of a response in bytes; usual ones have a word or two.
const ANSWER_BYTES: usize = 64 << 10;

/// Why alerts cannot be posted at all.
#[derive(Debug, thiserror::Error)]
pub enum AlertsError {
    /// The webhook's URL is invalid. It is a secret, so it is not quoted.
    #[error(
        "`alerts.webhook` is no address that can be posted to: give one like https://host/path"
    )]
    Address,
    /// The HTTP client cannot be created.
    #[error(transparent)]
    Http(#[from] HttpError),
}

/// Raises and clears conditions. Clones share their state and are cheap to pass to every stage.
#[derive(Debug, Clone)]
pub struct Alerts(Option<Arc<AlertsShared>>);

#[derive(Debug)]
struct AlertsShared {
    ledger: Mutex<AlertLedger>,
    changed: Notify,
    clock: Clock,
}

/// The stage that posts alerts.
#[derive(Debug)]
pub struct Posting {
    shared: Arc<AlertsShared>,
    http: Http,
    webhook: Secret,
    format: AlertFormat,
    sign_key: Option<Secret>,
    node: String,
}

impl Alerts {
    /// Alerts that are not posted anywhere.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Alerts as configured, and the stage that posts them. `node` names this machine.
    ///
    /// # Errors
    /// When the URL is invalid or the HTTP client cannot be created.
    pub fn new(
        settings: &config::AlertsConfig,
        node: &str,
        clock: Clock,
    ) -> Result<(Self, Posting), AlertsError> {
        let webhook = settings.webhook.clone();
        http::check_address(webhook.expose()).map_err(|_| AlertsError::Address)?;
        let http = Http::new(HttpOptions { timeout: TIMEOUT, body_limit: ANSWER_BYTES })?;
        let ledger = AlertLedger::new(settings.tolerance, settings.within, settings.pause);
        let shared = AlertsShared { ledger: Mutex::new(ledger), changed: Notify::new(), clock };
        let shared = Arc::new(shared);
        let posting = Posting {
            shared: Arc::clone(&shared),
            http,
            webhook,
            format: settings.format,
            sign_key: settings.sign_key.clone(),
            node: node.to_owned(),
        };
        Ok((Self(Some(shared)), posting))
    }

    /// Reports that the condition holds, again or still, and began now unless it was reported
    /// before. `text` is the explanation for people.
    pub fn raise(&self, condition: AlertCondition, text: &str) {
        self.raise_since(condition, text, None);
    }

    /// Reports that the condition holds, again or still, and when it began, if that is known.
    pub fn raise_since(&self, condition: AlertCondition, text: &str, began: Option<Timestamp>) {
        if let Some(shared) = &self.0 {
            let clock = shared.clock;
            let began = began.unwrap_or_else(|| clock.now());
            shared.lock().raise(condition, text, began, clock.instant());
            shared.changed.notify_one();
        }
    }

    /// Reports that the condition does not hold, or no longer.
    pub fn clear(&self, condition: AlertCondition) {
        if let Some(shared) = &self.0
            && shared.lock().clear(condition, shared.clock.now())
        {
            shared.changed.notify_one();
        }
    }
}

impl AlertsShared {
    fn lock(&self) -> MutexGuard<'_, AlertLedger> {
        crate::sync::lock(&self.ledger)
    }
}

impl Posting {
    /// Posts until `stop` is cancelled.
    ///
    /// # Errors
    /// Never; failures to post are logged and retried while the condition holds.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let clock = self.shared.clock;
        loop {
            let (message, wake) = self.shared.lock().next(clock.instant());
            if let Some(message) = message {
                let posted = tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    posted = self.post(&message) => posted,
                };
                self.note(&message, posted);
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.shared.changed.notified() => {}
                () = clock.sleep_until(wake) => {}
            }
        }
    }

    /// Records the result of a post.
    fn note(&self, message: &AlertMessage, posted: Result<(), String>) {
        let condition = message.condition.name();
        let now = self.shared.clock.instant();
        match posted {
            Ok(()) => {
                metrics::ALERTS.add_for("posted", 1);
                tracing::info!(condition, over = message.over.is_some(), "an alert was posted");
                self.shared.lock().delivered(message, now);
            }
            Err(error) => {
                metrics::ALERTS.add_for("failed", 1);
                let wait = self.shared.lock().failed(message.condition, now);
                let seconds = wait.as_secs();
                tracing::warn!(
                    condition,
                    error,
                    seconds,
                    "an alert cannot be posted; trying again"
                );
            }
        }
    }

    async fn post(&self, message: &AlertMessage) -> Result<(), String> {
        let key = self.sign_key.as_ref().map(Secret::expose);
        let now = self.shared.clock.now();
        let body = format::body(self.format, message, &self.node, key, now);
        let request = HttpRequest::post(self.webhook.expose(), Bytes::from(body))
            .header("content-type", "application/json");
        match self.http.send(request).await {
            // This error would quote the URL; the URL was checked before, so the error cannot
            // occur.
            Err(HttpError::Address { .. }) => Err(AlertsError::Address.to_string()),
            Err(error) => Err(error.to_string()),
            Ok(answer) => format::accepted(self.format, answer.status, &answer.body),
        }
    }
}

#[cfg(test)]
mod tests;
