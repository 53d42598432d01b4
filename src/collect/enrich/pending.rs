//! Events held for a response, and the queue of pull requests to fetch. Pure: takes the current
//! time as an argument and performs no I/O.
//!
//! Guarantees: a pull request is fetched once, however many events wait for it. An event is
//! released no later than its deadline, and never before an older held event of its poll. The
//! newest polls are fetched first, because the oldest will miss their deadline anyway when there
//! is more than can be fetched. Within a poll the oldest events come first, because the others
//! wait for them. Nothing here is persisted: the inbox keeps the rows until their events have
//! moved, and a restart reads them again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::read::{AdmittedEvent, CachedLanguage};
use super::release_order::ReleaseOrder;
use crate::github::graphql::{Language, PullDetails, PullLookup, WantedPull};
use crate::model::window::Timestamp;
use crate::store::keys::RepoKey;

/// Maximum number of held events. Beyond it, events are released at once without enrichment, ahead
/// of those that are held.
pub(super) const MOST_EVENTS: usize = 20_000;
/// Maximum number of attempts to fetch a pull request before its events are released without
/// enrichment.
const MOST_TRIES: u32 = 10;
/// How long a deleted pull request is remembered.
const GONE_FOR: Duration = Duration::from_secs(3_600);
/// Maximum number of deleted pull requests that are remembered; beyond it, the oldest half is
/// forgotten.
const MOST_GONE: usize = 50_000;

/// GitHub's ids of the base repository and the pull request.
type PullKey = (u64, u64);

/// A position in the queue: the poll, then its events with the oldest last. The last entry is
/// fetched first.
type QueuePlace = (Timestamp, Reverse<u64>);

/// Why an event is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReleaseReason {
    /// Nothing was missing, or nothing that can be fetched.
    AsItCame,
    /// The missing fields were filled in.
    Enriched,
    /// Its deadline passed, or its pull request was fetched too often.
    Late,
    /// GitHub does not have the pull request any more.
    Gone,
    /// None of the accounts may see the pull request.
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
    pub(super) leaving: ReleaseReason,
}

#[derive(Debug)]
struct HeldEvent {
    event: AdmittedEvent,
    key: PullKey,
    deadline: Instant,
    /// Why it is released, once only the release order holds it.
    leaving: Option<ReleaseReason>,
}

#[derive(Debug)]
struct PendingLookup {
    wanted: WantedPull,
    admissions: Vec<u64>,
    place: QueuePlace,
    /// Whether it is queued; false while its query is in flight.
    is_queued: bool,
    /// When the first of its events was received.
    since: Instant,
    tries: u32,
}

/// All held events and queued pull requests.
#[derive(Debug, Default)]
pub(super) struct PendingQueue {
    events: HashMap<u64, HeldEvent>,
    deadlines: BTreeSet<(Instant, u64)>,
    order: ReleaseOrder,
    asks: HashMap<PullKey, PendingLookup>,
    /// The pull requests to fetch; the last one is fetched first.
    queue: BTreeMap<QueuePlace, PullKey>,
    gone: HashMap<PullKey, Instant>,
}

impl PendingQueue {
    /// Holds an event until `deadline`. Returns the events released by that: this one when it
    /// cannot be held, otherwise none.
    pub(super) fn hold(
        &mut self,
        event: AdmittedEvent,
        wanted: WantedPull,
        deadline: Instant,
        now: Instant,
    ) -> Vec<ReleasedEvent> {
        let key = (wanted.base_repo_id, wanted.pull_id);
        // When the deadline of this event has passed, so have those of all older ones.
        if deadline <= now {
            return vec![ReleasedEvent { event, leaving: ReleaseReason::Late }];
        }
        if self.events.len() >= MOST_EVENTS {
            return vec![ReleasedEvent { event, leaving: ReleaseReason::Full }];
        }
        let (admission, since) = (event.admission, event.since);
        let place = (event.facts.received_at, Reverse(admission));
        self.order.join(event.facts.received_at, admission);
        self.deadlines.insert((deadline, admission));
        self.events.insert(admission, HeldEvent { event, key, deadline, leaving: None });
        if self.gone.get(&key).is_some_and(|until| *until > now) {
            return self.free(admission, ReleaseReason::Gone);
        }
        if let Some(ask) = self.asks.get_mut(&key) {
            ask.admissions.push(admission);
            // Takes the position of the newest poll that waits for it; otherwise all of that poll
            // would wait behind this event.
            let place = place.max(ask.place);
            if ask.is_queued && self.queue.remove(&ask.place).is_some() {
                self.queue.insert(place, key);
            }
            ask.place = place;
            return Vec::new();
        }
        self.queue.insert(place, key);
        let admissions = vec![admission];
        let ask = PendingLookup { wanted, admissions, place, is_queued: true, since, tries: 0 };
        self.asks.insert(key, ask);
        Vec::new()
    }

    /// Number of queued pull requests.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Since when the oldest queued pull request has been waiting.
    pub(super) fn oldest_queued(&self) -> Option<Instant> {
        let key = self.queue.values().next()?;
        self.asks.get(key).map(|ask| ask.since)
    }

    /// The pull request to fetch next.
    pub(super) fn next(&self) -> Option<&WantedPull> {
        let key = self.queue.values().next_back()?;
        self.asks.get(key).map(|ask| &ask.wanted)
    }

    /// Takes up to `most` of the next pull requests to fetch for which `may` holds.
    pub(super) fn take(
        &mut self,
        most: usize,
        may: impl Fn(&WantedPull) -> bool,
    ) -> Vec<WantedPull> {
        let mut taken = Vec::with_capacity(most.min(self.queue.len()));
        let is_next = |key: &PullKey| self.asks.get(key).is_none_or(|ask| may(&ask.wanted));
        let all = self.queue.iter().rev().filter(|(_, key)| is_next(key));
        let places: Vec<QueuePlace> = all.take(most).map(|(place, _)| *place).collect();
        for place in places {
            let Some(key) = self.queue.remove(&place) else { continue };
            if let Some(ask) = self.asks.get_mut(&key) {
                ask.is_queued = false;
                ask.tries += 1;
                taken.push(ask.wanted.clone());
            }
        }
        taken
    }

    /// Applies the response for a pull request that was taken. Returns the released events and the
    /// details that were found.
    pub(super) fn answered(
        &mut self,
        wanted: &WantedPull,
        found: &PullLookup,
        now: Instant,
    ) -> (Vec<ReleasedEvent>, Option<CachedLanguage>) {
        match found {
            PullLookup::Pull(details) => {
                let mut ready = Vec::new();
                for admission in self.end(wanted) {
                    let Some(held) = self.events.get_mut(&admission) else { continue };
                    complete(&mut held.event, details);
                    let whole = held.event.facts.enriched;
                    let leaving = if whole { ReleaseReason::Enriched } else { ReleaseReason::Gone };
                    ready.extend(self.free(admission, leaving));
                }
                (ready, cached(wanted, &details.language))
            }
            PullLookup::Gone => {
                self.remember_gone((wanted.base_repo_id, wanted.pull_id), now);
                (self.leave(wanted, ReleaseReason::Gone), None)
            }
            PullLookup::Forbidden(_) => (self.leave(wanted, ReleaseReason::Forbidden), None),
            PullLookup::Unanswered => (self.put_back(wanted, true), None),
        }
    }

    /// Returns a pull request that was taken to its position in the queue, unless no event waits
    /// for it any more. When this `counts` as an attempt and there were too many, returns its
    /// events, released without enrichment.
    pub(super) fn put_back(&mut self, wanted: &WantedPull, counts: bool) -> Vec<ReleasedEvent> {
        let key = (wanted.base_repo_id, wanted.pull_id);
        let Some(ask) = self.asks.get_mut(&key) else { return Vec::new() };
        if !counts {
            ask.tries = ask.tries.saturating_sub(1);
        }
        // It was held again in the meantime, and the queue contains it once.
        if ask.is_queued {
            return Vec::new();
        }
        if ask.admissions.is_empty() || ask.tries >= MOST_TRIES {
            return self.leave(wanted, ReleaseReason::Late);
        }
        ask.is_queued = true;
        self.queue.insert(ask.place, key);
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
            let leave = self.order.drive_out(held.event.facts.received_at, admission);
            late.extend(leave.into_iter().filter_map(|admission| self.go(admission)));
        }
        late
    }

    /// Marks an event to be released as soon as no older held event of its poll remains. Returns
    /// the events released now.
    fn free(&mut self, admission: u64, leaving: ReleaseReason) -> Vec<ReleasedEvent> {
        let Some(held) = self.events.get_mut(&admission) else { return Vec::new() };
        held.leaving = Some(leaving);
        let leave = self.order.free(held.event.facts.received_at, admission);
        leave.into_iter().filter_map(|admission| self.go(admission)).collect()
    }

    /// Releases an event, as marked or as late.
    fn go(&mut self, admission: u64) -> Option<ReleasedEvent> {
        let held = self.events.remove(&admission)?;
        self.deadlines.remove(&(held.deadline, admission));
        if held.leaving.is_none()
            && let Some(ask) = self.asks.get_mut(&held.key)
        {
            ask.admissions.retain(|waiting| *waiting != admission);
            // A query in flight is allowed to finish: its response fills the language cache.
            if ask.is_queued && ask.admissions.is_empty() {
                self.queue.remove(&ask.place);
                self.asks.remove(&held.key);
            }
        }
        Some(ReleasedEvent {
            event: held.event,
            leaving: held.leaving.unwrap_or(ReleaseReason::Late),
        })
    }

    /// Releases all events at once, because no token is available.
    pub(super) fn release(&mut self) -> Vec<ReleasedEvent> {
        self.deadlines.clear();
        self.order.clear();
        self.queue.clear();
        self.asks.clear();
        let all = self.events.drain();
        let ready = |held: HeldEvent| {
            let leaving = held.leaving.unwrap_or(ReleaseReason::NoToken);
            ReleasedEvent { event: held.event, leaving }
        };
        all.map(|(_, held)| ready(held)).collect()
    }

    /// The deadline of the next event.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn leave(&mut self, wanted: &WantedPull, leaving: ReleaseReason) -> Vec<ReleasedEvent> {
        let ended = self.end(wanted).into_iter();
        ended.flat_map(|admission| self.free(admission, leaving)).collect()
    }

    /// Removes a pull request that was taken and returns the events that waited for it.
    fn end(&mut self, wanted: &WantedPull) -> Vec<u64> {
        let key = (wanted.base_repo_id, wanted.pull_id);
        self.asks.remove(&key).map(|ask| ask.admissions).unwrap_or_default()
    }

    fn remember_gone(&mut self, key: PullKey, now: Instant) {
        if self.gone.len() >= MOST_GONE {
            let mut ends: Vec<_> = self.gone.values().copied().collect();
            ends.sort_unstable();
            let middle = ends[ends.len() / 2];
            self.gone.retain(|_, until| *until > middle);
        }
        self.gone.insert(key, now + GONE_FOR);
    }
}

/// Fills the missing fields of the event from the details; never overwrites a field.
fn complete(event: &mut AdmittedEvent, details: &PullDetails) {
    let facts = &mut event.facts;
    if event.lacks_language {
        match &details.language {
            Language::Named(name) => facts.language = Some(name.clone()),
            Language::Absent => facts.language = None,
            Language::Unknown => {}
        }
    }
    facts.enriched = !event.lacks_language || details.language != Language::Unknown;
    if !facts.flags.pr {
        return;
    }
    facts.additions = facts.additions.or(details.additions);
    facts.deletions = facts.deletions.or(details.deletions);
    facts.changed_files = details.changed_files;
    facts.title.clone_from(&details.title);
    facts.draft = details.draft;
    facts.enriched &= facts.additions.is_some() && facts.deletions.is_some();
}

fn cached(wanted: &WantedPull, language: &Language) -> Option<CachedLanguage> {
    let key = RepoKey(wanted.base_repo_id);
    match language {
        Language::Unknown => None,
        Language::Absent => Some((key, None)),
        Language::Named(name) => Some((key, Some(name.clone()))),
    }
}

#[cfg(test)]
mod tests;
