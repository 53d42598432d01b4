//! Events held for a response, and the queue of objects to fetch. Pure: takes the current
//! time as an argument and performs no I/O.
//!
//! Guarantees: an object is fetched once, however many events wait for it. An event is
//! released no later than its deadline, and never before an older held event of its poll. The
//! newest polls are fetched first, because the oldest will miss their deadline anyway when there
//! is more than can be fetched. Within a poll the oldest events come first, because the others
//! wait for them. Nothing here is persisted: the inbox keeps the rows until their events have
//! moved, and a restart reads them again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::heavy::{HeavyObjects, LoneResult, ObjectWeight};
use super::lookup_order::{LookupOrder, QueuePlace};
use super::read::{AdmittedEvent, CachedLanguage};
use super::release_order::ReleaseOrder;
use super::wanted::{LookupOf, Wanted};
use crate::github::graphql::ObjectLookup;
use crate::logging::line_limit::LineLimit;

/// Maximum number of attempts to fetch an object before its events are released without
/// enrichment.
const MOST_TRIES: u32 = 10;
/// How long an object that does not exist is remembered.
const GONE_FOR: Duration = Duration::from_secs(3_600);
/// Maximum number of objects that do not exist that are remembered; beyond it, the oldest half is
/// forgotten.
const MOST_GONE: usize = 50_000;

/// Number of queries into which one that was too heavy is split: as many as may go together.
const SPLIT: usize = 3;

/// Lines about objects that are too heavy for GitHub.
static HEAVY: LineLimit = LineLimit::per_minute(10);

/// Why an event is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReleaseReason {
    /// Nothing was missing, or nothing that can be fetched.
    AsItCame,
    /// The missing fields were filled in.
    Enriched,
    /// Its deadline passed, its object was fetched too often, or is too heavy to be fetched.
    Late,
    /// GitHub does not have the object any more, or not all of it.
    Gone,
    /// None of the accounts may see the object.
    Forbidden,
    /// Too many events are held.
    Full,
    /// No token is available.
    NoToken,
}

/// A released event.
#[derive(Debug)]
pub(super) struct ReleasedEvent {
    pub(super) event: AdmittedEvent,
    pub(super) reason: ReleaseReason,
}

struct HeldEvent<W: Wanted> {
    event: AdmittedEvent,
    key: W::Key,
    deadline: Instant,
    /// Why it is released, once only the release order holds it.
    reason: Option<ReleaseReason>,
}

struct PendingLookup<W> {
    wanted: W,
    admissions: Vec<u64>,
    place: QueuePlace,
    /// Whether it is queued; false while its query is in flight.
    is_queued: bool,
    /// When the first of its events was received.
    since: Instant,
    tries: u32,
    /// Maximum number of objects in its next query, once one was too heavy.
    most: Option<usize>,
}

/// All held events and queued objects.
pub(super) struct PendingQueue<W: Wanted> {
    events: HashMap<u64, HeldEvent<W>>,
    deadlines: BTreeSet<(Instant, u64)>,
    order: ReleaseOrder,
    lookups: HashMap<W::Key, PendingLookup<W>>,
    /// The objects to fetch.
    queue: LookupOrder<W::Key>,
    gone: HashMap<W::Key, Instant>,
    heavy: HeavyObjects,
}

impl<W: Wanted> Default for PendingQueue<W> {
    fn default() -> Self {
        Self {
            events: HashMap::new(),
            deadlines: BTreeSet::new(),
            order: ReleaseOrder::default(),
            lookups: HashMap::new(),
            queue: LookupOrder::default(),
            gone: HashMap::new(),
            heavy: HeavyObjects::default(),
        }
    }
}

impl<W: Wanted> PendingQueue<W> {
    /// Holds an event until `deadline`. Returns the events released by that: this one when it
    /// cannot be held, otherwise none.
    pub(super) fn hold(
        &mut self,
        event: AdmittedEvent,
        wanted: W,
        deadline: Instant,
        now: Instant,
    ) -> Vec<ReleasedEvent> {
        let key = wanted.key();
        // When the deadline of this event has passed, so have those of all older ones.
        if deadline <= now {
            return vec![ReleasedEvent { event, reason: ReleaseReason::Late }];
        }
        if self.events.len() >= W::MOST_EVENTS {
            return vec![ReleasedEvent { event, reason: ReleaseReason::Full }];
        }
        let (admission, since) = (event.admission, event.since);
        let place = (event.facts.received_at, Reverse(admission));
        self.order.add(event.facts.received_at, admission);
        self.deadlines.insert((deadline, admission));
        let held = HeldEvent { event, key: key.clone(), deadline, reason: None };
        self.events.insert(admission, held);
        if self.gone.get(&key).is_some_and(|until| *until > now) {
            return self.mark_ready(admission, ReleaseReason::Gone);
        }
        let heavy = self.heavy.of(wanted.source(), now);
        if heavy == Some(ObjectWeight::TooHeavy) {
            return self.mark_ready(admission, ReleaseReason::Late);
        }
        let most = heavy.and_then(ObjectWeight::most);
        if let Some(lookup) = self.lookups.get_mut(&key) {
            lookup.admissions.push(admission);
            // Takes the position of the newest poll that waits for it; otherwise all of that poll
            // would wait behind this event.
            let place = place.max(lookup.place);
            if lookup.is_queued && self.queue.remove(lookup.place) {
                self.queue.insert(place, key, lookup.most);
            }
            lookup.place = place;
            return Vec::new();
        }
        self.queue.insert(place, key.clone(), most);
        let (admissions, is_queued, tries) = (vec![admission], true, 0);
        let lookup = PendingLookup { wanted, admissions, place, is_queued, since, tries, most };
        self.lookups.insert(key, lookup);
        Vec::new()
    }

    /// Number of queued objects.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Since when the oldest queued object has been waiting.
    pub(super) fn oldest_queued(&self) -> Option<Instant> {
        self.queue.last().and_then(|key| self.lookups.get(key)).map(|lookup| lookup.since)
    }

    /// The object to fetch next.
    pub(super) fn next(&self) -> Option<&W> {
        self.queue.first().and_then(|key| self.lookups.get(key)).map(|lookup| &lookup.wanted)
    }

    /// Takes up to `most` of the next objects to fetch for which `may` holds.
    pub(super) fn take(&mut self, most: usize, may: impl Fn(&W) -> bool) -> Vec<W> {
        let is_next = |key: &W::Key| self.lookups.get(key).is_none_or(|lookup| may(&lookup.wanted));
        let mut taken = Vec::new();
        for key in self.queue.take(most, is_next) {
            if let Some(lookup) = self.lookups.get_mut(&key) {
                lookup.is_queued = false;
                lookup.tries += 1;
                taken.push(lookup.wanted.clone());
            }
        }
        taken
    }

    /// Whether these objects, which were taken together, are a part of a query that was too heavy.
    pub(super) fn is_part(&self, taken: &[W]) -> bool {
        let lookup = taken.first().and_then(|wanted| self.lookups.get(&wanted.key()));
        lookup.is_some_and(|lookup| lookup.most.is_some())
    }

    /// Queues objects for smaller queries: one was too heavy to answer them. With `suspected_at`,
    /// one of them is the reason: later events of all of them are asked for in small queries too,
    /// because a query that takes ten seconds leaves no time to find it before the deadline.
    pub(super) fn split(&mut self, wanted: &[&W], suspected_at: Option<Instant>) {
        let most = wanted.len().div_ceil(SPLIT);
        for wanted in wanted {
            if let Some(now) = suspected_at {
                self.heavy.suspect(wanted.source(), most, now);
            }
            self.limit(&wanted.key(), most);
        }
    }

    /// Limits the queries for an object to this many.
    fn limit(&mut self, key: &W::Key, most: usize) {
        let Some(lookup) = self.lookups.get_mut(key) else { return };
        lookup.most = Some(lookup.most.map_or(most, |before| before.min(most)));
        if lookup.is_queued && self.queue.remove(lookup.place) {
            self.queue.insert(lookup.place, key.clone(), lookup.most);
        }
    }

    /// Applies what a query for this object alone shows of it, and of the queued ones with the same
    /// source. Returns the events that are released by that.
    pub(super) fn apply_lone_result(
        &mut self,
        wanted: &W,
        result: LoneResult,
        now: Instant,
    ) -> Vec<ReleasedEvent> {
        let source = wanted.source();
        let Some(weight) = self.heavy.record(source, result, now) else { return Vec::new() };
        let is_same =
            |lookup: &&PendingLookup<W>| lookup.is_queued && lookup.wanted.source() == source;
        let same = self.lookups.values().filter(is_same).map(|lookup| lookup.wanted.clone());
        let same: Vec<W> = same.collect();
        if weight != ObjectWeight::TooHeavy {
            for one in &same {
                self.limit(&one.key(), 1);
            }
            return Vec::new();
        }
        let object = wanted.key();
        HEAVY.log(|left_out| {
            let what = W::NAME;
            tracing::info!(
                ?object,
                left_out,
                "too heavy for GitHub; not asked for again soon: {what}"
            );
        });
        same.iter().flat_map(|one| self.release_waiting(one, ReleaseReason::Late)).collect()
    }

    /// Applies the response for an object that was taken. Returns the released events and the
    /// details that were found.
    pub(super) fn answered(
        &mut self,
        wanted: &W,
        found: &LookupOf<W>,
        now: Instant,
    ) -> (Vec<ReleasedEvent>, Option<CachedLanguage>) {
        if !matches!(found, ObjectLookup::Unanswered) {
            self.heavy.clear_suspicion(wanted.source());
        }
        match found {
            ObjectLookup::Found(details) => {
                let mut ready = Vec::new();
                for admission in self.remove_lookup(wanted) {
                    let Some(held) = self.events.get_mut(&admission) else { continue };
                    wanted.complete(&mut held.event, details);
                    let whole = held.event.facts.enriched;
                    let reason = if whole { ReleaseReason::Enriched } else { ReleaseReason::Gone };
                    ready.extend(self.mark_ready(admission, reason));
                }
                (ready, wanted.cached(details))
            }
            ObjectLookup::Gone => {
                self.remember_gone(wanted.key(), now);
                (self.release_waiting(wanted, ReleaseReason::Gone), None)
            }
            ObjectLookup::Forbidden(_) => {
                (self.release_waiting(wanted, ReleaseReason::Forbidden), None)
            }
            ObjectLookup::Unanswered => (self.put_back(wanted, true), None),
        }
    }

    /// Returns an object that was taken to its position in the queue, unless no event waits
    /// for it any more. When this `counts` as an attempt and there were too many, returns its
    /// events, released without enrichment.
    pub(super) fn put_back(&mut self, wanted: &W, counts: bool) -> Vec<ReleasedEvent> {
        let key = wanted.key();
        let Some(lookup) = self.lookups.get_mut(&key) else { return Vec::new() };
        if !counts {
            lookup.tries = lookup.tries.saturating_sub(1);
        }
        // It was held again in the meantime, and the queue contains it once.
        if lookup.is_queued {
            return Vec::new();
        }
        if lookup.admissions.is_empty() || lookup.tries >= MOST_TRIES {
            return self.release_waiting(wanted, ReleaseReason::Late);
        }
        lookup.is_queued = true;
        self.queue.insert(lookup.place, key, lookup.most);
        Vec::new()
    }

    /// Releases the events whose deadline has passed.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<ReleasedEvent> {
        let mut late = Vec::new();
        while let Some((deadline, admission)) = self.deadlines.first().copied()
            && deadline <= now
        {
            self.deadlines.pop_first();
            let Some(held) = self.events.get(&admission) else { continue };
            let released = self.order.release_with_older(held.event.facts.received_at, admission);
            late.extend(released.into_iter().filter_map(|admission| self.release_one(admission)));
        }
        late
    }

    /// Marks an event to be released as soon as no older held event of its poll remains. Returns
    /// the events released now.
    fn mark_ready(&mut self, admission: u64, reason: ReleaseReason) -> Vec<ReleasedEvent> {
        let Some(held) = self.events.get_mut(&admission) else { return Vec::new() };
        held.reason = Some(reason);
        let released = self.order.mark_ready(held.event.facts.received_at, admission);
        released.into_iter().filter_map(|admission| self.release_one(admission)).collect()
    }

    /// Releases an event, as marked or as late.
    fn release_one(&mut self, admission: u64) -> Option<ReleasedEvent> {
        let held = self.events.remove(&admission)?;
        self.deadlines.remove(&(held.deadline, admission));
        if held.reason.is_none()
            && let Some(lookup) = self.lookups.get_mut(&held.key)
        {
            lookup.admissions.retain(|waiting| *waiting != admission);
            // A query in flight is allowed to finish: its response fills the language cache.
            if lookup.is_queued && lookup.admissions.is_empty() {
                self.queue.remove(lookup.place);
                self.lookups.remove(&held.key);
            }
        }
        Some(ReleasedEvent {
            event: held.event,
            reason: held.reason.unwrap_or(ReleaseReason::Late),
        })
    }

    /// Releases all events at once, because no token is available.
    pub(super) fn release_everything(&mut self) -> Vec<ReleasedEvent> {
        self.deadlines.clear();
        self.order.clear();
        self.queue.clear();
        self.lookups.clear();
        let all = self.events.drain();
        let ready = |held: HeldEvent<W>| {
            let reason = held.reason.unwrap_or(ReleaseReason::NoToken);
            ReleasedEvent { event: held.event, reason }
        };
        all.map(|(_, held)| ready(held)).collect()
    }

    /// The deadline of the next event.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn release_waiting(&mut self, wanted: &W, reason: ReleaseReason) -> Vec<ReleasedEvent> {
        let ended = self.remove_lookup(wanted).into_iter();
        ended.flat_map(|admission| self.mark_ready(admission, reason)).collect()
    }

    /// Removes an object that was taken and returns the events that waited for it. It may be
    /// queued again: all events were released while its query was in flight, and another came.
    fn remove_lookup(&mut self, wanted: &W) -> Vec<u64> {
        let Some(lookup) = self.lookups.remove(&wanted.key()) else { return Vec::new() };
        if lookup.is_queued {
            self.queue.remove(lookup.place);
        }
        lookup.admissions
    }

    fn remember_gone(&mut self, key: W::Key, now: Instant) {
        if self.gone.len() >= MOST_GONE {
            let mut ends: Vec<_> = self.gone.values().copied().collect();
            ends.sort_unstable();
            let middle = ends[ends.len() / 2];
            self.gone.retain(|_, until| *until > middle);
        }
        self.gone.insert(key, now + GONE_FOR);
    }
}

#[cfg(test)]
mod tests;
