//! Schedules the requests for each page at its own pace.
//!
//! With tokens, a page is read as often as it changes, so that about a third of it is new each
//! time: between twice as often as `loop.break` says and a quarter as often. A request that takes
//! longer does not delay the next one; a few are in flight together. Without a token, a page is
//! requested once the server's interval has passed since its last response. A failing page is
//! retried with backoff; when all pages failed, the first response ends the wait of all.
//!
//! Pure: takes the current time as an argument and performs no I/O. The pool keeps the budgets.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;

/// The fraction of a page that should be new at each read; the rest leaves space for bursts.
const NEW_EACH_TIME: f64 = 1.0 / 3.0;
/// Factors that bound the pace: up to this many times as often as `loop.break` says, and no less
/// than one in this many times.
const FASTER: u32 = 2;
const SLOWER: u32 = 4;
/// The weight of the newest read in a page's pace.
const NEWEST_WEIGHT: f64 = 0.3;
/// Maximum number of requests in flight for one page.
pub(super) const MOST_IN_FLIGHT: u32 = 4;
/// First and longest wait after a temporary failure.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// The rule by which pages are requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollRule {
    /// With tokens: as often as is useful.
    Tokens,
    /// Without tokens: this long after a response, as the server says.
    Every(Duration),
}

/// The pages and their paces.
#[derive(Debug)]
pub struct PageSchedule {
    usual: Duration,
    pages: Vec<Pace>,
    turn: u64,
}

#[derive(Debug)]
struct Pace {
    asked_at: Option<Instant>,
    /// A number that increases with each request, used to alternate between pages.
    asked_in: u64,
    answered_at: Option<Instant>,
    in_flight: u32,
    not_before: Option<Instant>,
    backoff: Backoff,
    /// How many times per second the whole page is replaced.
    turnover: Option<f64>,
    /// Whether the last request succeeded.
    is_well: bool,
}

impl PageSchedule {
    /// A schedule for this many pages, with `usual` between two reads of one with tokens.
    #[must_use]
    pub fn new(pages: usize, usual: Duration) -> Self {
        let page = || Pace {
            asked_at: None,
            asked_in: 0,
            answered_at: None,
            in_flight: 0,
            not_before: None,
            backoff: Backoff::new(FIRST_WAIT, LONGEST_WAIT),
            turnover: None,
            is_well: true,
        };
        Self { usual, pages: (0..pages).map(|_| page()).collect(), turn: 0 }
    }

    /// The pages (counted from 0) that may be requested now. Otherwise returns when the next one
    /// is due; `None` while all have requests in flight.
    #[must_use]
    pub fn due(&self, now: Instant, rule: PollRule) -> (Vec<usize>, Option<Instant>) {
        let due = self.pages.iter().map(|page| page.due(now, rule, self.usual));
        let later = due.clone().flatten().filter(|at| *at > now).min();
        let now = due.enumerate().filter(|(_, due)| due.is_some_and(|due| due <= now));
        (now.map(|(page, _)| page).collect(), later)
    }

    /// The sequence number of the last request for a page; higher is later.
    #[must_use]
    pub fn asked_in(&self, page: usize) -> u64 {
        self.pages[page].asked_in
    }

    /// Failures of a page since its last success.
    #[must_use]
    pub fn failures(&self, page: usize) -> u32 {
        self.pages[page].backoff.times()
    }

    /// Whether the last request for every page succeeded.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.pages.iter().all(|page| page.is_well)
    }

    /// Records that a request for the page was sent.
    pub fn asked(&mut self, page: usize, now: Instant) {
        self.turn += 1;
        let page = &mut self.pages[page];
        (page.asked_at, page.asked_in) = (Some(now), self.turn);
        page.in_flight += 1;
    }

    /// Records a response of which this fraction is new; `None` means unknown.
    pub fn answered(&mut self, page: usize, now: Instant, new: Option<f64>) {
        if self.pages.iter().all(|page| page.backoff.times() > 0) {
            self.pages.iter_mut().for_each(|page| page.not_before = None);
        }
        let page = &mut self.pages[page];
        if let (Some(new), Some(before)) = (new, page.answered_at) {
            let seconds = now.saturating_duration_since(before).as_secs_f64().max(0.001);
            let lately = new / seconds;
            let known = page.turnover.unwrap_or(lately);
            page.turnover = Some(known + (lately - known) * NEWEST_WEIGHT);
        }
        page.response(now);
        page.backoff.reset();
        (page.not_before, page.is_well) = (None, true);
    }

    /// Ends all waits after the tokens were replaced, except for the server's interval between
    /// requests without a token.
    pub fn end_waits(&mut self) {
        for page in &mut self.pages {
            (page.asked_at, page.not_before) = (None, None);
        }
    }

    /// Records a response that is not a page: a limit, a refused token, or a body that is not a
    /// list.
    pub fn refused(&mut self, page: usize, now: Instant) {
        let page = &mut self.pages[page];
        page.response(now);
        page.is_well = false;
    }

    /// Records a failure. The page is not requested again for at least this long.
    pub fn failed(&mut self, page: usize, now: Instant, least: Duration) {
        let page = &mut self.pages[page];
        page.response(now);
        page.not_before = Some(now + page.backoff.next_wait().max(least));
        page.is_well = false;
    }
}

impl Pace {
    fn response(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.answered_at = Some(now);
    }

    fn due(&self, now: Instant, rule: PollRule, usual: Duration) -> Option<Instant> {
        let most = match rule {
            PollRule::Tokens if self.is_well => MOST_IN_FLIGHT,
            PollRule::Tokens | PollRule::Every(_) => 1,
        };
        if self.in_flight >= most {
            return None;
        }
        let paced = match rule {
            PollRule::Tokens => self.asked_at.map(|asked| asked + self.interval(usual)),
            PollRule::Every(interval) => self.answered_at.map(|response| response + interval),
        };
        let due = paced.unwrap_or(now);
        Some(self.not_before.map_or(due, |from| due.max(from)))
    }

    /// The interval between two requests with tokens.
    fn interval(&self, usual: Duration) -> Duration {
        let Some(turnover) = self.turnover else { return usual };
        let wanted = NEW_EACH_TIME / turnover.max(1e-6);
        Duration::try_from_secs_f64(wanted)
            .unwrap_or(Duration::MAX)
            .clamp(usual / FASTER, usual * SLOWER)
    }
}

#[cfg(test)]
mod tests;
