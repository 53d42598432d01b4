//! Which tokens are shown old pages: each page as one token saw it, beside what others had seen.
//!
//! A read is behind when another token was shown something newer on the same page a while before.
//! A token whose every read is behind, for long and often enough, is stale, unless all are: then
//! it is the feed, not the token.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::github::tokens::SeatId;
use crate::model::window::Timestamp;

/// A read may be so much older than the newest one: answers overtake each other.
const BEHIND: Duration = Duration::from_secs(3);
/// So many reads in a row, …
const READS: u32 = 10;
/// … over at least so long, are no accident.
const LASTING: Duration = Duration::from_secs(30);
/// How long what was newest is remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// How often the newest is remembered, a page and sequence.
const MOST_FRONTS: usize = 512;
/// Tokens looked at; more than anyone has.
const MOST_SEATS: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Freshness {
    /// By page and sequence: the newest ids as they were first shown, ascending.
    fronts: BTreeMap<(usize, usize), VecDeque<Front>>,
    seats: BTreeMap<SeatId, Seat>,
}

#[derive(Debug, Clone, Copy)]
struct Front {
    at: Timestamp,
    id: u64,
    seat: SeatId,
}

/// How one token does.
#[derive(Debug, Clone, Default)]
pub(super) struct Seat {
    /// By page: sequence and newest id of the last read.
    shown: BTreeMap<usize, (usize, u64)>,
    /// By how much the last read was behind.
    pub(super) behind: Duration,
    since: Option<Timestamp>,
    in_a_row: u32,
    last: Option<Timestamp>,
    fresh: u32,
}

impl Freshness {
    /// A token was shown a page whose newest id of that sequence is `id`.
    pub(super) fn shown(
        &mut self,
        page: usize,
        sequence: usize,
        id: u64,
        seat: SeatId,
        at: Timestamp,
    ) {
        if self.seats.len() >= MOST_SEATS && !self.seats.contains_key(&seat) {
            return;
        }
        let fronts = self.fronts.entry((page, sequence)).or_default();
        let from = at.minus(REMEMBERED);
        while fronts.front().is_some_and(|front| front.at < from || fronts.len() > MOST_FRONTS) {
            fronts.pop_front();
        }
        let newer = fronts.iter().find(|front| front.id > id && front.seat != seat);
        let behind = newer.map_or(Duration::ZERO, |front| at.since(front.at));
        if fronts.back().is_none_or(|front| front.id < id) {
            fronts.push_back(Front { at, id, seat });
        }
        let seat = self.seats.entry(seat).or_default();
        seat.shown.insert(page, (sequence, id));
        (seat.behind, seat.last) = (behind, Some(at));
        if behind >= BEHIND {
            seat.in_a_row = seat.in_a_row.saturating_add(1);
            seat.since.get_or_insert(at);
            seat.fresh = 0;
        } else {
            (seat.in_a_row, seat.since) = (0, None);
            seat.fresh = seat.fresh.saturating_add(1);
        }
    }

    /// A token was told that a page is still as it was shown before.
    pub(super) fn unchanged(&mut self, page: usize, seat: SeatId, at: Timestamp) {
        let shown = self.seats.get(&seat).and_then(|known| known.shown.get(&page).copied());
        if let Some((sequence, id)) = shown {
            self.shown(page, sequence, id, seat, at);
        }
    }

    /// The tokens that are stale now.
    pub(super) fn stale(&self, now: Timestamp) -> Vec<SeatId> {
        let fresh = self
            .seats
            .values()
            .any(|seat| seat.fresh > 0 && seat.last.is_some_and(|last| now.since(last) < LASTING));
        if !fresh {
            return Vec::new();
        }
        let stale = |seat: &Seat| {
            let lasting = seat.since.zip(seat.last).is_some_and(|(a, b)| b.since(a) >= LASTING);
            seat.in_a_row >= READS && lasting
        };
        self.seats.iter().filter(|(_, seat)| stale(seat)).map(|(id, _)| *id).collect()
    }

    /// Since when every read of a token has been behind.
    pub(super) fn behind_since(&self, seat: SeatId) -> Option<Timestamp> {
        self.seats.get(&seat)?.since
    }

    /// Whether a token's last reads were as new as others'.
    pub(super) fn is_fresh(&self, seat: SeatId) -> bool {
        self.seats.get(&seat).is_some_and(|seat| seat.fresh >= READS)
    }

    /// Begins anew with a token.
    pub(super) fn forget(&mut self, seat: SeatId) {
        self.seats.remove(&seat);
    }

    /// All that were looked at.
    pub(super) fn all(&self) -> impl Iterator<Item = (SeatId, &Seat)> {
        self.seats.iter().map(|(id, seat)| (*id, seat))
    }
}
