//! The token pool: chooses the next token, quarantines refused ones, and falls back to requests
//! without a token.
//!
//! Guarantees: tokens take turns, and none exceeds its account's budget. A token that GitHub
//! refuses is quarantined, first for seconds, up to hours. When all are quarantined, or there are
//! none, requests are sent without a token at the pace for that, and this is logged. Outside, a
//! token is identified by its position in the configuration; it is never printed.
//!
//! GitHub's limits apply to accounts: the tokens of an account share the requests per hour, the
//! seconds of work, and the wait after a secondary limit. Only GitHub knows the account of a
//! token, so the user of the pool asks once for each ([`TokenPool::grant_identity_request`]); until
//! then a token counts as an account of its own.
//!
//! A [`Lease`] is one request that may be sent. Dropping it unsettled, as a cancelled future does,
//! counts as spent: that sends too few requests, never too many.

mod account;
mod installations;
mod lease;
mod pool_state;
mod types;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use self::account::Accounts;
pub use self::account::LimitShares;
pub use self::lease::{Lease, TokenPool};
pub use self::pool_state::QUARANTINE;
use self::pool_state::{ANONYMOUS_LIMIT, PoolState, TokenSlot, census, publish, report_shared};
pub use self::types::{
    AccountId, Census, Identity, PoolOptions, QueryKind, TokenMode, TokenSlotId, TokenVerdict,
};
use self::types::{Owner, Resource};
use crate::clock::Clock;
use crate::config::Secret;

/// The fraction of each token's limit for queries, unless set by [`TokenPool::set_shares`].
const QUERY_SHARE: f64 = 0.5;
/// How long after an identity request without a result the next one is sent.
const ASK_AGAIN: Duration = Duration::from_secs(600);
/// How long a request waits for the first tokens of an app before it looks again.
const PENDING_LOOK: Duration = Duration::from_secs(1);
/// Maximum number of tokens, more than anyone has accounts; further ones are not used, and this is
/// logged.
pub const MOST_TOKENS: usize = 1_000;

/// The purpose of a request, and the tokens that it may use.
struct TokenRequest<'a> {
    resource: Resource,
    /// The token last used for the same purpose; another one is preferred.
    last: Option<TokenSlotId>,
    may: &'a dyn Fn(AccountId) -> bool,
}

/// The answer to a request for a lease.
#[derive(Debug)]
pub enum TokenGrant {
    /// The request may be sent, with this lease.
    Go(Lease),
    /// No request may be sent before this time.
    Wait(Instant),
}

impl TokenPool {
    /// A pool with nothing spent yet.
    #[must_use]
    pub fn new(options: PoolOptions, clock: Clock) -> Arc<Self> {
        let now = clock.instant();
        let mut accounts = Accounts::new(options.share, QUERY_SHARE, options.burst);
        let nobody = accounts.open_anonymous(TokenSlotId(0), ANONYMOUS_LIMIT, now);
        let state = PoolState {
            slots: Vec::new(),
            departed: Vec::new(),
            anonymous: TokenSlot::new(TokenSlotId(0), None, nobody, now),
            accounts,
            turn: 0,
            query_turn: 0,
            next_id: 1,
            is_pending: false,
        };
        let (changes, refusals) = (watch::Sender::new(()), watch::Sender::new(()));
        let pool = Arc::new(Self { clock, state: Mutex::new(state), changes, refusals });
        pool.replace(options.tokens);
        pool
    }

    /// Notified each time [`TokenPool::replace`] or [`TokenPool::install`] sets a different list,
    /// when tokens that were refused may be tried again, and after the machine was suspended. Every
    /// wait for a token of this pool must then end.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Replaces the list of tokens, except those of app installations. A token that was there
    /// before keeps its account and its quarantine, even when some lists in between did not have
    /// it. Does nothing when the list is the same.
    pub fn replace(&self, tokens: Vec<Secret>) {
        let now = self.clock.instant();
        let mut state = self.lock();
        let before: Vec<TokenSlotId> = state.slots.iter().map(|slot| slot.id).collect();
        // The tokens of the last list come last, because the last ones are kept longest.
        let mut old = std::mem::take(&mut state.departed);
        let (installed, listed) = std::mem::take(&mut state.slots)
            .into_iter()
            .partition::<Vec<_>, _>(|slot| slot.installation.is_some());
        old.extend(listed);
        let given = tokens.len();
        for (i, token) in tokens.into_iter().enumerate() {
            // White space around a token, as in a file of tokens, is not part of it.
            let token = Secret::new(token.expose().trim());
            let double = state.slots.iter().any(|slot| slot.token.as_ref() == Some(&token));
            if token.expose().is_empty() || double || state.slots.len() == MOST_TOKENS {
                continue;
            }
            if !token.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
                let of = format!("token {} of {given}", i + 1);
                tracing::warn!("{of} holds characters that no token has; it is not used");
                continue;
            }
            let kept = old.iter().position(|slot| slot.token.as_ref() == Some(&token));
            let slot = if let Some(at) = kept {
                old.remove(at)
            } else {
                state.open_slot(Some(token), None, now)
            };
            state.slots.push(slot);
        }
        state.slots.extend(installed);
        state.departed = old;
        self.settle_list(&mut state, &before, now);
    }

    /// Tries refused tokens again at once: the operator says that something has changed.
    pub fn retry_refused(&self) {
        let now = self.clock.instant();
        let mut state = self.lock();
        if state.end_quarantines() {
            publish(&mut state, now);
            self.changes.send_replace(());
        }
    }

    /// Brings all ends of waits forward: the machine was suspended for this long, while the
    /// monotonic clock stood still.
    pub fn was_suspended(&self, time: Duration) {
        let now = self.clock.instant();
        let mut state = self.lock();
        state.bring_forward(time, now);
        publish(&mut state, now);
        self.changes.send_replace(());
    }

    /// Completes a change of the list; `before` is what it was.
    fn settle_list(&self, state: &mut PoolState, before: &[TokenSlotId], now: Instant) {
        let too_many = state.departed.len().saturating_sub(MOST_TOKENS);
        state.departed.drain(..too_many);
        state.tidy();
        publish(state, now);
        if !state.slots.iter().map(|slot| &slot.id).eq(before) {
            (state.turn, state.query_turn) = (0, 0);
            self.changes.send_replace(());
        }
    }

    /// Changes the fractions of each account's limits.
    pub fn set_shares(&self, change: impl FnOnce(&mut LimitShares)) {
        self.lock().accounts.set_shares(change);
    }

    /// A lease to read a single feed, always with the same token for the same `feed` while GitHub
    /// accepts it, because an `ETag` is of one token; or when to ask again.
    #[must_use]
    pub fn grant_feed(self: &Arc<Self>, feed: u64) -> TokenGrant {
        let now = self.clock.instant();
        let mut state = self.lock();
        let PoolState { slots, anonymous, accounts, .. } = &mut *state;
        let count = slots.len();
        let start = usize::try_from(feed % (count.max(1) as u64)).unwrap_or_default();
        let slot = (start..start + count)
            .map(|at| &slots[at % count])
            .find(|slot| !slot.is_quarantined(now))
            .unwrap_or(anonymous);
        let ready = accounts.ready_at(slot.owner, Resource::Feeds, now);
        if ready > now {
            return TokenGrant::Wait(ready);
        }
        TokenGrant::Go(self.lease(slot, accounts, Resource::Feeds, now))
    }

    /// A lease to ask GitHub for the account of a token. `None` when there is nothing to ask now:
    /// a single token shares its account with no other.
    #[must_use]
    pub fn grant_identity_request(self: &Arc<Self>) -> Option<Lease> {
        let now = self.clock.instant();
        let mut state = self.lock();
        let PoolState { slots, accounts, .. } = &mut *state;
        if slots.len() < 2 {
            return None;
        }
        let slot = slots.iter_mut().find(|slot| {
            slot.identity_due_at.is_some_and(|at| at <= now)
                && !slot.is_quarantined(now)
                && accounts.ready_at(slot.owner, Resource::Pages, now) <= now
        })?;
        slot.identity_due_at = Some(now + ASK_AGAIN);
        Some(self.lease(slot, accounts, Resource::Pages, now))
    }

    /// Records the account of a token. From then on it shares its limits with the other tokens of
    /// that account, including what is already spent.
    pub fn set_identity(&self, id: TokenSlotId, identity: Identity) {
        let now = self.clock.instant();
        let mut state = self.lock();
        let Some(slot) = state.slot(id) else { return };
        slot.identity_due_at = None;
        let Identity::User(user) = identity else { return };
        let (from, to) = (slot.owner, Owner::User(user));
        if from == to {
            return;
        }
        slot.owner = to;
        state.accounts.join(from, to, now);
        report_shared(&state, id, to);
        publish(&mut state, now);
    }

    /// A lease for one GraphQL query with the next token, or when to ask again. `None` when GitHub
    /// accepts none of the tokens, because queries require one.
    #[must_use]
    pub fn grant_query(self: &Arc<Self>, kind: QueryKind) -> Option<TokenGrant> {
        self.grant_query_of(kind, |_| true)
    }

    /// Like `grant_query`, with a token of one of these accounts. `None` when GitHub accepts none
    /// of their tokens.
    #[must_use]
    pub fn grant_query_of(
        self: &Arc<Self>,
        kind: QueryKind,
        may: impl Fn(AccountId) -> bool,
    ) -> Option<TokenGrant> {
        let now = self.clock.instant();
        let mut state = self.lock();
        let request = TokenRequest { resource: Resource::Queries(kind), last: None, may: &may };
        match self.next_lease(&mut state, &request, now) {
            Ok(lease) => Some(TokenGrant::Go(lease)),
            Err(None) if state.is_pending => Some(TokenGrant::Wait(now + PENDING_LOOK)),
            Err(earliest) => earliest.map(TokenGrant::Wait),
        }
    }

    /// Like `grant_query`, within the audit's share.
    #[must_use]
    pub fn grant_audit(self: &Arc<Self>) -> Option<TokenGrant> {
        let now = self.clock.instant();
        let mut state = self.lock();
        let request = TokenRequest { resource: Resource::Audits, last: None, may: &|_| true };
        match self.next_lease(&mut state, &request, now) {
            Ok(lease) => Some(TokenGrant::Go(lease)),
            Err(earliest) => earliest.map(TokenGrant::Wait),
        }
    }

    /// A lease for one request with the next token, or when to ask again.
    #[must_use]
    pub fn grant(self: &Arc<Self>) -> TokenGrant {
        self.grant_after(None)
    }

    /// Like `grant`, but with a token other than the one last used for the same page, if there is
    /// one: a token that gets stale pages is detected by comparison with others.
    #[must_use]
    pub fn grant_after(self: &Arc<Self>, last: Option<TokenSlotId>) -> TokenGrant {
        let now = self.clock.instant();
        let mut state = self.lock();
        let request = TokenRequest { resource: Resource::Pages, last, may: &|_| true };
        let earliest = match self.next_lease(&mut state, &request, now) {
            Ok(lease) => return TokenGrant::Go(lease),
            Err(earliest) => earliest,
        };
        // A token that is only exhausted is waited for; sending requests without one would mix two
        // paces.
        if let Some(earliest) = earliest {
            return TokenGrant::Wait(earliest);
        }
        if state.is_pending {
            return TokenGrant::Wait(now + PENDING_LOOK);
        }
        let back = state.slots.iter().filter_map(|slot| slot.quarantined_until).min();
        let PoolState { anonymous, accounts, .. } = &mut *state;
        let ready = accounts.ready_at(anonymous.owner, Resource::Pages, now);
        if ready <= now {
            return TokenGrant::Go(self.lease(anonymous, accounts, Resource::Pages, now));
        }
        TokenGrant::Wait(back.map_or(ready, |back| back.min(ready)))
    }

    /// Does not use this token for pages for this long, because it gets stale ones, unless it is
    /// the last token. Its budgets and its queries are not affected.
    pub fn rest(&self, id: TokenSlotId, time: Duration) {
        let now = self.clock.instant();
        let mut state = self.lock();
        let works =
            |slot: &TokenSlot| slot.id != id && !slot.is_quarantined(now) && !slot.is_resting(now);
        if state.slots.iter().any(works)
            && let Some(slot) = state.slots.iter_mut().find(|slot| slot.id == id)
        {
            slot.resting_until = Some(now + time);
        }
        publish(&mut state, now);
    }

    /// A token's position in the configuration, from 1; 0 for requests without one; `None` when it
    /// is no longer there.
    #[must_use]
    pub fn number(&self, id: TokenSlotId) -> Option<usize> {
        let state = self.lock();
        let place = state.slots.iter().position(|slot| slot.id == id);
        place.map(|place| place + 1).or_else(|| (state.anonymous.id == id).then_some(0))
    }

    /// Whether GitHub accepts a token of one of these accounts.
    #[must_use]
    pub fn has_account(&self, may: impl Fn(AccountId) -> bool) -> bool {
        let (state, now) = (self.lock(), self.clock.instant());
        state.slots.iter().any(|slot| !slot.is_quarantined(now) && may(AccountId(slot.owner)))
    }

    /// The current state of the pool.
    #[must_use]
    pub fn census(&self) -> Census {
        census(&mut self.lock(), self.clock.instant())
    }

    /// A lease from the next available slot in turn. Otherwise the earliest time at which one is
    /// available; `None` when all are quarantined.
    fn next_lease(
        self: &Arc<Self>,
        state: &mut PoolState,
        request: &TokenRequest<'_>,
        now: Instant,
    ) -> Result<Lease, Option<Instant>> {
        let &TokenRequest { resource, last, may } = request;
        let PoolState { slots, accounts, turn, query_turn, .. } = state;
        // The audit always begins with the first token, and changes nobody's turn.
        let mut first = 0;
        let turn = match resource {
            Resource::Pages | Resource::Feeds => turn,
            Resource::Queries(_) => query_turn,
            Resource::Audits => &mut first,
        };
        let count = slots.len();
        // When no other token is left, a stale page is better than none.
        let may_rest = slots.iter().any(|slot| !slot.is_quarantined(now) && !slot.is_resting(now));
        let (mut chosen, mut earliest) = (None, None::<Instant>);
        for at in (*turn..*turn + count).map(|turn| turn % count) {
            let slot = &slots[at];
            // Lookups are by name and are not affected by stale pages.
            if slot.is_quarantined(now)
                || !may(AccountId(slot.owner))
                || (may_rest && resource == Resource::Pages && slot.is_resting(now))
            {
                continue;
            }
            let ready = accounts.ready_at(slot.owner, resource, now);
            if ready > now {
                earliest = Some(earliest.map_or(ready, |earlier| earlier.min(ready)));
                continue;
            }
            chosen = Some(at);
            if last != Some(slot.id) {
                break;
            }
        }
        let at = chosen.ok_or(earliest)?;
        *turn = (at + 1) % count;
        Ok(self.lease(&slots[at], accounts, resource, now))
    }

    fn lease(
        self: &Arc<Self>,
        slot: &TokenSlot,
        accounts: &mut Accounts,
        resource: Resource,
        now: Instant,
    ) -> Lease {
        let (budget, of) = accounts.budget(slot.owner, resource);
        Lease {
            pool: Arc::clone(self),
            slot: slot.id,
            owner: slot.owner,
            token: slot.token.clone(),
            resource,
            taken: budget.take(of, now),
            settled: false,
        }
    }
}

#[cfg(test)]
mod tests;
