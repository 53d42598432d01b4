//! Endless responses, read piece by piece.

use std::time::Duration;

use bytes::Bytes;

use super::{Headers, Http, HttpError, HttpRequest};

/// Time limit for a whole stream. The real limit is the time between two pieces.
const WHOLE: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A response whose body is read in pieces.
pub struct Streaming {
    /// The status code, 200 to 599.
    pub status: u16,
    /// Its headers.
    pub headers: Headers,
    answer: reqwest::Response,
    host: String,
    silence: Duration,
}

impl Http {
    /// Sends a request and reads the head of the response. The client's limits do not apply to the
    /// body; it fails when nothing arrives for `silence`.
    ///
    /// # Errors
    /// When the request gets no response. An error status is a response.
    pub async fn open(
        &self,
        request: HttpRequest<'_>,
        silence: Duration,
    ) -> Result<Streaming, HttpError> {
        let opened = tokio::time::timeout(self.options.timeout, self.follow(&request, Some(WHOLE)));
        let host = super::parse_url(request.url).map(|url| super::host_of(&url))?;
        let late = || HttpError::Timeout { host, after: self.options.timeout };
        let (mut answer, host) = opened.await.map_err(|_| late())??;
        let status = answer.status().as_u16();
        let headers = Headers(std::mem::take(answer.headers_mut()));
        Ok(Streaming { status, headers, answer, host, silence })
    }
}

impl Streaming {
    /// Waits for the next piece, decompressed; `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks, or is silent for too long.
    pub async fn next(&mut self) -> Result<Option<Bytes>, HttpError> {
        let broken = |cause: String| HttpError::Broken { host: self.host.clone(), cause };
        match tokio::time::timeout(self.silence, self.answer.chunk()).await {
            Ok(Ok(piece)) => Ok(piece),
            Ok(Err(error)) => Err(broken(super::causes(&error.without_url()))),
            Err(_) => Err(broken(format!("no data for {} s", self.silence.as_secs()))),
        }
    }
}
