//! Which owners' repositories GitHub forbids an account to see. Single sign-on, IP allow lists and
//! token policies depend on the account, so another account is tried instead.
//!
//! Pure: takes the current time as an argument and performs no I/O.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::github::tokens::AccountId;

/// How long an account is not used for an owner whose repositories it may not see.
const FORBIDDEN_FOR: Duration = Duration::from_secs(3_600);
/// Maximum number of remembered pairs of account and owner; beyond it, all are forgotten and tried
/// again.
const MOST: usize = 10_000;

/// One of our accounts, and a repository owner in lower case.
type AccountAndOwner = (AccountId, String);

/// The pairs that GitHub's responses have refused, and until when they are not tried again.
#[derive(Debug, Default)]
pub(super) struct Forbidden(HashMap<AccountAndOwner, Instant>);

impl Forbidden {
    /// Records that an account may not see this owner's repositories. Returns whether to report
    /// it, which is the case the first time.
    pub(super) fn record(&mut self, account: AccountId, owner: &str, now: Instant) -> bool {
        if self.0.len() >= MOST {
            self.0.clear();
        }
        self.0.insert((account, owner.to_ascii_lowercase()), now + FORBIDDEN_FOR).is_none()
    }

    /// Whether an account may be used for this owner's repositories, as far as is known.
    pub(super) fn may_see(&self, account: AccountId, owner: &str, now: Instant) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let until = self.0.get(&(account, owner.to_ascii_lowercase()));
        until.is_none_or(|until| *until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn forbidden_repository_is_forgotten_after_an_hour() {
        let (mut forbidden, now) = (Forbidden::default(), Clock::system().instant());
        let [one, other] = [1, 2].map(AccountId::of_test);
        assert!(forbidden.record(one, "Acme", now));
        assert!(!forbidden.may_see(one, "acme", now) && forbidden.may_see(one, "other", now));
        assert!(forbidden.may_see(other, "acme", now));
        let later = now + FORBIDDEN_FOR;
        assert!(forbidden.may_see(one, "acme", later));
        assert!(!forbidden.record(one, "acme", later), "it was reported before");
        assert!(!forbidden.may_see(one, "acme", later));
        for n in 0..2 * MOST {
            forbidden.record(other, &n.to_string(), now);
        }
        assert!(forbidden.0.len() <= MOST);
    }
}
