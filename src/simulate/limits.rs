//! The hourly budgets of callers, counted as GitHub counts: by account, or by address without a
//! token. A token's account is its text up to the first `/`: `alice/laptop` and `alice/server` are
//! two tokens of one account, and a token without a `/` has an account of its own.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::model::window::{Second, Timestamp};

/// Length of a budget's window, which starts with its first request.
const WINDOW_SECONDS: i64 = 3_600;
/// Maximum number of callers with separate budgets; those beyond share one.
const MAX_CALLERS: usize = 10_000;

/// The sender of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum SimulatedCaller {
    Token(String),
    Address(IpAddr),
    /// Any caller, once there are too many to distinguish.
    Overflow,
}

impl SimulatedCaller {
    /// Its token, if it sent one.
    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Token(token) => Some(token),
            Self::Address(_) | Self::Overflow => None,
        }
    }

    /// The caller that is charged: the account, for a token.
    pub(super) fn payer(&self) -> Self {
        match self {
            Self::Token(token) => Self::Token(account(token).to_owned()),
            other => other.clone(),
        }
    }
}

/// The account of a token.
pub(super) fn account(token: &str) -> &str {
    token.split('/').next().unwrap_or(token)
}

/// The state of a caller's budget, as reported in the headers of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LimitStanding {
    pub(super) limit: u32,
    pub(super) used: u32,
    /// When the budget is reset.
    pub(super) reset: Second,
}

impl LimitStanding {
    /// Number of requests left in this hour.
    pub(super) fn remaining(self) -> u32 {
        self.limit.saturating_sub(self.used)
    }
}

/// All budgets.
#[derive(Default)]
pub(super) struct SimulatedLimits {
    limit: u32,
    anonymous: u32,
    budgets: HashMap<SimulatedCaller, (u32, Second)>,
}

impl SimulatedLimits {
    /// Budgets with these requests per hour for a token, and for an address without one.
    pub(super) fn new(limit: u32, anonymous: u32) -> Self {
        Self { limit, anonymous, budgets: HashMap::new() }
    }

    /// The caller's budget now, without spending anything.
    pub(super) fn standing(&mut self, caller: &SimulatedCaller, now: Timestamp) -> LimitStanding {
        self.spend(caller, 0, now)
    }

    /// Spends this many requests. Returns the caller's budget after it.
    pub(super) fn spend(
        &mut self,
        caller: &SimulatedCaller,
        requests: u32,
        now: Timestamp,
    ) -> LimitStanding {
        let now = now.second();
        let caller = &caller.payer();
        if self.budgets.len() >= MAX_CALLERS && !self.budgets.contains_key(caller) {
            self.budgets.retain(|_, (_, reset)| *reset > now);
        }
        let full = self.budgets.len() >= MAX_CALLERS && !self.budgets.contains_key(caller);
        let limit = match caller {
            SimulatedCaller::Token(_) => self.limit,
            SimulatedCaller::Address(_) | SimulatedCaller::Overflow => self.anonymous,
        };
        let caller = if full { SimulatedCaller::Overflow } else { caller.clone() };
        let fresh = (0, Second(now.0 + WINDOW_SECONDS));
        let budget = self.budgets.entry(caller).or_insert(fresh);
        if budget.1 <= now {
            *budget = fresh;
        }
        budget.0 = budget.0.saturating_add(requests).min(limit);
        LimitStanding { limit, used: budget.0, reset: budget.1 }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_seconds(1_790_000_000)
    }

    #[test]
    fn a_budget_is_spent_and_whole_again_after_an_hour() {
        let mut limits = SimulatedLimits::new(2, 1);
        let token = SimulatedCaller::Token("a".into());
        assert_eq!(limits.standing(&token, now()).remaining(), 2);
        assert_eq!(limits.spend(&token, 1, now()).remaining(), 1);
        assert_eq!(limits.spend(&token, 1, now()).remaining(), 0);
        assert_eq!(limits.spend(&token, 1, now()).used, 2);
        let later = now().plus(std::time::Duration::from_secs(3_600));
        assert_eq!(limits.standing(&token, later).remaining(), 2);
        assert_eq!(limits.standing(&token, later).reset.0, later.second().0 + 3_600);
    }

    #[test]
    fn tokens_of_one_account_share_a_budget() {
        let mut limits = SimulatedLimits::new(5, 1);
        limits.spend(&SimulatedCaller::Token("alice/laptop".into()), 1, now());
        assert_eq!(limits.standing(&SimulatedCaller::Token("alice/server".into()), now()).used, 1);
        assert_eq!(limits.standing(&SimulatedCaller::Token("bob/laptop".into()), now()).used, 0);
    }

    #[test]
    fn callers_do_not_share_until_there_are_too_many() {
        let mut limits = SimulatedLimits::new(5, 1);
        limits.spend(&SimulatedCaller::Token("a".into()), 1, now());
        assert_eq!(limits.standing(&SimulatedCaller::Token("b".into()), now()).used, 0);
        let address = |n: u32| SimulatedCaller::Address(IpAddr::V4(Ipv4Addr::from_bits(n)));
        for n in 0..20_000 {
            limits.spend(&address(n), 1, now());
        }
        assert!(limits.budgets.len() <= MAX_CALLERS + 1);
        assert_eq!(limits.standing(&address(1), now()).remaining(), 0);
    }
}
