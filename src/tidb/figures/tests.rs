use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::model::counts::YearCounts;
use crate::model::envelope::Flags;
use crate::model::window::Day;
use crate::store::Durability;

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn figure(day: &str, metric: HistoryMetric) -> HistoryFigure {
    HistoryFigure { day: Day::parse(day).unwrap(), metric }
}

/// An opened pull request by a developer that is new today and this year.
fn opened(received: &str) -> Facts {
    let flags = Flags { pr: true, open: true, dev_day: true, dev_year: true, ..Flags::default() };
    Facts { received_at: at(received), flags, ..Facts::default() }
}

fn merged(received: &str, lines: u64) -> Facts {
    let flags = Flags { pr: true, merge: true, ..Flags::default() };
    let lines = Some(lines);
    let received_at = at(received);
    Facts { received_at, flags, additions: lines, deletions: lines, ..Facts::default() }
}

struct Case {
    dir: tempfile::TempDir,
    store: Option<Store>,
    figures: std::sync::Arc<HistoryFigures>,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut case = Self { figures: Self::open(&dir).1, store: None, dir };
        case.restart();
        case
    }

    fn open(dir: &tempfile::TempDir) -> (Store, std::sync::Arc<HistoryFigures>) {
        let every = Durability::Every(std::time::Duration::from_secs(1));
        let store = Store::open(dir.path(), every, Clock::system()).unwrap();
        let figures = HistoryFigures::load(&store).unwrap();
        (store, figures.into())
    }

    fn restart(&mut self) {
        self.store = None;
        let (store, figures) = Self::open(&self.dir);
        self.store = Some(store);
        self.figures = figures;
    }

    async fn apply(&self, events: Vec<(Facts, Timestamp)>) {
        let figures = std::sync::Arc::clone(&self.figures);
        let commit = self.store.as_ref().unwrap().commit(move |batch| {
            figures.count(batch, events.iter().map(|(facts, at)| (facts, *at)));
            Ok(())
        });
        commit.await.unwrap();
    }

    async fn says(&self, query: FigureQuery, base: &[(HistoryFigure, i64)]) {
        let (figures, base) =
            (std::sync::Arc::clone(&self.figures), base.iter().copied().collect());
        let commit = self.store.as_ref().unwrap().commit(move |batch| {
            figures.replace(batch, query, &base);
            Ok(())
        });
        commit.await.unwrap();
    }

    /// Opened on the first of March, developers of the year.
    fn shown(&self, ours: i64) -> (i64, i64) {
        let mut counts = PullRequestCounts::of(Year(2026));
        let day = Day::parse("2026-03-01").unwrap();
        counts.days.insert(day, DayCounts { open: ours, ..DayCounts::default() });
        let shown = self.figures.merge(Some(counts)).unwrap();
        (shown.days[&day].open, shown.sums.developers)
    }
}

const OPENED: fn() -> HistoryFigure = || figure("2026-03-01", HistoryMetric::Opened);
const DEVELOPERS: fn() -> HistoryFigure = || figure("2026-01-01", HistoryMetric::YearDevelopers);

#[tokio::test]
async fn without_a_base_nothing_is_kept_and_ours_is_shown() {
    let case = Case::new();
    let now = "2026-03-01T10:00:00Z";
    case.apply(vec![(opened(now), at(now))]).await;
    assert_eq!(case.shown(1), (1, 0));
    assert!(case.figures.lock().since.is_empty());
    assert!(!case.figures.has_base());
}

#[tokio::test]
async fn result_is_base_plus_events_since_the_query_began() {
    let case = Case::new();
    case.figures.begin(FigureQuery::Daily, at("2026-03-01T10:00:00Z"));
    // While it runs: received before it began, and after.
    let (before, during) = ("2026-03-01T10:00:00Z", "2026-03-01T10:00:01Z");
    case.apply(vec![(opened(before), at(before)), (opened(during), at(during))]).await;
    case.says(FigureQuery::Daily, &[(OPENED(), 100)]).await;
    assert_eq!(case.shown(2), (101, 0));
    // After it: live, and from a backlog.
    let live = "2026-03-01T10:00:02Z";
    case.apply(vec![(opened(live), at(live)), (opened("2026-03-01T09:00:00Z"), at(live))]).await;
    assert_eq!(case.shown(4), (102, 0));
    assert_eq!(case.shown(500), (500, 0));
}

#[tokio::test]
async fn base_and_since_survive_a_restart_and_a_figure_may_fall() {
    let mut case = Case::new();
    for query in FigureQuery::ALL {
        case.figures.begin(query, at("2026-03-01T10:00:00Z"));
    }
    case.says(
        FigureQuery::Daily,
        &[(OPENED(), 100), (figure("2026-02-01", HistoryMetric::Merged), 7)],
    )
    .await;
    case.says(FigureQuery::Yearly, &[(DEVELOPERS(), 2000)]).await;
    let live = "2026-03-01T11:00:00Z";
    case.apply(vec![(opened(live), at(live))]).await;
    assert_eq!(case.shown(1), (101, 2001));
    case.restart();
    assert_eq!(case.shown(1), (101, 2001));
    // The next answer is smaller, and a day is gone from it.
    case.figures.begin(FigureQuery::Daily, at("2026-03-01T12:00:00Z"));
    case.says(FigureQuery::Daily, &[(OPENED(), 90)]).await;
    assert_eq!(case.shown(1), (90, 2001));
    case.restart();
    assert_eq!(case.shown(1), (90, 2001));
    let inner = case.figures.lock();
    assert_eq!(inner.base.len(), 2);
    assert_eq!(
        inner.since.keys().map(|figure| figure.metric).collect::<Vec<_>>(),
        [HistoryMetric::YearDevelopers]
    );
}

#[tokio::test]
async fn a_query_that_fails_leaves_all_as_it_was() {
    let case = Case::new();
    case.figures.begin(FigureQuery::Daily, at("2026-03-01T10:00:00Z"));
    case.says(FigureQuery::Daily, &[(OPENED(), 100)]).await;
    case.figures.begin(FigureQuery::Daily, at("2026-03-01T11:00:00Z"));
    let live = "2026-03-01T11:00:01Z";
    case.apply(vec![(opened(live), at(live))]).await;
    case.figures.give_up(FigureQuery::Daily);
    assert_eq!(case.shown(0), (101, 0));
}

#[tokio::test]
async fn a_year_ends_and_its_figures_are_not_the_next_ones() {
    let case = Case::new();
    for query in FigureQuery::ALL {
        case.figures.begin(query, at("2025-12-31T23:59:00Z"));
    }
    let last = figure("2025-12-31", HistoryMetric::Opened);
    case.says(FigureQuery::Daily, &[(last, 5)]).await;
    case.says(FigureQuery::Yearly, &[(figure("2025-01-01", HistoryMetric::YearAdditions), 900)])
        .await;
    // The new year's first events, one of them late from the old year.
    let (old, new) = ("2025-12-31T23:59:59Z", "2026-01-01T00:00:01Z");
    case.apply(vec![(merged(new, 10), at(new)), (merged(new, 10), at(old))]).await;
    let shown = case.figures.merge(Some(PullRequestCounts::of(Year(2026)))).unwrap();
    let days: Vec<String> = shown.filled_days().map(|(day, _)| day.to_string()).collect();
    assert_eq!(days, ["2026-01-01"]);
    assert_eq!((shown.sums.additions, shown.sums.deletions), (10, 10));
    let shown = case.figures.merge(Some(PullRequestCounts::of(Year(2025)))).unwrap();
    assert_eq!(shown.sums, YearCounts { additions: 900, ..YearCounts::default() });
}

#[tokio::test]
async fn readers_are_notified_once_of_a_new_base() {
    let case = Case::new();
    assert!(case.figures.merge(Some(PullRequestCounts::of(Year(2026)))).is_some());
    assert!(case.figures.merge(None).is_none());
    case.figures.begin(FigureQuery::Daily, at("2026-03-01T10:00:00Z"));
    case.says(FigureQuery::Daily, &[(OPENED(), 3)]).await;
    let shown = case.figures.merge(None).unwrap();
    assert_eq!(shown.days[&OPENED().day].open, 3);
    assert!(case.figures.merge(None).is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// Against a model that remembers every event: whatever order events and queries come in.
    #[test]
    fn shown_figures_follow_the_definition(
        steps in proptest::collection::vec((0..12_u8, 0..30_i64), 1..40)
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut case = Case::new();
            let start = at("2026-03-01T10:00:00Z");
            let second = |n: i64| Timestamp::from_micros(start.micros() + n * 1_000_000);
            let (mut now, mut ours, mut base) = (0, 0, None::<(i64, i64)>);
            let mut running = None;
            let mut received = Vec::new();
            for (step, n) in steps {
                now += 1;
                match step {
                    0..=6 => {
                        // Received up to `n` seconds ago.
                        let mut facts = opened("2026-03-01T10:00:00Z");
                        facts.received_at = second(now - n);
                        received.push(now - n);
                        ours += 1;
                        case.apply(vec![(facts, start)]).await;
                    }
                    7 | 8 => {
                        case.figures.begin(FigureQuery::Daily, second(now));
                        running = Some(now);
                    }
                    9 | 10 => {
                        if let Some(began) = running.take() {
                            case.says(FigureQuery::Daily, &[(OPENED(), n)]).await;
                            base = Some((began, n));
                            received.retain(|at| *at > began);
                        }
                    }
                    _ => {
                        case.restart();
                        running = None;
                    }
                }
                let since = |began| received.iter().filter(|at| **at > began).count();
                let theirs = base.map_or(0, |(began, n)| n + i64::try_from(since(began)).unwrap());
                assert_eq!(case.shown(ours).0, ours.max(theirs));
            }
        });
    }
}
