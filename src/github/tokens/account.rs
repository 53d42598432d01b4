//! The accounts whose limits the tokens share, because GitHub's limits apply to accounts.

use std::collections::HashMap;

use tokio::time::Instant;

use super::types::{Owner, Resource, TokenSlotId};
use crate::github::budget::{Budget, Plan};
use crate::github::limits::AUDIT_POINTS;

/// GitHub's limit with a token, per hour and user.
const USER_LIMIT: u64 = 5_000;
/// GitHub works at most 90 seconds per minute for a user, of these 60 for GraphQL. Pages take up
/// to 60, one after another; queries are spaced to use 26 of the other 30, …
const QUERY_ANSWER_TIMES: f64 = 2.3;
/// … and those of the audit to use 3.
const AUDIT_ANSWER_TIMES: f64 = 20.0;
/// The audit's share of each limit, unless set.
const AUDIT_SHARE: f64 = 0.05;
/// How many single feeds may be read together: most of the answers are free.
const FEED_BURST: u32 = 20;
/// How many queries may go together, because a poll brings many pull requests at once.
const QUERY_BURST: u32 = 3;

/// The budgets of an account: GitHub has a limit for each resource.
#[derive(Debug)]
struct TokenAccount {
    pages: Budget,
    /// The budget for single feeds: a part of the limit for pages, counted here.
    feeds: Budget,
    /// The budget for GraphQL; never used without a token.
    queries: Budget,
    /// The audit's part of it. It counts only what the audit spends, in queries of that many
    /// points, so that it neither takes from others nor waits for them.
    audits: Budget,
}

/// The budgets of all accounts that own a token of the pool.
#[derive(Debug)]
pub(super) struct Accounts {
    all: HashMap<Owner, TokenAccount>,
    /// The fraction of each account's limit that polling may use.
    share: f64,
    /// The fraction of each account's limit that single feeds may use; taken from `share`.
    feed_share: f64,
    /// The fraction of each account's limit that queries may use.
    query_share: f64,
    /// The fraction of each account's limit of queries that the audit may use.
    audit_share: f64,
    /// Number of pages that may be requested together.
    burst: u32,
}

impl Accounts {
    pub(super) fn new(share: f64, query_share: f64, burst: u32) -> Self {
        let (feed_share, audit_share) = (0.0, AUDIT_SHARE);
        Self { all: HashMap::new(), share, feed_share, query_share, audit_share, burst }
    }

    /// Opens the account of a new token, of which nothing is known yet.
    pub(super) fn open(&mut self, slot: TokenSlotId, now: Instant) -> Owner {
        let share = self.share - self.feed_share;
        let plan = Plan { assumed: USER_LIMIT, share, burst: self.burst, answer_times: 1.0 };
        self.open_with(plan, slot, now)
    }

    /// Opens the account of requests without a token, with the limits of `plan`.
    pub(super) fn open_with(&mut self, plan: Plan, slot: TokenSlotId, now: Instant) -> Owner {
        let account = TokenAccount {
            pages: Budget::new(plan, now),
            feeds: self.feed_budget(plan.assumed, now),
            queries: self.query_budget(now),
            audits: self.audit_budget(now),
        };
        let owner = Owner::Token(slot);
        self.all.insert(owner, account);
        owner
    }

    /// Sets the fraction of each limit that queries may use. Call it before any query.
    pub(super) fn allow_queries(&mut self, share: f64, now: Instant) {
        self.query_share = share;
        let queries = self.query_budget(now);
        for account in self.all.values_mut() {
            account.queries = queries.clone();
        }
    }

    /// Sets the fraction of each limit that single feeds may use; pages may use less by as much.
    pub(super) fn allow_feeds(&mut self, share: f64) {
        self.feed_share = share.min(self.share * 0.9);
        for account in self.all.values_mut() {
            account.pages.share(self.share - self.feed_share);
            account.feeds.share(self.feed_share);
        }
    }

    /// Sets the fraction of each limit that the audit may use. Call it before any query.
    pub(super) fn allow_audits(&mut self, share: f64, now: Instant) {
        self.audit_share = share;
        let audits = self.audit_budget(now);
        for account in self.all.values_mut() {
            account.audits = audits.clone();
        }
    }

    /// Merges the spending of one account into another: they turned out to be the same.
    pub(super) fn join(&mut self, from: Owner, to: Owner, now: Instant) {
        let Some(account) = self.all.remove(&from) else { return };
        match self.all.get_mut(&to) {
            Some(known) => {
                known.pages.join(&account.pages, now);
                known.feeds.join(&account.feeds, now);
                known.queries.join(&account.queries, now);
                known.audits.join(&account.audits, now);
            }
            None => {
                self.all.insert(to, account);
            }
        }
    }

    /// Removes accounts that are not wanted.
    pub(super) fn retain(&mut self, wanted: impl Fn(Owner) -> bool) {
        self.all.retain(|owner, _| wanted(*owner));
    }

    pub(super) fn budget(&mut self, owner: Owner, resource: Resource) -> &mut Budget {
        let account = self.all.get_mut(&owner).expect("it is kept while a token names it");
        match resource {
            Resource::Pages => &mut account.pages,
            Resource::Feeds => &mut account.feeds,
            Resource::Queries => &mut account.queries,
            Resource::Audits => &mut account.audits,
        }
    }

    fn feed_budget(&self, assumed: u64, now: Instant) -> Budget {
        let burst = if assumed >= USER_LIMIT { FEED_BURST } else { 1 };
        Budget::new(Plan { assumed, share: self.feed_share, burst, answer_times: 0.0 }, now)
    }

    fn audit_budget(&self, now: Instant) -> Budget {
        let plan = Plan {
            assumed: USER_LIMIT / AUDIT_POINTS,
            share: self.audit_share,
            burst: 1,
            answer_times: AUDIT_ANSWER_TIMES,
        };
        Budget::new(plan, now)
    }

    fn query_budget(&self, now: Instant) -> Budget {
        let plan = Plan {
            assumed: USER_LIMIT,
            share: self.query_share,
            burst: QUERY_BURST,
            answer_times: QUERY_ANSWER_TIMES,
        };
        Budget::new(plan, now)
    }
}
