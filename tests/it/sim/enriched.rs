//! Events in today's format: fields that GitHub leaves out of pull requests are added, or the event
//! is marked as not enriched.

use ghpulse::model::envelope::Facts;

use super::*;
use crate::common::client::request;

async fn today(seed: u64) -> GitHub {
    GitHub::start(Options { shape: Shape::Today, ..Options::by_hand(seed) }).await
}

/// Emits events, runs an appliance until all are applied, and stops it.
async fn follow(github: &GitHub, dir: &std::path::Path, settings: &[(&str, &str)], steps: usize) {
    let appliance = Running::start(dir, &github.url, settings).await;
    let mut client = Client::connect(appliance.public, "/sampling").await;
    client.json().await;
    client.subscribe(r#"{"samplingRate":1}"#).await;
    for _ in 0..steps {
        github.control.emit(100);
        let requests = github.control.requests();
        let asked = github.control.until(|c| c.requests() > requests + 4);
        soon("GitHub is asked", asked).await;
        for _ in 0..100 {
            client.json().await;
        }
    }
    appliance.end().await;
}

/// Of events with missing fields: the number enriched, and the number not enriched.
fn shares(journal: &[(ghpulse::model::position::Position, Facts, Value)]) -> (usize, usize) {
    let about = journal.iter().filter(|(_, facts, _)| facts.flags.pr);
    let whole = about.clone().filter(|(_, facts, _)| facts.enriched).count();
    (whole, about.count() - whole)
}

#[tokio::test(flavor = "multi_thread")]
async fn todays_shape_gives_the_numbers_of_the_old_one() {
    let old = GitHub::start(Options { shape: Shape::Old, ..Options::by_hand(21) }).await;
    let github = today(21).await;
    let dir = tempfile::tempdir().unwrap();
    follow(&github, dir.path(), PATIENT, 5).await;
    old.control.emit(500);
    let (old, new) = (expected(&old), expected(&github));
    stored::assert_holds(dir.path(), &new);
    assert!(new.languages.len() > 10, "{:?}", new.languages);
    assert_eq!(old.languages, new.languages);
    let sums = |expected: &Expected| {
        let days = expected.days.values();
        days.map(|day| (day.open + day.merge + day.close, day.additions, day.deletions))
            .fold((0, 0, 0), |a, b| (a.0 + b.0, a.1 + b.1, a.2 + b.2))
    };
    assert_eq!(sums(&old), sums(&new));
    assert!(sums(&new).1 > 0);
    // A few queries rather than one per event.
    assert!(github.control.queries() < 40, "{}", github.control.queries());
}

#[tokio::test(flavor = "multi_thread")]
async fn pull_requests_of_a_poll_keep_their_order() {
    let github = today(27).await;
    // Many queries per poll, some of them slow.
    let slow = Fault::new(FaultKind::QuerySlow).share(0.4).wait(Duration::from_millis(700));
    github.control.set_fault(slow);
    let settings = [PATIENT[0], ("GHPULSE_GITHUB_ENRICH_BATCH", "4")];
    let dir = tempfile::tempdir().unwrap();
    follow(&github, dir.path(), &settings, 3).await;
    assert!(github.control.outcomes()["graphql query-slow"] > 3);
    let mut polls: BTreeMap<_, [Vec<(String, u64)>; 2]> = BTreeMap::new();
    for (_, facts, event) in stored::journal(dir.path()) {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let place = (text("created_at"), text("id").parse().unwrap());
        // A review has no missing fields if its repository is known, so it may pass straight
        // through.
        match (facts.flags.pr, event["payload"].get("pull_request")) {
            (true, _) => polls.entry(facts.received_at).or_default()[1].push(place),
            (false, None) => polls.entry(facts.received_at).or_default()[0].push(place),
            (false, Some(_)) => {}
        }
    }
    let longest = polls.values().map(|[_, pulls]| pulls.len()).max().unwrap();
    assert!(longest > 12, "no poll had several queries: {longest}");
    for (poll, [others, pulls]) in polls {
        assert!(others.is_sorted(), "{poll}: {others:?}");
        assert!(pulls.is_sorted(), "{poll}: {pulls:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_node_ids_are_found_out_at_the_start_and_later() {
    let github = today(22).await;
    let dir = tempfile::tempdir().unwrap();
    follow(&github, dir.path(), PATIENT, 2).await;
    github.control.set_fault(Fault::new(FaultKind::QueryIds));
    follow(&github, dir.path(), PATIENT, 2).await;
    stored::assert_holds(dir.path(), &expected(&github));

    let dir = tempfile::tempdir().unwrap();
    let github = today(23).await;
    let appliance = Running::start(dir.path(), &github.url, PATIENT).await;
    let mut client = Client::connect(appliance.public, "/sampling").await;
    client.json().await;
    client.subscribe(r#"{"samplingRate":1}"#).await;
    for step in 0..4 {
        if step == 2 {
            github.control.set_fault(Fault::new(FaultKind::QueryIds));
        }
        github.control.emit(100);
        for _ in 0..100 {
            client.json().await;
        }
    }
    appliance.end().await;
    stored::assert_holds(dir.path(), &expected(&github));
    let outcomes = github.control.outcomes();
    assert!(outcomes["graphql 200"] > 0 && outcomes["graphql query-ids"] > 1, "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_graphql_events_leave_at_their_deadline() {
    let github = today(24).await;
    github.control.set_fault(Fault::always(FaultKind::QueryBroken));
    let dir = tempfile::tempdir().unwrap();
    let hasty = [("GHPULSE_GITHUB_ENRICH_DEADLINE", "500ms")];
    follow(&github, dir.path(), &hasty, 2).await;
    let journal = stored::journal(dir.path());
    let (whole, lacking) = shares(&journal);
    assert_eq!((journal.len(), whole), (200, 0));
    assert!(lacking > 20);
    for (_, facts, event) in journal.iter().filter(|(_, facts, _)| facts.flags.pr) {
        let pull = &event["payload"]["pull_request"];
        assert!(facts.additions.is_none() && pull.get("additions").is_none(), "never 0: {pull}");
        assert!(pull["merged"].is_boolean());
    }
    github.control.clear_faults();
    follow(&github, dir.path(), PATIENT, 1).await;
    let (whole, still_lacking) = shares(&stored::journal(dir.path()));
    assert!(whole > 10 && still_lacking == lacking, "{whole} {still_lacking}");
    stored::assert_counted_as_known(dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_pull_request_is_published_without_fields() {
    let github = today(25).await;
    github.control.set_fault(Fault::always(FaultKind::QueryGone));
    let dir = tempfile::tempdir().unwrap();
    follow(&github, dir.path(), PATIENT, 3).await;
    let (whole, lacking) = shares(&stored::journal(dir.path()));
    assert!(whole > lacking && lacking > 5, "{whole} {lacking}");
    stored::assert_counted_as_known(dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_events_are_not_enriched() {
    let github = today(26).await;
    let dir = tempfile::tempdir().unwrap();
    let anonymous = [("GHPULSE_GITHUB_TOKENS", ""), ("GHPULSE_GITHUB_ENRICH_DEADLINE", "10m")];
    let appliance = Running::start(dir.path(), &github.url, &anonymous).await;
    let mut client = Client::connect(appliance.public, "/sampling").await;
    client.json().await;
    client.subscribe(r#"{"samplingRate":1}"#).await;
    github.control.emit(100);
    for _ in 0..100 {
        client.json().await;
    }
    let ready = request(appliance.ops, "GET", "/readyz", &[]).await;
    assert_eq!(ready.status, 200, "{ready:?}");
    assert!(ready.body.contains("github.tokens") && ready.body.contains("degraded"), "{ready:?}");
    appliance.end().await;
    assert_eq!(github.control.queries(), 0);
    let (whole, lacking) = shares(&stored::journal(dir.path()));
    assert!(whole == 0 && lacking > 10);
    stored::assert_counted_as_known(dir.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn forbidden_repository_is_queried_with_another_token() {
    let github = today(28).await;
    github.control.set_fault(Fault::new(FaultKind::QueryForbidden).token("alice"));
    let both = [PATIENT[0], ("GHPULSE_GITHUB_TOKENS", "alice/1,bob/1,alice/2")];
    let dir = tempfile::tempdir().unwrap();
    follow(&github, dir.path(), &both, 3).await;
    let (whole, lacking) = shares(&stored::journal(dir.path()));
    assert!(lacking == 0 && whole > 20, "{whole} {lacking}");
    assert!(github.control.outcomes()["graphql query-forbidden"] > 0);
    stored::assert_holds(dir.path(), &expected(&github));

    let github = today(29).await;
    github.control.set_fault(Fault::new(FaultKind::QueryForbidden).token("alice"));
    let alone = [PATIENT[0], ("GHPULSE_GITHUB_TOKENS", "alice/1,alice/2")];
    let dir = tempfile::tempdir().unwrap();
    let appliance = Running::start(dir.path(), &github.url, &alone).await;
    github.control.emit(100);
    until_some("they go out without, counted as forbidden", async || {
        let status = request(appliance.public, "GET", "/status?format=json", &[]).await.json();
        let forbidden = status["enrichment"]["unenriched"]["forbidden"].as_u64();
        forbidden.filter(|forbidden| *forbidden > 10)
    })
    .await;
    appliance.end().await;
}
