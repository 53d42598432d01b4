//! The ledger against a plain model.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::counting::{LedgerCounting, LedgerEvent};
use super::fill::{LedgerDay, fill_in, write_parts};
use super::fold::{FoldProgress, HOURS_FOR, fold_due};
use super::import::LedgerHour;
use super::rank::Ranking;
use super::seen::SeenDays;
use crate::model::activity::{Coverage, MissedRange, Span};
use crate::model::ledger::{LedgerCounts, LedgerMetric, MOST_RANKED, RankedBy, RankedWindow};
use crate::model::window::{Day, Hour, Timestamp};
use crate::store::activity::BatchActivity;
use crate::store::keys::RepoKey;
use crate::store::keys::ledger::LedgerKey;
use crate::store::last_pass::last_pass_key;
use crate::store::{Store, activity, new_store, repos};

/// 2026-01-01.
const START: i32 = 20_454;

fn at(day: i32, hour: i64) -> Timestamp {
    Timestamp::from_seconds(i64::from(START + day) * 86_400 + hour * 3_600 + 60)
}

fn hour(day: i32, hour: i64) -> Hour {
    at(day, hour).hour()
}

/// One event: repository, day, hour, metric.
type Counted = (u64, i32, i64, usize);

/// Counts events on hours on which the node runs.
async fn count(store: &Store, events: Vec<Counted>) {
    let named = |(repo, day, hour, metric)| (repo, format!("ann/r{repo}"), at(day, hour), metric);
    let hours: Vec<Hour> = events.iter().map(|(_, day, at, _)| hour(*day, *at)).collect();
    count_named(store, events.into_iter().map(named).collect()).await;
    let ran = store.commit(move |batch| {
        let minute = Coverage { watched: 1, ..Coverage::default() };
        for at in &hours {
            activity::put_coverage(batch, Span::Hour, at.0, &minute);
        }
        Ok(())
    });
    ran.await.unwrap();
}

async fn count_named(store: &Store, events: Vec<(u64, String, Timestamp, usize)>) {
    let received = events
        .into_iter()
        .map(|(repo, name, created_at, metric)| (repo, name, created_at, created_at, metric));
    count_received(store, received.collect()).await;
}

/// Counts events: repository, its name, when they happened and were received, what they count as.
async fn count_received(store: &Store, events: Vec<(u64, String, Timestamp, Timestamp, usize)>) {
    let counted = store.commit(move |batch| {
        let mut counting = LedgerCounting::default();
        for (repo, name, created_at, received_at, metric) in &events {
            let (repo, name, metric) = (*repo, Some(name.as_str()), LedgerMetric::ALL[*metric]);
            let (created_at, received_at, language) = (*created_at, *received_at, None);
            counting.count(
                batch,
                LedgerEvent { repo, name, created_at, received_at, metric, language },
            );
        }
        counting.write(batch)
    });
    counted.await.unwrap();
}

/// Fills a day from a database; returns whether it was taken.
async fn fill(store: &Store, day: i32, counts: Vec<(u64, usize, u64)>) -> bool {
    // In batches of two repositories.
    let filled = fill_in(store, (Day(START + day), ledger_day(counts)), 2, |_, filled| Ok(filled));
    filled.await.unwrap()
}

fn ledger_day(counts: Vec<(u64, usize, u64)>) -> LedgerDay {
    let mut of_day = LedgerDay::default();
    for (repo, metric, n) in counts {
        let mut counts = LedgerCounts::default();
        counts.add(LedgerMetric::ALL[metric], n);
        of_day.add(repo, Some(&format!("ann/r{repo}")), &counts);
    }
    of_day
}

/// Imports an hour; returns whether it was taken.
async fn import(store: &Store, hour: Hour, events: Vec<(u64, usize)>) -> bool {
    let imported = store.commit(move |batch| {
        let mut counts = LedgerHour::default();
        for (repo, metric) in events {
            let name = format!("ann/r{repo}");
            counts.count(repo, LedgerMetric::ALL[metric], [Some(&name), None]);
        }
        counts.write(batch, hour)
    });
    imported.await.unwrap()
}

fn counts_of(store: &Store, repo: u64) -> BTreeMap<i32, LedgerCounts> {
    let days = store.reader().ledger_of(repo, START..START + 400).unwrap();
    days.into_iter().map(|(day, counts)| (day.0 - START, counts)).collect()
}

fn stars_of(store: &Store, repo: u64) -> Vec<(i32, u64)> {
    let days = counts_of(store, repo).into_iter();
    days.map(|(day, counts)| (day, counts.get(LedgerMetric::Stars))).collect()
}

async fn fold(store: &Store, now: Timestamp) {
    let mut progress = FoldProgress::default();
    for _ in 0..4 {
        progress = fold_due(store, progress, now).await.unwrap();
    }
}

#[tokio::test]
async fn counts_add_up_over_batches() {
    let (_dir, store) = new_store();
    count(&store, vec![(7, 0, 1, 0), (7, 0, 1, 0), (7, 0, 5, 8), (8, 0, 1, 0)]).await;
    count(&store, vec![(7, 0, 1, 0), (7, 2, 0, 0)]).await;
    assert_eq!(stars_of(&store, 7), [(0, 3), (2, 1)]);
    assert_eq!(counts_of(&store, 7)[&0].get(LedgerMetric::Pushes), 1);
    let all = store.reader().ledger_sum(&LedgerKey::All(Day(START)), Day(START)).unwrap();
    assert_eq!(all.get(LedgerMetric::Stars), 4);
    assert_eq!(stars_of(&store, 9), []);
}

#[tokio::test]
async fn languages_have_sums_as_far_as_they_are_known() {
    let (_dir, store) = new_store();
    let learn = |batch: &mut crate::store::Batch<'_>| {
        repos::remember(batch, RepoKey(7), Some("Rust"), at(0, 0))
    };
    store.commit(learn).await.unwrap();
    count(&store, vec![(7, 0, 1, 0), (8, 0, 1, 0), (7, 0, 2, 0)]).await;
    assert!(import(&store, hour(0, 2), vec![(7, 0), (7, 0), (8, 0)]).await);
    let sum = |key: LedgerKey| {
        store.reader().ledger_sum(&key, Day(START)).unwrap().get(LedgerMetric::Stars)
    };
    assert_eq!(sum(LedgerKey::Language(Day(START), "Rust".to_owned())), 3);
    assert_eq!(sum(LedgerKey::All(Day(START))), 5);
}

#[tokio::test]
async fn an_imported_hour_replaces_the_live_and_an_earlier_import() {
    let (_dir, store) = new_store();
    count(&store, vec![(7, 0, 1, 0), (7, 0, 2, 0), (8, 0, 1, 0), (9, 0, 1, 0)]).await;
    for _ in 0..2 {
        assert!(import(&store, hour(0, 1), vec![(7, 0), (7, 0), (7, 0), (8, 1)]).await);
        assert_eq!(stars_of(&store, 7), [(0, 4)]);
    }
    assert_eq!(stars_of(&store, 9), [], "the archive has no star of it in that hour");
    // A corrected file of the same hour no longer has 8.
    assert!(import(&store, hour(0, 1), vec![(7, 0)]).await);
    assert_eq!((stars_of(&store, 7), counts_of(&store, 8).len()), (vec![(0, 2)], 0));
    count(&store, vec![(7, 0, 1, 0)]).await;
    assert_eq!(stars_of(&store, 7), [(0, 2)], "a late event of an imported hour is in it");
    let all = store.reader().ledger_sum(&LedgerKey::All(Day(START)), Day(START)).unwrap();
    assert_eq!((all.get(LedgerMetric::Stars), all.get(LedgerMetric::Forks)), (2, 0));
}

#[tokio::test]
async fn folded_months_keep_their_days_and_are_final() {
    let (_dir, store) = new_store();
    let many = (0..5_000).map(|repo| (repo, 30, 4, 0));
    count(&store, many.collect()).await;
    count(&store, vec![(7, 0, 1, 0), (7, 30, 2, 0), (7, 31, 2, 0)]).await;
    assert!(import(&store, hour(0, 3), vec![(7, 0)]).await);
    let before = stars_of(&store, 7);
    assert_eq!(before, [(0, 2), (30, 2), (31, 1)]);
    let due = at(31, 1).plus(HOURS_FOR);
    fold(&store, at(30, 23).plus(HOURS_FOR)).await;
    let days = || store.reader().last_before(&LedgerKey::Repo(Day(START + 31), 0)).unwrap();
    assert!(days().is_some(), "not yet due");
    fold(&store, due).await;
    assert_eq!(days(), None, "January is folded");
    assert_eq!(stars_of(&store, 7), before);
    assert_eq!(stars_of(&store, 4_999), [(30, 1)]);
    // Hours that are counted are final; another hour and a late event are added.
    assert!(!import(&store, hour(0, 1), vec![(7, 0), (7, 0)]).await);
    assert!(!import(&store, hour(0, 3), vec![(7, 0), (7, 0)]).await);
    assert!(import(&store, hour(0, 9), vec![(7, 0), (7, 0)]).await);
    count(&store, vec![(7, 0, 1, 0)]).await;
    assert_eq!(stars_of(&store, 7)[0], (0, 5));
    fold(&store, due).await;
    assert_eq!(stars_of(&store, 7)[0], (0, 5));
    assert!(!import(&store, hour(0, 9), vec![(7, 0)]).await);
}

#[tokio::test]
async fn a_database_fills_days_of_which_nothing_was_counted() {
    let (_dir, store) = new_store();
    count(&store, vec![(7, 1, 1, 0)]).await;
    assert!(fill(&store, 0, vec![(7, 0, 40), (7, 8, 2), (8, 0, 1)]).await);
    assert!(!fill(&store, 0, vec![(7, 0, 90)]).await, "it is filled");
    assert!(!fill(&store, 1, vec![(7, 0, 90)]).await, "it was counted here");
    assert_eq!((stars_of(&store, 7), stars_of(&store, 8)), (vec![(0, 40), (1, 1)], vec![(0, 1)]));
    assert_eq!(store.reader().repo_named("ann/r8").unwrap(), Some(8));
    let all = || store.reader().ledger_sum(&LedgerKey::All(Day(START)), Day(START)).unwrap();
    assert_eq!((all().get(LedgerMetric::Stars), all().get(LedgerMetric::Pushes)), (41, 2));
    let seen = store.reader().days_seen(START..START + 2).unwrap();
    assert_eq!((seen[0].days_filled, seen[1].days_filled), (1, 0));
    // A late event of a day on which this node did not run does not keep it from being filled.
    count_named(&store, vec![(7, "ann/r7".to_owned(), at(12, 1), 0)]).await;
    assert!(!store.reader().has_ledger_day(Day(START + 12)).unwrap());
    assert_eq!(stars_of(&store, 7), [(0, 40), (1, 1), (12, 1)]);
    assert!(fill(&store, 12, vec![(7, 0, 5)]).await);
    assert!(store.reader().has_ledger_day(Day(START + 12)).unwrap());
    assert_eq!(stars_of(&store, 7), [(0, 40), (1, 1), (12, 5)]);
    // A late event of the day is in it; an import replaces it.
    count(&store, vec![(7, 0, 3, 0)]).await;
    assert_eq!(stars_of(&store, 7)[0], (0, 40));
    let ranked = |day| {
        let window = RankedWindow::Week;
        let ranking = Ranking::compute(store.reader(), window, at(day, 0), None).unwrap();
        ranking.top(store.reader(), RankedBy::Stars, None, 1).unwrap().repos[0].count
    };
    assert_eq!(ranked(2), 41);
    // The window begins within the filled day.
    let late = Timestamp::from_seconds(at(7, 15).second().0);
    let ranking = Ranking::compute(store.reader(), RankedWindow::Week, late, None).unwrap();
    let first = ranking.top(store.reader(), RankedBy::Stars, None, 1).unwrap();
    assert_eq!((first.repos[0].count, first.seen.days_filled), (41, 1));
    assert!(import(&store, hour(0, 5), vec![(7, 0), (7, 0)]).await);
    assert_eq!((stars_of(&store, 7)[0], all().get(LedgerMetric::Stars)), ((0, 3), 3));
    // Folded, a filled day is final.
    assert!(fill(&store, 5, vec![(7, 0, 9)]).await);
    fold(&store, at(31, 1).plus(HOURS_FOR)).await;
    assert!(!import(&store, hour(5, 1), vec![(7, 0)]).await);
    count(&store, vec![(7, 5, 3, 0)]).await;
    fold(&store, at(31, 1).plus(HOURS_FOR)).await;
    assert_eq!(stars_of(&store, 7), [(0, 3), (1, 1), (5, 9), (12, 5)]);
}

#[tokio::test]
async fn filling_that_was_cut_off_begins_anew() {
    let (_dir, store) = new_store();
    let old = Arc::new(ledger_day((0..5).map(|repo| (repo, 0, 9)).collect()));
    count_named(&store, vec![(1, "ann/r1".to_owned(), at(3, 1), 0)]).await;
    let (last, _) = write_parts(&store, (Day(START + 3), &old), 2).await.unwrap();
    assert_eq!(last, Some(3), "the last repository is not written");
    assert!(!store.reader().has_ledger_day(Day(START + 3)).unwrap());
    let stars = |repo| stars_of(&store, repo);
    assert_eq!((stars(0), stars(1)), (vec![], vec![(3, 1)]), "nothing of it counts");
    // Meanwhile the database has lost one repository, and another day is filled first.
    assert!(fill(&store, 2, vec![(0, 0, 5), (1, 0, 1), (3, 0, 1)]).await);
    assert!(fill(&store, 3, vec![(1, 0, 4), (3, 0, 2), (4, 0, 1)]).await);
    let all = store.reader().ledger_sum(&LedgerKey::All(Day(START + 3)), Day(START + 3)).unwrap();
    assert_eq!(all.get(LedgerMetric::Stars), 7);
    assert_eq!((stars(0), stars(1)), (vec![(2, 5)], vec![(2, 1), (3, 4)]));
    assert_eq!((stars(2), stars(3)), (vec![], vec![(2, 1), (3, 2)]));
    // An hour that is imported between two parts stands.
    write_parts(&store, (Day(START + 5), &old), 2).await.unwrap();
    assert!(import(&store, hour(5, 1), vec![(2, 0)]).await);
    assert!(!fill(&store, 5, vec![(2, 0, 80)]).await);
    assert_eq!(stars(2), [(5, 1)]);
}

#[tokio::test]
async fn day_that_is_being_filled_is_not_folded() {
    let (_dir, store) = new_store();
    let old = ledger_day((0..5).map(|repo| (repo, 0, 9)).collect());
    let (due, started) = (at(31, 1).plus(HOURS_FOR), Arc::new(AtomicUsize::new(0)));
    let folding = async {
        while started.load(Ordering::SeqCst) == 0 {
            fold(&store, due).await;
        }
    };
    let counted = Arc::clone(&started);
    let filling = fill_in(&store, (Day(START + 3), old), 1, move |_, filled| {
        counted.fetch_add(1, Ordering::SeqCst);
        Ok(filled)
    });
    let ((), filled) = tokio::join!(folding, filling);
    assert!(filled.unwrap());
    let stars = || (0..5).map(|repo| stars_of(&store, repo)).collect::<Vec<_>>();
    assert_eq!(stars(), vec![vec![(3, 9)]; 5]);
    fold(&store, due).await;
    assert_eq!(store.reader().last_before(&LedgerKey::Repo(Day(START + 31), 0)).unwrap(), None);
    assert_eq!(stars(), vec![vec![(3, 9)]; 5]);
}

#[tokio::test]
async fn day_that_came_over_a_bus_is_not_filled() {
    let (_dir, store) = new_store();
    count_named(&store, vec![(7, "ann/r7".to_owned(), at(2, 1), 0)]).await;
    assert!(!store.reader().has_ledger_day(Day(START + 2)).unwrap(), "it came today");
    let received = store.commit(|batch| {
        let mut activity = BatchActivity::default();
        activity.count(at(2, 1), at(2, 1), 0);
        activity.write(batch)
    });
    received.await.unwrap();
    assert!(store.reader().has_ledger_day(Day(START + 2)).unwrap());
    assert!(!fill(&store, 2, vec![(7, 0, 90)]).await);
    assert_eq!(stars_of(&store, 7), [(2, 1)]);
}

#[tokio::test]
async fn counts_follow_the_id_of_a_renamed_repository() {
    let (_dir, store) = new_store();
    let name = |name: &str, day| (7, name.to_owned(), at(day, 0), 0);
    let by_name = |name: &str| store.reader().repo_named(name).unwrap();
    count_named(&store, vec![name("Ann/Old", 1)]).await;
    assert_eq!((by_name("ann/old"), by_name("ANN/OLD")), (Some(7), Some(7)));
    count_named(&store, vec![name("ann/new", 3), name("Ann/Old", 2)]).await;
    count_named(&store, vec![name("Ann/Old", 2), name("not a name", 9)]).await;
    let current = || store.reader().name_of_repo(7).unwrap();
    assert_eq!(current().as_deref(), Some("ann/new"), "a late event renames nothing");
    assert_eq!((by_name("Ann/Old"), by_name("Ann/New")), (Some(7), Some(7)), "both lead to it");
    count_named(&store, vec![(8, "ann/old".to_owned(), at(4, 0), 0)]).await;
    assert_eq!((by_name("Ann/Old"), by_name("ann/new")), (Some(8), Some(7)), "it was taken");
    count_named(&store, vec![name("ann/back", 5)]).await;
    assert_eq!(current().as_deref(), Some("ann/back"));
    count_named(&store, vec![name("ann/new", 6)]).await;
    assert_eq!(current().as_deref(), Some("ann/new"));
    assert_eq!(stars_of(&store, 7).iter().map(|(_, n)| n).sum::<u64>(), 7);
    assert_eq!(by_name("ann/nobody"), None);
}

#[tokio::test]
async fn event_of_the_future_names_a_repository_only_until_the_next() {
    let (_dir, store) = new_store();
    let event = |name: &str, day| vec![(7, name.to_owned(), at(day, 0), at(1, 0), 0)];
    let current = || store.reader().name_of_repo(7).unwrap();
    count_received(&store, event("ann/old", 26_000)).await;
    assert_eq!(current().as_deref(), Some("ann/old"));
    count_named(&store, vec![(7, "ann/new".to_owned(), at(2, 0), 0)]).await;
    assert_eq!(current().as_deref(), Some("ann/new"));
    assert_eq!(store.reader().repo_named("ann/new").unwrap(), Some(7));
}

#[tokio::test]
async fn name_that_is_stored_for_the_future_gives_way() {
    let (_dir, store) = new_store();
    let name = |repo, name: &str, day| (repo, name.to_owned(), at(day, 0), 0);
    let current = || store.reader().name_of_repo(7).unwrap();
    let by_name = |name: &str| store.reader().repo_named(name).unwrap();
    // As older versions wrote it for an event whose time was wrong.
    count_named(&store, vec![name(7, "ann/old", 26_000)]).await;
    count_named(&store, vec![name(7, "ann/new", 2)]).await;
    assert_eq!(current().as_deref(), Some("ann/old"), "no pass has confirmed the clock");
    let pass = |batch: &mut crate::store::Batch<'_>| {
        batch.put(&last_pass_key(), &at(4, 0).micros().to_be_bytes());
        Ok(())
    };
    store.commit(pass).await.unwrap();
    count_named(&store, vec![name(7, "ann/new", 2), name(8, "ann/old", 3)]).await;
    assert_eq!(current().as_deref(), Some("ann/new"));
    assert_eq!((by_name("ann/old"), by_name("ann/new")), (Some(8), Some(7)));
    count_named(&store, vec![name(7, "ann/old", 1)]).await;
    assert_eq!(current().as_deref(), Some("ann/new"), "a late event renames nothing");
    assert_eq!(by_name("ann/old"), Some(8));
}

#[tokio::test]
async fn rankings_are_sums_of_their_window() {
    let (_dir, store) = new_store();
    let learn = |batch: &mut crate::store::Batch<'_>| {
        repos::remember(batch, RepoKey(3), Some("Rust"), at(0, 0))?;
        repos::remember(batch, RepoKey(90), Some("rust"), at(0, 0))
    };
    store.commit(learn).await.unwrap();
    let stars = |repo: u64, day, hour, n: usize| std::iter::repeat_n((repo, day, hour, 0), n);
    let mut events: Vec<Counted> = (100..100 + MOST_RANKED as u64).map(|r| (r, 40, 1, 0)).collect();
    events.extend(stars(3, 40, 1, 9).chain(stars(90, 40, 2, 5)).chain(stars(3, 39, 2, 4)));
    events.extend(stars(90, 20, 1, 90).chain(stars(90, 1, 1, 500)));
    events.push((90, 40, 1, 8));
    count(&store, events).await;
    let top = |window, by, language: Option<&str>| {
        let ranking = Ranking::compute(store.reader(), window, at(40, 2), None).unwrap();
        let top = ranking.top(store.reader(), by, language, 3).unwrap();
        let all = top.repos.into_iter();
        all.map(|repo| (repo.name.unwrap(), repo.count)).collect::<Vec<_>>()
    };
    let named = |list: &[(u64, u64)]| {
        list.iter().map(|(repo, n)| (format!("ann/r{repo}"), *n)).collect::<Vec<_>>()
    };
    let (day, month) = (RankedWindow::Day, RankedWindow::Month);
    // The window has 24 hours: from 3 o'clock of the day before.
    assert_eq!(top(day, RankedBy::Stars, None), named(&[(3, 9), (90, 5), (100, 1)]));
    assert_eq!(top(RankedWindow::Week, RankedBy::Stars, None)[0], ("ann/r3".to_owned(), 13));
    assert_eq!(top(month, RankedBy::Stars, Some("RUST")), named(&[(90, 95), (3, 13)]));
    assert_eq!(top(month, RankedBy::Pushes, None), named(&[(90, 1)]));
    assert_eq!(top(month, RankedBy::Prs, None), []);
    assert_eq!(top(month, RankedBy::Stars, Some("Go")), []);
}

#[tokio::test]
async fn rankings_are_full_without_what_is_left_out() {
    let (_dir, store) = new_store();
    let learn = |batch: &mut crate::store::Batch<'_>| {
        (0..220).try_for_each(|repo| repos::remember(batch, RepoKey(repo), Some("Go"), at(0, 0)))
    };
    store.commit(learn).await.unwrap();
    // Every second one has two stars and is left out.
    let events =
        (0..220).flat_map(|repo| vec![(repo, 40, 1, 0); if repo % 2 == 0 { 2 } else { 1 }]);
    count(&store, events.collect()).await;
    let is_even = |name: &str| name.ends_with(['0', '2', '4', '6', '8']);
    for is_left_out in [None, Some(&is_even as &dyn Fn(&str) -> bool)] {
        let day = RankedWindow::Day;
        let ranking = Ranking::compute(store.reader(), day, at(40, 2), is_left_out).unwrap();
        for language in [None, Some("go")] {
            let top = ranking.top(store.reader(), RankedBy::Stars, language, MOST_RANKED).unwrap();
            let ids: Vec<u64> = top.repos.iter().map(|repo| repo.id).collect();
            let first = u64::from(is_left_out.is_some());
            let wanted: Vec<u64> = (0..MOST_RANKED as u64).map(|at| first + 2 * at).collect();
            assert_eq!(ids, wanted, "{language:?}");
        }
        assert!(!ranking.is_empty());
    }
    let none = Ranking::compute(store.reader(), RankedWindow::Day, at(60, 2), None).unwrap();
    assert!(none.is_empty());
}

#[tokio::test]
async fn days_that_are_over_are_read_once() {
    let (_dir, store) = new_store();
    let cover = async |day: i32, seen: u64| {
        let put = store.commit(move |batch| {
            for hour in 0..24 {
                let missed = MissedRange { low: 1.0, estimate: 2.0, high: 3.0 };
                let missed = [missed, MissedRange::default()];
                let coverage =
                    Coverage { watched: 60, known: 50, seen: [seen, 0], missed, lag: None };
                let at = i64::from(START + day) * 24 + hour;
                activity::put_coverage(batch, Span::Hour, at, &coverage);
            }
            Ok(())
        });
        put.await.unwrap();
    };
    for day in 0..10 {
        cover(day, 10 + u64::try_from(day).unwrap()).await;
    }
    let (seen, days, today) = (SeenDays::default(), START - 2..START + 12, Day(START + 9));
    let read = |days, today| seen.read(store.reader(), days, today).unwrap();
    let plain = || store.reader().days_seen(days.clone()).unwrap();
    assert_eq!(read(days.clone(), today), plain());
    assert!(plain()[1].seen.is_none() && plain()[2].seen.is_some());
    // Today and yesterday may change, and what is imported may be of any day.
    for day in [8, 9] {
        cover(day, 500).await;
    }
    assert!(import(&store, hour(2, 1), vec![(7, 0)]).await);
    assert_eq!(read(days.clone(), today), plain());
    assert_eq!(read(days.clone(), today)[4].hours_imported, 1);
    // A day that is over is not read again, until the clock was set back.
    let before = plain();
    cover(3, 500).await;
    assert_eq!(read(days.clone(), today), before);
    assert_eq!(read(START + 3..START + 4, today), before[5..6]);
    assert_eq!(read(days.clone(), Day(START + 8)), plain());
    assert_ne!(plain(), before);
}

/// A step of the property test.
#[derive(Debug, Clone)]
enum Step {
    Count(Vec<Counted>),
    Import(i32, i64, Vec<(u64, usize)>),
    Fold(i32),
    Fill(i32, Vec<(u64, usize, u64)>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let counted = (0_u64..4, 28_i32..34, 0_i64..3, 0_usize..9);
    let step = prop_oneof![
        4 => prop::collection::vec(counted, 1..12).prop_map(Step::Count),
        3 => (28_i32..34, 0_i64..3, prop::collection::vec((0_u64..4, 0_usize..9), 0..8))
            .prop_map(|(day, hour, events)| Step::Import(day, hour, events)),
        1 => (0_i32..70).prop_map(Step::Fold),
        2 => (28_i32..34, prop::collection::vec((0_u64..4, 0_usize..9, 1_u64..5), 1..8))
            .prop_map(|(day, counts)| Step::Fill(day, counts)),
    ];
    prop::collection::vec(step, 1..12)
}

/// Counts by hour, in the simplest possible way.
#[derive(Default)]
struct Plain {
    live: BTreeMap<(i32, i64), Vec<(u64, usize)>>,
    imported: BTreeMap<(i32, i64), Vec<(u64, usize)>>,
    filled: BTreeMap<i32, Vec<(u64, usize, u64)>>,
}

impl Plain {
    fn counts_of(&self, repo: u64) -> BTreeMap<i32, LedgerCounts> {
        let mut days: BTreeMap<i32, LedgerCounts> = BTreeMap::new();
        let is_filled = |day: &i32| self.filled.contains_key(day) && !has_day(&self.imported, *day);
        for (day, counts) in self.filled.iter().filter(|(day, _)| is_filled(day)) {
            for (_, metric, n) in counts.iter().filter(|(of, ..)| *of == repo) {
                days.entry(*day).or_default().add(LedgerMetric::ALL[*metric], *n);
            }
        }
        let live = self.live.iter().filter(|(hour, _)| !self.imported.contains_key(*hour));
        let live = live.filter(|((day, _), _)| !is_filled(day));
        for ((day, _), events) in live.chain(&self.imported) {
            for (_, metric) in events.iter().filter(|(of, _)| *of == repo) {
                days.entry(*day).or_default().add(LedgerMetric::ALL[*metric], 1);
            }
        }
        days
    }
}

/// Whether any hour of a day is there.
fn has_day(hours: &BTreeMap<(i32, i64), Vec<(u64, usize)>>, day: i32) -> bool {
    hours.keys().any(|(of, _)| *of == day)
}

#[test]
fn any_order_of_events_imports_and_folds_gives_the_plain_sums() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut runner = TestRunner::new(Config { cases: 24, ..Config::default() });
    let run = |steps: Vec<Step>| {
        let (_dir, store) = new_store();
        let mut plain = Plain::default();
        runtime.block_on(async {
            for step in steps {
                match step {
                    Step::Count(events) => {
                        for (repo, day, hour, metric) in &events {
                            plain.live.entry((*day, *hour)).or_default().push((*repo, *metric));
                        }
                        count(&store, events).await;
                    }
                    Step::Import(day, at, events) => {
                        let taken = import(&store, hour(day, at), events.clone()).await;
                        let is_final = !taken;
                        if !is_final {
                            plain.imported.insert((day, at), events);
                        }
                    }
                    Step::Fill(day, counts) => {
                        let is_counted = has_day(&plain.live, day)
                            || has_day(&plain.imported, day)
                            || plain.filled.contains_key(&day);
                        assert_eq!(fill(&store, day, counts.clone()).await, !is_counted);
                        if !is_counted {
                            plain.filled.insert(day, counts);
                        }
                    }
                    Step::Fold(day) => fold(&store, at(day, 0).plus(HOURS_FOR)).await,
                }
            }
        });
        for repo in 0..4 {
            prop_assert_eq!(counts_of(&store, repo), plain.counts_of(repo), "repository {}", repo);
        }
        Ok(())
    };
    runner.run(&steps(), run).unwrap();
}
