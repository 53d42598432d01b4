//! What the pool knows of its tokens, and what it says about them.

use std::collections::HashSet;

use tokio::time::Instant;

use super::QUARANTINE;
use super::account::{Accounts, Owner};
use super::words::{Census, Dead, Mode, Resource, SeatId};
use crate::config::Secret;
use crate::metrics;

/// GitHub's limit without a token, an hour and address.
pub(super) const ANONYMOUS_LIMIT: u64 = 60;

#[derive(Debug)]
pub(super) struct State {
    pub(super) seats: Vec<Seat>,
    /// Those of earlier lists that are not in this one: their answers may be under way, and count.
    pub(super) departed: Vec<Seat>,
    pub(super) anonymous: Seat,
    pub(super) accounts: Accounts,
    /// The place in `seats` whose turn it is.
    pub(super) turn: usize,
    /// The same for queries.
    pub(super) query_turn: usize,
    pub(super) next_id: u64,
}

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) id: SeatId,
    pub(super) token: Option<Secret>,
    pub(super) owner: Owner,
    /// When GitHub is to be asked whose it is; `None` when that is answered.
    pub(super) introduced_at: Option<Instant>,
    pub(super) benched_until: Option<Instant>,
    /// Its pages are old; an answer under way does not end that.
    pub(super) resting_until: Option<Instant>,
}

impl Seat {
    pub(super) fn new(id: SeatId, token: Option<Secret>, owner: Owner, now: Instant) -> Self {
        let introduced_at = Some(now);
        Self { id, token, owner, introduced_at, benched_until: None, resting_until: None }
    }

    pub(super) fn is_resting(&self, now: Instant) -> bool {
        self.resting_until.is_some_and(|until| until > now)
    }

    pub(super) fn is_benched(&self, now: Instant) -> bool {
        self.benched_until.is_some_and(|until| until > now)
    }
}

impl State {
    /// The seat of this number, also one that is no longer in the list.
    pub(super) fn seat(&mut self, id: SeatId) -> Option<&mut Seat> {
        let all = self.seats.iter_mut().chain(&mut self.departed);
        all.chain([&mut self.anonymous]).find(|seat| seat.id == id)
    }

    /// Benches a token until then, or no longer.
    pub(super) fn bench(&mut self, id: SeatId, until: Option<Instant>) {
        if let Some(seat) = self.seat(id) {
            seat.benched_until = until;
        }
    }

    /// Forgets accounts that no token is of.
    pub(super) fn tidy(&mut self) {
        let seats = self.seats.iter().chain(&self.departed).chain([&self.anonymous]);
        let owners: HashSet<Owner> = seats.map(|seat| seat.owner).collect();
        self.accounts.retain(|owner| owners.contains(&owner));
    }
}

pub(super) fn census(state: &mut State, now: Instant) -> Census {
    let State { seats, accounts, .. } = state;
    let tokens = seats.len();
    let benched = seats.iter().filter(|seat| seat.is_benched(now)).count();
    let usable = seats
        .iter()
        .filter(|seat| !seat.is_benched(now) && !seat.is_resting(now))
        .filter(|seat| !accounts.budget(seat.owner, Resource::Pages).is_exhausted(now))
        .count();
    let mode = if benched == tokens { Mode::Anonymous } else { Mode::Tokens };
    let accounts = seats.iter().map(|seat| seat.owner).collect::<HashSet<_>>().len();
    Census { mode, tokens, benched, usable, accounts }
}

/// Says it when a token turned out to be of an account that another is of.
pub(super) fn tell_shared(state: &State, id: SeatId, owner: Owner) {
    let place = state.seats.iter().position(|seat| seat.id == id);
    let other = state.seats.iter().position(|seat| seat.owner == owner && seat.id != id);
    if let (Some(place), Some(other)) = (place, other) {
        let (first, second) = (place.min(other) + 1, place.max(other) + 1);
        tracing::info!(
            "tokens {first} and {second} are of one account: GitHub's limits are the account's, so \
             they count as one"
        );
    }
}

pub(super) fn tell_bench(state: &mut State, id: SeatId, why: Dead, now: Instant) {
    let Some(place) = state.seats.iter().position(|seat| seat.id == id) else { return };
    let census = census(state, now);
    let (number, hours) = (place + 1, QUARANTINE.as_secs() / 3_600);
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

pub(super) fn publish(state: &mut State, now: Instant) {
    let usable = u32::try_from(census(state, now).usable).unwrap_or(u32::MAX);
    metrics::TOKENS_USABLE.set(f64::from(usable));
}
