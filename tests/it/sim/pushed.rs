//! The commits of pushes to repositories on lists are brought back, or the push says that they are
//! not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use ghpulse::simulate::QueryOptions;

use super::*;
use crate::common::client::request;

/// The whole payloads of pushes, by `push_id`.
fn truth(github: &GitHub) -> BTreeMap<u64, Value> {
    let pushes = github.control.pushes();
    let read = pushes.iter().map(|push| serde_json::from_str::<Value>(push).unwrap());
    read.map(|push| (push["push_id"].as_u64().unwrap(), push)).collect()
}

fn push_id(event: &Value) -> u64 {
    event["payload"]["push_id"].as_u64().unwrap()
}

/// The pushes that were emitted: the name of the repository, and the event.
fn emitted(github: &GitHub) -> Vec<(String, Value)> {
    let events = github.control.emitted();
    let read = events.iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
    let pushes = read.filter(|event| event["type"] == "PushEvent");
    pushes.map(|event| (event["repo"]["name"].as_str().unwrap().to_owned(), event)).collect()
}

/// Puts the repositories of every other push on a list. Returns their names.
fn list_half(github: &GitHub, dir: &Path, head: &str) -> BTreeSet<String> {
    let names = emitted(github).into_iter().map(|(name, _)| name).collect::<BTreeSet<_>>();
    let names: BTreeSet<String> = names.into_iter().step_by(2).collect();
    let lines: Vec<&str> = names.iter().map(String::as_str).collect();
    save(dir, &format!("{head}\n{}\n", lines.join("\n")));
    names
}

fn save(dir: &Path, text: &str) {
    let new = dir.join("mine.new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, dir.join("mine.txt")).unwrap();
}

/// The lines of pushes in the journal that this query selects.
async fn pushes(running: &Running, query: &str) -> Vec<Value> {
    let path = format!("/stream?poll=1&types=PushEvent&{query}");
    let answer = request(running.public, "GET", &path, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let lines = answer.body.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    lines.filter(|line| line["type"] == "event").collect()
}

/// Waits for exactly these pushes of the list, each once.
async fn until_pushed(running: &Running, wanted: &BTreeSet<u64>) -> Vec<Value> {
    until_some(&format!("the {} pushes of the list", wanted.len()), async || {
        let lines = pushes(running, "list=mine").await;
        let ids: BTreeSet<u64> = lines.iter().map(|line| push_id(&line["event"])).collect();
        assert_eq!(ids.len(), lines.len(), "none twice");
        (ids == *wanted).then_some(lines)
    })
    .await
}

fn shas(commits: &Value) -> Vec<&str> {
    let commits = commits.as_array().into_iter().flatten();
    commits.map(|commit| commit["sha"].as_str().unwrap()).collect()
}

/// Compares a push that has its commits with the truth. Returns whether they are all there.
fn check(line: &Value, truth: &BTreeMap<u64, Value>) -> bool {
    let (payload, whole) = (&line["event"]["payload"], &truth[&push_id(&line["event"])]);
    let is_whole = line["payload"]["enriched"] == 1;
    if is_whole {
        let mut expected = whole.clone();
        for commit in expected["commits"].as_array_mut().unwrap() {
            commit["distinct"] = Value::Null;
        }
        if whole["size"] != 0 {
            expected["distinct_size"] = Value::Null;
        }
        assert_eq!(*payload, expected);
        return true;
    }
    assert!(payload["size"].is_null() || payload["size"] == whole["size"], "{payload}");
    if whole["size"].as_u64().unwrap() <= 20 {
        let all = shas(&whole["commits"]);
        assert!(shas(&payload["commits"]).iter().all(|sha| all.contains(sha)), "{payload}");
    }
    false
}

#[tokio::test(flavor = "multi_thread")]
async fn listed_pushes_have_their_commits_while_the_feed_hides_most() {
    let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(31) }).await;
    github.control.set_fault(Fault::new(FaultKind::Withheld).share(0.9));
    github.control.emit(400);
    let (dir, lists) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let listed = list_half(&github, lists.path(), "complete: true");
    let settings = [
        PATIENT[0],
        ("GHPULSE_LISTS_DIR", lists.path().to_str().unwrap()),
        ("GHPULSE_LISTS_WITHIN", "1s"),
    ];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let on_list = |github: &GitHub| -> BTreeSet<u64> {
        let all = emitted(github).into_iter();
        all.filter(|(name, _)| listed.contains(name)).map(|(_, event)| push_id(&event)).collect()
    };
    let wanted = on_list(&github);
    assert!(wanted.len() > 40, "{}", wanted.len());
    until_pushed(&running, &wanted).await;
    github.control.emit(400);
    let wanted = on_list(&github);
    let lines = until_pushed(&running, &wanted).await;
    let truth = truth(&github);
    let whole = lines.iter().filter(|line| check(line, &truth)).count();
    assert!(whole * 10 > lines.len() * 8, "{whole} of {}", lines.len());
    let several = |line: &&Value| line["event"]["payload"]["size"].as_u64() > Some(1);
    assert!(lines.iter().filter(several).count() > 10);
    until_some("nothing is held for a bus", async || {
        let status = request(running.public, "GET", "/status?format=json", &[]).await.json();
        (status["bus"]["backlog_bytes"] == 0).then_some(())
    })
    .await;
    for line in pushes(&running, "list=!mine").await {
        let payload = line["event"]["payload"].as_object().unwrap();
        assert!(!payload.contains_key("commits") && !payload.contains_key("size"), "{line}");
        assert_eq!(line["payload"]["enriched"], 1, "{line}");
    }
    // Each commit is a document, once.
    let path = "/stream?poll=1&keys=ent.commits.*&list=mine";
    let documents = request(running.public, "GET", path, &[]).await.body;
    let shown: usize =
        lines.iter().map(|line| shas(&line["event"]["payload"]["commits"]).len()).sum();
    assert_eq!(documents.lines().filter(|line| line.contains(r#""entity""#)).count(), shown);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn push_without_an_answer_says_so_and_passes() {
    let one = Duration::from_secs(1);
    let late = |fault: FaultKind| Fault::always(fault).wait(60 * one);
    let soon = "500ms";
    let cases = [
        (QueryOptions::default(), Some(late(FaultKind::QuerySlow)), soon, "late"),
        (QueryOptions::default(), Some(late(FaultKind::QueryLimited)), soon, "late"),
        (QueryOptions::default(), Some(Fault::always(FaultKind::QueryBroken)), soon, "late"),
        (QueryOptions { limit: 1, ..QueryOptions::default() }, None, soon, "late"),
        (
            QueryOptions::default(),
            Some(Fault::always(FaultKind::QueryForbidden)),
            "10m",
            "forbidden",
        ),
    ];
    for (seed, (query, fault, deadline, reason)) in (40..).zip(cases) {
        let options = Options { shape: Shape::Today, query, ..Options::by_hand(seed) };
        let github = GitHub::start(options).await;
        github.control.emit(100);
        let (dir, lists) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let listed = list_half(&github, lists.path(), "");
        github.control.clear_faults();
        if let Some(fault) = fault.clone() {
            github.control.set_fault(fault);
        }
        let settings = [
            ("GHPULSE_GITHUB_ENRICH_DEADLINE", deadline),
            ("GHPULSE_GITHUB_ENRICH_BATCH", "1"),
            ("GHPULSE_LISTS_DIR", lists.path().to_str().unwrap()),
        ];
        let running = Running::start(dir.path(), &github.url, &settings).await;
        let all = emitted(&github).into_iter();
        let wanted = all.filter(|(name, _)| listed.contains(name));
        let wanted: BTreeSet<u64> = wanted.map(|(_, event)| push_id(&event)).collect();
        let lines = until_pushed(&running, &wanted).await;
        let without = lines.iter().filter(|line| line["payload"]["enriched"] == 0);
        let without: Vec<_> =
            without.filter(|line| line["event"]["payload"].get("commits").is_none()).collect();
        // With a limit of one point, one query is answered.
        assert!(without.len() + 1 >= lines.len() && lines.len() > 10, "{fault:?}: {lines:?}");
        until_some("they are counted", async || {
            let status = request(running.public, "GET", "/status?format=json", &[]).await.json();
            let counted = status["enrichment"]["unenriched"][reason].as_u64();
            counted.filter(|counted| *counted >= without.len() as u64)
        })
        .await;
        running.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pushes_pass_as_they_came_where_commits_are_off() {
    let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(50) }).await;
    github.control.emit(100);
    let (dir, lists) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let listed = list_half(&github, lists.path(), "");
    let settings = [
        PATIENT[0],
        ("GHPULSE_LISTS_COMMITS", "false"),
        ("GHPULSE_LISTS_DIR", lists.path().to_str().unwrap()),
    ];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let all = emitted(&github).into_iter().filter(|(name, _)| listed.contains(name));
    let wanted = all.map(|(_, event)| push_id(&event)).collect();
    for line in until_pushed(&running, &wanted).await {
        assert_eq!(line["payload"]["enriched"], 1);
        assert!(line["event"]["payload"].get("commits").is_none());
    }
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_of_commits_are_hashed_and_excluded_names_stay_out() {
    let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(51) }).await;
    github.control.emit(200);
    let (dir, lists) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut listed = list_half(&github, lists.path(), "");
    let excluded = listed.pop_first().unwrap();
    let settings = [
        PATIENT[0],
        ("GHPULSE_PRIVACY_HASHEMAILS", "on"),
        ("GHPULSE_PRIVACY_EXCLUDE", &excluded),
        ("GHPULSE_LISTS_DIR", lists.path().to_str().unwrap()),
    ];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let all = emitted(&github).into_iter().filter(|(name, _)| listed.contains(name));
    let wanted = all.map(|(_, event)| push_id(&event)).collect();
    let mut addresses = 0;
    for line in until_pushed(&running, &wanted).await {
        for commit in line["event"]["payload"]["commits"].as_array().into_iter().flatten() {
            let email = commit["author"]["email"].as_str().unwrap();
            let (local, domain) = email.split_once('@').unwrap();
            assert_eq!((local.len(), domain), (40, "users.noreply.github.com"), "{email}");
            addresses += 1;
        }
    }
    assert!(addresses > 20, "{addresses}");
    running.end().await;
}
