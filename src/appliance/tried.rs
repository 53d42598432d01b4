//! The checks of `ghpulse check` other than those of the bus servers: the tokens at GitHub, the
//! certificate of the public listeners, and Pulsar's key file.

use futures_util::stream::{self, StreamExt as _};

use crate::bus::pulsar;
use crate::clock::Clock;
use crate::config::{GitHubConfig, Secret, ServerConfig};
use crate::github::rest::identity::TokenCheck;
use crate::github::rest::{Rest, RestOptions};
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
    let options = RestOptions { api_url: github.api_url.clone(), timeout: github.timeout };
    let rest = match Rest::new(&options, clock) {
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

/// What is wrong with the files of `server.tls`, if anything.
pub fn check_certificate(server: &ServerConfig) -> Result<(), String> {
    serve::certificate(server).map(drop).map_err(|error| format!("{error:#}"))
}

/// What is wrong with the content of Pulsar's key file, if anything.
pub fn check_key_file(bytes: &[u8]) -> Result<(), String> {
    pulsar::check_key(bytes)
}
