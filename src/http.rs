//! Adapter for `reqwest`: an HTTP client whose errors name the host and never a secret.
//!
//! Every request has a time limit. Every body has a size limit, which counts decompressed bytes. A
//! few redirects are followed, but never with a body or a secret, and never from https to http.
//! Proxies of the environment are used, except for loopback addresses, so that a simulated GitHub
//! on this machine is reached directly.
//!
//! There are two underlying clients. The one for plain HTTP to loopback needs no certificates, so
//! the demo runs where none are installed; the other is built when a request first leaves the
//! machine.

pub mod streaming;

use std::borrow::Cow;
use std::error::Error as _;
use std::sync::OnceLock;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, ClientBuilder, RequestBuilder, Url};
use thiserror::Error;

use crate::model::window::Timestamp;

/// The `User-Agent` of every request.
pub const USER_AGENT: &str = concat!("ghpulse/", env!("CARGO_PKG_VERSION"));
/// The most redirects that a request follows.
const MOST_REDIRECTS: usize = 5;
/// Time limit for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections are closed before servers and firewalls drop them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// Limits of a client.
#[derive(Debug, Clone, Copy)]
pub struct HttpOptions {
    /// Time limit from the first byte sent to the last byte read; it restarts at each redirect.
    pub timeout: Duration,
    /// Largest body, in decompressed bytes.
    pub body_limit: usize,
}

/// Why a request has no response. A response with an error status is not an `HttpError`.
#[derive(Debug, Error)]
pub enum HttpError {
    /// The address is invalid.
    #[error("invalid address {url} ({cause}); use one like https://host/path")]
    Address {
        /// The address without user, password and query.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A header's value is invalid.
    #[error("the value for header {name} contains characters that are not allowed in headers")]
    Header {
        /// Its name; the value may be a secret.
        name: String,
    },
    /// The client could not be built.
    #[error("cannot set up TLS ({cause}); are CA certificates installed on this machine")]
    Setup {
        /// The error of the TLS library.
        cause: String,
    },
    /// The connection cannot be opened.
    #[error("cannot connect to {host}: {cause}")]
    Connect {
        /// Host and port.
        host: String,
        /// The error of the system or of TLS.
        cause: String,
    },
    /// The response is not complete in time.
    #[error("{host} did not answer within {} ms", after.as_millis())]
    Timeout {
        /// Host and port.
        host: String,
        /// The limit that was exceeded.
        after: Duration,
    },
    /// The connection broke, or the response is not HTTP.
    #[error("the connection to {host} broke: {cause}")]
    Broken {
        /// Host and port.
        host: String,
        /// The cause.
        cause: String,
    },
    /// The body is longer than the limit.
    #[error("{host} answered with more than {limit} bytes")]
    TooLarge {
        /// Host and port.
        host: String,
        /// The limit that was exceeded.
        limit: usize,
    },
    /// The server redirects a request that must not follow redirects.
    #[error(
        "{host} redirects to {to}, which is not followed: requests to GitHub, and those with a body \
         or a secret, go to no other address, and https never becomes http; use the target's address"
    )]
    Redirected {
        /// Host and port.
        host: String,
        /// Scheme, host and port of the target.
        to: String,
    },
    /// Too many redirects.
    #[error("{host} redirects more than {MOST_REDIRECTS} times; check the address")]
    Redirects {
        /// Host and port.
        host: String,
    },
}

impl HttpError {
    /// Whether the request certainly did not reach the server.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(
            self,
            Self::Address { .. } | Self::Header { .. } | Self::Setup { .. } | Self::Connect { .. }
        )
    }

    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Timeout { .. } | Self::Broken { .. })
    }
}

/// A request. It does not implement `Debug`, because its headers may contain secrets.
pub struct HttpRequest<'a> {
    url: &'a str,
    headers: Vec<(&'static str, Cow<'a, str>, bool)>,
    body: Option<Bytes>,
    stays_in_origin: bool,
}

impl<'a> HttpRequest<'a> {
    /// A GET request.
    #[must_use]
    pub fn get(url: &'a str) -> Self {
        Self { url, headers: Vec::new(), body: None, stays_in_origin: false }
    }

    /// A POST request. The content type is set as a header.
    #[must_use]
    pub fn post(url: &'a str, body: Bytes) -> Self {
        Self { url, headers: Vec::new(), body: Some(body), stays_in_origin: false }
    }

    /// Adds a header. The name must be in lower case.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: &'a str) -> Self {
        self.headers.push((name, value.into(), false));
        self
    }

    /// Adds a header with a secret value, which no library logs. The name must be in lower case.
    #[must_use]
    pub fn secret(mut self, name: &'static str, value: &'a str) -> Self {
        self.headers.push((name, value.into(), true));
        self
    }

    /// Sends a token, as `Authorization: Bearer`.
    #[must_use]
    pub fn bearer(mut self, token: &str) -> Self {
        self.headers.push(("authorization", format!("Bearer {token}").into(), true));
        self
    }

    /// Follows redirects, with its secrets too, as long as scheme, host and port stay the same, and
    /// no others: GitHub redirects renamed repositories so, and never to another server.
    #[must_use]
    pub fn within_origin(mut self) -> Self {
        self.stays_in_origin = true;
        self
    }

    /// Whether it must not follow this redirect: a body or a secret is sent to no other address,
    /// and a request that stays in its origin leads to no other one.
    fn is_bound(&self, from: &Url, to: &Url) -> bool {
        if self.body.is_some() {
            return true;
        }
        if self.stays_in_origin {
            return from.origin() != to.origin();
        }
        self.headers.iter().any(|(_, _, secret)| *secret)
    }
}

/// A response, of any status.
#[derive(Debug)]
pub struct HttpResponse {
    /// The status code, 200 to 599.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    /// The whole body, decompressed.
    pub body: Bytes,
}

/// The headers of a response.
#[derive(Debug, Clone, Default)]
pub struct Headers(HeaderMap);

impl Headers {
    /// The first value of a header, by its name in any case; `None` when it is not text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    /// A header's value, when it is a whole number.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name)?.trim().parse().ok()
    }

    /// The `Date` header: the server's clock at the response, in whole seconds.
    #[must_use]
    pub fn date(&self) -> Option<Timestamp> {
        parse_date(self.get("date")?)
    }
}

/// Parses the date format that servers use (RFC 9110 §5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
#[must_use]
pub fn parse_date(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    Timestamp::parse_http(text).filter(|_| text.ends_with(" GMT"))
}

/// The client. It can be shared behind an `Arc`.
#[derive(Debug)]
pub struct Http {
    options: HttpOptions,
    /// The client for plain HTTP to loopback.
    near: Client,
    /// The client for everything else. Its error is kept as text, to be returned at each request.
    far: OnceLock<Result<Client, String>>,
}

impl Http {
    /// Builds the client, and installs the process's TLS provider if there is none yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(options: HttpOptions) -> Result<Self, HttpError> {
        // Only the first installation in a process succeeds; all of ours are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let near = builder(options).no_proxy().tls_certs_only([]).build().map_err(setup)?;
        Ok(Self { options, near, far: OnceLock::new() })
    }

    /// Sends a request and reads the whole response.
    ///
    /// # Errors
    /// When there is no complete response. An error status is a response.
    pub async fn send(&self, request: HttpRequest<'_>) -> Result<HttpResponse, HttpError> {
        let (mut answer, host) = self.follow(&request, None).await?;
        let body = self.read(&mut answer, &host).await?;
        let status = answer.status().as_u16();
        Ok(HttpResponse { status, headers: Headers(std::mem::take(answer.headers_mut())), body })
    }

    /// Sends a request and follows redirects. Returns the head of the response and the host that
    /// sent it. `whole` replaces the client's time limit.
    async fn follow(
        &self,
        request: &HttpRequest<'_>,
        whole: Option<Duration>,
    ) -> Result<(reqwest::Response, String), HttpError> {
        let mut url = parse_url(request.url)?;
        for _ in 0..=MOST_REDIRECTS {
            let host = host_of(&url);
            let sending = self.prepare(request, url.clone())?;
            let sending = match whole {
                Some(whole) => sending.timeout(whole),
                None => sending,
            };
            let answer = sending.send().await.map_err(|error| self.fault(&host, error))?;
            let Some(next) = redirect(&url, &answer) else { return Ok((answer, host)) };
            if request.is_bound(&url, &next)
                || (url.scheme() == "https" && next.scheme() != "https")
            {
                return Err(HttpError::Redirected {
                    host,
                    to: next.origin().ascii_serialization(),
                });
            }
            url = next;
        }
        Err(HttpError::Redirects { host: host_of(&url) })
    }

    /// Builds the underlying request.
    fn prepare(&self, request: &HttpRequest<'_>, url: Url) -> Result<RequestBuilder, HttpError> {
        let client = self.client_for(&url)?;
        let mut sending = match &request.body {
            Some(body) => client.post(url).body(body.clone()),
            None => client.get(url),
        };
        for (name, value, secret) in &request.headers {
            let header = || HttpError::Header { name: (*name).to_owned() };
            let mut value = HeaderValue::from_str(value).map_err(|_| header())?;
            value.set_sensitive(*secret);
            sending = sending.header(HeaderName::from_static(name), value);
        }
        Ok(sending)
    }

    async fn read(&self, answer: &mut reqwest::Response, host: &str) -> Result<Bytes, HttpError> {
        let limit = self.options.body_limit;
        let too_large = || HttpError::TooLarge { host: host.to_owned(), limit };
        if answer.content_length().is_some_and(|length| length > limit as u64) {
            return Err(too_large());
        }
        let mut body = BytesMut::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.fault(host, error))? {
            if body.len() + chunk.len() > limit {
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
    }

    fn client_for(&self, url: &Url) -> Result<&Client, HttpError> {
        if url.scheme() == "http" && is_loopback(url) {
            return Ok(&self.near);
        }
        let build = || builder(self.options).build().map_err(|error| causes(&error));
        match self.far.get_or_init(build) {
            Ok(client) => Ok(client),
            // Plain HTTP works without certificates, for example to another container.
            Err(_) if url.scheme() == "http" => Ok(&self.near),
            Err(cause) => Err(HttpError::Setup { cause: cause.clone() }),
        }
    }

    fn fault(&self, host: &str, error: reqwest::Error) -> HttpError {
        let (host, error) = (host.to_owned(), error.without_url());
        if error.is_connect() {
            let late = error.is_timeout();
            let cause = if late { "no answer".to_owned() } else { causes(&error) };
            HttpError::Connect { host, cause }
        } else if error.is_timeout() {
            HttpError::Timeout { host, after: self.options.timeout }
        } else {
            HttpError::Broken { host, cause: causes(&error) }
        }
    }
}

/// Checks an address without a request.
///
/// # Errors
/// When the address is invalid.
pub fn check_address(url: &str) -> Result<(), HttpError> {
    parse_url(url).map(|_| ())
}

/// Whether a secret can be sent to this address: it is https, or loopback.
#[must_use]
pub fn keeps_secrets(url: &str) -> bool {
    parse_url(url).is_ok_and(|url| url.scheme() == "https" || is_loopback(&url))
}

/// Appends a query to an address; names and values are encoded.
///
/// # Errors
/// When the address is invalid.
pub fn with_query(url: &str, pairs: &[(&str, &str)]) -> Result<String, HttpError> {
    let mut url = parse_url(url)?;
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url.into())
}

fn builder(options: HttpOptions) -> ClientBuilder {
    Client::builder()
        .user_agent(USER_AGENT)
        .timeout(options.timeout)
        .connect_timeout(CONNECT_TIMEOUT.min(options.timeout))
        .pool_idle_timeout(IDLE_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
}

fn setup(error: reqwest::Error) -> HttpError {
    HttpError::Setup { cause: causes(&error.without_url()) }
}

fn parse_url(text: &str) -> Result<Url, HttpError> {
    let refuse = |cause: &str| HttpError::Address { url: shown(text), cause: cause.to_owned() };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("neither http nor https"));
    }
    if !url.has_host() {
        return Err(refuse("no host"));
    }
    Ok(url)
}

/// An address that is safe to print: without user, password and query.
#[must_use]
pub fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    match text.split_once("://") {
        Some((scheme, rest)) => {
            let authority = rest.split('/').next().unwrap_or_default().len();
            let secret = rest[..authority].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &rest[secret..])
        }
        None if text.is_empty() => "an empty text".to_owned(),
        None => text.rsplit('@').next().unwrap_or_default().to_owned(),
    }
}

/// The target of a redirect; `None` for other responses, and for an unusable target.
fn redirect(from: &Url, answer: &reqwest::Response) -> Option<Url> {
    if !matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return None;
    }
    let location = answer.headers().get(reqwest::header::LOCATION)?.to_str().ok()?;
    let next = from.join(location).ok()?;
    (matches!(next.scheme(), "http" | "https") && next.has_host()).then_some(next)
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The causes of an error, outermost first, without the library's own "error sending request".
fn causes(error: &reqwest::Error) -> String {
    let mut said: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // Wrappers repeat what they wrap.
        if !said.iter().any(|earlier| earlier.contains(&text)) {
            said.push(text);
        }
        next = cause.source();
    }
    if said.is_empty() { error.to_string() } else { said.join(": ") }
}

#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
mod tests;
