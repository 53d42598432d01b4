//! What `ghpulse check` tries of the configuration beside the servers of the bus: the tokens at
//! GitHub, the certificate of the public listeners, and the key file of Pulsar.

use futures_util::stream::{self, StreamExt as _};

use crate::bus::pulsar;
use crate::clock::Clock;
use crate::config::{GitHubConfig, Secret, ServerConfig};
use crate::github::rest::{Rest, RestOptions, TokenCheck};
use crate::serve;

/// Tokens that are tried; each costs a request.
const TOKENS: usize = 100;
/// How many are tried at once.
const AT_ONCE: usize = 10;

/// What came of trying a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TriedToken {
    /// GitHub serves requests with it.
    Accepted,
    /// GitHub refuses it, and why: only another token helps.
    Refused(String),
    /// It cannot be told, and why not.
    Unclear(String),
    /// GitHub does not answer, and why not.
    Away(String),
}

/// Tries tokens at GitHub, each with one request; the first hundred of them.
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

/// What is wrong with the files of `server.tls`, if anything is.
pub fn check_certificate(server: &ServerConfig) -> Result<(), String> {
    serve::certificate(server).map(drop).map_err(|error| format!("{error:#}"))
}

/// What is wrong with the content of the key file of Pulsar, if anything is.
pub fn check_key_file(bytes: &[u8]) -> Result<(), String> {
    pulsar::check_key(bytes)
}
