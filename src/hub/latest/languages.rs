//! Subscribers of the language map: its latest state, or its changes.
//!
//! Subscribers with equal queries share one evaluation per tick. A slow subscriber receives the
//! newest map, or the change since the map that it received last; ticks are not queued.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use arc_swap::ArcSwap;

use crate::hub::fanout::frame::Frame;
use crate::hub::fanout::notifier::{Notifier, NotifierList};
use crate::hub::latest::language_message::{LanguageDifference, LanguageMap};
use crate::model::tally::Tally;
use crate::model::window::Second;
use crate::sync::lock;

/// The most encoded changes to one tick that a group keeps, by the tick that they start from.
const CHANGES: usize = 16;

/// The rolling window at one tick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tick {
    /// The second of the tick, the last one of the window.
    pub at: Second,
    /// Counts by language, as the merge script returned them.
    pub map: Tally,
}

/// A tick with its number; numbers grow by one per tick.
#[derive(Debug, Default)]
pub(in crate::hub) struct PublishedTick {
    pub(super) number: u64,
    pub(in crate::hub) tick: Arc<Tick>,
    /// The first message of `/language/watch`.
    pub(in crate::hub) first: OnceLock<Frame>,
}

/// Which part of the language map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LanguageQuery {
    /// Sorted, each once; none means all.
    names: Arc<[Box<str>]>,
    /// The most languages, those with the largest counts; 0 means all.
    top: usize,
}

impl LanguageQuery {
    /// These languages (none: all), and of them the `top` largest (0: all).
    #[must_use]
    pub fn new(mut names: Vec<Box<str>>, top: usize) -> Self {
        names.sort();
        names.dedup();
        Self { names: names.into(), top }
    }

    fn restrict(&self, map: &Tally) -> Tally {
        if self.names.is_empty() {
            map.clone()
        } else if self.names.len() <= map.len() {
            map.restricted(self.names.iter())
        } else {
            // However many names are given, the cost of a tick depends on the number of languages.
            let asked = map.iter().filter(|(name, _)| self.has(name));
            asked.map(|(name, n)| (Arc::clone(name), n)).collect()
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.binary_search_by(|known| (**known).cmp(name)).is_ok()
    }
}

/// The language map and its subscribers.
#[derive(Debug, Default)]
pub(in crate::hub) struct Languages {
    current: ArcSwap<PublishedTick>,
    groups: Mutex<HashMap<LanguageQuery, Arc<LanguageGroup>>>,
    notifiers: NotifierList,
}

/// Subscribers with equal queries.
#[derive(Debug)]
struct LanguageGroup {
    query: LanguageQuery,
    encoded: Mutex<EncodedTick>,
}

/// The messages of one tick that were encoded so far.
#[derive(Debug, Default)]
struct EncodedTick {
    number: u64,
    latest: Option<Frame>,
    changes: Vec<(u64, Option<Frame>)>,
}

/// An entry in the list of notifiers, and a group; dropping it leaves both.
#[derive(Debug)]
pub(super) struct LanguageSubscription {
    languages: Arc<Languages>,
    number: u64,
    group: Option<Arc<LanguageGroup>>,
}

/// A subscriber of `/language/latest`.
#[derive(Debug)]
pub struct LatestLanguages {
    pub(super) subscription: LanguageSubscription,
    /// The number of the tick that it took last.
    pub(super) seen: u64,
}

/// A subscriber of `/language/watch`.
///
/// The subscriber knows the languages outside of its query as it received them last. When the query
/// changes, the next message has what has changed since then.
#[derive(Debug)]
pub struct LanguageChanges {
    pub(super) subscription: LanguageSubscription,
    /// What it received last of the languages in its query.
    pub(super) inside: LanguageBaseline,
    /// What it received last of all other languages.
    pub(super) outside: LanguageBaseline,
}

/// The counts that a subscriber knows.
#[derive(Debug, Clone)]
pub(super) enum LanguageBaseline {
    /// Those of one tick.
    Tick(Arc<PublishedTick>),
    /// Those of several ticks.
    Mixed(Arc<Tally>),
}

impl Languages {
    /// Publishes a new tick and notifies all subscribers. Called from one place, once per tick.
    pub(in crate::hub) fn publish(&self, tick: Arc<Tick>) {
        let number = self.current.load().number + 1;
        self.current.store(Arc::new(PublishedTick { number, tick, first: OnceLock::new() }));
        self.notifiers.notify();
    }

    pub(in crate::hub) fn current(&self) -> Arc<PublishedTick> {
        self.current.load_full()
    }

    pub(super) fn subscribe(self: &Arc<Self>, notifier: &Arc<Notifier>) -> LanguageSubscription {
        let number = self.notifiers.add(notifier);
        LanguageSubscription { languages: Arc::clone(self), number, group: None }
    }
}

impl LanguageSubscription {
    pub(super) fn join(&mut self, query: LanguageQuery) {
        self.leave();
        let mut groups = lock(&self.languages.groups);
        let group = groups.entry(query).or_insert_with_key(|query| {
            Arc::new(LanguageGroup { query: query.clone(), encoded: Mutex::default() })
        });
        self.group = Some(Arc::clone(group));
    }

    fn leave(&mut self) {
        let mut groups = lock(&self.languages.groups);
        let Some(group) = self.group.take() else { return };
        // One holder is the map, the other this subscription; both change under this lock only.
        if Arc::strong_count(&group) <= 2 {
            groups.remove(&group.query);
        }
        drop(group);
        drop(groups);
    }
}

impl Drop for LanguageSubscription {
    fn drop(&mut self) {
        self.leave();
        self.languages.notifiers.remove(self.number);
    }
}

impl LanguageGroup {
    fn latest(&self, now: &PublishedTick) -> Frame {
        let mut encoded = self.encoded_of(now);
        let latest = encoded.latest.get_or_insert_with(|| {
            let restricted = self.query.restrict(&now.tick.map);
            let top = self.query.top;
            let map = if top == 0 { restricted } else { restricted.top(top) };
            Frame::json(&LanguageMap(&map))
        });
        latest.clone()
    }

    fn change(&self, from: &PublishedTick, now: &PublishedTick) -> Option<Frame> {
        let mut encoded = self.encoded_of(now);
        if let Some((_, change)) = encoded.changes.iter().find(|(number, _)| *number == from.number)
        {
            return change.clone();
        }
        let change = self.encode_change(&from.tick.map, &now.tick.map);
        if encoded.changes.len() < CHANGES {
            encoded.changes.push((from.number, change.clone()));
        }
        change
    }

    fn encode_change(&self, from: &Tally, to: &Tally) -> Option<Frame> {
        let (from, to) = (self.query.restrict(from), self.query.restrict(to));
        let (deletions, additions) = Tally::difference(&from, &to);
        if deletions.is_empty() && additions.is_empty() {
            return None;
        }
        Some(Frame::json(&LanguageDifference::new(&deletions, &additions)))
    }

    fn encoded_of(&self, now: &PublishedTick) -> MutexGuard<'_, EncodedTick> {
        let mut encoded = lock(&self.encoded);
        if encoded.number != now.number {
            *encoded = EncodedTick { number: now.number, ..EncodedTick::default() };
        }
        encoded
    }
}

impl LatestLanguages {
    /// The map of the newest tick; `None` if this subscriber has it already.
    #[must_use]
    pub fn take(&mut self) -> Option<Frame> {
        let now = self.subscription.languages.current();
        if now.number == self.seen {
            return None;
        }
        self.seen = now.number;
        self.subscription.group.as_ref().map(|group| group.latest(&now))
    }
}

impl LanguageChanges {
    /// Sets the languages whose changes are wanted from now on; none means all.
    pub fn ask(&mut self, names: Vec<Box<str>>) {
        let query = LanguageQuery::new(names, 0);
        if let Some(group) = &self.subscription.group
            && group.query != query
        {
            self.outside = if group.query.names.is_empty() {
                self.inside.clone()
            } else {
                let others = self.outside.map().iter().filter(|(name, _)| !group.query.has(name));
                let mut known: Tally = others.map(|(name, n)| (Arc::clone(name), n)).collect();
                known.merge(&group.query.restrict(self.inside.map()));
                LanguageBaseline::Mixed(Arc::new(known))
            };
            self.inside = self.outside.clone();
        }
        self.subscription.join(query);
    }

    /// What has changed since the last message; nothing before the first [`Self::ask`].
    #[must_use]
    pub fn take(&mut self) -> Option<Frame> {
        let group = self.subscription.group.as_ref()?;
        let now = self.subscription.languages.current();
        let change = match &self.inside {
            LanguageBaseline::Tick(from) if from.number == now.number => return None,
            LanguageBaseline::Tick(from) => group.change(from, &now),
            LanguageBaseline::Mixed(from) => group.encode_change(from, &now.tick.map),
        };
        let has_all = group.query.names.is_empty();
        self.inside = LanguageBaseline::Tick(now);
        if has_all {
            // Nothing is outside; without this, an old tick would be held as long as the
            // subscriber.
            self.outside = self.inside.clone();
        }
        change
    }
}

impl LanguageBaseline {
    fn map(&self) -> &Tally {
        match self {
            Self::Tick(published) => &published.tick.map,
            Self::Mixed(map) => map,
        }
    }
}

#[cfg(test)]
mod tests;
