//! Fetches what is missing from GitHub's GraphQL API: query form, concurrency and timing.
//!
//! Guarantees: queries stay within the tokens' budgets. The batch size is halved after a query
//! that was too heavy and grows again slowly. Its objects are asked for again in parts. Those of a
//! part that is not answered either stay suspected after their deadline, so that later events lead
//! to the one that made it heavy; an object that is too heavy even alone is not asked for again
//! soon. Pull requests are queried by name until GitHub's node ids are proven equal to the computed
//! ones, and again whenever they differ. Failures are retried with backoff.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::forbidden::Forbidden;
use super::heavy::LoneResult;
use super::pending::PendingQueue;
use super::wanted::{LookupOf, Wanted};
use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::config::EnrichConfig;
use crate::github::graphql::{
    AskedBy, GraphQl, MOST_PULLS, ObjectLookup, QueryOutcome, WantedPull, WantedPush,
};
use crate::github::limits::{MOST_AT_ONCE, RateLimits};
use crate::github::tokens::{
    AccountId, Lease, TokenGrant, TokenMode, TokenPool, TokenSlotId, TokenVerdict,
};
use crate::logging::line_limit::LineLimit;

const _: () =
    assert!(WantedPull::MOST_IN_FLIGHT + WantedPush::MOST_IN_FLIGHT <= MOST_AT_ONCE as usize / 2);
/// How long a query that is not full waits for more objects to join it.
const GATHER: Duration = Duration::from_secs(1);
/// Number of complete responses after which the batch size grows.
const GROW_AFTER: u32 = 10;
/// Maximum number of consecutive halvings without a pause.
const MOST_HALVINGS: u32 = 3;
/// How long before a query another one must have been answered, so that the first one's failure is
/// its own.
const SHORTLY: Duration = Duration::from_secs(60);
/// A query that takes this long is slow. One that fails sooner shows nothing of its objects, unless
/// the response names a resource limit: GitHub's own limit is ten seconds.
const SLOW_FROM: Duration = Duration::from_secs(3);
/// The part of enrichment's budget for the commits of pushes, while a list names repositories or
/// owners.
const PUSHES: f64 = 0.2;
/// How long queries use names after computed node ids turned out to be wrong.
const DISTRUST_FOR: Duration = Duration::from_secs(3_600);
/// First and longest wait after a failure.
const WAITS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Lines about organisations that hide what is theirs.
static FORBIDDEN: LineLimit = LineLimit::per_minute(10);
/// Lines about queries that fail, and that become smaller: GitHub may do so with each one.
static FAILED: LineLimit = LineLimit::per_minute(10);
static SHRUNK: LineLimit = LineLimit::per_minute(10);

/// Access to the GraphQL API with the tokens of a pool.
#[derive(Debug, Clone)]
pub struct EnrichLookup {
    graphql: Arc<GraphQl>,
    pool: Arc<TokenPool>,
    pub(super) deadline: Duration,
    batch: usize,
}

impl EnrichLookup {
    /// Creates a lookup at this URL that uses the tokens of `pool`. Sends nothing yet.
    ///
    /// # Errors
    /// When the URL is invalid or TLS cannot be set up.
    pub fn new(
        url: &str,
        options: &EnrichConfig,
        pool: Arc<TokenPool>,
        clock: Clock,
    ) -> anyhow::Result<Self> {
        let graphql = GraphQl::new(url, clock).context("github.graphqlUrl")?;
        pool.set_shares(|shares| shares.queries = options.budget);
        let batch = options.batch.clamp(1, MOST_PULLS);
        Ok(Self { graphql: Arc::new(graphql), pool, deadline: options.deadline, batch })
    }

    /// Sets whether a part of the budget is for the commits of pushes.
    pub(super) fn allow_pushes(&self, is_allowed: bool) {
        self.pool.set_shares(|shares| shares.pushes = if is_allowed { PUSHES } else { 0.0 });
    }
}

/// Whether computed node ids can be trusted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Trust {
    /// Not known yet.
    Unproven,
    /// GitHub's node ids equal the computed ones.
    Proven,
    /// A whole query by node id found nothing; the same objects are queried again by name.
    Doubted,
    /// GitHub's node ids differ from the computed ones.
    Refused { until: Instant },
}

/// A query that has ended.
pub(super) struct InFlightQuery<W: Wanted> {
    form: AskedBy,
    /// The token used for the query, and its account.
    asked_with: (TokenSlotId, AccountId),
    /// Whether its objects are a part of those of a query that was too heavy.
    is_part: bool,
    /// When it was sent.
    sent: Instant,
    pub(super) wanted: Vec<W>,
    outcome: QueryOutcome<LookupOf<W>>,
}

impl<W: Wanted> InFlightQuery<W> {
    /// The objects for which it was too heavy.
    pub(super) fn unanswered(&self) -> Vec<&W> {
        match &self.outcome {
            QueryOutcome::TooHeavy { .. } => self.wanted.iter().collect(),
            QueryOutcome::Answered(found) => {
                let both = self.wanted.iter().zip(found);
                let unanswered = both.filter(|(_, one)| matches!(one, ObjectLookup::Unanswered));
                unanswered.map(|(wanted, _)| wanted).collect()
            }
            _ => Vec::new(),
        }
    }
}

/// Sends queries and interprets the responses.
pub(super) struct Fetcher<W: Wanted> {
    pub(super) lookup: EnrichLookup,
    pub(super) clock: Clock,
    in_flight: JoinSet<InFlightQuery<W>>,
    /// The largest batch, and the current one.
    most: usize,
    size: usize,
    whole_answers: u32,
    /// When a query was last answered, at least in part.
    answered_at: Option<Instant>,
    trust: Trust,
    /// The objects that a query by node id did not find, while in doubt.
    doubted: HashSet<W::Key>,
    backoff: Backoff,
    not_before: Option<Instant>,
    forbidden: Forbidden,
    /// See [`crate::github::tokens::TokenPool::changes`].
    token_changes: watch::Receiver<()>,
}

impl<W: Wanted> Fetcher<W> {
    pub(super) fn new(lookup: EnrichLookup, clock: Clock) -> Self {
        let most = lookup.batch.min(W::MOST);
        let token_changes = lookup.pool.changes();
        Self {
            lookup,
            clock,
            in_flight: JoinSet::new(),
            most,
            size: most,
            whole_answers: 0,
            answered_at: None,
            trust: Trust::Unproven,
            doubted: HashSet::new(),
            backoff: Backoff::new(WAITS.0, WAITS.1),
            not_before: None,
            forbidden: Forbidden::default(),
            token_changes,
        }
    }

    /// Whether the pool has a token that GitHub accepts.
    pub(super) fn can_ask(&self) -> bool {
        self.lookup.pool.census().mode == TokenMode::Tokens
    }

    /// Sends every query that is due. Returns when to check again while anything is queued.
    pub(super) fn send_due(&mut self, pending: &mut PendingQueue<W>) -> Option<Instant> {
        let now = self.clock.instant();
        let gather = GATHER.min(self.lookup.deadline / 4);
        loop {
            let oldest = pending.oldest_queued()?;
            if self.in_flight.len() >= W::MOST_IN_FLIGHT {
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
            let (form, is_part, sent) = (self.form(now), pending.is_part(&wanted), now);
            let graphql = Arc::clone(&self.lookup.graphql);
            let asked_with = (lease.slot(), lease.account());
            self.in_flight.spawn(async move {
                let outcome = graphql.ask(form, &wanted, lease).await;
                InFlightQuery { form, asked_with, is_part, sent, wanted, outcome }
            });
        }
    }

    /// Chooses a token and the objects that its account may see, as far as is known.
    /// Otherwise returns when to check again, or `None` without a token.
    fn next_query(
        &self,
        pending: &mut PendingQueue<W>,
        now: Instant,
    ) -> Option<Result<(Lease, Vec<W>), Instant>> {
        let (pool, forbidden) = (&self.lookup.pool, &self.forbidden);
        let lease = match pool.grant_query(W::QUERY)? {
            TokenGrant::Go(lease) => lease,
            TokenGrant::Wait(until) => return Some(Err(until)),
        };
        let account = lease.account();
        let may = |wanted: &W| forbidden.may_see(account, wanted.owner(), now);
        let wanted = pending.take(self.size, may);
        if !wanted.is_empty() {
            return Some(Ok((lease, wanted)));
        }
        let owner = pending.next()?.owner().to_owned();
        let may_see = |account| forbidden.may_see(account, &owner, now);
        let others = pool.grant_query_of(W::QUERY, may_see);
        let Some(other) = others else {
            // All accounts are forbidden to see it: with any of them, GitHub's response says so.
            return Some(Ok((lease, pending.take(self.size, |_| true))));
        };
        lease.settle(TokenVerdict::Unsent, &RateLimits::default(), Duration::ZERO);
        Some(match other {
            TokenGrant::Wait(until) => Err(until),
            TokenGrant::Go(lease) => {
                let account = lease.account();
                let may = |wanted: &W| forbidden.may_see(account, wanted.owner(), now);
                Ok((lease, pending.take(self.size, may)))
            }
        })
    }

    /// Returns the next query that ends, or `None` when the tokens have changed, which ends every
    /// wait for one. Pending while neither happens.
    pub(super) async fn received(&mut self) -> anyhow::Result<Option<InFlightQuery<W>>> {
        let ended = tokio::select! {
            Some(ended) = self.in_flight.join_next() => ended,
            Ok(()) = self.token_changes.changed() => {
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

    /// The result of a query, one per requested object; `None` when the query was not
    /// executed.
    pub(super) fn settle(&mut self, query: &InFlightQuery<W>) -> Option<Vec<LookupOf<W>>> {
        let (now, count) = (self.clock.instant(), query.wanted.len());
        match &query.outcome {
            QueryOutcome::Answered(found) => {
                self.backoff.reset();
                self.not_before = None;
                let unanswered = query.unanswered().len();
                if unanswered < count {
                    self.answered_at = Some(now);
                }
                match (query.is_part, unanswered) {
                    (true, _) => {}
                    (false, 0) => self.grow(),
                    (false, _) => self.shrink(count, "a part of the answer is missing"),
                }
                if self.judge(query.form, &query.wanted, found, now) {
                    return None;
                }
                Some(self.ask_others(query, found.clone(), now))
            }
            QueryOutcome::TooHeavy { why, .. } => {
                let wait = self.backoff.next_wait();
                // A smaller batch may succeed; after too many halvings, only waiting may help.
                let is_alone = count == 1 && self.lone_result(query).is_none();
                if is_alone || self.backoff.times() > MOST_HALVINGS {
                    self.not_before = Some(now + wait);
                }
                if !query.is_part {
                    self.shrink(count, why);
                }
                Some(vec![ObjectLookup::Unanswered; count])
            }
            QueryOutcome::Limited { .. } | QueryOutcome::TokenDead { .. } => None,
            QueryOutcome::Failed(error) => {
                FAILED.log(|left_out| {
                    let what = W::NAME;
                    tracing::warn!(%error, left_out, "{what} cannot be asked for; trying again");
                });
                self.not_before = Some(now + self.backoff.next_wait());
                Some(vec![ObjectLookup::Unanswered; count])
            }
        }
    }

    /// Whether a query that was not answered, or only in part, shows that its objects are heavy: it
    /// took long, or GitHub says so; and GitHub answered another one shortly before, or since.
    pub(super) fn shows_weight(&self, query: &InFlightQuery<W>) -> bool {
        let is_reported = match &query.outcome {
            QueryOutcome::TooHeavy { is_reported, .. } => *is_reported,
            QueryOutcome::Answered(_) => true,
            _ => false,
        };
        let others_are_answered = self.answered_at.is_some_and(|at| at + SHORTLY >= query.sent);
        let is_unanswered = !query.unanswered().is_empty();
        is_unanswered && others_are_answered && (is_reported || self.took(query) >= SLOW_FROM)
    }

    fn took(&self, query: &InFlightQuery<W>) -> Duration {
        self.clock.instant().saturating_duration_since(query.sent)
    }

    /// What a query for a single object shows of it.
    pub(super) fn lone_result(&self, query: &InFlightQuery<W>) -> Option<LoneResult> {
        if query.wanted.len() > 1 {
            return None;
        }
        if !query.unanswered().is_empty() {
            return self.shows_weight(query).then_some(LoneResult::Unanswered);
        }
        if !matches!(query.outcome, QueryOutcome::Answered(_)) {
            return None;
        }
        Some(if self.took(query) >= SLOW_FROM { LoneResult::Slow } else { LoneResult::Quick })
    }

    /// Queues what the account may not see for another account, if there is one.
    fn ask_others(
        &mut self,
        query: &InFlightQuery<W>,
        mut found: Vec<LookupOf<W>>,
        now: Instant,
    ) -> Vec<LookupOf<W>> {
        let (slot, account) = query.asked_with;
        for (wanted, found) in query.wanted.iter().zip(&mut found) {
            let ObjectLookup::Forbidden(said) = &*found else { continue };
            let owner = wanted.owner();
            let is_new = self.forbidden.record(account, owner, now);
            let forbidden = &self.forbidden;
            let has_other = self.lookup.pool.has_account(|one| forbidden.may_see(one, owner, now));
            if is_new {
                self.report(slot, owner, said, has_other);
            }
            if has_other {
                *found = ObjectLookup::Unanswered;
            }
        }
        found
    }

    fn report(&self, slot: TokenSlotId, owner: &str, said: &str, has_other: bool) {
        // A token removed from the configuration since then has no number.
        let token = self.lookup.pool.number(slot).unwrap_or_default();
        let tokens = self.lookup.pool.census().tokens;
        let then = if has_other { "a token of another account is asked with" } else { W::MISSING };
        FORBIDDEN.log(|left_out| {
            tracing::warn!(
                organisation = owner,
                said,
                left_out,
                "GitHub shows nothing of this organisation to token {token} of {tokens}: {then}; \
                 authorize the token for it, or allow this machine's address"
            );
        });
    }

    fn shrink(&mut self, asked: usize, why: &str) {
        let size = (asked / 2).max(1);
        if size < self.size {
            let from = std::mem::replace(&mut self.size, size);
            SHRUNK.log(|left_out| {
                let what = W::NAME;
                tracing::info!(from, to = size, why, left_out, "asking for less at once: {what}");
            });
        }
        self.whole_answers = 0;
    }

    fn grow(&mut self) {
        self.whole_answers += 1;
        if self.whole_answers >= GROW_AFTER && self.size < self.most {
            self.size = (self.size * 2).min(self.most);
            self.whole_answers = 0;
        }
    }

    /// Updates the trust in computed node ids from a response. Returns whether its nulls are
    /// meaningless, so that the same objects have to be queried again.
    fn judge(&mut self, form: AskedBy, wanted: &[W], found: &[LookupOf<W>], now: Instant) -> bool {
        if form == AskedBy::NodeIds {
            let nothing = found.iter().all(|one| matches!(one, ObjectLookup::Gone));
            if nothing && self.trust == Trust::Proven {
                self.trust = Trust::Doubted;
                self.doubted = wanted.iter().map(W::key).collect();
            }
            return nothing;
        }
        let mut same = 0;
        let mut confirmed = false;
        for (one, found) in wanted.iter().zip(found) {
            let doubted = self.trust == Trust::Doubted && self.doubted.contains(&one.key());
            let ObjectLookup::Found(details) = found else {
                confirmed |= doubted && matches!(found, ObjectLookup::Gone);
                continue;
            };
            let ids = one.node_ids(details);
            let is_known = ids.is_some();
            if doubted || ids.is_some_and(|(own, computed)| own != computed) {
                self.distrust(now);
                return false;
            }
            same += usize::from(is_known);
        }
        let trusted = match self.trust {
            // None of the doubtful objects was queried: no event waits for them any more.
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
