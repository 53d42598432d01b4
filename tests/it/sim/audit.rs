//! The audit against the simulated GitHub over HTTP: types hidden without a hole in the ids are
//! found by GitHub's totals, and told wherever completeness is.

use super::*;
use crate::common::client::request;

/// What is hidden.
const HIDDEN: f64 = 0.6;
/// Starred repositories of which one must be in the sample.
const STARRED: usize = 20;
/// A horizon of 24 seconds, so that everything is known within a minute.
const QUICK: &[(&str, &str)] = &[
    ("GHPULSE_GITHUB_AUDIT_EVERY", "1s"),
    ("GHPULSE_GITHUB_AUDIT_WAIT", "6s"),
    ("GHPULSE_GITHUB_LOOP_BREAK", "100"),
];

fn share(status: &Value, kind: &str) -> Option<[f64; 3]> {
    serde_json::from_value(status["audit"]["shares"][kind]["share"].clone()).ok()
}

async fn status(appliance: &Running) -> Value {
    request(appliance.public, "GET", "/status?format=json", &[]).await.json()
}

#[tokio::test(flavor = "multi_thread")]
async fn totals_reveal_events_that_ids_do_not() {
    let github = GitHub::start(Options {
        rate: 120.0,
        shape: Shape::Today,
        seed: 31,
        remember: 1_000,
        ..Options::default()
    })
    .await;
    github.control.set_fault(Fault::new(FaultKind::Hidden).share(HIDDEN));
    let dir = tempfile::tempdir().unwrap();
    let mut appliance = Running::start(dir.path(), &github.url, QUICK).await;
    let known = until_some("the first shares are known", async || {
        let status = status(&appliance).await;
        share(&status, "pull_requests").and(share(&status, "stars")).map(|_| status)
    });
    let first = known.await;
    assert!(first["audit"]["panel"]["repositories"].as_u64() > Some(500), "{first}");

    // A restart keeps the sample and what was counted in it.
    appliance.end().await;
    appliance = Running::start(dir.path(), &github.url, QUICK).await;
    until_some("the sample is kept", async || {
        let status = status(&appliance).await;
        (status["audit"]["panel"]["repositories"].as_u64() > Some(500)).then_some(())
    })
    .await;
    // One interval in twenty misses the truth, so a later one may be the first that has it. Stars
    // are rare: their interval stays wide in so short a time. The simulated feed shows one in 40
    // events later than the audit waits here.
    for (kind, widest) in [("pull_requests", 0.4), ("stars", 0.9)] {
        until_some(&format!("{kind}: an interval that holds the truth"), async || {
            let [low, _, high] = share(&status(&appliance).await, kind)?;
            let holds = low < 1.0 - HIDDEN + 0.03 && high > (1.0 - HIDDEN) * 0.9;
            (holds && high - low < widest).then_some(())
        })
        .await;
    }
    // A share is unknown for a while when too little of the sample was read in time.
    until_some("the page has both shares", async || {
        let page = request(appliance.public, "GET", "/status?format=html", &[]).await.body;
        (page.contains("pull requests") && page.contains("stars")).then_some(())
    })
    .await;
    let hours = until_some("the hour has the shares", async || {
        let hours = request(appliance.public, "GET", "/completeness?since=2h", &[]).await.json();
        // The present hour may have begun just now.
        let mut all = hours["hours"].as_array()?.iter().rev();
        all.find(|hour| hour["audit"]["pull_requests"].is_array()).cloned()
    });
    let hour = hours.await;
    assert_eq!(hour["audit"]["pull_requests"].as_array().unwrap().len(), 3, "{hour}");

    // A repository of the sample has its own totals beside its counts.
    let events = github.control.emitted();
    let events = events.iter().rev().map(|event| serde_json::from_str::<Value>(event).unwrap());
    let starred = events.filter(|event| event["type"] == "WatchEvent").take(STARRED);
    let names: Vec<_> =
        starred.map(|event| event["repo"]["name"].as_str().unwrap().to_owned()).collect();
    let stated = until_some("a repository has its stated totals", async || {
        for name in &names {
            let repo = request(appliance.public, "GET", &format!("/repo/{name}"), &[]).await;
            let repo: Value = serde_json::from_str(&repo.body).unwrap();
            if repo["stated"]["stars"].is_u64() {
                return Some(repo);
            }
        }
        None
    });
    assert!(stated.await["stated"]["at"].is_string());
    appliance.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repositories_that_people_look_at_have_their_totals() {
    let options = Options { rate: 60.0, shape: Shape::Today, seed: 32, ..Options::default() };
    let github = GitHub::start(Options { remember: 1_000, ..options }).await;
    let (dir, lists) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // The sample is small, so that most of them are not in it.
    let mut settings = QUICK.to_vec();
    settings.push(("GHPULSE_GITHUB_AUDIT_REPOSITORIES", "100"));
    settings.push(("GHPULSE_LISTS_DIR", lists.path().to_str().unwrap()));
    let appliance = Running::start(dir.path(), &github.url, &settings).await;
    let top = until_some("the first of a ranking have their totals", async || {
        let top = request(appliance.public, "GET", "/top?by=pushes&limit=10", &[]).await;
        let top: Value = serde_json::from_str(&top.body).ok()?;
        let repos = top["repos"].as_array()?.clone();
        let are_known = repos.iter().all(|repo| repo["stated"]["stars"].is_u64());
        (repos.len() == 10 && are_known).then_some(top)
    });
    assert!(top.await["coverage"].is_object());
    until_some("they are watched, not sampled", async || {
        let panel = status(&appliance).await["audit"]["panel"].clone();
        (panel["watched"].as_u64() > Some(0) && panel["repositories"] == 100).then_some(())
    })
    .await;

    // A repository without totals gets them when it is on a list.
    let path = until_some("a repository without totals", async || {
        let events = github.control.emitted();
        let event: Value = serde_json::from_str(events.last()?).ok()?;
        let name = event["repo"]["name"].as_str()?.to_owned();
        let repo = request(appliance.public, "GET", &format!("/repo/{name}"), &[]).await;
        let repo: Value = serde_json::from_str(&repo.body).ok()?;
        (repo["id"].is_u64() && repo["stated"].is_null()).then_some(name)
    })
    .await;
    std::fs::write(lists.path().join("mine.txt"), &path).unwrap();
    until_some("a listed repository has its totals", async || {
        let repo = request(appliance.public, "GET", &format!("/repo/{path}"), &[]).await;
        let repo: Value = serde_json::from_str(&repo.body).ok()?;
        repo["stated"]["stars"].is_u64().then_some(())
    })
    .await;
    appliance.end().await;
}
