//! The picture in the README: the wall on the simulated GitHub, over a store with a made-up past.
//!
//! `make picture` copies it to `.github/wall.webp`.

use std::path::Path;

use ghpulse::clock::Clock;
use ghpulse::model::activity::{Activity, Coverage, MissedRange, SLOTS, Span};
use ghpulse::model::kinds::{COLUMNS, KINDS, column, sequence};
use ghpulse::model::window::{Day, Second, Timestamp};
use ghpulse::simulate::{Options, Shape};
use ghpulse::store::activity::put_coverage;
use ghpulse::store::keys::activity::ActivityKey;
use ghpulse::store::keys::{BucketKey, HourKey, HourMetric, HourSource, Scope, SizeKey};
use ghpulse::store::{Batch, Durability, Store, StoreError};

use super::{DRAWN, EVENTS_PASS, LIVE, TRUTH, WALL_FILLS, browser, shows};
use crate::common::running::{GitHub, Running};

/// Maximum size of the picture in bytes.
const BYTES: usize = 150_000;
/// Events a second by type, about as GitHub has them.
const RATES: [(&str, f64); 8] = [
    ("PushEvent", 47.0),
    ("PullRequestEvent", 24.0),
    ("IssueCommentEvent", 6.0),
    ("IssuesEvent", 3.0),
    ("WatchEvent", 7.0),
    ("ForkEvent", 1.5),
    ("CreateEvent", 9.0),
    ("DeleteEvent", 4.0),
];

/// Languages, with pull-request events of this hour and of the one before.
const LANGUAGES: [(&str, i64, i64); 9] = [
    ("TypeScript", 4_112, 3_730),
    ("Python", 3_874, 3_905),
    ("JavaScript", 2_390, 2_611),
    ("Java", 2_041, 1_990),
    ("Go", 1_733, 1_402),
    ("Rust", 1_298, 1_160),
    ("C++", 1_105, 1_170),
    ("C#", 964, 960),
    ("PHP", 640, 733),
];

/// The share of the usual rate at a time: a slow wave with a fast one on it.
fn wave(at: i64) -> f64 {
    let hours = f64::from(i32::try_from(at % 86_400).unwrap()) / 3_600.0;
    1.0 + 0.25 * ((hours - 15.0) * 0.26).cos() + 0.04 * (hours * 37.0).sin()
}

fn whole(value: f64) -> i64 {
    format!("{value:.0}").parse().unwrap()
}

fn activity(span: Span, at: i64) -> Activity {
    let mut activity = Activity::default();
    let seconds = span.slot_seconds();
    for slot in 0..SLOTS {
        let start = (at * i64::try_from(SLOTS).unwrap() + i64::try_from(slot).unwrap()) * seconds;
        for (kind, rate) in RATES {
            let length = f64::from(i32::try_from(seconds).unwrap());
            let count =
                whole(rate * length * wave(start + 977 * i64::try_from(kind.len()).unwrap()));
            activity.0[slot][column(kind)] = u32::try_from(count).unwrap();
        }
    }
    activity
}

/// A minute of which nearly everything was seen, except during one bad half hour.
fn coverage(minute: i64, now: i64) -> Coverage {
    let mut seen = [0; 2];
    for slot in activity(Span::Minute, minute).0 {
        for (kind, count) in KINDS.iter().zip(slot).take(COLUMNS) {
            seen[sequence(kind)] += u64::from(count);
        }
    }
    let share = match now - minute {
        400..430 => 0.16,
        430..470 => 0.05,
        _ => 0.004,
    };
    let missed = seen.map(|seen| {
        let estimate = f64::from(u32::try_from(seen).unwrap()) * share;
        MissedRange { low: 0.8 * estimate, estimate, high: 1.2 * estimate }
    });
    Coverage { watched: 1, known: 1, seen, missed, lag: Some(2_900) }
}

/// The days of this year that stand as imported: none in its first days.
fn imported(today: Day) -> std::ops::Range<i32> {
    let first = today.year().days().start;
    first + (today.0 - first) / 2..first + (today.0 - first) * 3 / 4
}

/// Pull requests of each day of the year before today; some days stand as imported.
fn put_days(batch: &mut Batch<'_>, today: Day) -> Result<(), StoreError> {
    for day in today.year().days().start..today.0 {
        let hour = Day(day).start().hour();
        let weekend = if day.rem_euclid(7) < 2 { 0.6 } else { 1.0 };
        let opened = whole(weekend * 9_000.0 * wave(i64::from(day) * 1_000));
        let is_imported = imported(today).contains(&day);
        let origin = if is_imported { HourSource::Archive } else { HourSource::Live };
        for (metric, count) in [
            (HourMetric::Opened, opened),
            (HourMetric::Merged, opened * 17 / 20),
            (HourMetric::Closed, opened / 12),
            (HourMetric::Events, opened * 5),
        ] {
            batch.add(&HourKey { hour, origin, metric }, count)?;
        }
        batch.add(&SizeKey { scope: Scope::DeveloperDay, period: day }, opened / 3)?;
    }
    let hour = today.start().hour();
    for (metric, count) in [(HourMetric::Opened, 6_120), (HourMetric::Merged, 5_240)] {
        batch.add(&HourKey { hour, origin: HourSource::Live, metric }, count)?;
    }
    let closed = HourKey { hour, origin: HourSource::Live, metric: HourMetric::Closed };
    batch.add(&closed, 530)?;
    batch.add(&SizeKey { scope: Scope::DeveloperDay, period: today.0 }, 2_214)?;
    let year = SizeKey { scope: Scope::DeveloperYear, period: today.year().0 };
    batch.add(&year, 412_318)?;
    Ok(())
}

/// Pull requests by language, of this hour and of the one before.
fn put_languages(batch: &mut Batch<'_>, now: i64) -> Result<(), StoreError> {
    for (language, current, before) in LANGUAGES {
        for (second, count) in [(now - 120, current), (now - 5_400, before)] {
            let language = language.to_owned();
            batch.add(&BucketKey { second: Second(second), language }, count)?;
        }
    }
    Ok(())
}

/// Writes counts as if the node had run for a day, and counted since January.
async fn put_past(dir: &Path) {
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    let now = Clock::system().now();
    let [minute, hour] = [Span::Minute, Span::Hour].map(|span| span.locate(now).0);
    let written = store.commit(move |batch| {
        let minutes = (minute - 25 * 60..minute).map(|at| (Span::Minute, at));
        for (span, at) in minutes.chain((hour - 25..hour).map(|at| (Span::Hour, at))) {
            batch.put(&ActivityKey { span, at }, &activity(span, at).encode());
            if span == Span::Minute {
                put_coverage(batch, span, at, &coverage(at, minute));
            }
        }
        put_languages(batch, now.second().0)?;
        put_days(batch, Timestamp::day(now))
    });
    written.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_of_the_wall_is_small() {
    let Some(mut browser) = browser("picture_of_the_wall_is_small").await else { return };
    let dir = tempfile::tempdir().unwrap();
    put_past(dir.path()).await;
    let github =
        GitHub::start(Options { rate: 100.0, shape: Shape::Today, ..Options::default() }).await;
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let mut page = browser.page(1_600, 900, "dark").await;
    page.open(&format!("http://{}/?wall", running.public)).await;
    let paths = usize::from(!imported(Clock::system().now().day()).is_empty());
    let days = format!("document.querySelectorAll('#day-chart path.imported').length === {paths}");
    let stars = "document.querySelectorAll('#top-stars li a').length >= 2 \
                 && Number(document.querySelector('#top-pushes b').textContent) >= 50";
    let enriched = "/enriched [0-9]/.test(document.getElementById('strip').innerText)";
    for what in [EVENTS_PASS, WALL_FILLS, LIVE, TRUTH, DRAWN, &days, stars, enriched] {
        shows(&mut page, what).await;
    }
    let bytes = page.picture("wall.webp").await;
    assert!(bytes < BYTES, "{bytes} bytes");
    browser.end().await;
    running.end().await;
}
