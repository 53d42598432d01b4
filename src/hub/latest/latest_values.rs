//! The latest values of the original three endpoints: the language map and this year's counts.
//!
//! The language map changes at each tick, the counts now and then. First messages are encoded once
//! per change and shared.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::hub::fanout::frame::Frame;
use crate::hub::fanout::notifier::Notifier;
use crate::hub::latest::first_message::FirstOfSampling;
use crate::hub::latest::language_message::FirstOfWatch;
use crate::hub::latest::languages::{
    LanguageBaseline, LanguageChanges, LanguageQuery, Languages, LatestLanguages, Tick,
};
use crate::model::counts::PullRequestCounts;
use crate::model::window::Year;
use crate::sync::lock;

/// The language map with its subscribers, and the counts of this year.
#[derive(Debug)]
pub struct LatestValues {
    api_version: u64,
    clock: Clock,
    counts: ArcSwap<PublishedCounts>,
    languages: Arc<Languages>,
}

#[derive(Debug, Default)]
struct PublishedCounts {
    counts: Arc<PullRequestCounts>,
    /// The first message of `/sampling`, and the year for which it was encoded.
    first: Mutex<Option<(Year, Frame)>>,
}

impl LatestValues {
    /// Without languages and counts.
    #[must_use]
    pub fn new(api_version: u64, clock: Clock) -> Self {
        Self { api_version, clock, counts: ArcSwap::default(), languages: Arc::default() }
    }

    /// Publishes a new tick and notifies the subscribers. Called from one place, once per tick.
    pub fn set_tick(&self, tick: Arc<Tick>) {
        self.languages.publish(tick);
    }

    /// Publishes new counts, for connections from now on.
    pub fn set_counts(&self, counts: Arc<PullRequestCounts>) {
        self.counts.store(Arc::new(PublishedCounts { counts, first: Mutex::default() }));
    }

    /// The last tick.
    #[must_use]
    pub fn tick(&self) -> Arc<Tick> {
        Arc::clone(&self.languages.current().tick)
    }

    /// The counts that were shown last.
    #[must_use]
    pub fn counts(&self) -> Arc<PullRequestCounts> {
        Arc::clone(&self.counts.load().counts)
    }

    /// The first message of `/sampling`.
    #[must_use]
    pub fn first_of_sampling(&self) -> Frame {
        let published = self.counts.load();
        let year = self.clock.now().year();
        let mut first = lock(&published.first);
        match &*first {
            Some((written_in, frame)) if *written_in == year => frame.clone(),
            _ => {
                // At the turn of the year the published counts are still those of the last one.
                let none = PullRequestCounts::of(year);
                let counts = if published.counts.year == year { &*published.counts } else { &none };
                let frame = Frame::json(&FirstOfSampling::new(self.api_version, counts));
                *first = Some((year, frame.clone()));
                frame
            }
        }
    }

    /// Subscribes to the language map of each tick, restricted by the query.
    #[must_use]
    pub fn follow_languages(
        &self,
        query: LanguageQuery,
        notifier: &Arc<Notifier>,
    ) -> LatestLanguages {
        let mut subscription = self.languages.subscribe(notifier);
        subscription.join(query);
        LatestLanguages { subscription, seen: self.languages.current().number }
    }

    /// Subscribes to the changes of the language map. The first message has the map that the
    /// changes start from.
    #[must_use]
    pub fn watch_languages(&self, notifier: &Arc<Notifier>) -> (LanguageChanges, Frame) {
        let published = self.languages.current();
        let first = published
            .first
            .get_or_init(|| Frame::json(&FirstOfWatch::new(self.api_version, &published.tick.map)));
        let (first, subscription) = (first.clone(), self.languages.subscribe(notifier));
        let inside = LanguageBaseline::Tick(published);
        (LanguageChanges { subscription, outside: inside.clone(), inside }, first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::counts::{DayCounts, YearCounts};
    use crate::model::window::{Day, Timestamp};

    fn values_at(time: &str) -> Arc<LatestValues> {
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
    async fn sampling_has_a_first_message_before_any_count() {
        assert_eq!(
            values_at("2026-03-01T00:00:00Z").first_of_sampling().body(),
            concat!(
                r#"{"firstMessageTag":true,"apiVersion":2,"eventMap":{},"openMap":{},"mergeMap":{},"#,
                r#""closeMap":{},"devMap":{},"sumMap":"#,
                r#"{"additions":"0","deletions":"0","dev":"0","repo":"0"}}"#
            )
        );
    }

    #[tokio::test]
    async fn days_ascend_with_counts_as_strings_and_without_empty_ones() {
        let values = values_at("2026-03-01T00:00:00Z");
        values.set_counts(counts_of_2026());
        let first = values.first_of_sampling();
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
        let again = values.first_of_sampling();
        assert_eq!(again.bytes().as_ptr(), first.bytes().as_ptr());
    }

    #[tokio::test]
    async fn counts_of_another_year_are_left_out() {
        let values = values_at("2027-01-01T00:00:00Z");
        values.set_counts(counts_of_2026());
        assert!(values.first_of_sampling().body().contains(r#""eventMap":{},"#));
        assert!(values.first_of_sampling().body().contains(r#""dev":"0""#));
    }
}
