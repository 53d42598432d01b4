//! Which tokens are shown old pages: each page as one token saw it, beside what others had seen.
//!
//! A read is behind when another token was shown something newer on the same page a while before.
//! A token whose every read is behind, for long and often enough, is stale, unless all are: then
//! it is the feed, not the token.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::github::tokens::TokenSlotId;
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
const MOST_TOKENS: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Freshness {
    /// By page and sequence: the newest ids as they were first shown, ascending.
    fronts: BTreeMap<(usize, usize), VecDeque<Front>>,
    tokens: BTreeMap<TokenSlotId, TokenFreshness>,
}

#[derive(Debug, Clone, Copy)]
struct Front {
    at: Timestamp,
    id: u64,
    token: TokenSlotId,
}

/// How one token does.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenFreshness {
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
        token: TokenSlotId,
        at: Timestamp,
    ) {
        if self.tokens.len() >= MOST_TOKENS && !self.tokens.contains_key(&token) {
            return;
        }
        let fronts = self.fronts.entry((page, sequence)).or_default();
        let from = at.minus(REMEMBERED);
        while fronts.front().is_some_and(|front| front.at < from || fronts.len() > MOST_FRONTS) {
            fronts.pop_front();
        }
        let newer = fronts.iter().find(|front| front.id > id && front.token != token);
        let behind = newer.map_or(Duration::ZERO, |front| at.since(front.at));
        if fronts.back().is_none_or(|front| front.id < id) {
            fronts.push_back(Front { at, id, token });
        }
        let token = self.tokens.entry(token).or_default();
        token.shown.insert(page, (sequence, id));
        (token.behind, token.last) = (behind, Some(at));
        if behind >= BEHIND {
            token.in_a_row = token.in_a_row.saturating_add(1);
            token.since.get_or_insert(at);
            token.fresh = 0;
        } else {
            (token.in_a_row, token.since) = (0, None);
            token.fresh = token.fresh.saturating_add(1);
        }
    }

    /// A token was told that a page is still as it was shown before.
    pub(super) fn unchanged(&mut self, page: usize, token: TokenSlotId, at: Timestamp) {
        let shown = self.tokens.get(&token).and_then(|known| known.shown.get(&page).copied());
        if let Some((sequence, id)) = shown {
            self.shown(page, sequence, id, token, at);
        }
    }

    /// The tokens that are stale now.
    pub(super) fn stale(&self, now: Timestamp) -> Vec<TokenSlotId> {
        let fresh = self.tokens.values().any(|token| {
            token.fresh > 0 && token.last.is_some_and(|last| now.since(last) < LASTING)
        });
        if !fresh {
            return Vec::new();
        }
        let stale = |token: &TokenFreshness| {
            let lasting = token.since.zip(token.last).is_some_and(|(a, b)| b.since(a) >= LASTING);
            token.in_a_row >= READS && lasting
        };
        self.tokens.iter().filter(|(_, token)| stale(token)).map(|(id, _)| *id).collect()
    }

    /// Since when every read of a token has been behind.
    pub(super) fn behind_since(&self, token: TokenSlotId) -> Option<Timestamp> {
        self.tokens.get(&token)?.since
    }

    /// Whether a token's last reads were as new as others'.
    pub(super) fn is_fresh(&self, token: TokenSlotId) -> bool {
        self.tokens.get(&token).is_some_and(|token| token.fresh >= READS)
    }

    /// Begins anew with a token.
    pub(super) fn forget(&mut self, token: TokenSlotId) {
        self.tokens.remove(&token);
    }

    /// All that were looked at.
    pub(super) fn all(&self) -> impl Iterator<Item = (TokenSlotId, &TokenFreshness)> {
        self.tokens.iter().map(|(id, token)| (*id, token))
    }
}
