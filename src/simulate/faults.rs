//! The faults that can be requested, by name: `--fault error-503`, `--fault slow:500ms:0.1`.
//!
//! A fault affects a share of the requests, determined only by the seed and the number of the
//! request, so a run can be repeated.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::limits::account;
use crate::model::names::names;

/// Default share of the requests that are affected.
pub const DEFAULT_SHARE: f64 = 0.2;

names! {
    /// The kind of a fault.
    pub enum FaultKind {
        /// 500 with GitHub's JSON.
        Error500 = "error-500",
        /// 502 with an HTML page, as a proxy in front of GitHub would send it.
        Error502 = "error-502",
        /// 503 with GitHub's JSON.
        Error503 = "error-503",
        /// 403 with `x-ratelimit-remaining: 0`; the reset is after the fault's wait.
        Limited = "limited",
        /// 403 without any limit header: the account is suspended.
        Suspended = "suspended",
        /// 429 with `retry-after`.
        RetryAfter = "retry-after",
        /// 401: the token was revoked.
        Revoked = "revoked",
        /// The response is sent after the fault's wait.
        Slow = "slow",
        /// The connection ends in the middle of the body.
        CutOff = "cut-off",
        /// An older page is served again, with its `ETag` of that time.
        Stale = "stale",
        /// A body that is not a page: not JSON, half of it, not a list, or a list with values that
        /// are not events.
        Garbage = "garbage",
        /// The events of the page in random order.
        Reordered = "reordered",
        /// The feed does not change.
        Frozen = "frozen",
        /// Page 2 is empty.
        PageMissing = "page-missing",
        /// A query: 502 with an HTML page, at once.
        QueryBroken = "query-502",
        /// A query: the same after the fault's wait, as when it took too long.
        QueryTimeout = "query-timeout",
        /// A query: the response is sent after the fault's wait.
        QuerySlow = "query-slow",
        /// A query: half of the response, and an error that resource limits were exceeded.
        QueryPartial = "query-partial",
        /// A query: some of the requested objects do not exist.
        QueryGone = "query-gone",
        /// A query: 200 with the error that the hourly limit is exceeded; the reset is after the
        /// fault's wait.
        QueryLimited = "query-limited",
        /// A query: 403 with `retry-after`.
        QuerySecondary = "query-secondary",
        /// A query: 200 with an error and no data.
        QueryError = "query-error",
        /// Queries: node ids have changed, and the old ones are not found.
        QueryIds = "query-ids",
        /// A query: the organisations hide everything from this account, as without single sign-on.
        QueryForbidden = "query-forbidden",
        /// A query that names the repository `only`: 502 after the fault's wait, as if its history
        /// were very long.
        QueryHeavy = "query-heavy",
        /// Events happen and are never shown: no page has them, and no id is drawn for them. The
        /// share is one of events.
        Hidden = "hidden",
        /// An event: the public feed never shows it, feeds of single repositories and people do.
        Withheld = "withheld",
    }
}

/// A fault, and the requests that it affects.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The kind.
    pub kind: FaultKind,
    /// The share of the requests that it affects, 0 to 1.
    pub share: f64,
    /// How long `slow` waits, and the wait that `limited` and `retry-after` ask for.
    pub wait: Duration,
    /// Affects only requests with this token or of this account.
    pub token: Option<String>,
    /// Hides only events of this type, for [`FaultKind::Hidden`]; the repository, `owner/name`, for
    /// [`FaultKind::QueryHeavy`].
    pub only: Option<String>,
}

impl Fault {
    /// The fault with its default share and wait. A frozen feed affects every request; a revoked
    /// token or a suspended account affects every request when a token is named.
    #[must_use]
    pub fn new(kind: FaultKind) -> Self {
        let lasting =
            matches!(kind, FaultKind::Frozen | FaultKind::PageMissing | FaultKind::QueryIds);
        let share = if lasting { 1.0 } else { DEFAULT_SHARE };
        let wait = match kind {
            FaultKind::Slow | FaultKind::QuerySlow => Duration::from_secs(2),
            FaultKind::QueryTimeout => Duration::from_secs(10),
            FaultKind::Limited | FaultKind::QueryLimited => Duration::from_secs(5),
            _ => Duration::from_secs(1),
        };
        Self { kind, share, wait, token: None, only: None }
    }

    /// The fault, affecting every request.
    #[must_use]
    pub fn always(kind: FaultKind) -> Self {
        Self { share: 1.0, ..Self::new(kind) }
    }

    /// The fault, affecting this share of the requests, 0 to 1.
    #[must_use]
    pub fn share(self, share: f64) -> Self {
        Self { share: share.clamp(0.0, 1.0), ..self }
    }

    /// The fault with this wait.
    #[must_use]
    pub fn wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// The fault, affecting every request with this token or of this account, and no other.
    #[must_use]
    pub fn token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), share: 1.0, ..self }
    }

    /// The fault, hiding only events of this type, or of this repository.
    #[must_use]
    pub fn only(self, kind: &str) -> Self {
        Self { only: Some(kind.to_owned()), ..self }
    }

    /// Whether the event with this number is hidden.
    pub(super) fn hides(&self, seed: u64, number: u64, kind: &str) -> bool {
        self.kind == FaultKind::Hidden
            && self.only.as_deref().is_none_or(|only| only == kind)
            && self.hits(seed, number, None)
    }

    /// Whether the request with this number is affected.
    pub(super) fn hits(&self, seed: u64, request: u64, token: Option<&str>) -> bool {
        let is = |named: &str| token.is_some_and(|it| it == named || account(it) == named);
        let meant = self.token.as_deref().is_none_or(is);
        meant && lot(seed, request, self.kind as u64).f64() < self.share
    }
}

/// Randomness that depends only on these numbers.
pub(super) fn lot(seed: u64, request: u64, salt: u64) -> fastrand::Rng {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mixed = seed.rotate_left(17) ^ request.wrapping_mul(ODD) ^ (salt << 56);
    let mut rng = fastrand::Rng::with_seed(mixed);
    rng.fork()
}

impl FromStr for Fault {
    /// What is wrong with the text.
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fail = |reason: String| {
            let names = FaultKind::ALL.map(FaultKind::name).join(", ");
            format!(
                "'{text}' is not a fault: {reason}; a fault is \
                 NAME[:SHARE][:DURATION][:token=TOKEN][:type=TYPE], as in error-503, slow:500ms, \
                 garbage:0.1, stale:all, revoked:token=ghp_x, hidden:0.5:type=WatchEvent; the names \
                 are {names}"
            )
        };
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let kind = FaultKind::ALL
            .into_iter()
            .find(|kind| kind.name().eq_ignore_ascii_case(name))
            .ok_or_else(|| fail(format!("there is no '{name}'")))?;
        let mut fault = Self::new(kind);
        for part in parts {
            if let Some(token) = part.strip_prefix("token=") {
                fault = fault.token(token);
            } else if let Some(kind) = part.strip_prefix("type=") {
                fault = fault.only(kind);
            } else if let Some(share) = share_of(part) {
                fault.share = share;
            } else if let Some(wait) = duration_of(part) {
                fault.wait = wait;
            } else {
                let what = "is neither a share (0.2, 20%, all) nor a duration (500ms, 3s) nor a \
                            token nor a type";
                return Err(fail(format!("'{part}' {what}")));
            }
        }
        Ok(fault)
    }
}

fn share_of(text: &str) -> Option<f64> {
    if text == "all" {
        return Some(1.0);
    }
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().ok()? / 100.0,
        None => text.parse().ok()?,
    };
    (0.0..=1.0).contains(&share).then_some(share)
}

fn duration_of(text: &str) -> Option<Duration> {
    let (number, unit) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s')?, 1_000),
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()?.checked_mul(unit)?))
}

/// The syntax of the command line.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}ms", self.kind.name(), self.share, self.wait.as_millis())?;
        if let Some(kind) = &self.only {
            write!(f, ":type={kind}")?;
        }
        match &self.token {
            // Even an invented token may be a real one, given by mistake.
            Some(_) => f.write_str(":token=‹secret›"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_that_is_read() {
        for kind in FaultKind::ALL {
            assert_eq!(kind.name().parse(), Ok(Fault::new(kind)));
        }
    }

    #[test]
    fn fault_arguments_differ_by_their_form() {
        let slow: Fault = "slow:500ms:10%".parse().unwrap();
        assert_eq!(slow, Fault::new(FaultKind::Slow).share(0.1).wait(Duration::from_millis(500)));
        assert_eq!("stale:all".parse(), Ok(Fault::always(FaultKind::Stale)));
        assert_eq!("error-503:0.5".parse(), Ok(Fault::new(FaultKind::Error503).share(0.5)));
        let revoked: Fault = "revoked:token=ghp_x".parse().unwrap();
        assert_eq!(revoked, Fault::new(FaultKind::Revoked).token("ghp_x"));
        assert!(!revoked.to_string().contains("ghp_x"));
    }

    #[test]
    fn unknown_fault_error_lists_all_names() {
        for text in
            ["", "eror-500", "slow:fast", "stale:1.5", "stale:-1", "slow:99999999999999999s"]
        {
            let message = text.parse::<Fault>().unwrap_err();
            assert!(message.starts_with(&format!("'{text}' is not a fault: ")), "{message}");
            for kind in FaultKind::ALL {
                assert!(message.contains(kind.name()), "{message}");
            }
        }
    }

    #[test]
    fn the_share_is_hit_by_seed_and_number_alone() {
        let fault = Fault::new(FaultKind::Error500).share(0.3);
        let hits = |seed| (0..10_000).filter(|n| fault.hits(seed, *n, None)).collect::<Vec<_>>();
        assert!((2_700..3_300).contains(&hits(1).len()), "{}", hits(1).len());
        assert_eq!(hits(1), hits(1));
        assert_ne!(hits(1), hits(2));
        assert!(!(0..1_000).any(|n| fault.clone().share(0.0).hits(1, n, None)));
        assert!((0..1_000).all(|n| fault.clone().share(1.0).hits(1, n, None)));
    }

    #[test]
    fn a_fault_for_a_token_leaves_the_others_alone() {
        let fault = Fault::new(FaultKind::Revoked).token("a");
        assert!(fault.hits(1, 1, Some("a")));
        assert!(!fault.hits(1, 1, Some("b")) && !fault.hits(1, 1, None));
        assert!(fault.hits(1, 1, Some("a/2")), "a token of that account");
        let fault = Fault::new(FaultKind::Revoked).token("a/2");
        assert!(fault.hits(1, 1, Some("a/2")) && !fault.hits(1, 1, Some("a/1")));
    }
}
