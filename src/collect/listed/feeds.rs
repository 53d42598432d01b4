//! When each feed is read: its pace follows its activity.
//!
//! Pure: takes the current time as an argument and performs no I/O.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use super::read::{FinishedRead, PAGE_EVENTS, PAGES, ReadEnd};
use crate::clock::witness::TOLERANCE;
use crate::collect::entries::Entries;
use crate::collect::overlap;
use crate::lists::{ListedName, NameList};
use crate::model::json;
use crate::model::part::{IncompleteName, ListFeedsReport};
use crate::model::window::Timestamp;
use crate::store::feeds::{ClosedFeed, FeedKey, FeedRow};

/// New events that a read of a busy feed should bring: far from the 300 that a feed shows, and few
/// counted requests for each event.
const NEW_EACH_TIME: f64 = 10.0;
/// Shortest time between two reads of a feed where GitHub names none.
const SHORTEST: Duration = Duration::from_secs(60);
/// The time over which activity is averaged, hours.
const AVERAGED: f64 = 2.0;
/// Events of the last read that are remembered.
const HEAD: usize = PAGE_EVENTS;
/// GitHub shows events of this time: a feed that was not read for longer may have lost some
/// without showing 300 others.
const SHOWN_FOR: Duration = Duration::from_secs(30 * 24 * 3_600);
/// How long after a first failure a feed is read again; doubled each time.
const AGAIN: Duration = Duration::from_secs(30);
/// The same for a feed that GitHub does not show.
const CLOSED_AGAIN: Duration = Duration::from_secs(3_600);
/// The longest of these times.
const LONGEST: Duration = Duration::from_secs(24 * 3_600);
/// The most due feeds of either queue that are compared by how urgent they are.
const WEIGHED: usize = 1_000;
/// The most due feeds that are tried at a time, when the tokens of some have nothing left.
const TRIED: usize = 100;
/// The most feeds that are named as closed or renamed.
const NAMED: usize = 20;

/// A feed.
#[derive(Debug)]
struct ListedFeed {
    row: FeedRow,
    is_in_flight: bool,
    is_changed: bool,
    /// Holes found since the row was written.
    new_holes: u64,
    /// Failures in a row, which are not kept over a restart.
    failures: u32,
}

/// Whether a feed was never read, when it is due, and its name: new feeds are a queue of their own,
/// so that thousands of them hold up no busy one.
type QueuedFeed = (bool, Timestamp, ListedName);

/// All feeds of what is on complete lists.
#[derive(Debug, Default)]
pub(super) struct ListedFeeds {
    all: BTreeMap<ListedName, ListedFeed>,
    /// Those that are not in flight, by when they are due.
    queue: BTreeSet<QueuedFeed>,
    /// Rows of an earlier run, or of names that were removed from their lists.
    kept: HashMap<String, FeedRow>,
    /// When [`Self::correct`] was last called.
    corrected_at: Timestamp,
}

/// What a read has changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// Holes that are certain.
    pub(super) holes: u64,
    /// What an operator should know.
    pub(super) message: Option<String>,
}

/// What changed of a feed: its row, and how many new holes it has.
pub(super) type ChangedFeed = (ListedName, FeedRow, u64);

impl ListedFeeds {
    /// With the rows of an earlier run.
    pub(super) fn new(rows: Vec<(FeedKey, FeedRow)>, now: Timestamp) -> Self {
        let kept = rows.into_iter().map(|(FeedKey(name), mut row)| {
            correct(&mut row, now);
            (name, row)
        });
        Self { kept: kept.collect(), corrected_at: now, ..Self::default() }
    }

    /// Corrects the times of all feeds after the clock was set back.
    pub(super) fn correct(&mut self, now: Timestamp) {
        if now.plus(TOLERANCE) < self.corrected_at {
            self.all.values_mut().for_each(|feed| correct(&mut feed.row, now));
            self.kept.values_mut().for_each(|row| correct(row, now));
            self.fill_queue();
        }
        self.corrected_at = now;
    }

    /// Replaces the names.
    pub(super) fn set<'a>(&mut self, names: impl Iterator<Item = &'a ListedName>, now: Timestamp) {
        let mut before = std::mem::take(&mut self.all);
        for name in names {
            let feed = before.remove(name).unwrap_or_else(|| {
                let new = || FeedRow { due_at: now, ..FeedRow::default() };
                let row = self.kept.remove(&name.to_string()).unwrap_or_else(new);
                ListedFeed {
                    row,
                    is_in_flight: false,
                    is_changed: false,
                    new_holes: 0,
                    failures: 0,
                }
            });
            self.all.insert(name.clone(), feed);
        }
        let removed = before.into_iter().map(|(name, feed)| (name.to_string(), feed.row));
        self.kept.extend(removed);
        self.fill_queue();
    }

    fn fill_queue(&mut self) {
        let idle = self.all.iter().filter(|(_, feed)| !feed.is_in_flight);
        self.queue = idle.map(|(name, feed)| queued(name, &feed.row)).collect();
    }

    /// The most urgent due feeds, the first of them first, and when the next one is due.
    pub(super) fn due(
        &self,
        now: Timestamp,
        within: Duration,
    ) -> (Vec<ListedName>, Option<Timestamp>) {
        let (mut due, mut next) = (Vec::new(), None::<Timestamp>);
        for is_new in [false, true] {
            let first = (is_new, Timestamp::from_micros(i64::MIN), ListedName::Owner("".into()));
            let queue = self.queue.range(first..).take_while(|queued| queued.0 == is_new);
            for (_, at, name) in queue.take(WEIGHED) {
                if *at > now {
                    next = Some(next.map_or(*at, |next| next.min(*at)));
                    break;
                }
                let row = self.all.get(name).map(|feed| urgency(&feed.row, now, within));
                due.push((row.unwrap_or_default(), name));
            }
        }
        due.sort_by(|(one, a), (other, b)| other.total_cmp(one).then_with(|| a.cmp(b)));
        (due.into_iter().take(TRIED).map(|(_, name)| name.clone()).collect(), next)
    }

    /// Begins to read a feed. Returns what is known of it.
    pub(super) fn start(&mut self, name: &ListedName) -> Option<FeedRow> {
        let feed = self.all.get_mut(name).filter(|feed| !feed.is_in_flight)?;
        feed.is_in_flight = true;
        self.queue.remove(&queued(name, &feed.row));
        Some(feed.row.clone())
    }

    /// Ends a read; `within` is the longest time between two reads of a quiet feed. `None` when the
    /// name was taken off the lists.
    pub(super) fn settle(
        &mut self,
        read: &FinishedRead,
        within: Duration,
        now: Timestamp,
    ) -> Option<Settled> {
        let feed = self.all.get_mut(&read.name)?;
        self.queue.remove(&queued(&read.name, &feed.row));
        feed.is_in_flight = false;
        let settled = feed.settle(read, within, now);
        self.queue.insert(queued(&read.name, &feed.row));
        Some(settled)
    }

    /// The feeds that changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<ChangedFeed> {
        let changed = self.all.iter_mut().filter(|(_, feed)| feed.is_changed);
        let of = |(name, feed): (&ListedName, &mut ListedFeed)| {
            feed.is_changed = false;
            (name.clone(), feed.row.clone(), std::mem::take(&mut feed.new_holes))
        };
        changed.map(of).collect()
    }

    /// The figures of all feeds, or of those of a list, and the first of the names that are not
    /// complete.
    pub(super) fn figures(
        &self,
        list: Option<&NameList>,
    ) -> (ListFeedsReport, Vec<IncompleteName>) {
        let (mut figures, mut incomplete) = (ListFeedsReport::default(), Vec::new());
        let mut add = |name: &ListedName, feed: &ListedFeed| {
            let row = &feed.row;
            match (&row.closed, row.read_at) {
                (Some(_), _) => figures.closed += 1,
                (None, Some(_)) => figures.read += 1,
                (None, None) => figures.waiting += 1,
            }
            let words = row.closed.as_ref().map(|closed| (why(closed.status), Some(closed.since)));
            let renamed = || {
                let new = row.renamed_to.as_ref()?;
                Some((format!("now called {new}: put that name on the list"), None))
            };
            let of_user = || {
                let reason = "a user: GitHub has a feed of what the user does, and none of all \
                              that happens in the user's repositories; name them one by one";
                row.is_user.then(|| (reason.to_owned(), None))
            };
            if let Some((reason, since)) = words.or_else(renamed).or_else(of_user)
                && incomplete.len() < NAMED
            {
                let name = name.to_string();
                incomplete.push(IncompleteName { name, reason, since });
            }
        };
        match list {
            None => self.all.iter().for_each(|(name, feed)| add(name, feed)),
            Some(list) => {
                let mut names: Vec<ListedName> = list.iter().collect();
                names.sort();
                for name in names {
                    if let Some(feed) = self.all.get(&name) {
                        add(&name, feed);
                    }
                }
            }
        }
        (figures, incomplete)
    }
}

impl ListedFeed {
    fn settle(&mut self, read: &FinishedRead, within: Duration, now: Timestamp) -> Settled {
        let mut settled = Settled::default();
        match &read.ended {
            // The budget says when the next request may be sent.
            ReadEnd::Refused => {
                // Others go first after a read that gave up between two pages.
                if !read.pages.is_empty() {
                    self.row.due_at = now.plus(AGAIN);
                }
                return settled;
            }
            ReadEnd::Failed(why) => {
                self.failures = self.failures.saturating_add(1);
                self.row.due_at = now.plus(growing(AGAIN, self.failures));
                settled.message = (self.failures == 3)
                    .then(|| format!("the feed of {} cannot be read: {why}", read.name));
                return settled;
            }
            ReadEnd::Closed(status) => settled.message = self.close(&read.name, *status, now),
            ReadEnd::Unchanged => self.advance(0.0, now),
            ReadEnd::Whole { etag, is_joined, has_all } => {
                settled = self.take(read, (*is_joined, *has_all), now);
                self.row.etag.clone_from(etag);
            }
        }
        (self.failures, self.is_changed) = (0, true);
        if !matches!(read.ended, ReadEnd::Closed(_)) {
            if self.row.closed.take().is_some() {
                settled.message = Some(format!("the feed of {} can be read again", read.name));
            }
            let shortest = read.poll_interval.unwrap_or(SHORTEST);
            self.row.due_at = now.plus(interval(&self.row, shortest, within, &read.name));
        }
        settled
    }

    /// Takes over the pages of a read.
    fn take(
        &mut self,
        read: &FinishedRead,
        (is_joined, has_all): (bool, bool),
        now: Timestamp,
    ) -> Settled {
        let events = read.pages.iter().flat_map(overlap::sightings);
        let events: Vec<overlap::PageSighting> = events.collect();
        let met = events.iter().position(|event| self.row.head.contains(&event.hash));
        let new = met.unwrap_or(events.len());
        let mut settled = Settled::default();
        let before = self.row.read_at.filter(|_| !self.row.head.is_empty());
        if let Some(before) = before.filter(|before| now.since(*before) < SHOWN_FOR)
            && !is_joined
            && events.len() >= PAGE_EVENTS * usize::from(PAGES)
        {
            settled.holes = 1;
            self.row.holes += 1;
            self.row.last_hole = Some((before, now));
            self.new_holes += 1;
            settled.message = Some(format!(
                "events of {} are missing: more than 300 came between {before} and {now}",
                read.name
            ));
        }
        if before.is_some() || self.row.read_at.is_some() {
            self.advance(as_f64(new), now);
        } else {
            self.row.rate = rate_of(&events, now);
            self.row.read_at = Some(now);
        }
        if has_all {
            self.row.whole_at = Some(now);
        }
        self.row.head = events.iter().take(HEAD).map(|event| event.hash).collect();
        if let Some(new) = read.pages.first().and_then(|page| renamed(&read.name, page)) {
            let is_new = self.row.renamed_to.as_deref() != Some(&new);
            if is_new {
                let message =
                    format!("{} is now called {new}: put that name on the list", read.name);
                settled.message = settled.message.or(Some(message));
            }
            self.row.renamed_to = Some(new);
        } else if !events.is_empty() {
            self.row.renamed_to = None;
        }
        settled
    }

    /// Averages the activity over the time since the last read, in which `new` events came.
    fn advance(&mut self, new: f64, now: Timestamp) {
        if let Some(before) = self.row.read_at {
            let hours = (now.since(before).as_secs_f64() / 3_600.0).max(1.0 / 3_600.0);
            let weight = 1.0 - (-hours / AVERAGED).exp();
            let lately = new / hours;
            // A burst is followed at once, and forgotten slowly.
            let weight = if lately > self.row.rate { weight.max(0.5) } else { weight };
            self.row.rate += (lately - self.row.rate) * weight;
        }
        self.row.read_at = Some(now);
    }

    /// Records that GitHub does not show the feed. Returns what to say, once.
    fn close(&mut self, name: &ListedName, status: u16, now: Timestamp) -> Option<String> {
        if status == 404 && matches!(name, ListedName::Owner(_)) && !self.row.is_user {
            // It is not an organization; a user's feed is read next.
            self.row.is_user = true;
            self.row.etag = None;
            self.row.due_at = now;
            return None;
        }
        let is_first = self.row.closed.is_none();
        let closed = self.row.closed.get_or_insert(ClosedFeed { since: now, ..Default::default() });
        closed.status = status;
        closed.times = closed.times.saturating_add(1);
        self.row.due_at = now.plus(growing(CLOSED_AGAIN, closed.times));
        if closed.times > 3 {
            // An organization of that name may exist one day.
            self.row.is_user = false;
        }
        self.row.etag = None;
        is_first.then(|| format!("the feed of {name} cannot be read: {}", why(status)))
    }
}

/// Corrects times that were stored while the clock was ahead.
fn correct(row: &mut FeedRow, now: Timestamp) {
    row.due_at = row.due_at.min(now.plus(LONGEST));
    row.read_at = row.read_at.map(|at| at.min(now));
    row.whole_at = row.whole_at.map(|at| at.min(now));
}

fn queued(name: &ListedName, row: &FeedRow) -> QueuedFeed {
    (row.read_at.is_none() && row.closed.is_none(), row.due_at, name.clone())
}

/// How urgent a due feed is: by how much of what it shows has probably passed since the last read.
fn urgency(row: &FeedRow, now: Timestamp, within: Duration) -> f64 {
    let Some(read_at) = row.read_at else { return 0.5 };
    let passed = now.since(read_at).as_secs_f64();
    let share = row.rate * passed / 3_600.0 / 300.0;
    share + 0.1 * passed / within.as_secs_f64().max(1.0)
}

/// The time from a read to the next, varied a little so that feeds are not read together.
fn interval(row: &FeedRow, shortest: Duration, within: Duration, name: &ListedName) -> Duration {
    let wanted = Duration::try_from_secs_f64(3_600.0 * NEW_EACH_TIME / row.rate.max(1e-9));
    let usual = wanted.unwrap_or(Duration::MAX).min(within);
    let lot = super::read::token_of(name) % 256;
    #[expect(clippy::cast_precision_loss, reason = "below 256")]
    let varied = usual.mul_f64(0.9 + 0.1 * lot as f64 / 256.0);
    varied.max(shortest)
}

/// Events per hour on the pages of a first read.
fn rate_of(events: &[overlap::PageSighting], now: Timestamp) -> f64 {
    let oldest = events.iter().filter_map(|event| event.created_at).min();
    let hours = oldest.map(|oldest| now.since(oldest).as_secs_f64() / 3_600.0);
    hours.map_or(0.0, |hours| as_f64(events.len()) / hours.max(1.0 / 60.0))
}

/// The name that a repository has now, in lower case, when it is not the one that was read.
fn renamed(name: &ListedName, page: &Entries) -> Option<String> {
    let ListedName::Repo(known) = name else { return None };
    let [repo] = json::pick(page.iter().next()?, ["repo"]);
    let [now] = json::pick(repo?, ["name"]);
    let now = json::text(now?)?.to_ascii_lowercase();
    let is_name = matches!(ListedName::parse(&now), Some(ListedName::Repo(_)));
    (is_name && now != **known).then_some(now)
}

/// What a status says about a feed.
fn why(status: u16) -> String {
    match status {
        404 => "404: it does not exist, or is private".to_owned(),
        410 => "410: it is gone".to_owned(),
        451 => "451: it is blocked for legal reasons".to_owned(),
        other => format!("{other}: GitHub refuses access to it"),
    }
}

fn growing(first: Duration, times: u32) -> Duration {
    first.saturating_mul(1 << times.saturating_sub(1).min(12)).min(LONGEST)
}

fn as_f64(n: usize) -> f64 {
    f64::from(u32::try_from(n).unwrap_or(u32::MAX))
}
