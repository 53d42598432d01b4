//! The checks of `ghpulse check` other than those of the bus servers: the tokens and the app at
//! GitHub, the certificate of the public listeners, and Pulsar's key file.

use futures_util::stream::{self, StreamExt as _};

use crate::bus::pulsar;
use crate::clock::Clock;
use crate::config::{GitHubConfig, Secret, ServerConfig};
use crate::github::app::{self, AppClient, AppError};
use crate::github::rest::Rest;
use crate::github::rest::identity::TokenCheck;
use crate::serve;

/// Maximum number of tokens checked; each costs a request.
const TOKENS: usize = 100;
/// Number of tokens checked at once.
const AT_ONCE: usize = 10;

/// The result of checking a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriedToken {
    /// GitHub accepts it.
    Accepted,
    /// GitHub refuses it, with the reason: only another token helps.
    Refused(String),
    /// The result is unclear, with the reason.
    Unclear(String),
    /// GitHub does not answer, with the reason.
    Away(String),
}

/// Checks tokens at GitHub, each with one request; only the first hundred.
pub async fn check_tokens(
    github: &GitHubConfig,
    tokens: &[Secret],
    clock: Clock,
) -> Vec<TriedToken> {
    let rest = match Rest::new(&github.api_url, github.timeout, clock) {
        Ok(rest) => rest,
        Err(error) => return vec![TriedToken::Away(error.to_string()); tokens.len().min(TOKENS)],
    };
    let tried = tokens.iter().take(TOKENS).map(|token| rest.try_token(token));
    let tried: Vec<TokenCheck> = stream::iter(tried).buffered(AT_ONCE).collect().await;
    tried.into_iter().map(words).collect()
}

fn words(tried: TokenCheck) -> TriedToken {
    match tried {
        TokenCheck::Accepted => TriedToken::Accepted,
        TokenCheck::Refused(dead) => TriedToken::Refused(dead.to_string()),
        TokenCheck::Limited => {
            TriedToken::Unclear("its account has no request left this hour".to_owned())
        }
        TokenCheck::Unclear(status) => {
            TriedToken::Unclear(format!("GitHub answers {status} to the question whose it is"))
        }
        TokenCheck::Away(error) => TriedToken::Away(error.to_string()),
    }
}

/// The result of checking the GitHub App.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriedApp {
    /// GitHub lists its installations: the logins of their accounts.
    Installed(Vec<String>),
    /// GitHub refuses it, or its key is unusable, with the reason.
    Refused(String),
    /// GitHub does not answer as expected, with the reason.
    Away(String),
}

/// Checks the configured GitHub App at GitHub; `None` without one.
pub async fn check_app(github: &GitHubConfig, clock: Clock) -> Option<TriedApp> {
    let app = github.app.clone()?;
    let client = match AppClient::new(&github.api_url, app, github.timeout, clock) {
        Ok(client) => client,
        Err(error) => return Some(TriedApp::Away(error.to_string())),
    };
    Some(match client.installations().await {
        Ok(all) => TriedApp::Installed(all.into_iter().map(|one| one.account).collect()),
        Err(error @ (AppError::Key { .. } | AppError::KeyRefused { .. })) => {
            TriedApp::Refused(error.to_string())
        }
        Err(error) => TriedApp::Away(error.to_string()),
    })
}

/// What is wrong with the content of the GitHub App's key file, if anything.
pub fn check_app_key(bytes: &[u8]) -> Result<(), String> {
    app::check_app_key(bytes)
}

/// What is wrong with the files of `server.tls`, if anything.
pub fn check_certificate(server: &ServerConfig) -> Result<(), String> {
    serve::certificate(server).map(drop).map_err(|error| format!("{error:#}"))
}

/// What is wrong with the content of Pulsar's key file, if anything.
pub fn check_key_file(bytes: &[u8]) -> Result<(), String> {
    pulsar::check_key(bytes)
}
