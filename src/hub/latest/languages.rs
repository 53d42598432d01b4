//! Who follows the language map: as it is, or by its changes.
//!
//! Readers who asked for the same share one evaluation a tick. A slow reader is told the newest
//! map, or the change to it from what it was last told; there is no queue of ticks.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::hub::fanout::frame::Frame;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::latest::values::{LatestValues, Shown, map_text};
use crate::hub::lock::lock;
use crate::model::tally::Tally;

/// The most changes, by where they begin, that a group keeps of one tick; in quiet times it is one.
const CHANGES: usize = 16;

/// Which part of the language map.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct LanguageQuery {
    /// Sorted, each once; none means all.
    names: Arc<[Box<str>]>,
    /// The most languages, of those with the largest counts; 0 means all.
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
            // However many are asked for, a tick costs no more than there are languages.
            let asked = map.iter().filter(|(name, _)| self.has(name));
            asked.map(|(name, n)| (Arc::clone(name), n)).collect()
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.binary_search_by(|known| (**known).cmp(name)).is_ok()
    }
}

/// Everyone who follows.
#[derive(Debug, Default)]
pub(in crate::hub) struct Languages {
    groups: Mutex<HashMap<LanguageQuery, Arc<Group>>>,
    notifiers: Mutex<Bells>,
}

#[derive(Debug, Default)]
struct Bells {
    next: u64,
    all: BTreeMap<u64, Arc<Notifier>>,
}

/// Those who asked for the same.
#[derive(Debug)]
struct Group {
    query: LanguageQuery,
    made: Mutex<Made>,
}

/// What was written of one tick.
#[derive(Debug, Default)]
struct Made {
    number: u64,
    latest: Option<Frame>,
    changes: Vec<(u64, Option<Frame>)>,
}

/// A notifier on the list and a group; both are left by dropping it.
#[derive(Debug)]
struct Seat {
    languages: Arc<Languages>,
    notifier: u64,
    group: Option<Arc<Group>>,
}

/// A reader of `/language/latest`.
#[derive(Debug)]
pub struct LatestLanguages {
    board: Arc<LatestValues>,
    seat: Seat,
    seen: u64,
}

/// A reader of `/language/watch`.
///
/// Languages that it has not asked for stay as they were told last, so that another choice later
/// begins with what is missing since then.
#[derive(Debug)]
pub struct LanguageChanges {
    board: Arc<LatestValues>,
    seat: Seat,
    /// What was last told of the languages asked for.
    inside: Told,
    /// What was last told of the others.
    outside: Told,
}

#[derive(Debug, Clone)]
enum Told {
    Tick(Arc<Shown>),
    Mixed(Arc<Tally>),
}

impl Languages {
    pub(in crate::hub) fn notify(&self) {
        for notifier in lock(&self.notifiers).all.values() {
            notifier.notify();
        }
    }

    fn sit_down(self: &Arc<Self>, notifier: &Arc<Notifier>) -> Seat {
        let mut notifiers = lock(&self.notifiers);
        let number = notifiers.next;
        notifiers.next += 1;
        notifiers.all.insert(number, Arc::clone(notifier));
        Seat { languages: Arc::clone(self), notifier: number, group: None }
    }
}

impl Seat {
    fn join(&mut self, query: LanguageQuery) -> &Group {
        self.leave();
        let mut groups = lock(&self.languages.groups);
        let group = groups.entry(query).or_insert_with_key(|query| {
            Arc::new(Group { query: query.clone(), made: Mutex::default() })
        });
        let group = Arc::clone(group);
        drop(groups);
        self.group.insert(group)
    }

    fn leave(&mut self) {
        let mut groups = lock(&self.languages.groups);
        let Some(group) = self.group.take() else { return };
        // One holder is the registry, the other this seat; all come and go under this lock.
        if Arc::strong_count(&group) <= 2 {
            groups.remove(&group.query);
        }
        drop(group);
        drop(groups);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.leave();
        lock(&self.languages.notifiers).all.remove(&self.notifier);
    }
}

impl Group {
    fn latest(&self, now: &Shown) -> Frame {
        let mut made = self.made_of(now);
        let latest = made.latest.get_or_insert_with(|| {
            let restricted = self.query.restrict(&now.tick.map);
            let top = self.query.top;
            let map = if top == 0 { restricted } else { restricted.top(top) };
            Frame::text(&[&map_text(&map)])
        });
        latest.clone()
    }

    fn change(&self, from: &Shown, now: &Shown) -> Option<Frame> {
        let mut made = self.made_of(now);
        if let Some((_, change)) = made.changes.iter().find(|(number, _)| *number == from.number) {
            return change.clone();
        }
        let change = self.written_change(&from.tick.map, &now.tick.map);
        if made.changes.len() < CHANGES {
            made.changes.push((from.number, change.clone()));
        }
        change
    }

    fn written_change(&self, from: &Tally, to: &Tally) -> Option<Frame> {
        let (from, to) = (self.query.restrict(from), self.query.restrict(to));
        let (deletions, additions) = Tally::difference(&from, &to);
        if deletions.is_empty() && additions.is_empty() {
            return None;
        }
        let (deletions, additions) = (strings_text(&deletions), strings_text(&additions));
        Some(Frame::text(&[
            "{\"Deletions\":",
            &deletions,
            ",\"Additions\":",
            &additions,
            ",\"deletions\":",
            &deletions,
            ",\"additions\":",
            &additions,
            "}",
        ]))
    }

    fn made_of(&self, now: &Shown) -> MutexGuard<'_, Made> {
        let mut made = lock(&self.made);
        if made.number != now.number {
            *made = Made { number: now.number, ..Made::default() };
        }
        made
    }
}

/// A map with its counts as strings.
fn strings_text(map: &Tally) -> String {
    let mut text = String::from("{");
    for (name, count) in map.iter() {
        if text.len() > 1 {
            text.push(',');
        }
        crate::model::json::push_text(&mut text, name);
        text.extend([":\"", &count.to_string(), "\""]);
    }
    text.push('}');
    text
}

impl LatestLanguages {
    pub(in crate::hub) fn new(
        board: &Arc<LatestValues>,
        languages: &Arc<Languages>,
        query: LanguageQuery,
        notifier: &Arc<Notifier>,
    ) -> Self {
        let mut seat = languages.sit_down(notifier);
        seat.join(query);
        Self { board: Arc::clone(board), seat, seen: board.shown().number }
    }

    /// The map of a tick that this reader was not told yet; the newest one.
    #[must_use]
    pub fn take(&mut self) -> Option<Frame> {
        let now = self.board.shown();
        if now.number == self.seen {
            return None;
        }
        self.seen = now.number;
        self.seat.group.as_ref().map(|group| group.latest(&now))
    }
}

impl LanguageChanges {
    pub(in crate::hub) fn new(
        board: &Arc<LatestValues>,
        languages: &Arc<Languages>,
        first: Arc<Shown>,
        notifier: &Arc<Notifier>,
    ) -> Self {
        let told = Told::Tick(first);
        Self {
            board: Arc::clone(board),
            seat: languages.sit_down(notifier),
            inside: told.clone(),
            outside: told,
        }
    }

    /// From now on the changes of these languages; none means all.
    pub fn ask(&mut self, names: Vec<Box<str>>) {
        let query = LanguageQuery::new(names, 0);
        if let Some(group) = &self.seat.group
            && group.query != query
        {
            self.outside = if group.query.names.is_empty() {
                self.inside.clone()
            } else {
                let others = self.outside.map().iter().filter(|(name, _)| !group.query.has(name));
                let mut told: Tally = others.map(|(name, n)| (Arc::clone(name), n)).collect();
                told.merge(&group.query.restrict(self.inside.map()));
                Told::Mixed(Arc::new(told))
            };
            self.inside = self.outside.clone();
        }
        self.seat.join(query);
    }

    /// What has changed since this reader was last told; nothing before it asked.
    #[must_use]
    pub fn take(&mut self) -> Option<Frame> {
        let group = self.seat.group.as_ref()?;
        let now = self.board.shown();
        let change = match &self.inside {
            Told::Tick(from) if from.number == now.number => return None,
            Told::Tick(from) => group.change(from, &now),
            Told::Mixed(from) => group.written_change(from, &now.tick.map),
        };
        let has_all = group.query.names.is_empty();
        self.inside = Told::Tick(now);
        if has_all {
            // Nothing is outside; what was told long ago must not be held as long as this lives.
            self.outside = self.inside.clone();
        }
        change
    }
}

impl Told {
    fn map(&self) -> &Tally {
        match self {
            Self::Tick(shown) => &shown.tick.map,
            Self::Mixed(map) => map,
        }
    }
}

#[cfg(test)]
mod tests;
