//! Coverage: how completely the collected events represent GitHub's feed.
//!
//! The tracker reports, from every response, figures per page and in total: overlap, missed events
//! with an interval (see `estimate`), lag, counts by type and the usual ones, and freshness of
//! each token. It reports three problems once each while they last: a frozen feed, a token with
//! stale pages, and a page that is missing its usual events. Pure: takes the time as an argument,
//! performs no I/O, and uses bounded memory.

mod estimate;
mod freshness;
mod minutes;
mod page;
mod pulse;
mod slots;

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::Duration;

pub use self::estimate::WINDOW;

use self::estimate::IdCoverage;
use self::freshness::Freshness;
use self::minutes::AssessedMinutes;
use self::page::PageRecord;
use self::slots::RecentCounts;
use super::overlap::{self, KINDS, PageSighting};
use crate::github::tokens::TokenSlotId;
use crate::metrics;
use crate::model::coverage::{
    Figures, Lag, METHOD, Missed, PageReport, Report, Share, TokenReport, Trouble, TroubleKind,
};
use crate::model::window::Timestamp;

/// The feed is frozen when responses show nothing new for this long.
const FROZEN_AFTER: Duration = Duration::from_secs(60);
/// Less than this fraction of the usual events counts as none.
const FROZEN_SHARE: f64 = 0.05;
/// Minimum number of responses before the feed is reported as frozen.
const FEW_ANSWERS: u32 = 3;
/// A page is reported as missing after this time.
const MISSING_AFTER: Duration = Duration::from_secs(45);
/// A page with at least this many events is full: GitHub leaves some out.
const FULL: usize = 90;
/// After this many more events, the page behind a full one cannot be empty.
const OVERFLOW: u64 = 30;
/// The fraction of a page that another page, read soon afterwards, shows at most by coincidence.
const SAME: f64 = 0.9;
const SOON_AFTER: Duration = Duration::from_secs(10);
/// A sequence of ids belongs on a page when at least one in this many of the page's events is from
/// it.
const HOME: usize = 4;
/// Maximum number of events remembered to detect new ones.
const RECENT: usize = 50_000;
/// Maximum number of events whose lag is kept: in total, and per page.
const LAGS: (usize, usize) = (2_000, 300);
/// How long a stale token is not used before it is tried again.
pub const STALE_REST: Duration = Duration::from_secs(600);

/// Tracks the coverage of the feed.
#[derive(Debug, Default)]
pub struct Completeness {
    pages: Vec<PageRecord>,
    /// All pages together, by id sequence.
    sequences: [IdCoverage; 2],
    recent_counts: RecentCounts,
    lags: VecDeque<u32>,
    known: HashSet<u64>,
    order: VecDeque<u64>,
    freshness: Freshness,
    /// Tokens found stale, and since when.
    resting: BTreeMap<TokenSlotId, Timestamp>,
    last_new: Timestamp,
    last_answer: Timestamp,
    /// Total number of new events.
    shown: u64,
    answers_since: u32,
    troubles: Vec<Trouble>,
    minutes: AssessedMinutes,
}

impl Completeness {
    /// A tracker for this many pages, without any data.
    #[must_use]
    pub fn new(pages: usize, now: Timestamp) -> Self {
        Self {
            pages: (0..pages).map(|_| PageRecord::default()).collect(),
            last_new: now,
            last_answer: now,
            ..Self::default()
        }
    }

    /// Records a page; `page` counts from 0. Returns the fraction that the previous read also had.
    pub fn read(
        &mut self,
        page: usize,
        slot_id: TokenSlotId,
        seen: &[PageSighting],
        at: Timestamp,
    ) -> Option<f64> {
        let new = self.record_events(page, seen, at);
        let record = &mut self.pages[page];
        record.pulse.record(at);
        record.responded_at = Some(at);
        record.update_rate(new, at);
        let hashes: HashSet<u64> = seen.iter().map(|sighting| sighting.hash).collect();
        let mut counts = [0; KINDS.len()];
        let mut arrived = HashSet::new();
        // The first read shows events that were there before.
        let compared = if record.read_at.is_some() { seen } else { &[] };
        for sighting in compared.iter().filter(|sighting| !record.hashes.contains(&sighting.hash)) {
            if arrived.insert(sighting.hash) {
                counts[sighting.kind] += 1;
            }
        }
        record.recent_counts.roll(at, record.in_trouble);
        record.recent_counts.add(&counts);
        let share = record.read_at.and_then(|_| overlap::share(&hashes, &record.hashes));
        for sequence in [0, 1] {
            let ids = seen.iter().filter(|sighting| sighting.sequence() == sequence);
            let ids: Vec<u64> = ids.filter_map(|sighting| sighting.id).collect();
            if let (Some(newest), true) = (ids.iter().max(), 2 * ids.len() >= seen.len().max(1)) {
                self.freshness.shown(page, sequence, *newest, slot_id, at);
            }
            self.sequences[sequence].take(ids.clone(), at);
            // A few stray events do not indicate which sequence passes this page.
            if HOME * ids.len() >= seen.len() {
                record.sequences[sequence].take(ids, at);
            }
        }
        let new_on_page = if record.read_at.is_some() { arrived.len() } else { hashes.len() };
        record.update_movement(new_on_page, at);
        (record.failing_since, record.read_at) = (None, Some(at));
        record.is_empty = hashes.is_empty();
        record.update_kinds(seen, arrived.len(), at);
        (record.hashes, record.overlap) = (hashes, share);
        share
    }

    /// Records a response that a page is unchanged.
    pub fn unchanged(&mut self, page: usize, slot_id: TokenSlotId, at: Timestamp) {
        self.recent_counts.roll(at, self.is_frozen());
        self.recent_counts.add(&[0; KINDS.len()]);
        self.answers_since = self.answers_since.saturating_add(1);
        self.last_answer = at;
        self.freshness.unchanged(page, slot_id, at);
        let record = &mut self.pages[page];
        record.pulse.record(at);
        record.responded_at = Some(at);
        record.recent_counts.roll(at, record.in_trouble);
        record.recent_counts.add(&[0; KINDS.len()]);
        record.update_movement(0, at);
        record.failing_since = None;
    }

    /// Records a failed request for a page, other than one refused because of a rate limit.
    pub fn failed(&mut self, page: usize, at: Timestamp) {
        let record = &mut self.pages[page];
        record.failing_since.get_or_insert(at);
        record.responded_at = Some(at);
    }

    /// Records the events of a page. Returns how many are new.
    fn record_events(&mut self, page: usize, seen: &[PageSighting], at: Timestamp) -> u32 {
        let mut counts = [0; KINDS.len()];
        let mut new = 0;
        let is_first = self.pages[page].read_at.is_none();
        for sighting in seen {
            if !self.known.insert(sighting.hash) {
                continue;
            }
            self.order.push_back(sighting.hash);
            if self.order.len() > RECENT
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
            new += 1;
            counts[sighting.kind] += u32::from(!is_first);
            if let Some(created) = sighting.created_at {
                let lag = u32::try_from(at.since(created).as_millis()).unwrap_or(u32::MAX);
                push(&mut self.lags, lag, LAGS.0);
                push(&mut self.pages[page].lags, lag, LAGS.1);
            }
        }
        self.recent_counts.roll(at, self.is_frozen());
        self.recent_counts.add(&counts);
        self.answers_since = self.answers_since.saturating_add(1);
        self.last_answer = at;
        self.shown += u64::from(new);
        if new > 0 {
            (self.last_new, self.answers_since) = (at, 0);
        }
        if let Some(name) = metrics::FEED_EVENTS.values.get(page) {
            metrics::FEED_EVENTS.add_for(name, u64::from(new));
        }
        new
    }

    /// Sorts due pages for a short budget: those not read for long, then those expected to bring
    /// most events that no other page has. `asked` (when a page was last requested) breaks ties.
    pub fn by_need(&self, due: &mut [usize], asked: impl Fn(usize) -> u64, now: Timestamp) {
        let need = |at: &usize| self.pages[*at].need(now);
        due.sort_by(|a, b| {
            let by_need = need(b).total_cmp(&need(a));
            by_need.then_with(|| (asked(*a), a).cmp(&(asked(*b), b)))
        });
    }

    /// Whether a page's figures are known: it is followed, and no problem exists or is developing.
    fn is_known(&self, at: usize, now: Timestamp) -> bool {
        let in_trouble = self.troubles.iter().any(|trouble| match trouble.kind {
            TroubleKind::FrozenFeed => true,
            TroubleKind::PageMissing => trouble.of == at + 1,
            TroubleKind::StaleToken => false,
        });
        let page = &self.pages[at];
        page.pulse.is_followed(now) && !in_trouble && !page.is_odd(self.shown, now)
    }

    fn is_frozen(&self) -> bool {
        self.troubles.iter().any(|trouble| trouble.kind == TroubleKind::FrozenFeed)
    }

    /// Assesses all pages, after the responses of a round. `number` returns a token's position in
    /// the configuration, from 1. Also returns tokens not to use for the next [`STALE_REST`].
    pub fn assess(
        &mut self,
        now: Timestamp,
        number: impl Fn(TokenSlotId) -> Option<usize>,
    ) -> (Report, Vec<TokenSlotId>) {
        self.recent_counts.roll(now, self.is_frozen());
        for sequence in &mut self.sequences {
            sequence.roll(now);
        }
        for record in &mut self.pages {
            record.recent_counts.roll(now, record.in_trouble);
            record.sequences.iter_mut().for_each(|sequence| sequence.roll(now));
        }
        self.compare_pages(now);
        self.find_empty(now);
        let stale = self.freshness.stale(now);
        for slot_id in &stale {
            let token = self.freshness.tokens.remove(slot_id);
            let since = token.and_then(|token| token.since).unwrap_or(now);
            self.resting.entry(*slot_id).or_insert(since);
        }
        let (freshness, resting) = (&self.freshness, &mut self.resting);
        resting.retain(|slot_id, _| !freshness.is_fresh(*slot_id) && number(*slot_id).is_some());
        self.troubles = self.find_troubles(now, &number);
        let all = figures(
            self.sequences[0].missed().and(self.sequences[1].missed()),
            &self.recent_counts,
            &self.lags,
        );
        let is_all_known = (0..self.pages.len()).all(|page| self.is_known(page, now));
        let median = all.lag_seconds.map(|lag| lag.p50);
        self.minutes.roll(now, is_all_known, &self.sequences, median.map(milliseconds));
        let is_known = |page: usize| self.is_known(page, now);
        let pages = self.pages.iter().enumerate();
        let report = Report {
            at: now,
            method: METHOD.into(),
            minutes: self.minutes.samples(),
            all: if is_all_known { all } else { all.unknown() },
            pages: pages.map(|(at, page)| page.report(at + 1, is_known(at), self)).collect(),
            tokens: self.tokens(&number),
            troubles: self.troubles.clone(),
        };
        (report, stale)
    }

    fn tokens(&self, number: &impl Fn(TokenSlotId) -> Option<usize>) -> Vec<TokenReport> {
        let tracked = self.freshness.tokens.iter();
        let freshness = tracked.map(|(id, token)| (*id, token.behind.as_secs_f64()));
        let resting = self.resting.keys().map(|id| (*id, 0.0));
        let mut tokens: BTreeMap<usize, TokenReport> = BTreeMap::new();
        for (id, behind_seconds) in resting.chain(freshness) {
            if let Some(token) = number(id) {
                let stale = self.resting.contains_key(&id);
                tokens.insert(token, TokenReport { token, behind_seconds, stale });
            }
        }
        tokens.into_values().collect()
    }

    /// Detects a page that shows what a page before it shows. Events move from page to page, so it
    /// is compared with pages that were read at the same time or shortly after it.
    fn compare_pages(&mut self, now: Timestamp) {
        for at in 1..self.pages.len() {
            let page = &self.pages[at];
            let big = page.hashes.len() >= FULL / 4;
            let Some(read_at) = page.read_at.filter(|_| big) else { continue };
            let mut later = (0..at).filter(|other| {
                let read = self.pages[*other].read_at;
                read.is_some_and(|read| read >= read_at && read.since(read_at) <= SOON_AFTER)
            });
            let looked = later.clone().next().is_some();
            let same = later.find(|other| {
                overlap::share(&page.hashes, &self.pages[*other].hashes).is_some_and(|s| s >= SAME)
            });
            let page = &mut self.pages[at];
            match same {
                Some(other) => {
                    page.same_since.get_or_insert(now);
                    page.same_as = other + 1;
                }
                None if looked => page.same_since = None,
                None => {}
            }
        }
    }

    /// Detects a page that is empty although pages before or behind it show that it should not be.
    /// A quiet feed fills page after page, so this counts from when the previous page is full.
    fn find_empty(&mut self, now: Timestamp) {
        let sizes: Vec<usize> = self.pages.iter().map(|page| page.hashes.len()).collect();
        for (at, page) in self.pages.iter_mut().enumerate() {
            let is_before = |other: usize, size: usize| other + 1 == at && size >= FULL;
            let is_behind = |other: usize, size: usize| other > at && size > 0;
            let mut others = sizes.iter().enumerate();
            let should = others.any(|(of, size)| is_before(of, *size) || is_behind(of, *size));
            if page.is_empty && should {
                page.empty_since.get_or_insert((now, self.shown));
            } else {
                page.empty_since = None;
            }
        }
    }

    fn find_troubles(
        &mut self,
        now: Timestamp,
        number: &impl Fn(TokenSlotId) -> Option<usize>,
    ) -> Vec<Trouble> {
        let mut found = Vec::new();
        // Time without requests says nothing about the feed.
        let quiet = self.last_answer.since(self.last_new);
        let asked = self.recent_counts.answers() >= FEW_ANSWERS;
        if quiet >= FROZEN_AFTER && self.answers_since >= FEW_ANSWERS {
            let text = format!("GitHub answers, but has shown nothing new since {}", self.last_new);
            found.push((TroubleKind::FrozenFeed, 0, self.last_new, text));
        } else if asked
            && let Some(part) = self.recent_counts.activity().filter(|part| *part < FROZEN_SHARE)
        {
            let percent = part * 100.0;
            let text = format!("the feed nearly stands still: {percent:.1} % of the usual events");
            let since =
                self.recent_counts.slow_since(FROZEN_SHARE).unwrap_or(now).min(self.last_new);
            found.push((TroubleKind::FrozenFeed, 0, since, text));
        }
        let frozen = !found.is_empty();
        for (slot_id, since) in &self.resting {
            if let Some(token) = number(*slot_id) {
                let minutes = STALE_REST.as_secs() / 60;
                let text = format!(
                    "token {token} is shown older pages than the others; it rests for {minutes} \
                     minutes at a time"
                );
                found.push((TroubleKind::StaleToken, token, *since, text));
            }
        }
        for at in 0..self.pages.len() {
            let trouble = if frozen { None } else { self.page_trouble(at, now) };
            // While everything stands still, what is missing must not become the usual value.
            self.pages[at].in_trouble = frozen || trouble.is_some() || self.pages[at].is_suspect();
            if let Some((since, text)) = trouble {
                found.push((TroubleKind::PageMissing, at + 1, since, text));
            }
        }
        let before = &self.troubles;
        let known = |kind, of| {
            let known = before.iter().find(|known| (known.kind, known.of) == (kind, of));
            known.map(|known| known.since)
        };
        let trouble = |(kind, of, since, text)| Trouble {
            kind,
            of,
            since: known(kind, of).unwrap_or(since),
            text,
        };
        found.into_iter().map(trouble).collect()
    }

    /// The problem of a page while others are well, and since when.
    fn page_trouble(&self, at: usize, now: Timestamp) -> Option<(Timestamp, String)> {
        let (page, number) = (&self.pages[at], at + 1);
        // Time without requests for this page says nothing about it.
        let now = page.responded_at.unwrap_or(now);
        let lasts = |since: Option<Timestamp>| since.is_some_and(|s| now.since(s) >= MISSING_AFTER);
        let others = || self.pages.iter().enumerate().filter(|(other, _)| *other != at);
        let usual = || {
            let names: Vec<&str> = page.missing().into_iter().map(|kind| KINDS[kind]).collect();
            if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
        };
        if let Some(since) = page.failing_since.filter(|since| lasts(Some(*since))) {
            let answered = |page: &PageRecord| {
                page.failing_since.is_none() && page.recent_counts.answers() > 0
            };
            return others()
                .any(|(_, other)| answered(other))
                .then(|| (since, format!("page {number} does not come{}, others do", usual())));
        }
        if let Some((since, shown)) = page.empty_since
            && lasts(Some(since))
            && self.shown - shown >= OVERFLOW
        {
            return Some((since, format!("page {number} is empty{}", usual())));
        }
        if let Some(since) = page.same_since.filter(|since| lasts(Some(*since))) {
            let other = page.same_as;
            return Some((
                since,
                format!("page {number} shows what page {other} shows{}", usual()),
            ));
        }
        let missing = page.missing();
        if missing.is_empty() || page.recent_counts.answers() < FEW_ANSWERS {
            return None;
        }
        let since = missing.iter().filter_map(|kind| page.shown_at[*kind]).min().unwrap_or(now);
        Some((since, format!("page {number} does not show what it used to{}", usual())))
    }
}

impl PageRecord {
    fn report(&self, page: usize, is_known: bool, all: &Completeness) -> PageReport {
        let [one, other] = [0, 1].map(|at| all.sequences[at].missed_on(&self.sequences[at]));
        let figures = figures(one.and(other), &self.recent_counts, &self.lags);
        PageReport {
            page,
            events: self.hashes.len(),
            read_at: self.read_at,
            overlap: self.overlap,
            figures: if is_known { figures } else { figures.unknown() },
        }
    }
}

fn figures(missed: Missed, counts: &RecentCounts, lags: &VecDeque<u32>) -> Figures {
    let usual = |usual: f64| counts.is_known().then_some(usual);
    let compared = counts.compared().into_iter();
    Figures {
        events_a_minute: counts.a_minute(),
        missed: Some(missed),
        missed_share: Some(missed.shares()),
        lag_seconds: lag(lags),
        types: compared
            .map(|c| (KINDS[c.kind].into(), Share { now: c.now, usual: usual(c.usual) }))
            .collect(),
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "made of a u32")]
fn milliseconds(seconds: f64) -> u32 {
    (seconds * 1_000.0) as u32
}

fn lag(lags: &VecDeque<u32>) -> Option<Lag> {
    let mut sorted: Vec<u32> = lags.iter().copied().collect();
    sorted.sort_unstable();
    let at = |tenths: usize| {
        let place = (sorted.len() * tenths / 10).min(sorted.len().checked_sub(1)?);
        Some(f64::from(sorted[place]) / 1_000.0)
    };
    Some(Lag { p50: at(5)?, p90: at(9)?, max: at(10)? })
}

fn push(ring: &mut VecDeque<u32>, value: u32, most: usize) {
    ring.push_back(value);
    if ring.len() > most {
        ring.pop_front();
    }
}

#[cfg(test)]
mod tests;
