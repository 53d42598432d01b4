//! The held events of one kind, and the queries for what they are missing.

use tokio::time::Instant;

use super::fetcher::{EnrichLookup, Fetcher, InFlightQuery};
use super::pending::{PendingQueue, ReleaseReason, ReleasedEvent};
use super::read::{AdmittedEvent, CachedLanguage};
use super::wanted::Wanted;
use crate::clock::Clock;

/// Events to move to the outbox, and languages to cache.
#[derive(Default)]
pub(super) struct Released {
    pub(super) events: Vec<ReleasedEvent>,
    pub(super) languages: Vec<CachedLanguage>,
}

/// Held events and their queries; without a fetcher nothing is held.
pub(super) struct LookupQueue<W: Wanted> {
    pub(super) pending: PendingQueue<W>,
    fetcher: Option<Fetcher<W>>,
}

impl<W: Wanted> LookupQueue<W> {
    pub(super) fn new(lookup: Option<&EnrichLookup>, clock: Clock) -> Self {
        let fetcher = lookup.map(|lookup| Fetcher::new(lookup.clone(), clock));
        Self { pending: PendingQueue::default(), fetcher }
    }

    /// Whether anything can be asked for, now or with another token.
    pub(super) fn asks(&self) -> bool {
        self.fetcher.is_some()
    }

    /// Whether there is a token that GitHub accepts.
    pub(super) fn can_ask(&self) -> bool {
        self.fetcher.as_ref().is_some_and(Fetcher::can_ask)
    }

    /// Holds an event that is missing fields, or releases it. Returns whether it is held.
    pub(super) fn hold(
        &mut self,
        (event, wanted): (AdmittedEvent, W),
        now: Instant,
        released: &mut Released,
    ) -> bool {
        let can_ask = self.can_ask();
        let Some(fetcher) = &self.fetcher else {
            released.events.push(ReleasedEvent { event, reason: ReleaseReason::AsItCame });
            return false;
        };
        if !can_ask {
            released.events.push(ReleasedEvent { event, reason: ReleaseReason::NoToken });
            return false;
        }
        let deadline = event.since + fetcher.lookup.deadline;
        let released_now = self.pending.hold(event, wanted, deadline, now);
        let is_held = released_now.is_empty();
        released.events.extend(released_now);
        is_held
    }

    /// Waits for the next query that ends and applies its result. Also returns when the list of
    /// tokens was replaced. Pending while neither happens.
    pub(super) async fn settle_next(&mut self) -> anyhow::Result<Released> {
        let Some(fetcher) = &mut self.fetcher else { return std::future::pending().await };
        let (query, now) = (fetcher.received().await?, fetcher.clock.instant());
        let mut released = Released::default();
        if let Some(query) = query {
            self.take_in(&query, now, &mut released);
        }
        Ok(released)
    }

    /// Applies the result of a query.
    pub(super) fn take_in(
        &mut self,
        query: &InFlightQuery<W>,
        now: Instant,
        released: &mut Released,
    ) {
        let Some(fetcher) = &mut self.fetcher else { return };
        let Some(found) = fetcher.settle(query) else {
            for wanted in &query.wanted {
                released.events.extend(self.pending.put_back(wanted, false));
            }
            return;
        };
        let (lone, shows_weight) = (fetcher.lone_result(query), fetcher.shows_weight(query));
        for (wanted, found) in query.wanted.iter().zip(&found) {
            let (ready, cached) = self.pending.answered(wanted, found, now);
            released.events.extend(ready);
            released.languages.extend(cached);
        }
        self.pending.split(&query.unanswered(), shows_weight.then_some(now));
        if let (Some(result), [wanted]) = (lone, &*query.wanted) {
            released.events.extend(self.pending.apply_lone_result(wanted, result, now));
        }
    }

    /// Releases the events whose deadline has passed, and all of them without a token.
    pub(super) fn expire(&mut self, now: Instant, released: &mut Released) {
        released.events.extend(self.pending.expire(now));
        if self.pending.next_deadline().is_some() && !self.can_ask() {
            released.events.extend(self.pending.release_everything());
        }
    }

    /// Sends every query that is due. Returns when to check again while anything is queued.
    pub(super) fn send_due(&mut self) -> Option<Instant> {
        self.fetcher.as_mut().and_then(|fetcher| fetcher.send_due(&mut self.pending))
    }
}
