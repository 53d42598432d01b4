//! GitHub's limits per account, as simulated: all tokens of an account share them, and at most a
//! hundred of its requests are in flight at once.

use super::*;
use crate::common::client::request;
use crate::common::plan::{self, PUSHES};

/// The tokens of one account, as the simulated GitHub reads them.
fn tokens_of(account: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{account}/{n}")).collect()
}

async fn status(appliance: &Running) -> Value {
    request(appliance.public, "GET", "/status?format=json", &[]).await.json()
}

/// Waits until the status is as wanted.
async fn until(appliance: &Running, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until_some(what, async || Some(status(appliance).await).filter(&wanted)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn secondary_limit_pauses_all_tokens_of_the_account() {
    let options = Options { rate: 60.0, shape: Shape::Today, seed: 41, ..Options::default() };
    let github = GitHub::start(options).await;
    let dir = tempfile::tempdir().unwrap();
    let tokens = [tokens_of("alice", 40), tokens_of("bob", 2), vec!["ghs_app".to_owned()]];
    let tokens = tokens.concat().join(",");
    let settings = [("GHPULSE_GITHUB_TOKENS", tokens.as_str())];
    let appliance = Running::start(dir.path(), &github.url, &settings).await;
    let known = until(&appliance, "accounts are known", |s| s["source"]["accounts"] == 3).await;
    assert_eq!(known["source"]["tokens_usable"], 43);
    let page = request(appliance.public, "GET", "/status?format=html", &[]).await.body;
    assert!(page.contains("of 3 accounts") && !page.contains("alice"), "{page}");
    let outcomes = github.control.outcomes();
    assert_eq!((outcomes["user 200"], outcomes["user 403"]), (42, 1), "each was asked once");

    let wait = Duration::from_secs(600);
    github.control.set_fault(Fault::new(FaultKind::RetryAfter).token("alice").wait(wait));
    let away = |status: &Value| status["source"]["tokens_usable"] == 3;
    until(&appliance, "all of alice's tokens wait", away).await;
    let requests = github.control.requests();
    let on = github.control.until(|control| control.requests() > requests + 200);
    soon("the others go on", on).await;
    // Requests in flight when the first response arrived: four for each of three pages.
    let refused = github.control.outcomes()["429 retry-after"];
    assert!((1..=12).contains(&refused), "{refused} of 40 tokens were refused");
    appliance.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_has_up_to_a_hundred_requests_in_flight() {
    let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(42) }).await;
    let dir = tempfile::tempdir().unwrap();
    let tokens = tokens_of("alice", 30).join(",");
    // More pages than GitHub has, and events that must not wait long: the maximum number in flight.
    let settings = [
        ("GHPULSE_GITHUB_TOKENS", tokens.as_str()),
        ("GHPULSE_GITHUB_LOOP_BREAK", "1"),
        ("GHPULSE_GITHUB_ENRICH_BATCH", "1"),
    ];
    let appliance = Running::start(dir.path(), &github.url, &settings).await;
    until(&appliance, "accounts are known", |s| s["source"]["accounts"] == 1).await;
    github.control.emit(150);
    for kind in [FaultKind::Slow, FaultKind::QuerySlow] {
        github.control.set_fault(Fault::always(kind).wait(Duration::from_secs(1)));
    }
    let requests = github.control.requests();
    let asked = github.control.until(|c| c.requests() > requests + 14 && c.queries() > 5);
    soon("pages and queries are under way together", asked).await;
    let most = github.control.most_at_once();
    assert!((5..=100).contains(&most), "{most}");
    let outcomes = github.control.outcomes();
    assert!(!outcomes.keys().any(|outcome| outcome.contains("403")), "{outcomes:?}");
    appliance.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn token_of_a_replaced_file_is_used_at_once() {
    use std::os::unix::fs::symlink;
    let github = GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(43) }).await;
    let wait = Duration::from_secs(600);
    // The limit applies to the whole account: page requests wait as well.
    github.control.set_fault(Fault::new(FaultKind::QuerySecondary).token("alice").wait(wait));
    // As Kubernetes mounts a secret: the file is behind a symbolic link that is swapped.
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    for token in ["alice", "bob"] {
        std::fs::create_dir(at(token)).unwrap();
        std::fs::write(at(token).join("tokens"), format!("{token}\n")).unwrap();
    }
    symlink("alice", at("mounted")).unwrap();
    let file = at("mounted").join("tokens").display().to_string();
    let settings =
        [PATIENT[0], ("GHPULSE_GITHUB_TOKENS", ""), ("GHPULSE_GITHUB_TOKENSFILE", file.as_str())];
    let appliance = Running::start(&at("data"), &github.url, &settings).await;
    let mut client = Client::connect(appliance.public, "/sampling").await;
    client.json().await;
    client.subscribe(r#"{"samplingRate":1}"#).await;
    github.control.emit(100);
    let refused = |control: &ghpulse::simulate::Control| {
        control.outcomes().contains_key("graphql query-secondary")
    };
    soon("alice's token has to wait", github.control.until(refused)).await;
    github.control.emit(100);

    symlink("bob", at("next")).unwrap();
    let clock = ghpulse::clock::Clock::system();
    let swapped = clock.instant();
    std::fs::rename(at("next"), at("mounted")).unwrap();
    for _ in 0..200 {
        client.json().await;
    }
    let took = clock.instant() - swapped;
    println!("all events came {took:?} after the file was swapped");
    assert!(took < wait / 2, "{took:?}: not by waiting for alice's token");
    appliance.end().await;
    stored::assert_holds(&at("data"), &expected(&github));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_number_may_have_its_largest_accepted_value() {
    use ghpulse::config::{KEYS, ValueKind, show_duration};
    let most = |key: &ghpulse::config::ConfigKey| match key.kind {
        ValueKind::Whole(_, most) | ValueKind::Bytes(_, most) => {
            Some((key.variable(), most.to_string()))
        }
        ValueKind::Span(_, _, most) => Some((key.variable(), show_duration(most))),
        ValueKind::Share => Some((key.variable(), "1".to_owned())),
        _ => None,
    };
    let here = |key: &&ghpulse::config::ConfigKey| {
        ["api", "server", "github", "interval", "store"]
            .contains(&key.path.split('.').next().unwrap())
    };
    let settings: Vec<_> = KEYS.iter().filter(here).filter_map(most).collect();
    assert!(settings.len() > 25, "{settings:?}");
    let settings: Vec<_> = settings.iter().map(|(name, value)| (&**name, &**value)).collect();
    let github = GitHub::start(Options { shape: Shape::Old, ..Options::by_hand(44) }).await;
    github.control.emit(100);
    let dir = tempfile::tempdir().unwrap();
    let appliance = Running::start(dir.path(), &github.url, &settings).await;
    until_some("all is applied", async || {
        let ndjson = ["accept: application/x-ndjson"];
        let got = request(appliance.public, "GET", "/stream?poll=1", &ndjson).await;
        let events = got.body.lines().filter(|line| line.contains(r#""type":"event""#)).count();
        (events == 100).then_some(())
    })
    .await;
    appliance.end().await;
}

/// The figures of the README, which are computed from GitHub's limits, not measured at GitHub.
#[test]
fn one_token_sees_four_fifths_of_the_feed_and_three_see_all() {
    let seen = |tokens| {
        let (pushes, others) = plan::shares(tokens, 100.0);
        pushes * PUSHES + others * (1.0 - PUSHES)
    };
    let [one, three] = [1, 3].map(seen);
    assert!((0.75..0.85).contains(&one), "{one}");
    assert!(three > 0.995, "{three}");
}
