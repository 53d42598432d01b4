//! The checks of `ghpulse check` at GitHub, and that of the certificate of the public listeners.

use futures_util::stream::{self, StreamExt as _};

use crate::clock::Clock;
use crate::config::{GitHubAppConfig, GitHubConfig, Secret, ServerConfig};
use crate::github::app::{AppClient, AppError, Installation};
use crate::github::rest::Rest;
use crate::github::rest::identity::TokenCheck;
use crate::http::HttpError;
use crate::serve;

/// Maximum number of tokens checked; each costs a request.
const TOKENS: usize = 100;
/// Number of tokens checked at once.
const AT_ONCE: usize = 10;

/// Checks tokens at GitHub, each with one request; only the first hundred.
pub async fn check_tokens(
    github: &GitHubConfig,
    tokens: &[Secret],
    clock: Clock,
) -> Result<Vec<TokenCheck>, HttpError> {
    let rest = Rest::new(&github.api_url, github.timeout, clock)?;
    let tried = tokens.iter().take(TOKENS).map(|token| rest.try_token(token));
    Ok(stream::iter(tried).buffered(AT_ONCE).collect().await)
}

/// Checks a GitHub App: lists its installations at GitHub.
pub async fn check_app(
    github: &GitHubConfig,
    app: &GitHubAppConfig,
    clock: Clock,
) -> Result<Vec<Installation>, AppError> {
    let client = AppClient::new(&github.api_url, app.clone(), github.timeout, clock)?;
    client.installations().await
}

/// What is wrong with the files of `server.tls`, if anything.
pub fn check_certificate(server: &ServerConfig) -> Result<(), String> {
    serve::certificate(server).map(drop).map_err(|error| format!("{error:#}"))
}
