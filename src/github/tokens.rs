//! The pool: whose turn it is, who may not be asked for now, and what is done when nobody is left.
//!
//! Promises: tokens take turns; none goes beyond its budget; one that GitHub refuses is benched and
//! tried again after hours; when all are benched, or there is none, requests go without a token, at
//! the pace for that, and the log says so. A token is known to the outside by its place in the
//! configuration and is never printed.
//!
//! A [`Lease`] is one request that may be sent. Dropping it unsettled, as a cancelled future does,
//! counts as spent: too little is asked then, never too much.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Clock;
use crate::config::Secret;
use crate::github::budget::{Budget, Plan, Spent};
use crate::github::limits::Limits;
use crate::metrics;

/// How long a token that GitHub refused is left alone.
pub const QUARANTINE: Duration = Duration::from_secs(6 * 3_600);
/// GitHub's limit without a token, an hour and address.
const ANONYMOUS_LIMIT: u64 = 60;
/// GitHub's limit with one, an hour and user.
const TOKEN_LIMIT: u64 = 5_000;
/// GitHub works at most 90 seconds a minute for a user, of these 60 for GraphQL. Pages take up to
/// 60, one after another; queries are so far apart that they take the other 30.
const QUERY_ANSWER_TIMES: f64 = 2.0;
/// How many queries may go together: a poll brings many pull requests at once.
const QUERY_BURST: u32 = 3;
/// The part of each token's limit for queries, unless [`TokenPool::allow_queries`] says another.
const QUERY_SHARE: f64 = 0.5;
/// More tokens than anyone has accounts; the rest is not used, and the log says so.
pub const MOST_TOKENS: usize = 1_000;

/// How the pool is used.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// The tokens in the order of the configuration; empty ones and doubles are left out.
    pub tokens: Vec<Secret>,
    /// The part of each token's limit that polling may use, above 0 and up to 1.
    pub share: f64,
    /// How many requests may go together: the pages of a round.
    pub burst: u32,
}

/// Whether requests carry a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// There is none, or none that GitHub takes.
    Anonymous,
    /// At least one is not benched.
    Tokens,
}

/// Why a token is benched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dead {
    /// 401: revoked, expired or mistyped.
    Revoked,
    /// 403 without a word about limits: its account is suspended.
    Suspended,
}

impl fmt::Display for Dead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Revoked => "401: it is revoked, expired or mistyped",
            Self::Suspended => "403: its account is suspended",
        })
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A page.
    Served,
    /// The page is the same as before; costs nothing.
    Unchanged,
    /// Too much was asked; how long to wait, where that was said.
    Limited(Option<Duration>),
    /// The token is no good.
    Refused(Dead),
    /// No answer, or one that says nothing of tokens.
    Failed,
    /// The request never left: costs nothing.
    Unsent,
}

/// How the pool stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Whether requests carry a token now.
    pub mode: Mode,
    /// Tokens in the configuration.
    pub tokens: usize,
    /// Tokens that GitHub refuses.
    pub benched: usize,
    /// Tokens neither benched nor used up for now.
    pub usable: usize,
}

/// Which token a request goes with; stays the same for a token as long as the pool has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SeatId(pub(crate) u64);

/// What a request counts against; GitHub has a limit for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Resource {
    Pages,
    Queries,
}

/// An answer to "may I".
#[derive(Debug)]
pub enum Grant {
    /// Yes, with this.
    Go(Lease),
    /// Not before then.
    Wait(Instant),
}

/// All tokens, and the place for requests without one.
#[derive(Debug)]
pub struct TokenPool {
    clock: Clock,
    share: f64,
    burst: u32,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    seats: Vec<Seat>,
    anonymous: Seat,
    /// The place in `seats` whose turn it is.
    turn: usize,
    /// The same for queries.
    query_turn: usize,
    query_share: f64,
    next_id: u64,
}

#[derive(Debug)]
struct Seat {
    id: SeatId,
    token: Option<Secret>,
    budget: Budget,
    /// What is left for GraphQL; never used without a token.
    queries: Budget,
    benched_until: Option<Instant>,
    /// Its pages are old; an answer under way does not end that.
    resting_until: Option<Instant>,
}

impl Seat {
    fn new(id: SeatId, token: Option<Secret>, plan: Plan, query_share: f64, now: Instant) -> Self {
        let budget = Budget::new(plan, now);
        let queries = query_budget(query_share, now);
        Self { id, token, budget, queries, benched_until: None, resting_until: None }
    }

    fn budget(&mut self, resource: Resource) -> &mut Budget {
        match resource {
            Resource::Pages => &mut self.budget,
            Resource::Queries => &mut self.queries,
        }
    }

    fn is_resting(&self, now: Instant) -> bool {
        self.resting_until.is_some_and(|until| until > now)
    }

    fn is_benched(&self, now: Instant) -> bool {
        self.benched_until.is_some_and(|until| until > now)
    }
}

impl TokenPool {
    /// A pool with nothing spent yet.
    #[must_use]
    pub fn new(options: PoolOptions, clock: Clock) -> Arc<Self> {
        let now = clock.instant();
        // GitHub's limit without a token is far below what its seconds of work allow.
        let plan =
            Plan { assumed: ANONYMOUS_LIMIT, share: 1.0, burst: options.burst, answer_times: 0.0 };
        let state = State {
            seats: Vec::new(),
            anonymous: Seat::new(SeatId(0), None, plan, QUERY_SHARE, now),
            turn: 0,
            query_turn: 0,
            query_share: QUERY_SHARE,
            next_id: 1,
        };
        let (share, burst) = (options.share, options.burst);
        let pool = Arc::new(Self { clock, share, burst, state: Mutex::new(state) });
        pool.replace(options.tokens);
        pool
    }

    /// Takes over a new list; a token that was there before keeps its budget and its bench.
    pub fn replace(&self, tokens: Vec<Secret>) {
        let now = self.clock.instant();
        let plan =
            Plan { assumed: TOKEN_LIMIT, share: self.share, burst: self.burst, answer_times: 1.0 };
        let mut state = self.lock();
        let query_share = state.query_share;
        let mut old = std::mem::take(&mut state.seats);
        let given = tokens.len();
        for (i, token) in tokens.into_iter().enumerate() {
            // White space around it, as a file of tokens has it, is no part of a token.
            let token = Secret::new(token.expose().trim());
            let double = state.seats.iter().any(|seat| seat.token.as_ref() == Some(&token));
            if token.expose().is_empty() || double || state.seats.len() == MOST_TOKENS {
                continue;
            }
            if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                let of = format!("token {} of {given}", i + 1);
                tracing::warn!("{of} holds characters that no token has; it is not used");
                continue;
            }
            let kept = old.iter().position(|seat| seat.token.as_ref() == Some(&token));
            let seat = if let Some(at) = kept {
                old.swap_remove(at)
            } else {
                let id = SeatId(state.next_id);
                state.next_id += 1;
                Seat::new(id, Some(token), plan, query_share, now)
            };
            state.seats.push(seat);
        }
        (state.turn, state.query_turn) = (0, 0);
        publish(&mut state, now);
    }

    /// Sets the part of each token's GraphQL limit that queries may use, above 0 and up to 1;
    /// before any of them.
    pub fn allow_queries(&self, share: f64) {
        let now = self.clock.instant();
        let mut state = self.lock();
        state.query_share = share;
        for seat in &mut state.seats {
            seat.queries = query_budget(share, now);
        }
    }

    /// One GraphQL query, with the token whose turn it is; or when to ask again. `None`: there is
    /// no token that GitHub takes, and nothing may be asked without one.
    #[must_use]
    pub fn grant_query(self: &Arc<Self>) -> Option<Grant> {
        let now = self.clock.instant();
        let mut state = self.lock();
        let turn = state.query_turn;
        match self.next_seat(&mut state, turn, Resource::Queries, None, now) {
            Ok((lease, turn)) => {
                state.query_turn = turn;
                Some(Grant::Go(lease))
            }
            Err(earliest) => earliest.map(Grant::Wait),
        }
    }

    /// One request, with the token whose turn it is; or when to ask again.
    #[must_use]
    pub fn grant(self: &Arc<Self>) -> Grant {
        self.grant_after(None)
    }

    /// The same, with another token than the one that asked for the same page last, if there is
    /// one: a token that is shown old pages is known by what others are shown.
    #[must_use]
    pub fn grant_after(self: &Arc<Self>, last: Option<SeatId>) -> Grant {
        let now = self.clock.instant();
        let mut state = self.lock();
        let turn = state.turn;
        let earliest = match self.next_seat(&mut state, turn, Resource::Pages, last, now) {
            Ok((lease, turn)) => {
                state.turn = turn;
                return Grant::Go(lease);
            }
            Err(earliest) => earliest,
        };
        // A token that is only used up is waited for; going on without one would mix two paces.
        if let Some(earliest) = earliest {
            return Grant::Wait(earliest);
        }
        let back = state.seats.iter().filter_map(|seat| seat.benched_until).min();
        let ready = state.anonymous.budget.ready_at(now);
        if ready <= now {
            return Grant::Go(self.lease(&mut state.anonymous, Resource::Pages, now));
        }
        Grant::Wait(back.map_or(ready, |back| back.min(ready)))
    }

    /// Asks for no page with this token for so long, because others are shown newer ones; unless
    /// it is the last one. Its budgets stay, and so do its queries.
    pub fn rest(&self, id: SeatId, time: Duration) {
        let now = self.clock.instant();
        let mut state = self.lock();
        let works = |seat: &Seat| seat.id != id && !seat.is_benched(now) && !seat.is_resting(now);
        if state.seats.iter().any(works)
            && let Some(seat) = state.seats.iter_mut().find(|seat| seat.id == id)
        {
            seat.resting_until = Some(now + time);
        }
        publish(&mut state, now);
    }

    /// A token's place in the configuration, from 1; 0 for requests without one; `None` when it is
    /// no longer there.
    #[must_use]
    pub fn number(&self, id: SeatId) -> Option<usize> {
        let state = self.lock();
        let place = state.seats.iter().position(|seat| seat.id == id);
        place.map(|place| place + 1).or_else(|| (state.anonymous.id == id).then_some(0))
    }

    /// How the pool stands now.
    #[must_use]
    pub fn census(&self) -> Census {
        census(&mut self.lock(), self.clock.instant())
    }

    /// A lease of the first seat from `turn` on that may go, and whose turn it is then; else the
    /// earliest time that one may, `None` when all are benched.
    fn next_seat(
        self: &Arc<Self>,
        state: &mut State,
        turn: usize,
        resource: Resource,
        last: Option<SeatId>,
        now: Instant,
    ) -> Result<(Lease, usize), Option<Instant>> {
        let count = state.seats.len();
        // When nobody else is left, an old page is better than none.
        let may_rest =
            state.seats.iter().any(|seat| !seat.is_benched(now) && !seat.is_resting(now));
        let mut earliest: Option<Instant> = None;
        let mut only = None;
        for at in (turn..turn + count).map(|turn| turn % count) {
            let seat = &mut state.seats[at];
            // What is looked up is asked for by name, and no old page.
            if seat.is_benched(now)
                || (may_rest && resource == Resource::Pages && seat.is_resting(now))
            {
                continue;
            }
            let ready = seat.budget(resource).ready_at(now);
            if ready > now {
                earliest = Some(earliest.map_or(ready, |earlier| earlier.min(ready)));
            } else if last == Some(seat.id) {
                only = Some(at);
            } else {
                return Ok((self.lease(seat, resource, now), (at + 1) % count));
            }
        }
        let at = only.ok_or(earliest)?;
        Ok((self.lease(&mut state.seats[at], resource, now), (at + 1) % count))
    }

    fn lease(self: &Arc<Self>, seat: &mut Seat, resource: Resource, now: Instant) -> Lease {
        let step = seat.budget(resource).take(now);
        let (seat, token) = (seat.id, seat.token.clone());
        Lease { pool: Arc::clone(self), seat, token, resource, step, settled: false }
    }

    fn settle(&self, lease: &Lease, verdict: Verdict, limits: &Limits, took: Duration) {
        let now = self.clock.instant();
        let mut state = self.lock();
        let before = census(&mut state, now);
        let place = state.seats.iter().position(|seat| seat.id == lease.seat);
        let anonymous = lease.token.is_none();
        let seat = match place {
            Some(place) => &mut state.seats[place],
            None if anonymous => &mut state.anonymous,
            // It was taken out of the configuration meanwhile.
            None => return,
        };
        let spent = match verdict {
            Verdict::Unchanged | Verdict::Unsent => Spent::Nothing,
            _ => Spent::One,
        };
        let budget = seat.budget(lease.resource);
        budget.settle(now, lease.step, spent, limits);
        match verdict {
            Verdict::Served | Verdict::Unchanged => {
                budget.answered(took);
                seat.benched_until = None;
            }
            Verdict::Limited(wait) => {
                budget.refused(now, wait);
                // A limit that is none of the hour's counts all that an account asks.
                if limits.remaining != Some(0) {
                    for resource in [Resource::Pages, Resource::Queries] {
                        seat.budget(resource).refused(now, wait);
                    }
                }
            }
            Verdict::Refused(why) if !anonymous => {
                seat.benched_until = Some(now + QUARANTINE);
                tell_bench(&mut state, place, why, now);
            }
            Verdict::Refused(_) | Verdict::Failed | Verdict::Unsent => {}
        }
        if census(&mut state, now) != before {
            publish(&mut state, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is plain numbers, whole between any two statements that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request that may be sent.
#[derive(Debug)]
pub struct Lease {
    pool: Arc<TokenPool>,
    seat: SeatId,
    token: Option<Secret>,
    resource: Resource,
    step: Duration,
    settled: bool,
}

impl Lease {
    /// Whose it is: pages have an `ETag` for each.
    #[must_use]
    pub fn seat(&self) -> SeatId {
        self.seat
    }

    /// The token to send, if any.
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// Gives it back with what came of it.
    pub fn settle(mut self, verdict: Verdict, limits: &Limits, took: Duration) {
        self.settled = true;
        self.pool.settle(&self, verdict, limits, took);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.settled {
            self.pool.settle(self, Verdict::Failed, &Limits::default(), Duration::ZERO);
        }
    }
}

fn query_budget(share: f64, now: Instant) -> Budget {
    let plan =
        Plan { assumed: TOKEN_LIMIT, share, burst: QUERY_BURST, answer_times: QUERY_ANSWER_TIMES };
    Budget::new(plan, now)
}

fn census(state: &mut State, now: Instant) -> Census {
    let tokens = state.seats.len();
    let benched = state.seats.iter().filter(|seat| seat.is_benched(now)).count();
    let usable = state
        .seats
        .iter_mut()
        .filter(|seat| !seat.is_benched(now) && !seat.is_resting(now))
        .filter_map(|seat| (!seat.budget.is_exhausted(now)).then_some(()))
        .count();
    let mode = if benched == tokens { Mode::Anonymous } else { Mode::Tokens };
    Census { mode, tokens, benched, usable }
}

fn tell_bench(state: &mut State, place: Option<usize>, why: Dead, now: Instant) {
    let census = census(state, now);
    let (number, hours) = (place.map_or(0, |place| place + 1), QUARANTINE.as_secs() / 3_600);
    tracing::warn!(
        "GitHub refuses token {number} of {} ({why}); it rests for {hours} hours, {} left",
        census.tokens,
        census.tokens - census.benched,
    );
    if census.mode == Mode::Anonymous {
        tracing::error!(
            "no token is left that GitHub takes; going on anonymously, within {ANONYMOUS_LIMIT} \
             requests an hour or what GitHub allows; put a good one into github.tokens"
        );
    }
}

fn publish(state: &mut State, now: Instant) {
    let usable = u32::try_from(census(state, now).usable).unwrap_or(u32::MAX);
    metrics::TOKENS_USABLE.set(f64::from(usable));
}

#[cfg(test)]
mod tests;
