//! The pictures in the manual: a list, the audit, a star chart and the archive, as the pages show
//! them on a server that follows the simulated GitHub, of which 90 % is not in the public feed.
//!
//! `make picture` copies them to `src/manual/pictures`.

use std::path::Path;

use ghpulse::clock::Clock;
use ghpulse::model::activity::{Coverage, MissedRange, Span};
use ghpulse::model::ledger::LedgerMetric;
use ghpulse::model::window::{Day, Timestamp};
use ghpulse::simulate::{Fault, FaultKind, Options, Shape};
use ghpulse::store::activity;
use ghpulse::store::ledger::counting::{LedgerCounting, LedgerEvent};
use serde_json::{Value, json};

use super::{browser, shows};
use crate::common::client::request;
use crate::common::listed::ListedFiles;
use crate::common::running::{GitHub, Running, until_some};
use crate::common::stored::released;

/// Maximum size of all four pictures in bytes.
const BYTES: usize = 150_000;
/// Repositories on the list.
const LISTED: usize = 4;
/// Days of the past that the chart shows.
const DAYS: i32 = 90;

/// A repository of the list: id, name, and the stars that GitHub states.
struct StarredRepo(u64, String, u64);

/// Names of repositories in GitHub's feed.
fn names(github: &GitHub) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for text in github.control.emitted() {
        let event: Value = serde_json::from_str(&text).unwrap();
        let name = event["repo"]["name"].as_str().unwrap().to_owned();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.truncate(LISTED);
    names
}

/// Waits until the totals of the list's repositories are known; returns the one with most stars.
async fn starred(running: &Running, names: &[String]) -> StarredRepo {
    until_some("stars that GitHub states", async || {
        let mut all = Vec::new();
        for name in names {
            let repo = request(running.public, "GET", &format!("/repo/{name}"), &[]).await;
            let repo: Value = serde_json::from_str(&repo.body).ok()?;
            if let (Some(id), Some(stars)) = (repo["id"].as_u64(), repo["stated"]["stars"].as_u64())
            {
                all.push(StarredRepo(id, name.clone(), stars));
            }
        }
        (all.len() >= names.len() / 2).then_some(())?;
        all.into_iter().max_by_key(|repo| repo.2)
    })
    .await
}

/// Writes stars of the days before today, most of the feed seen, as if the node had run then.
async fn put_past(dir: &Path, StarredRepo(repo, name, stars): StarredRepo, today: Day) {
    let store = released(dir).await;
    let most = stars / 200;
    let written = store.commit(move |batch| {
        let mut counting = LedgerCounting::default();
        for day in today.0 - DAYS..today.0 {
            let midnight = Day(day).start();
            let wave = u64::from(day.unsigned_abs() * 37 % 11) + u64::from(day % 30 == 0) * 20;
            for _ in 0..(wave * most / 12).max(1) {
                let (metric, language) = (LedgerMetric::Stars, None);
                let created_at = Timestamp::from_seconds(midnight.second().0 + 3_600);
                let name = Some(name.as_str());
                let received_at = created_at;
                let event = LedgerEvent { repo, name, created_at, received_at, metric, language };
                counting.count(batch, event);
            }
            let hour = midnight.hour().0;
            for at in hour..hour + 24 {
                let missed = MissedRange { low: 18_000.0, estimate: 21_000.0, high: 24_000.0 };
                let (seen, missed) = ([250_000, 9_000], [missed, MissedRange::default()]);
                let coverage = Coverage { watched: 60, known: 60, seen, missed, lag: Some(3_000) };
                activity::put_coverage(batch, Span::Hour, at, &coverage);
            }
        }
        counting.write(batch)
    });
    written.await.unwrap();
}

/// Writes files as an archive of some hours has them; of the sizes of real ones, but empty.
fn put_hours(dir: &Path, today: Day) {
    let missed = [0.031, 0.027, 0.048, 0.022, 0.095, 0.024];
    for (hour, missed) in missed.into_iter().enumerate() {
        let stem = format!("{}-{}", Day(today.0 - 1), hour + 7);
        for (ending, size) in [("json.gz", 61_000_000_u64), ("parquet", 74_000_000)] {
            let file = std::fs::File::create(dir.join(format!("{stem}.{ending}"))).unwrap();
            file.set_len(size + 700_001 * hour as u64).unwrap();
        }
        let about = json!({"missed_share": [missed * 0.8, missed, missed * 1.3], "cut": hour == 0});
        std::fs::write(dir.join(format!("{stem}.coverage.json")), about.to_string()).unwrap();
    }
}

/// The card of `/status` with this title, as an expression.
fn card(title: &str) -> String {
    format!(
        "[...document.querySelectorAll('#cards section')].find((card) => \
         card.querySelector('h2').textContent.startsWith('{title}'))"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_of_the_manual_are_small() {
    let Some(mut browser) = browser("pictures_of_the_manual_are_small").await else { return };
    let options = Options { rate: 150.0, shape: Shape::Today, seed: 5, ..Options::default() };
    let faults = vec![Fault::new(FaultKind::Withheld).share(0.9)];
    let github = GitHub::start(Options { remember: 1_000, faults, ..options }).await;
    let (dir, names) = (tempfile::tempdir().unwrap(), names(&github));
    let files = ListedFiles::new("databases", &names);
    let today = Clock::system().now().day();
    put_hours(files.hours(), today);
    let settings = files.settings(&[]);
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let repo = starred(&running, &names).await;
    running.end().await;
    let path = format!("/repo/{}.svg", repo.1);
    put_past(dir.path(), repo, today).await;

    let running = Running::start(dir.path(), &github.url, &settings).await;
    let mut page = browser.page(1_100, 900, "light").await;
    page.open(&format!("http://{}/status", running.public)).await;
    let mut bytes = 0;
    for (title, is_known, file) in [
        ("Lists", "/[1-9][0-9,]* only from own feeds/", "list.webp"),
        ("Seen by", "/pull requests\\s+[0-9.]+ %/", "audit.webp"),
    ] {
        let card = card(title);
        shows(&mut page, &format!("{is_known}.test({card}.innerText)")).await;
        bytes += page.picture_of(&card, file).await;
    }
    page.open(&format!("http://{}/archive/", running.public)).await;
    shows(&mut page, "document.querySelectorAll('tbody tr').length >= 6").await;
    bytes += page.picture_of("document.querySelector('table')", "archive.webp").await;
    let chart = until_some("a chart with GitHub's total", async || {
        let chart = request(running.public, "GET", &path, &[]).await.body;
        (chart.contains("GitHub states") && chart.contains(" stars in 90 days")).then_some(chart)
    });
    let chart = chart.await;
    bytes += chart.len();
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("stars.svg"), chart).unwrap();
    assert!(bytes < BYTES, "{bytes} bytes");
    browser.end().await;
    running.end().await;
}
