//! The state of the tokens in the pool, and its log messages.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use super::account::Accounts;
use super::types::{Census, Owner, Resource, TokenMode, TokenSlotId};
use crate::config::Secret;
use crate::github::limits::DeadToken;
use crate::logging::line_limit::LineLimit;
use crate::metrics;

/// First and longest time that a token which GitHub refused is quarantined; doubled with each
/// refusal in a row. An incident at GitHub may refuse good tokens for seconds.
pub const QUARANTINE: (Duration, Duration) =
    (Duration::from_secs(30), Duration::from_secs(6 * 3_600));

/// Lines about refused tokens, and those that say that none is left: an incident at GitHub may
/// refuse all of many tokens again and again.
static REFUSED: LineLimit = LineLimit::per_minute(10);
static ALL_REFUSED: LineLimit = LineLimit::per_minute(2);
/// Lines about tokens that share an account: all of many tokens may be of one.
static SHARED: LineLimit = LineLimit::per_minute(10);

/// GitHub's limit without a token, per hour and address.
pub(super) const ANONYMOUS_LIMIT: u64 = 60;

#[derive(Debug)]
pub(super) struct PoolState {
    pub(super) slots: Vec<TokenSlot>,
    /// Tokens of earlier lists that are not in this one: requests with them may be in flight, and
    /// count.
    pub(super) departed: Vec<TokenSlot>,
    pub(super) anonymous: TokenSlot,
    pub(super) accounts: Accounts,
    /// The index in `slots` of the next token.
    pub(super) turn: usize,
    /// The same for queries.
    pub(super) query_turn: usize,
    pub(super) next_id: u64,
    /// Whether tokens of installations are expected and none was tried yet.
    pub(super) is_pending: bool,
}

#[derive(Debug)]
pub(super) struct TokenSlot {
    pub(super) id: TokenSlotId,
    pub(super) token: Option<Secret>,
    /// GitHub's id of the app installation that the token is of.
    pub(super) installation: Option<u64>,
    pub(super) owner: Owner,
    /// When to ask GitHub for its account; `None` once that is answered.
    pub(super) identity_due_at: Option<Instant>,
    pub(super) quarantined_until: Option<Instant>,
    /// How often in a row GitHub refused it.
    refusals: u32,
    /// It gets stale pages until then; a response in flight does not end that.
    pub(super) resting_until: Option<Instant>,
}

impl TokenSlot {
    pub(super) fn new(id: TokenSlotId, token: Option<Secret>, owner: Owner, now: Instant) -> Self {
        let (identity_due_at, installation) = (Some(now), None);
        let (quarantined_until, resting_until) = (None, None);
        Self {
            id,
            token,
            installation,
            owner,
            identity_due_at,
            quarantined_until,
            refusals: 0,
            resting_until,
        }
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.resting_until.is_some_and(|until| until > now)
    }

    pub(super) fn is_quarantined(&self, now: Instant) -> bool {
        self.quarantined_until.is_some_and(|until| until > now)
    }
}

impl PoolState {
    /// A slot for a new token, or for the tokens of an app installation. GitHub limits an
    /// installation separately, so its account need not be asked for.
    pub(super) fn open_slot(
        &mut self,
        token: Option<Secret>,
        installation: Option<u64>,
        now: Instant,
    ) -> TokenSlot {
        let id = TokenSlotId(self.next_id);
        self.next_id += 1;
        let owner = self.accounts.open(id, now);
        let identity_due_at = installation.is_none().then_some(now);
        TokenSlot { installation, identity_due_at, ..TokenSlot::new(id, token, owner, now) }
    }

    /// The slot with this id, even one that was taken off the list.
    pub(super) fn slot(&mut self, id: TokenSlotId) -> Option<&mut TokenSlot> {
        let all = self.slots.iter_mut().chain(&mut self.departed);
        all.chain([&mut self.anonymous]).find(|slot| slot.id == id)
    }

    /// Quarantines a token that was refused; returns for how long. Further refusals of requests
    /// that were in flight change nothing.
    pub(super) fn refuse(&mut self, id: TokenSlotId, now: Instant) -> Option<Duration> {
        let slot = self.slot(id).filter(|slot| !slot.is_quarantined(now))?;
        let time = if slot.installation.is_some() {
            // A new one is requested.
            QUARANTINE.1
        } else {
            QUARANTINE.0.saturating_mul(1 << slot.refusals.min(16)).min(QUARANTINE.1)
        };
        slot.refusals = slot.refusals.saturating_add(1);
        slot.quarantined_until = Some(now + time);
        Some(time)
    }

    /// Ends a token's quarantine: GitHub accepted it.
    pub(super) fn accept(&mut self, id: TokenSlotId) {
        if let Some(slot) = self.slot(id) {
            (slot.quarantined_until, slot.refusals) = (None, 0);
        }
    }

    /// Ends the quarantine of all tokens but those of app installations, of which new ones are
    /// requested; returns whether there was one.
    pub(super) fn end_quarantines(&mut self) -> bool {
        let listed = self.slots.iter_mut().filter(|slot| slot.installation.is_none());
        listed.filter_map(|slot| slot.quarantined_until.take()).count() > 0
    }

    /// Brings the ends of all waits forward by `time`.
    pub(super) fn bring_forward(&mut self, time: Duration, now: Instant) {
        for slot in self.slots.iter_mut().chain(&mut self.departed).chain([&mut self.anonymous]) {
            let waits =
                [&mut slot.identity_due_at, &mut slot.quarantined_until, &mut slot.resting_until];
            for until in waits.into_iter().flatten() {
                *until = until.checked_sub(time).unwrap_or(now);
            }
        }
        self.accounts.bring_forward(time, now);
    }

    /// Removes accounts without tokens.
    pub(super) fn tidy(&mut self) {
        let slots = self.slots.iter().chain(&self.departed).chain([&self.anonymous]);
        let owners: HashSet<Owner> = slots.map(|slot| slot.owner).collect();
        self.accounts.retain(|owner| owners.contains(&owner));
    }
}

pub(super) fn census(state: &mut PoolState, now: Instant) -> Census {
    let PoolState { slots, accounts, .. } = state;
    let tokens = slots.len();
    let quarantined = slots.iter().filter(|slot| slot.is_quarantined(now)).count();
    let usable = slots
        .iter()
        .filter(|slot| !slot.is_quarantined(now) && !slot.is_resting(now))
        .filter(|slot| {
            let (budget, of) = accounts.budget(slot.owner, Resource::Pages);
            !budget.is_exhausted(of, now)
        })
        .count();
    let mode = if quarantined == tokens { TokenMode::Anonymous } else { TokenMode::Tokens };
    let accounts = slots.iter().map(|slot| slot.owner).collect::<HashSet<_>>().len();
    Census { mode, tokens, quarantined, usable, accounts }
}

/// Logs that a token turned out to share its account with another.
pub(super) fn report_shared(state: &PoolState, id: TokenSlotId, owner: Owner) {
    let place = state.slots.iter().position(|slot| slot.id == id);
    let other = state.slots.iter().position(|slot| slot.owner == owner && slot.id != id);
    if let (Some(place), Some(other)) = (place, other) {
        let (first, second) = (place.min(other) + 1, place.max(other) + 1);
        SHARED.log(|left_out| {
            tracing::info!(
                left_out,
                "tokens {first} and {second} are of one account: GitHub's limits are the \
                 account's, so they count as one"
            );
        });
    }
}

pub(super) fn report_quarantine(
    state: &mut PoolState,
    id: TokenSlotId,
    (why, time): (DeadToken, Duration),
    now: Instant,
) {
    let Some(place) = state.slots.iter().position(|slot| slot.id == id) else { return };
    let census = census(state, now);
    let (number, seconds) = (place + 1, time.as_secs());
    let left = census.tokens - census.quarantined;
    let installation = state.slots[place].installation;
    REFUSED.log(|left_out| {
        if let Some(installation) = installation {
            tracing::warn!(
                installation,
                left,
                left_out,
                "GitHub refuses the token of an app installation ({why}); a new one is requested"
            );
        } else {
            tracing::warn!(
                left_out,
                "GitHub refuses token {number} of {} ({why}); it is tried again in {seconds} s, \
                 {left} left",
                census.tokens,
            );
        }
    });
    if census.mode == TokenMode::Anonymous {
        ALL_REFUSED.log(|left_out| {
            tracing::error!(
                left_out,
                "GitHub accepts none of the tokens; reading anonymously, within {ANONYMOUS_LIMIT} \
                 requests an hour or what GitHub allows; put a good one into github.tokens"
            );
        });
    }
}

pub(super) fn publish(state: &mut PoolState, now: Instant) {
    let usable = u32::try_from(census(state, now).usable).unwrap_or(u32::MAX);
    metrics::TOKENS_USABLE.set(f64::from(usable));
}
