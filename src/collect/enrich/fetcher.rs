//! How GitHub is asked: in which form, how many at once, and when.
//!
//! Promises: never more than the tokens' budgets for queries allow; half as many at once after
//! what was too heavy, and slowly more again; by names until GitHub's own node ids are seen to be
//! the computed ones, and again when they no longer are; a failure is waited out, longer each time.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::forbidden::Forbidden;
use super::pending::PendingQueue;
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::github::graphql::{AskedBy, GraphQl, MOST_PULLS, PullLookup, QueryOutcome, WantedPull};
use crate::github::limits::{MOST_AT_ONCE, RateLimits};
use crate::github::node_id;
use crate::github::tokens::{
    AccountId, Lease, TokenGrant, TokenMode, TokenPool, TokenSlotId, TokenVerdict,
};

/// Queries under way at once.
const MOST_FLIGHTS: usize = 16;
const _: () = assert!(MOST_FLIGHTS <= MOST_AT_ONCE as usize / 2);
/// More may come to be asked for together: a query waits for so long unless it is full.
const GATHER: Duration = Duration::from_secs(1);
/// Whole answers after which more are asked for at once.
const GROW_AFTER: u32 = 10;
/// Halvings one after the other, without a pause between.
const MOST_HALVINGS: u32 = 3;
/// How long names are used after node ids were not what they should be.
const DISTRUST_FOR: Duration = Duration::from_secs(3_600);
/// Waits after failures.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What asking needs.
#[derive(Debug, Clone)]
pub struct LookupOptions {
    /// The GraphQL interface.
    pub url: String,
    /// Longest time that an event waits.
    pub deadline: Duration,
    /// Pull requests in one query, 1 to 100.
    pub batch: usize,
    /// The part of each token's GraphQL limit that may be used.
    pub budget: f64,
}

/// Who can be asked.
#[derive(Debug)]
pub struct Lookup {
    graphql: Arc<GraphQl>,
    pool: Arc<TokenPool>,
    pub(super) deadline: Duration,
    batch: usize,
}

impl Lookup {
    /// Asks with the tokens of a pool; nothing is asked yet.
    ///
    /// # Errors
    /// When the address is none, or TLS cannot be set up.
    pub fn new(
        options: &LookupOptions,
        pool: Arc<TokenPool>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let graphql = GraphQl::new(&options.url, clock).context("github.graphqlUrl")?;
        pool.allow_queries(options.budget);
        let batch = options.batch.clamp(1, MOST_PULLS);
        Ok(Self { graphql: Arc::new(graphql), pool, deadline: options.deadline, batch })
    }
}

/// What is known of the node ids that we compute.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trust {
    /// Nothing yet.
    Unproven,
    /// GitHub's own are the same.
    Proven,
    /// A whole query of them found nothing: the same are asked for by names.
    Doubted,
    /// They are not what they should be.
    Refused { until: Instant },
}

/// A query that has ended.
pub(super) struct InFlightQuery {
    form: AskedBy,
    /// With which token it was asked, and whose that is.
    asked_with: (TokenSlotId, AccountId),
    pub(super) wanted: Vec<WantedPull>,
    outcome: QueryOutcome,
}

/// Asks.
pub(super) struct Fetcher {
    pub(super) lookup: Lookup,
    clock: Clock,
    in_flight: JoinSet<InFlightQuery>,
    size: usize,
    whole_answers: u32,
    trust: Trust,
    /// Numbers of the pull requests that node ids found nothing of, while in doubt.
    doubted: HashSet<u64>,
    backoff: Backoff,
    not_before: Option<Instant>,
    forbidden: Forbidden,
    /// The pool's lists of tokens, as they are replaced.
    lists: watch::Receiver<u64>,
}

impl Fetcher {
    pub(super) fn new(lookup: Lookup, clock: Clock) -> Self {
        let size = lookup.batch;
        let lists = lookup.pool.lists();
        Self {
            lookup,
            clock,
            in_flight: JoinSet::new(),
            size,
            whole_answers: 0,
            trust: Trust::Unproven,
            doubted: HashSet::new(),
            backoff: Backoff::new(WAITS.0, WAITS.1),
            not_before: None,
            forbidden: Forbidden::default(),
            lists,
        }
    }

    /// Whether there is a token that GitHub takes.
    pub(super) fn can_ask(&self) -> bool {
        self.lookup.pool.census().mode == TokenMode::Tokens
    }

    /// Sends what may be sent; when to look again, while something waits to be sent.
    pub(super) fn send_due(&mut self, pending: &mut PendingQueue) -> Option<Instant> {
        let now = self.clock.instant();
        let gather = GATHER.min(self.lookup.deadline / 4);
        loop {
            let oldest = pending.oldest_queued()?;
            if self.in_flight.len() >= MOST_FLIGHTS {
                return None;
            }
            let full = pending.queued() >= self.size;
            let due = if full { now } else { oldest + gather };
            let due = self.not_before.map_or(due, |until| until.max(due));
            if due > now {
                return Some(due);
            }
            let (lease, wanted) = match self.next_query(pending, now)? {
                Ok(query) => query,
                Err(until) => return Some(until),
            };
            let form = self.form(now);
            let graphql = Arc::clone(&self.lookup.graphql);
            let asked_with = (lease.slot(), lease.account());
            self.in_flight.spawn(async move {
                let outcome = graphql.ask(form, &wanted, lease).await;
                InFlightQuery { form, asked_with, wanted, outcome }
            });
        }
    }

    /// A token, and pull requests that it may see as far as is known; else when to look again,
    /// `None` when there is no token.
    fn next_query(
        &self,
        pending: &mut PendingQueue,
        now: Instant,
    ) -> Option<Result<(Lease, Vec<WantedPull>), Instant>> {
        let (pool, forbidden) = (&self.lookup.pool, &self.forbidden);
        let lease = match pool.grant_query()? {
            TokenGrant::Go(lease) => lease,
            TokenGrant::Wait(until) => return Some(Err(until)),
        };
        let account = lease.account();
        let may = |wanted: &WantedPull| forbidden.may(account, wanted.owner(), now);
        let wanted = pending.take(self.size, may);
        if !wanted.is_empty() {
            return Some(Ok((lease, wanted)));
        }
        let owner = pending.next()?.owner().to_owned();
        let others = pool.grant_query_of(|account| forbidden.may(account, &owner, now));
        let Some(other) = others else {
            // All are forbidden to see it: whichever is asked with, GitHub says so.
            return Some(Ok((lease, pending.take(self.size, |_| true))));
        };
        lease.settle(TokenVerdict::Unsent, &RateLimits::default(), Duration::ZERO);
        Some(match other {
            TokenGrant::Wait(until) => Err(until),
            TokenGrant::Go(lease) => {
                let account = lease.account();
                let may = |wanted: &WantedPull| forbidden.may(account, wanted.owner(), now);
                Ok((lease, pending.take(self.size, may)))
            }
        })
    }

    /// The next query that ends; `None` when there are other tokens to ask with, which ends every
    /// wait for the old ones. Waits for ever while neither happens.
    pub(super) async fn received(&mut self) -> anyhow::Result<Option<InFlightQuery>> {
        let ended = tokio::select! {
            Some(ended) = self.in_flight.join_next() => ended,
            Ok(()) = self.lists.changed() => {
                self.not_before = None;
                return Ok(None);
            }
            else => std::future::pending().await,
        };
        match ended {
            Ok(query) => Ok(Some(query)),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(error) => Err(error.into()),
        }
    }

    fn form(&mut self, now: Instant) -> AskedBy {
        if let Trust::Refused { until } = self.trust
            && until <= now
        {
            self.trust = Trust::Unproven;
        }
        if self.trust == Trust::Proven { AskedBy::NodeIds } else { AskedBy::Names }
    }

    /// What a query came to, one for each that was wanted; `None` when it was not even tried.
    pub(super) fn settle(&mut self, query: &InFlightQuery) -> Option<Vec<PullLookup>> {
        let (now, count) = (self.clock.instant(), query.wanted.len());
        match &query.outcome {
            QueryOutcome::Answered(found) => {
                self.backoff.reset();
                self.not_before = None;
                if found.contains(&PullLookup::Unanswered) {
                    self.shrink(count, "a part of the answer is missing");
                } else {
                    self.grow();
                }
                if self.judge(query.form, &query.wanted, found, now) {
                    return None;
                }
                Some(self.ask_others(query, found.clone(), now))
            }
            QueryOutcome::TooHeavy(why) => {
                let wait = self.backoff.next_wait();
                // Fewer at once may do; when they do not, time may.
                if count == 1 || self.backoff.times() > MOST_HALVINGS {
                    self.not_before = Some(now + wait);
                }
                self.shrink(count, why);
                Some(vec![PullLookup::Unanswered; count])
            }
            QueryOutcome::Limited { .. } | QueryOutcome::TokenDead { .. } => None,
            QueryOutcome::Failed(error) => {
                tracing::warn!(%error, "pull requests cannot be asked for; trying again");
                self.not_before = Some(now + self.backoff.next_wait());
                Some(vec![PullLookup::Unanswered; count])
            }
        }
    }

    /// What an account may not see is asked for again with another one, if there is one.
    fn ask_others(
        &mut self,
        query: &InFlightQuery,
        mut found: Vec<PullLookup>,
        now: Instant,
    ) -> Vec<PullLookup> {
        let (slot, account) = query.asked_with;
        for (wanted, found) in query.wanted.iter().zip(&mut found) {
            let PullLookup::Forbidden(said) = &*found else { continue };
            let owner = wanted.owner();
            let is_new = self.forbidden.learn(account, owner, now);
            let forbidden = &self.forbidden;
            let has_other = self.lookup.pool.has_account(|one| forbidden.may(one, owner, now));
            if is_new {
                self.report(slot, owner, said, has_other);
            }
            if has_other {
                *found = PullLookup::Unanswered;
            }
        }
        found
    }

    fn report(&self, slot: TokenSlotId, owner: &str, said: &str, has_other: bool) {
        // One that has left the configuration since has no number.
        let token = self.lookup.pool.number(slot).unwrap_or_default();
        let tokens = self.lookup.pool.census().tokens;
        let then = if has_other {
            "a token of another account is asked with"
        } else {
            "its pull requests go out without language and size"
        };
        tracing::warn!(
            organisation = owner,
            said,
            "GitHub shows nothing of this organisation to token {token} of {tokens}: {then}; \
             authorize the token for it, or allow this machine's address"
        );
    }

    fn shrink(&mut self, asked: usize, why: &str) {
        let size = (asked / 2).max(1);
        if size < self.size {
            tracing::info!(
                from = self.size,
                to = size,
                why,
                "asking for fewer pull requests at once"
            );
            self.size = size;
        }
        self.whole_answers = 0;
    }

    fn grow(&mut self) {
        self.whole_answers += 1;
        if self.whole_answers >= GROW_AFTER && self.size < self.lookup.batch {
            self.size = (self.size * 2).min(self.lookup.batch);
            self.whole_answers = 0;
        }
    }

    /// Learns from an answer whether computed node ids can be used; whether its nulls mean nothing,
    /// so that the same has to be asked again.
    fn judge(
        &mut self,
        form: AskedBy,
        wanted: &[WantedPull],
        found: &[PullLookup],
        now: Instant,
    ) -> bool {
        if form == AskedBy::NodeIds {
            let nothing = found.iter().all(|one| *one == PullLookup::Gone);
            if nothing && self.trust == Trust::Proven {
                self.trust = Trust::Doubted;
                self.doubted = wanted.iter().map(|one| one.pull_id).collect();
            }
            return nothing;
        }
        let mut same = 0;
        let mut confirmed = false;
        for (one, found) in wanted.iter().zip(found) {
            let doubted = self.trust == Trust::Doubted && self.doubted.contains(&one.pull_id);
            let PullLookup::Pull(details) = found else {
                confirmed |= doubted && *found == PullLookup::Gone;
                continue;
            };
            let own = details.node_id.as_deref();
            let computed = node_id::of_pull(one.base_repo_id, one.pull_id);
            if doubted || own.is_some_and(|own| own != computed) {
                self.distrust(now);
                return false;
            }
            same += usize::from(own.is_some());
        }
        let trusted = match self.trust {
            // Nothing was asked for that was doubted: nobody waits for it any more.
            Trust::Doubted => confirmed || same > 0,
            Trust::Unproven => same > 0,
            Trust::Proven | Trust::Refused { .. } => false,
        };
        if trusted {
            self.trust = Trust::Proven;
        }
        false
    }

    fn distrust(&mut self, now: Instant) {
        if !matches!(self.trust, Trust::Refused { .. }) {
            tracing::warn!("GitHub's node ids are no longer the computed ones; asking by names");
        }
        self.trust = Trust::Refused { until: now + DISTRUST_FOR };
    }
}

#[cfg(test)]
mod tests;
