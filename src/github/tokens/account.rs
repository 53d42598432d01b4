//! The accounts whose limits the tokens share, because GitHub's limits apply to accounts.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::types::{Owner, QueryKind, Resource, TokenSlotId};
use crate::github::budget::{Budget, BudgetUse, Plan};
use crate::github::limits::AUDIT_POINTS;

/// GitHub's limit with a token, per hour and user.
const USER_LIMIT: u64 = 5_000;
/// GitHub works at most 90 seconds per minute for a user, of these 60 for GraphQL. Pages take up
/// to 60, one after another; queries are spaced to use 26 of the other 30.
const QUERY_ANSWER_TIMES: f64 = 2.3;
/// While pushes are asked for, those for pull requests use 20 of these 26, and those for pushes 6:
/// the history of one repository may take seconds, and delays only other pushes.
const PULL_ANSWER_TIMES: f64 = 3.0;
const PUSH_ANSWER_TIMES: f64 = 10.0;
/// Queries of the audit are spaced to use 3.
const AUDIT_ANSWER_TIMES: f64 = 20.0;
/// The most that requests beside the stream may have of what is used of a limit.
const MOST_EXTRA: f64 = 0.9;
/// How many single feeds may be read together: most of the answers are free.
const FEED_BURST: u32 = 20;
/// How many queries may go together, because a poll brings many pull requests at once.
const QUERY_BURST: u32 = 3;

/// The budgets of an account: GitHub has a limit for each.
#[derive(Debug)]
struct TokenAccount {
    /// The fraction of the limit for REST that may be used.
    share: f64,
    /// The budget for REST: pages and single feeds.
    rest: Budget,
    /// The budget for GraphQL: queries for pull requests and for pushes, and the audit; never used
    /// without a token.
    graphql: Budget,
}

/// The budgets of all accounts that own a token of the pool.
#[derive(Debug)]
pub(super) struct Accounts {
    all: HashMap<Owner, TokenAccount>,
    shares: LimitShares,
    /// Number of pages that may be requested together.
    burst: u32,
}

/// Fractions of each account's limits, from 0 to 1.
#[derive(Debug, Clone, Copy)]
pub struct LimitShares {
    /// What polling may use of the limit for REST.
    rest: f64,
    /// What single feeds may use of it, and pages then do not: 0 while there are none.
    pub feeds: f64,
    /// What queries may use of the limit for GraphQL: above 0, and never what the audit may use.
    pub queries: f64,
    /// The part of that for the commits of pushes: 0 while there are none.
    pub pushes: f64,
    /// What the audit may use of the limit for GraphQL: 0 while there is none, at most 0.9.
    pub audits: f64,
}

impl LimitShares {
    /// The shares of pages and single feeds where `share` may be used.
    fn of_rest(self, share: f64) -> [f64; 2] {
        let feeds = self.feeds.min(share * MOST_EXTRA);
        [share - feeds, feeds]
    }

    /// The shares of queries for pull requests, of those for pushes, and of the audit.
    fn of_graphql(self) -> [f64; 3] {
        let audits = self.audits.min(MOST_EXTRA);
        let queries = self.queries.min(1.0 - audits);
        let pushes = queries * self.pushes;
        [queries - pushes, pushes, audits]
    }
}

impl TokenAccount {
    /// Divides the limits.
    fn divide(&mut self, shares: LimitShares) {
        let [pages, feeds] = shares.of_rest(self.share);
        self.rest.share(BudgetUse::Stream, pages, self.share);
        self.rest.share(BudgetUse::Extra, feeds, self.share);
        let [pulls, pushes, audits] = shares.of_graphql();
        let within = pulls + pushes + audits;
        self.graphql.share(BudgetUse::Stream, pulls, within);
        self.graphql.share(BudgetUse::Pushes, pushes, within);
        let pull_times = if pushes > 0.0 { PULL_ANSWER_TIMES } else { QUERY_ANSWER_TIMES };
        self.graphql.space(BudgetUse::Stream, pull_times);
        // The audit's share is so small that another program leaves it.
        self.graphql.share(BudgetUse::Extra, audits, 1.0);
    }
}

impl Accounts {
    pub(super) fn new(share: f64, query_share: f64, burst: u32) -> Self {
        let shares =
            LimitShares { rest: share, feeds: 0.0, queries: query_share, pushes: 0.0, audits: 0.0 };
        Self { all: HashMap::new(), shares, burst }
    }

    /// Opens the account of a new token, of which nothing is known yet.
    pub(super) fn open(&mut self, slot: TokenSlotId, now: Instant) -> Owner {
        self.insert(slot, USER_LIMIT, self.shares.rest, [1.0, 0.0], now)
    }

    /// Opens the account of requests without a token, whose limit is assumed to be `limit`: it is
    /// far below what GitHub's limit on seconds of work allows, and nobody else shares
    /// it.
    pub(super) fn open_anonymous(&mut self, slot: TokenSlotId, limit: u64, now: Instant) -> Owner {
        self.insert(slot, limit, 1.0, [0.0; 2], now)
    }

    fn insert(
        &mut self,
        slot: TokenSlotId,
        limit: u64,
        share: f64,
        answer_times: [f64; 2],
        now: Instant,
    ) -> Owner {
        let plan = |burst, answer_times, points| Plan {
            share: 0.0,
            within: 0.0,
            burst,
            answer_times,
            points,
        };
        let feed_burst = if limit >= USER_LIMIT { FEED_BURST } else { 1 };
        let [of_pages, of_feeds] = answer_times;
        let unused = plan(1, 0.0, 1);
        let rest = [plan(self.burst, of_pages, 1), unused, plan(feed_burst, of_feeds, 1)];
        let graphql = [
            plan(QUERY_BURST, QUERY_ANSWER_TIMES, 1),
            plan(QUERY_BURST, PUSH_ANSWER_TIMES, 1),
            plan(1, AUDIT_ANSWER_TIMES, AUDIT_POINTS),
        ];
        let mut account = TokenAccount {
            share,
            rest: Budget::new(limit, rest, now),
            graphql: Budget::new(USER_LIMIT, graphql, now),
        };
        account.divide(self.shares);
        let owner = Owner::Token(slot);
        self.all.insert(owner, account);
        owner
    }

    /// Changes the shares, and divides all limits by them.
    pub(super) fn set_shares(&mut self, change: impl FnOnce(&mut LimitShares)) {
        change(&mut self.shares);
        for account in self.all.values_mut() {
            account.divide(self.shares);
        }
    }

    /// Merges the spending of one account into another: they turned out to be the same.
    pub(super) fn join(&mut self, from: Owner, to: Owner, now: Instant) {
        let Some(account) = self.all.remove(&from) else { return };
        match self.all.get_mut(&to) {
            Some(known) => {
                known.rest.join(account.rest, now);
                known.graphql.join(account.graphql, now);
            }
            None => {
                self.all.insert(to, account);
            }
        }
    }

    /// Brings the ends of all waits forward by `time`.
    pub(super) fn bring_forward(&mut self, time: Duration, now: Instant) {
        for account in self.all.values_mut() {
            account.rest.bring_forward(time, now);
            account.graphql.bring_forward(time, now);
        }
    }

    /// Removes accounts that are not wanted.
    pub(super) fn retain(&mut self, wanted: impl Fn(Owner) -> bool) {
        self.all.retain(|owner, _| wanted(*owner));
    }

    /// The budget of an account that a kind of request uses, and as what.
    pub(super) fn budget(&mut self, owner: Owner, resource: Resource) -> (&mut Budget, BudgetUse) {
        let account = self.all.get_mut(&owner).expect("it is kept while a token names it");
        match resource {
            Resource::Pages => (&mut account.rest, BudgetUse::Stream),
            Resource::Feeds => (&mut account.rest, BudgetUse::Extra),
            Resource::Queries(QueryKind::Pulls) => (&mut account.graphql, BudgetUse::Stream),
            Resource::Queries(QueryKind::Pushes) => (&mut account.graphql, BudgetUse::Pushes),
            Resource::Audits => (&mut account.graphql, BudgetUse::Extra),
        }
    }

    /// The first instant, not before `now`, at which such a request may be sent.
    pub(super) fn ready_at(&mut self, owner: Owner, resource: Resource, now: Instant) -> Instant {
        let (budget, of) = self.budget(owner, resource);
        budget.ready_at(of, now)
    }
}
