//! Login with `OAuth2` client credentials, as with `StreamNative` Cloud: a key file, the issuer's
//! discovery document, and a token for an audience.
//!
//! A token is used for every connection until nine tenths of its lifetime are over. The secret
//! never leaves this module: no error or log contains it, and no type here implements `Debug`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::PulsarError;
use crate::clock::Clock;
use crate::config::OAuthConfig;
use crate::http::{Http, HttpOptions, HttpRequest, HttpResponse, keeps_secrets, shown};
use crate::reload;

/// Time limit for one request to the issuer.
const ANSWER: Duration = Duration::from_secs(10);
/// The largest response of an issuer, in bytes.
const ANSWER_BYTES: usize = 256 << 10;
/// The largest key file, in bytes.
const KEY_FILE_BYTES: usize = 64 << 10;
/// The assumed lifetime of a token, in seconds, when the issuer does not send a number.
const LIFE: f64 = 600.0;
/// The longest lifetime of a token that is believed, in seconds.
const LONGEST_LIFE: f64 = 86_400.0;
/// The longest address of an issuer's token endpoint, in bytes.
const ENDPOINT_BYTES: usize = 2 << 10;
/// The longest part of an issuer's error that is quoted, in characters.
const REPEATED: usize = 200;

/// The credentials, and the token that they were exchanged for.
pub(super) struct Credentials {
    http: Http,
    clock: Clock,
    key: ArcSwap<OauthClient>,
    audience: String,
    key_file: PathBuf,
    state: Mutex<LoginState>,
}

#[derive(Deserialize, PartialEq, Eq)]
struct OauthClient {
    client_id: String,
    client_secret: String,
    issuer_url: String,
    #[serde(default)]
    scope: Option<String>,
}

#[derive(Default)]
struct LoginState {
    token_endpoint: Option<String>,
    token: Option<AccessToken>,
}

struct AccessToken {
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
    expires_in: Option<Box<RawValue>>,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
    #[serde(default)]
    error_description: String,
}

impl Credentials {
    /// Reads the key file.
    pub(super) fn read(options: &OAuthConfig, clock: Clock) -> Result<Self, PulsarError> {
        let path = local(&options.key_file);
        let refuse = |why: String| PulsarError::File { what: "key file", path: path.clone(), why };
        let key = read_key(&path).map_err(refuse)?;
        let http = Http::new(HttpOptions { timeout: ANSWER, body_limit: ANSWER_BYTES })
            .map_err(|error| refuse(error.to_string()))?;
        let audience = options.audience.clone();
        let key = ArcSwap::from_pointee(key);
        Ok(Self { http, clock, key, audience, key_file: path, state: Mutex::default() })
    }

    /// A valid token: the cached one, or a new one. No error contains the secret, whatever an
    /// issuer repeats.
    pub(super) async fn token(&self) -> Result<String, String> {
        self.valid_token().await.map_err(|why| self.without_secret(&why))
    }

    async fn valid_token(&self) -> Result<String, String> {
        let mut state = self.state.lock().await;
        self.renew(&mut state);
        if let Some(token) = &state.token
            && self.clock.instant() < token.renewed_at
        {
            return Ok(token.text.clone());
        }
        let endpoint = match &state.token_endpoint {
            Some(endpoint) => endpoint.clone(),
            None => self.discover().await?,
        };
        state.token_endpoint = Some(endpoint.clone());
        let asked_at = self.clock.instant();
        let granted = self.exchange(&endpoint).await?;
        let life = life(granted.expires_in.as_deref().map(RawValue::get));
        let text = granted.access_token;
        state.token =
            Some(AccessToken { text: text.clone(), renewed_at: asked_at + life * 9 / 10 });
        Ok(text)
    }

    /// Loads a key file that was replaced, and drops the token of the old one.
    fn renew(&self, state: &mut LoginState) {
        // A malformed file changes nothing: the known key stays in use.
        let Ok(key) = read_key(&self.key_file) else { return };
        if **self.key.load() != key {
            self.key.store(Arc::new(key));
            *state = LoginState::default();
        }
    }

    /// Drops the token: the broker refused it.
    pub(super) async fn forget(&self) {
        self.state.lock().await.token = None;
    }

    async fn discover(&self) -> Result<String, String> {
        let key = self.key.load();
        let issuer = key.issuer_url.trim_end_matches('/');
        let url = format!("{issuer}/.well-known/openid-configuration");
        let answer =
            self.http.send(HttpRequest::get(&url)).await.map_err(|error| error.to_string())?;
        let wrong = |what: &str| {
            format!("{} {what}; check issuer_url in {}", shown(&url), self.key_file.display())
        };
        if answer.status != 200 {
            return Err(wrong(&format!("answered with status {}", answer.status)));
        }
        let found: Result<Discovered, _> = serde_json::from_slice(&answer.body);
        let endpoint = found.map_err(|_| wrong("sent no token_endpoint"))?.token_endpoint;
        if endpoint.len() > ENDPOINT_BYTES {
            return Err(wrong(&format!("sent a token_endpoint of {} bytes", endpoint.len())));
        }
        // The secret will be sent there.
        if !keeps_secrets(&endpoint) {
            let what = format!("sent a token_endpoint that is not https: {}", shown(&endpoint));
            return Err(wrong(&what));
        }
        Ok(endpoint)
    }

    async fn exchange(&self, endpoint: &str) -> Result<Granted, String> {
        let key = self.key.load_full();
        let mut fields = vec![
            ("grant_type", "client_credentials"),
            ("client_id", &key.client_id),
            ("client_secret", &key.client_secret),
            ("audience", &self.audience),
        ];
        if let Some(scope) = &key.scope {
            fields.push(("scope", scope));
        }
        let body = Bytes::from(form_body(&fields));
        let request = HttpRequest::post(endpoint, body)
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json");
        let answer = self.http.send(request).await.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(self.refusal(endpoint, &answer));
        }
        serde_json::from_slice(&answer.body)
            .map_err(|_| format!("{} answered without an access_token", shown(endpoint)))
    }

    /// Replaces the secret in a text, as it is and in its form-encoded spellings.
    fn without_secret(&self, text: &str) -> String {
        let key = self.key.load();
        let secret = &key.client_secret;
        let sent = [encoded(secret, true), encoded(secret, false)];
        let spaced = [sent[0].replace("%20", "+"), sent[1].replace("%20", "+")];
        let spellings = [secret].into_iter().chain(&sent).chain(&spaced);
        let hide = |text: String, spelling: &String| text.replace(spelling, "‹secret›");
        spellings.filter(|spelling| !spelling.is_empty()).fold(text.to_owned(), hide)
    }

    fn refusal(&self, endpoint: &str, answer: &HttpResponse) -> String {
        let refused: Option<TokenError> = serde_json::from_slice(&answer.body).ok();
        let words = refused.map_or_else(String::new, |refused| {
            let words = format!(": {} {}", refused.error, refused.error_description);
            let words: String = words.chars().filter(|c| !c.is_control()).collect();
            // Before the text is cut: a part of the secret would not be found.
            let words = self.without_secret(&words);
            words.chars().take(REPEATED).collect::<String>().trim_end().to_owned()
        });
        format!(
            "{} refused the login of {} with status {}{words}; check the key file and \
             pulsar.audience `{}`",
            shown(endpoint),
            self.key_file.display(),
            answer.status,
            self.audience,
        )
    }
}

/// The lifetime of a token by the issuer's `expires_in`, which is JSON.
fn life(said: Option<&str>) -> Duration {
    let seconds = said.and_then(|text| text.trim_matches('"').parse().ok());
    let seconds = seconds.filter(|seconds: &f64| !seconds.is_nan()).unwrap_or(LIFE);
    Duration::from_secs_f64(seconds.clamp(0.0, LONGEST_LIFE))
}

/// Checks the content of a key file. Errors quote nothing of it.
pub fn check_key(bytes: &[u8]) -> Result<(), String> {
    parse_key(bytes).map(drop)
}

/// Reads the key of a file; while that is malformed, of its last good content.
fn read_key(path: &Path) -> Result<OauthClient, String> {
    parse_key(&reload::read_good(path, check_key)?)
}

fn parse_key(bytes: &[u8]) -> Result<OauthClient, String> {
    if bytes.len() > KEY_FILE_BYTES {
        return Err(format!("it has {} bytes; the limit is {KEY_FILE_BYTES}", bytes.len()));
    }
    // The parser's error may quote a value, so only its position is reported.
    let key: OauthClient = serde_json::from_slice(bytes).map_err(|error| {
        format!(
            "malformed at line {} column {}: a key file is a JSON object with type, client_id, \
             client_secret and issuer_url",
            error.line(),
            error.column()
        )
    })?;
    if !keeps_secrets(&key.issuer_url) {
        return Err("its issuer_url is not https".to_owned());
    }
    Ok(key)
}

/// The path of a key file: `file:///a/key.json`, as some guides write it, is `/a/key.json`.
#[must_use]
pub fn local(path: &Path) -> PathBuf {
    path.to_str()
        .and_then(|text| text.strip_prefix("file://"))
        .map_or_else(|| path.to_owned(), PathBuf::from)
}

/// Encodes fields as `application/x-www-form-urlencoded`.
fn form_body(fields: &[(&str, &str)]) -> String {
    let fields = fields.iter().map(|(name, value)| format!("{name}={}", encoded(value, true)));
    fields.collect::<Vec<_>>().join("&")
}

/// Form-encodes a value, with escapes in upper or lower case.
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
mod tests;
