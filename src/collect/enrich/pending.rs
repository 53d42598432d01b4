//! Events that wait for an answer, and what there is to ask. Pure: it is told the time and asks
//! nobody.
//!
//! Promises: a pull request is asked for once, however many events wait for it; an event leaves at
//! its deadline at the latest, and not before an older one of its poll that waits; the newest polls
//! are asked for first, because when there are more than can be asked for, the oldest will be late
//! anyway, and of a poll the oldest events, because the others wait for them. Nothing here is on
//! disk: the inbox keeps the rows until their events have moved on, and a restart reads them again.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::read::{AdmittedEvent, CachedLanguage};
use super::release_order::ReleaseOrder;
use crate::github::graphql::{Language, PullDetails, PullLookup, WantedPull};
use crate::model::window::Timestamp;
use crate::store::keys::RepoKey;

/// Events that wait at most; more go on at once, without, and before those that wait.
pub(super) const MOST_EVENTS: usize = 20_000;
/// Times that a pull request is asked for before its events go on without.
const MOST_TRIES: u32 = 10;
/// How long it is remembered that GitHub has a pull request no more.
const GONE_FOR: Duration = Duration::from_secs(3_600);
/// Pull requests of which that is remembered; beyond, the oldest half is forgotten.
const MOST_GONE: usize = 50_000;

/// Base repository and pull request, by GitHub's numbers.
type PullKey = (u64, u64);

/// A place in the queue: the poll, and of its events the oldest last, which is asked for first.
type QueuePlace = (Timestamp, Reverse<u64>);

/// How an event leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReleaseReason {
    /// It lacked nothing, or nothing that can be asked for.
    AsItCame,
    /// With what it lacked.
    Enriched,
    /// Its deadline came, or it was asked for too often.
    Late,
    /// GitHub has the pull request no more.
    Gone,
    /// GitHub shows it to none of the accounts that can be asked with.
    Forbidden,
    /// Too many wait.
    Full,
    /// There is no token to ask with.
    NoToken,
}

/// An event that goes on.
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
    /// How it leaves, once only its order keeps it.
    leaving: Option<ReleaseReason>,
}

#[derive(Debug)]
struct PendingLookup {
    wanted: WantedPull,
    admissions: Vec<u64>,
    place: QueuePlace,
    /// Whether it is in the queue; not while it is asked for.
    is_queued: bool,
    /// Since when the first of them is in our hands.
    since: Instant,
    tries: u32,
}

/// All that waits.
#[derive(Debug, Default)]
pub(super) struct PendingQueue {
    events: HashMap<u64, HeldEvent>,
    deadlines: BTreeSet<(Instant, u64)>,
    order: ReleaseOrder,
    asks: HashMap<PullKey, PendingLookup>,
    /// What is to be asked for; the last one first.
    queue: BTreeMap<QueuePlace, PullKey>,
    gone: HashMap<PullKey, Instant>,
}

impl PendingQueue {
    /// Lets an event wait until `deadline`; those that leave: it, when it cannot wait, or nobody.
    pub(super) fn hold(
        &mut self,
        event: AdmittedEvent,
        wanted: WantedPull,
        deadline: Instant,
        now: Instant,
    ) -> Vec<ReleasedEvent> {
        let key = (wanted.base_repo_id, wanted.pull_id);
        // When it is too late for this one, it is for all older ones.
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
            // It is asked for when the newest poll of those is that wait for it: else all of that
            // poll would wait behind this event.
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

    /// Pull requests to be asked for.
    pub(super) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Since when the oldest of them waits.
    pub(super) fn oldest_queued(&self) -> Option<Instant> {
        let key = self.queue.values().next()?;
        self.asks.get(key).map(|ask| ask.since)
    }

    /// The one that is to be asked for next.
    pub(super) fn next(&self) -> Option<&WantedPull> {
        let key = self.queue.values().next_back()?;
        self.asks.get(key).map(|ask| &ask.wanted)
    }

    /// Takes those out that are to be asked for next, at most this many, of those that `may` be.
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

    /// What an answer said of one that was taken: the events that go on, and what was details.
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

    /// Puts one that was taken back to its place, unless nobody waits for it any more. The
    /// events that go on without, when it `counts` as a try and was tried too often.
    pub(super) fn put_back(&mut self, wanted: &WantedPull, counts: bool) -> Vec<ReleasedEvent> {
        let key = (wanted.base_repo_id, wanted.pull_id);
        let Some(ask) = self.asks.get_mut(&key) else { return Vec::new() };
        if !counts {
            ask.tries = ask.tries.saturating_sub(1);
        }
        // It was held again meanwhile, and the queue holds it once.
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

    /// The events whose deadline has come.
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

    /// Lets one leave as soon as no older one of its poll waits; those that leave now.
    fn free(&mut self, admission: u64, leaving: ReleaseReason) -> Vec<ReleasedEvent> {
        let Some(held) = self.events.get_mut(&admission) else { return Vec::new() };
        held.leaving = Some(leaving);
        let leave = self.order.free(held.event.facts.received_at, admission);
        leave.into_iter().filter_map(|admission| self.go(admission)).collect()
    }

    /// It leaves: as it was to, or late.
    fn go(&mut self, admission: u64) -> Option<ReleasedEvent> {
        let held = self.events.remove(&admission)?;
        self.deadlines.remove(&(held.deadline, admission));
        if held.leaving.is_none()
            && let Some(ask) = self.asks.get_mut(&held.key)
        {
            ask.admissions.retain(|waiting| *waiting != admission);
            // One that is under way is let come: it teaches a language.
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

    /// All events, at once: nobody can be asked.
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

    /// When the next event has to go on.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    fn leave(&mut self, wanted: &WantedPull, leaving: ReleaseReason) -> Vec<ReleasedEvent> {
        let ended = self.end(wanted).into_iter();
        ended.flat_map(|admission| self.free(admission, leaving)).collect()
    }

    /// Removes what was taken, and gives the events that waited for it.
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

/// Adds what was details to what the event says; never over it.
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
