//! Rate limits in GitHub's responses.
//!
//! Times are converted to durations at once, relative to the server's own `Date`, so that a wrong
//! local clock neither shortens a wait nor extends it by hours.

use std::fmt;
use std::time::Duration;

use crate::http::Headers;
use crate::model::window::Timestamp;

/// Maximum time to a reset: GitHub's hour and a margin. More is an error of the server.
const LONGEST_RESET: Duration = Duration::from_secs(3_900);
/// Maximum `retry-after` that is accepted.
const LONGEST_RETRY: Duration = Duration::from_secs(6 * 3_600);
/// Maximum `x-poll-interval` that is accepted.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3_600);
/// Number of concurrent requests that GitHub allows for one account. Pages use up to one half of
/// them, pull-request queries up to the other.
pub const MOST_AT_ONCE: u32 = 100;
/// Number of bytes of a refusal's body that are searched for the reason.
const REASON_BYTES: usize = 4_096;
/// Points of the hourly limit that a query of the audit costs at most.
pub const AUDIT_POINTS: u64 = 4;

/// The rate-limit headers of one response; a missing header is `None`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// GitHub's clock at the time of the response.
    pub date: Option<Timestamp>,
    /// Requests per window.
    pub limit: Option<u64>,
    /// Requests left in this window.
    pub remaining: Option<u64>,
    /// The end of this window.
    pub reset: Option<Reset>,
    /// Points that the request has cost, as the body of a response to a query says.
    pub cost: Option<u64>,
    /// How long no request may be sent.
    pub retry_after: Option<Duration>,
    /// Minimum interval between two polls without a token.
    pub poll_interval: Option<Duration>,
}

/// The end of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reset {
    /// Seconds since 1970 by the server's clock; identifies the window.
    pub epoch: i64,
    /// How far away it was when the response arrived.
    pub after: Duration,
}

impl Reset {
    /// The end of a window at `epoch` by a server's clock that shows `server`; at most as far away
    /// as the length of GitHub's window allows.
    #[must_use]
    pub fn at(epoch: Timestamp, server: Timestamp) -> Self {
        Self { epoch: epoch.second().0, after: epoch.since(server).min(LONGEST_RESET) }
    }

    /// Whether the server's clock showed `epoch` or later when it sent this; false for an end in
    /// the past or too far away, which do not show the time.
    #[must_use]
    pub fn is_sent_after(&self, epoch: i64) -> bool {
        let after = i64::try_from(self.after.as_secs()).unwrap_or(i64::MAX);
        let shows_time = !self.after.is_zero() && self.after < LONGEST_RESET;
        shows_time && self.epoch.saturating_sub(after) >= epoch
    }
}

/// Why GitHub refuses a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadToken {
    /// 401: revoked, expired or mistyped.
    Revoked,
    /// 403 that is not about limits: its account is suspended.
    Suspended,
}

impl fmt::Display for DeadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "401: it is revoked, expired or mistyped",
            Self::Suspended => "403: its account is suspended",
        })
    }
}

impl RateLimits {
    /// Parses the headers; `now` is used where the server does not send its time.
    #[must_use]
    pub fn read(headers: &Headers, now: Timestamp) -> Self {
        let date = headers.date();
        let server = date.unwrap_or(now);
        let reset = headers.number("x-ratelimit-reset").and_then(|epoch| {
            Some(Reset::at(Timestamp::from_seconds(i64::try_from(epoch).ok()?), server))
        });
        let seconds = |name, most: Duration| {
            headers.number(name).map(|seconds| Duration::from_secs(seconds).min(most))
        };
        let until = || {
            let date = crate::http::parse_date(headers.get("retry-after")?)?;
            Some(date.since(server).min(LONGEST_RETRY))
        };
        Self {
            date,
            limit: headers.number("x-ratelimit-limit"),
            remaining: headers.number("x-ratelimit-remaining"),
            reset,
            cost: None,
            retry_after: seconds("retry-after", LONGEST_RETRY).or_else(until),
            poll_interval: seconds("x-poll-interval", LONGEST_INTERVAL),
        }
    }

    /// Whether the response reported a budget.
    #[must_use]
    pub fn reports_budget(&self) -> bool {
        self.limit.is_some() || self.remaining.is_some() || self.reset.is_some()
    }

    /// Whether a 403 with these headers and this body is about limits, and not about permissions.
    #[must_use]
    pub fn is_about_limits(&self, body: &[u8]) -> bool {
        self.retry_after.is_some() || self.remaining == Some(0) || mentions_limits(body)
    }

    /// How long an exceeded limit lasts, where the response says it.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        let until_reset = || self.reset.filter(|_| self.remaining == Some(0));
        self.retry_after.or_else(|| until_reset().map(|reset| reset.after))
    }

    /// The meaning of a 403 or 429 with these headers and this body, for a request with or without
    /// a token: a limit was exceeded, and this is the time to wait, where GitHub names one.
    ///
    /// # Errors
    /// When the token itself is refused.
    pub fn refusal(
        &self,
        status: u16,
        body: &[u8],
        with_token: bool,
    ) -> Result<Option<Duration>, DeadToken> {
        if let Some(wait) = self.wait() {
            return Ok(Some(wait));
        }
        let suspended =
            status == 403 && with_token && !self.reports_budget() && !mentions_limits(body);
        if suspended { Err(DeadToken::Suspended) } else { Ok(None) }
    }
}

fn mentions_limits(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(&body[..body.len().min(REASON_BYTES)]).to_lowercase();
    ["rate limit", "secondary", "abuse"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::fake::{FakeReply, FakeServer};
    use crate::http::{Http, HttpOptions, HttpRequest};

    const NOW: i64 = 1_800_000_000;

    async fn read(headers: &[(&'static str, &str)]) -> RateLimits {
        let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, (*v).to_owned())).collect();
        let fake =
            FakeServer::start(move |_| FakeReply::Whole(200, headers.clone(), Vec::new())).await;
        let options = HttpOptions { timeout: Duration::from_secs(60), body_limit: 10 };
        let answer = Http::new(options).unwrap().send(HttpRequest::get(&fake.url)).await.unwrap();
        RateLimits::read(&answer.headers, Timestamp::from_seconds(NOW))
    }

    #[tokio::test]
    async fn a_reset_is_as_far_away_as_the_server_sees_it() {
        // The server's clock is more than an hour behind ours.
        let limits = read(&[
            ("date", "Fri, 15 Jan 2027 07:00:00 GMT"),
            ("x-ratelimit-limit", "60"),
            ("x-ratelimit-remaining", "12"),
            ("x-ratelimit-reset", "1799996700"),
        ])
        .await;
        let reset = limits.reset.unwrap();
        assert_eq!(Timestamp::from_seconds(reset.epoch).to_string(), "2027-01-15T07:05:00Z");
        assert_eq!(reset.after, Duration::from_secs(300));
        assert_eq!((limits.limit, limits.remaining), (Some(60), Some(12)));
        // Without a date our clock is used; a reset long in the past is zero away.
        let limits = read(&[("x-ratelimit-reset", &(NOW - 5_000).to_string())]).await;
        assert_eq!(limits.reset.unwrap().after, Duration::ZERO);
    }

    #[tokio::test]
    async fn waits_are_read_as_seconds_or_date_and_bounded() {
        let limits = read(&[("retry-after", "30"), ("x-poll-interval", "60")]).await;
        assert_eq!(limits.retry_after, Some(Duration::from_secs(30)));
        assert_eq!(limits.poll_interval, Some(Duration::from_secs(60)));
        let limits = read(&[
            ("date", "Fri, 15 Jan 2027 07:00:00 GMT"),
            ("retry-after", "Fri, 15 Jan 2027 07:02:00 GMT"),
        ])
        .await;
        assert_eq!(limits.retry_after, Some(Duration::from_secs(120)));
        let huge = u64::MAX.to_string();
        let limits = read(&[
            ("retry-after", &huge),
            ("x-poll-interval", &huge),
            ("x-ratelimit-reset", "99999999999"),
        ])
        .await;
        assert_eq!(limits.retry_after, Some(LONGEST_RETRY));
        assert_eq!(limits.poll_interval, Some(LONGEST_INTERVAL));
        assert_eq!(limits.reset.unwrap().after, LONGEST_RESET);
        let limits = read(&[("retry-after", "soon"), ("x-ratelimit-limit", "-1")]).await;
        assert_eq!(limits, RateLimits::default());
    }

    #[test]
    fn a_refusal_is_read_in_the_documented_order() {
        let reset = Some(Reset { epoch: NOW + 90, after: Duration::from_secs(90) });
        let used_up =
            RateLimits { limit: Some(60), remaining: Some(0), reset, ..RateLimits::default() };
        let retry = RateLimits { retry_after: Some(Duration::from_secs(5)), ..used_up };
        let left = RateLimits { remaining: Some(4_000), ..used_up };
        for status in [403, 429] {
            for with_token in [false, true] {
                let read = |limits: RateLimits| limits.refusal(status, b"{}", with_token);
                assert_eq!(read(retry), Ok(Some(Duration::from_secs(5))));
                assert_eq!(read(used_up), Ok(Some(Duration::from_secs(90))));
                assert_eq!(read(left), Ok(None));
            }
        }
    }

    #[test]
    fn only_a_403_without_limits_ends_a_token() {
        let bare = RateLimits::default();
        let suspended = bare.refusal(403, b"Sorry. Your account was suspended.", true);
        assert_eq!(suspended, Err(DeadToken::Suspended));
        assert_eq!(bare.refusal(403, b"", true), Err(DeadToken::Suspended));
        for body in [
            "You have exceeded a Secondary rate limit",
            "API rate limit exceeded for user",
            "You have triggered an abuse detection mechanism",
        ] {
            assert_eq!(bare.refusal(403, body.as_bytes(), true), Ok(None), "{body}");
        }
        assert_eq!(bare.refusal(403, b"forbidden", false), Ok(None));
        assert_eq!(bare.refusal(429, b"", true), Ok(None));
        assert_eq!(bare.refusal(403, &[0xff; 10_000], true), Err(DeadToken::Suspended));
    }
}
