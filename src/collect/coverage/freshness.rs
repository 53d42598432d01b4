//! Detects tokens that get stale pages, by comparing the pages of each token with those of the
//! others.
//!
//! A read is behind when another token was shown something newer on the same page some time
//! before. A token whose every read is behind, for long and often enough, is stale, unless all
//! tokens are: then the feed is stale, not the token.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::github::tokens::TokenSlotId;
use crate::model::window::Timestamp;

/// How much older than the newest read a read may be, because responses overtake each other.
const BEHIND: Duration = Duration::from_secs(3);
/// A token is stale after this many reads behind in a row, …
const READS: u32 = 10;
/// … over at least this time.
const LASTING: Duration = Duration::from_secs(30);
/// How long the newest ids are remembered.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Maximum number of entries with newest ids, per page and sequence.
const MOST_FRONTS: usize = 512;
/// Maximum number of tokens that are tracked; more than any configuration has.
const MOST_TOKENS: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct Freshness {
    /// By page and sequence: the newest ids when first shown, ascending.
    fronts: BTreeMap<(usize, usize), VecDeque<Front>>,
    pub(super) tokens: BTreeMap<TokenSlotId, TokenFreshness>,
}

#[derive(Debug, Clone, Copy)]
struct Front {
    at: Timestamp,
    id: u64,
    token: TokenSlotId,
}

/// The freshness of one token.
#[derive(Debug, Clone, Default)]
pub(super) struct TokenFreshness {
    /// By page: sequence and newest id of the last read.
    shown: BTreeMap<usize, (usize, u64)>,
    /// How far the last read was behind.
    pub(super) behind: Duration,
    /// Since when every read has been behind.
    pub(super) since: Option<Timestamp>,
    in_a_row: u32,
    last: Option<Timestamp>,
    fresh: u32,
}

impl Freshness {
    /// Records that a token was shown a page whose newest id of that sequence is `id`.
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

    /// Records that a page is unchanged since the token was last shown it.
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

    /// Whether a token's last reads were as new as those of other tokens.
    pub(super) fn is_fresh(&self, token: TokenSlotId) -> bool {
        self.tokens.get(&token).is_some_and(|token| token.fresh >= READS)
    }
}
