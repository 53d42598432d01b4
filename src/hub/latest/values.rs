//! The board: the latest values, which a reader sees as they are and not one after another.
//!
//! The language map changes once a tick, the counts of the year now and then. What everyone is
//! told of them first is written once a change and shared.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::hub::fanout::frame::Frame;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::latest::languages::{LanguageChanges, LanguageQuery, Languages, LatestLanguages};
use crate::model::counts::{DayCounts, PullRequestCounts};
use crate::model::tally::Tally;
use crate::model::window::{Second, Year};

/// What the window held at one tick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tick {
    /// The tick's second, the window's last.
    pub at: Second,
    /// Language -> count, as the merge script returned it.
    pub map: Tally,
}

/// The latest values and who follows them.
#[derive(Debug)]
pub struct LatestValues {
    api_version: u64,
    clock: Clock,
    tick: ArcSwap<Shown>,
    counts: ArcSwap<ShownCounts>,
    languages: Arc<Languages>,
}

/// A tick with its number; numbers grow by one a tick.
#[derive(Debug, Default)]
pub(in crate::hub) struct Shown {
    pub(in crate::hub) number: u64,
    pub(in crate::hub) tick: Arc<Tick>,
    first: OnceLock<Frame>,
}

#[derive(Debug, Default)]
struct ShownCounts {
    counts: Arc<PullRequestCounts>,
    /// The first message, and the year for which it was written.
    first: Mutex<Option<(Year, Frame)>>,
}

impl LatestValues {
    /// An empty one: no languages, no counts.
    #[must_use]
    pub fn new(api_version: u64, clock: Clock) -> Self {
        Self {
            api_version,
            clock,
            tick: ArcSwap::default(),
            counts: ArcSwap::default(),
            languages: Arc::default(),
        }
    }

    /// Shows the map of a new tick and tells everyone who follows it. Once a tick, from one place.
    pub fn set_tick(&self, tick: Arc<Tick>) {
        let number = self.tick.load().number + 1;
        self.tick.store(Arc::new(Shown { number, tick, first: OnceLock::new() }));
        self.languages.notify();
    }

    /// Shows new counts of the year, for those who come from now on.
    pub fn set_counts(&self, counts: Arc<PullRequestCounts>) {
        self.counts.store(Arc::new(ShownCounts { counts, first: Mutex::default() }));
    }

    /// The map of the last tick.
    #[must_use]
    pub fn tick(&self) -> Arc<Tick> {
        Arc::clone(&self.tick.load().tick)
    }

    /// The counts that were shown last.
    #[must_use]
    pub fn counts(&self) -> Arc<PullRequestCounts> {
        Arc::clone(&self.counts.load().counts)
    }

    /// The first message of `/sampling`.
    #[must_use]
    pub fn first_of_sampling(&self) -> Frame {
        let shown = self.counts.load();
        let year = self.clock.now().year();
        let mut first = shown.first.lock().unwrap_or_else(PoisonError::into_inner);
        match &*first {
            Some((written_in, frame)) if *written_in == year => frame.clone(),
            _ => {
                // Last year's counts are not this year's, also before new ones are shown.
                let none = PullRequestCounts::of(year);
                let counts = if shown.counts.year == year { &*shown.counts } else { &none };
                let frame = Frame::text(&[&counts_text(self.api_version, counts)]);
                *first = Some((year, frame.clone()));
                frame
            }
        }
    }

    /// Follows the map: each tick's, as the query has it.
    #[must_use]
    pub fn follow_languages(
        self: &Arc<Self>,
        query: LanguageQuery,
        notifier: &Arc<Notifier>,
    ) -> LatestLanguages {
        LatestLanguages::new(self, &self.languages, query, notifier)
    }

    /// Follows the map's changes; the first message tells where they begin.
    #[must_use]
    pub fn watch_languages(self: &Arc<Self>, notifier: &Arc<Notifier>) -> (LanguageChanges, Frame) {
        let shown = self.shown();
        let first = shown.first.get_or_init(|| {
            let head = format!(
                r#"{{"firstMessageTag":true,"apiVersion":{},"languageMap":"#,
                self.api_version
            );
            Frame::text(&[&head, &map_text(&shown.tick.map), "}"])
        });
        let first = first.clone();
        (LanguageChanges::new(self, &self.languages, shown, notifier), first)
    }

    pub(in crate::hub) fn shown(&self) -> Arc<Shown> {
        self.tick.load_full()
    }
}

/// A map as it goes out, counts as numbers.
pub(in crate::hub) fn map_text(map: &Tally) -> String {
    serde_json::to_string(map).expect("names and numbers can always be written")
}

/// One figure of a day.
type Figure = fn(DayCounts) -> i64;

fn counts_text(api_version: u64, counts: &PullRequestCounts) -> String {
    let mut text = format!(r#"{{"firstMessageTag":true,"apiVersion":{api_version}"#);
    let maps: [(&str, Figure); 5] = [
        ("eventMap", DayCounts::events),
        ("openMap", |day| day.open),
        ("mergeMap", |day| day.merge),
        ("closeMap", |day| day.close),
        ("devMap", |day| day.developers),
    ];
    for (name, figure) in maps {
        text.extend([",\"", name, "\":{"]);
        for (i, (day, counts)) in counts.filled_days().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(text, r#"{comma}"{day}":"{}""#, figure(counts)).expect("a string takes all");
        }
        text.push('}');
    }
    let sums = counts.sums;
    write!(
        text,
        r#","sumMap":{{"additions":"{}","deletions":"{}","dev":"{}","repo":"{}"}}}}"#,
        sums.additions, sums.deletions, sums.developers, sums.repositories
    )
    .expect("a string takes all");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::counts::YearCounts;
    use crate::model::window::{Day, Timestamp};

    fn board_at(time: &str) -> Arc<LatestValues> {
        let clock = Clock::starting_at(Timestamp::parse(time).unwrap());
        Arc::new(LatestValues::new(2, clock))
    }

    fn counts_of_2026() -> Arc<PullRequestCounts> {
        let mut counts = PullRequestCounts::of(Year(2026));
        let mut day = |text: &str, open, merge, close, developers| {
            let figures = DayCounts { open, merge, close, developers };
            counts.days.insert(Day::parse(text).unwrap(), figures);
        };
        day("2026-01-02", 1, 2, 3, 4);
        day("2026-01-01", 10, 0, 0, 9);
        day("2026-01-03", 0, 0, 0, 0);
        counts.sums = YearCounts { additions: 7, deletions: 6, developers: 5, repositories: 4 };
        Arc::new(counts)
    }

    #[tokio::test]
    async fn the_first_message_of_sampling_is_there_before_any_count() {
        assert_eq!(
            board_at("2026-03-01T00:00:00Z").first_of_sampling().body(),
            concat!(
                r#"{"firstMessageTag":true,"apiVersion":2,"eventMap":{},"openMap":{},"mergeMap":{},"#,
                r#""closeMap":{},"devMap":{},"sumMap":"#,
                r#"{"additions":"0","deletions":"0","dev":"0","repo":"0"}}"#
            )
        );
    }

    #[tokio::test]
    async fn days_are_told_ascending_as_strings_and_empty_ones_not_at_all() {
        let board = board_at("2026-03-01T00:00:00Z");
        board.set_counts(counts_of_2026());
        let first = board.first_of_sampling();
        assert_eq!(
            first.body(),
            concat!(
                r#"{"firstMessageTag":true,"apiVersion":2,"#,
                r#""eventMap":{"2026-01-01":"10","2026-01-02":"6"},"#,
                r#""openMap":{"2026-01-01":"10","2026-01-02":"1"},"#,
                r#""mergeMap":{"2026-01-01":"0","2026-01-02":"2"},"#,
                r#""closeMap":{"2026-01-01":"0","2026-01-02":"3"},"#,
                r#""devMap":{"2026-01-01":"9","2026-01-02":"4"},"#,
                r#""sumMap":{"additions":"7","deletions":"6","dev":"5","repo":"4"}}"#
            )
        );
        let again = board.first_of_sampling();
        assert_eq!(again.bytes().as_ptr(), first.bytes().as_ptr());
    }

    #[tokio::test]
    async fn counts_of_another_year_are_not_told() {
        let board = board_at("2027-01-01T00:00:00Z");
        board.set_counts(counts_of_2026());
        assert!(board.first_of_sampling().body().contains(r#""eventMap":{},"#));
        assert!(board.first_of_sampling().body().contains(r#""dev":"0""#));
    }
}
