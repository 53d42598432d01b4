//! Logging in with `OAuth2` client credentials, as `StreamNative` Cloud and others have it: a key
//! file, the issuer's discovery document, a token for an audience.
//!
//! A token serves every connection until nine tenths of its life are over. The secret stays in
//! here: it is in no error, no log, and nothing here can be printed.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pulsar::authentication::Authentication;
use pulsar::error::AuthenticationError;
use serde::Deserialize;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{OAuthOptions, PulsarError};
use crate::clock::Clock;
use crate::http::{Http, HttpOptions, Request, Response, shown};

/// Until the issuer has answered one request.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest answer of an issuer.
const ANSWER_BYTES: usize = 256 << 10;
/// The largest key file.
const KEY_FILE_BYTES: u64 = 64 << 10;
/// How long a token is taken to live when the issuer does not say.
const LIFE: u64 = 600;
/// The most that is repeated of an issuer's own words, in characters.
const REPEATED: usize = 200;

/// The credentials, and the token they were exchanged for.
pub(super) struct Credentials {
    http: Http,
    clock: Clock,
    key: Key,
    audience: String,
    key_file: PathBuf,
    session: Mutex<Session>,
}

#[derive(Deserialize)]
struct Key {
    client_id: String,
    client_secret: String,
    issuer_url: String,
    #[serde(default)]
    scope: Option<String>,
}

#[derive(Default)]
struct Session {
    token_endpoint: Option<String>,
    token: Option<Token>,
}

struct Token {
    text: String,
    renewed_at: Instant,
}

#[derive(Deserialize)]
struct Discovered {
    token_endpoint: String,
}

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

#[derive(Deserialize)]
struct Refused {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Credentials {
    /// Reads the key file.
    pub(super) fn read(options: &OAuthOptions, clock: Clock) -> Result<Self, PulsarError> {
        let path = local(&options.key_file);
        let refuse = |why: String| PulsarError::File { what: "key file", path: path.clone(), why };
        let length = std::fs::metadata(&path).map_err(|error| refuse(error.to_string()))?.len();
        if length > KEY_FILE_BYTES {
            return Err(refuse(format!("{length} bytes are too many for a key file")));
        }
        let text = std::fs::read_to_string(&path).map_err(|error| refuse(error.to_string()))?;
        // An error of the parser may repeat a value, so only its place is said.
        let place = |error: &serde_json::Error| {
            refuse(format!(
                "line {} column {} is not what a key file has: a JSON object with type, \
                 client_id, client_secret and issuer_url",
                error.line(),
                error.column()
            ))
        };
        let key: Key = serde_json::from_str(&text).map_err(|error| place(&error))?;
        let near = ["http://127.0.0.1", "http://[::1]", "http://localhost"];
        let is_near = near.iter().any(|start| key.issuer_url.starts_with(start));
        if !key.issuer_url.starts_with("https://") && !is_near {
            return Err(refuse("its issuer_url is not https".to_owned()));
        }
        let http = Http::new(HttpOptions { timeout: ANSWER, body_limit: ANSWER_BYTES })
            .map_err(|error| refuse(error.to_string()))?;
        let audience = options.audience.clone();
        Ok(Self { http, clock, key, audience, key_file: path, session: Mutex::default() })
    }

    /// What the library asks at each connection.
    pub(super) fn login(self: &Arc<Self>) -> impl Authentication {
        Login(Arc::clone(self))
    }

    /// A token that still lives.
    pub(super) async fn token(&self) -> Result<String, String> {
        let mut session = self.session.lock().await;
        if let Some(token) = &session.token
            && self.clock.instant() < token.renewed_at
        {
            return Ok(token.text.clone());
        }
        let endpoint = match &session.token_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => self.discover().await?,
        };
        session.token_endpoint = Some(endpoint.clone());
        let asked_at = self.clock.instant();
        let granted = self.exchange(&endpoint).await?;
        let life = Duration::from_secs(granted.expires_in.unwrap_or(LIFE));
        let text = granted.access_token;
        session.token = Some(Token { text: text.clone(), renewed_at: asked_at + life * 9 / 10 });
        Ok(text)
    }

    /// The token is no good any more, whatever it says of its life.
    pub(super) async fn forget(&self) {
        self.session.lock().await.token = None;
    }

    async fn discover(&self) -> Result<String, String> {
        let issuer = self.key.issuer_url.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let answer = self.http.send(Request::get(&url)).await.map_err(|error| error.to_string())?;
        let wrong = |what: &str| {
            format!("{} {what}; is issuer_url in {} right?", shown(&url), self.key_file.display())
        };
        if answer.status != 200 {
            return Err(wrong(&format!("answers with status {}", answer.status)));
        }
        let found: Result<Discovered, _> = serde_json::from_slice(&answer.body);
        found.map(|found| found.token_endpoint).map_err(|_| wrong("names no token_endpoint"))
    }

    async fn exchange(&self, endpoint: &str) -> Result<Granted, String> {
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", &self.key.client_id),
            ("client_secret", &self.key.client_secret),
            ("audience", &self.audience),
        ];
        if let Some(scope) = &self.key.scope {
            fields.push(("scope", scope));
        }
        let body = Bytes::from(form(&fields));
        let request = Request::post(endpoint, body)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        let answer = self.http.send(request).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(self.refusal(endpoint, &answer));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|_| format!("{} answers without an access_token", shown(endpoint)))
    }

    /// The text without the secret, as it is and in the spellings in which a form may have it.
    fn without_secret(&self, text: &str) -> String {
        let secret = &self.key.client_secret;
        let sent = [encoded(secret, true), encoded(secret, false)];
        let spaced = [sent[0].replace("%20", "+"), sent[1].replace("%20", "+")];
        let spellings = [secret].into_iter().chain(&sent).chain(&spaced);
        let hide = |text: String, spelling: &String| text.replace(spelling, "‹secret›");
        spellings.filter(|spelling| !spelling.is_empty()).fold(text.to_owned(), hide)
    }

    fn refusal(&self, endpoint: &str, answer: &Response) -> String {
        let refused: Option<Refused> = serde_json::from_slice(&answer.body).ok();
        let words = refused.map_or_else(String::new, |refused| {
            let words = format!(": {} {}", refused.error, refused.error_description);
            let words: String = words.chars().filter(|c| !c.is_control()).collect();
            // Before it is cut: a part of the secret would not be found.
            let words = self.without_secret(&words);
            words.chars().take(REPEATED).collect::<String>().trim_end().to_owned()
        });
        format!(
            "{} refuses the login of {} with status {}{words}; check the key file and \
             pulsar.audience `{}`",
            shown(endpoint),
            self.key_file.display(),
            answer.status,
            self.audience,
        )
    }
}

/// The credentials as the library takes them.
struct Login(Arc<Credentials>);

type Work<'a, T> = Pin<Box<dyn Future<Output = Result<T, AuthenticationError>> + Send + 'a>>;

impl Authentication for Login {
    fn auth_method_name(&self) -> String {
        "token".to_owned()
    }

    fn initialize<'s, 'a>(&'s mut self) -> Work<'a, ()>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(std::future::ready(Ok(())))
    }

    fn auth_data<'s, 'a>(&'s mut self) -> Work<'a, Vec<u8>>
    where
        's: 'a,
        Self: 'a,
    {
        Box::pin(async {
            let token = self.0.token().await;
            // Of any other kind the library keeps the words to itself.
            token.map(String::into_bytes).map_err(AuthenticationError::Retriable)
        })
    }
}

/// `file:///a/key.json`, as some guides write it, is `/a/key.json`.
fn local(path: &Path) -> PathBuf {
    path.to_str()
        .and_then(|text| text.strip_prefix("file://"))
        .map_or_else(|| path.to_owned(), PathBuf::from)
}

/// Fields as a form sends them.
fn form(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value, true)));
    fields.collect::<Vec<_>>().join("&")
}

/// A value as a form sends it, with escapes in capital letters, or in small ones.
fn encoded(value: &str, capital: bool) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
            continue;
        }
        let escape = format!("%{byte:02X}");
        out.push_str(&if capital { escape } else { escape.to_lowercase() });
    }
    out
}

#[cfg(test)]
#[path = "oauth_tests.rs"]
mod tests;
