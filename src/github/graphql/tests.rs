use std::sync::Arc;

use super::*;
use crate::config::Secret;
use crate::github::tokens::{PoolOptions, QueryKind, TokenGrant, TokenPool};
use crate::http::fake::{FakeReply, FakeServer, SentRequest};

fn wanted(n: u64) -> Vec<WantedPull> {
    let one = |at| WantedPull { base_repo_id: 1, pull_id: 10 + at, repo: "o/n".into(), number: at };
    (0..n).map(one).collect()
}

async fn ask(
    form: AskedBy,
    n: u64,
    reply: impl Fn(&SentRequest) -> FakeReply + Send + Sync + Clone + 'static,
) -> (QueryOutcome, Arc<TokenPool>, Vec<SentRequest>) {
    let fake = FakeServer::start(reply).await;
    let clock = Clock::system();
    let options = PoolOptions { tokens: vec![Secret::new("ghp_x")], share: 0.9, burst: 3 };
    let pool = TokenPool::new(options, clock);
    let graphql = GraphQl::new(&format!("{}/graphql", fake.url), clock).unwrap();
    let Some(TokenGrant::Go(lease)) = pool.grant_query(QueryKind::Pulls) else {
        panic!("nothing was asked yet")
    };
    let outcome = graphql.ask(form, &wanted(n), lease).await;
    (outcome, pool, fake.asked())
}

async fn answered(form: AskedBy, n: u64, body: &'static str) -> QueryOutcome {
    ask(form, n, move |_| FakeReply::new(200, body)).await.0
}

fn found(outcome: QueryOutcome) -> Vec<PullLookup> {
    match outcome {
        QueryOutcome::Answered(found) => found,
        other => panic!("{other:?}"),
    }
}

const ONE: &str = r#"{"id":"PR_a","fullDatabaseId":"10","additions":3,"deletions":1,
    "changedFiles":2,"title":"T","isDraft":true,
    "baseRepository":{"databaseId":1,"primaryLanguage":{"name":"C"}}}"#;

#[tokio::test]
async fn node_ids_are_queried_and_answered_in_order() {
    let body = format!(r#"{{"data":{{"nodes":[{ONE},null]}}}}"#);
    let (outcome, _, asked) = ask(AskedBy::NodeIds, 2, move |_| FakeReply::new(200, &body)).await;
    let found = found(outcome);
    let PullLookup::Found(details) = &found[0] else { panic!("{found:?}") };
    assert_eq!(
        (details.additions, details.deletions, details.changed_files),
        (Some(3), Some(1), Some(2))
    );
    assert_eq!((details.title.as_deref(), details.draft), (Some("T"), Some(true)));
    assert_eq!(details.language, Language::Named("C".into()));
    assert_eq!(found[1], PullLookup::Gone);
    assert_eq!(asked[0].method, "POST");
    assert_eq!(asked[0].header("authorization"), Some("Bearer ghp_x"));
    let sent: serde_json::Value = serde_json::from_slice(&asked[0].body).unwrap();
    assert_eq!(sent["variables"]["ids"][0], crate::github::node_id::of_pull(1, 10));
}

#[tokio::test]
async fn names_are_queried_under_aliases() {
    let body = r#"{"data":{"p0":{"primaryLanguage":null,"pullRequest":{"id":"PR_z",
        "fullDatabaseId":"10","additions":3}},"p1":null,"p2":{"primaryLanguage":{"name":"C"},
        "pullRequest":{"fullDatabaseId":"99","additions":3}}},
        "errors":[{"type":"NOT_FOUND","path":["p1"],"message":"no"}]}"#;
    let (outcome, _, asked) = ask(AskedBy::Names, 3, move |_| FakeReply::new(200, body)).await;
    let found = found(outcome);
    let PullLookup::Found(details) = &found[0] else { panic!("{found:?}") };
    assert_eq!(details.language, Language::Absent);
    assert_eq!(details.node_id.as_deref(), Some("PR_z"));
    assert_eq!(found[1], PullLookup::Gone);
    assert_eq!(found[2], PullLookup::Gone, "another pull request has its name");
    let sent: serde_json::Value = serde_json::from_slice(&asked[0].body).unwrap();
    let query = sent["query"].as_str().unwrap();
    assert!(query.contains(r#"p1:repository(owner:"o",name:"n")"#), "{query}");
}

#[tokio::test]
async fn a_part_is_taken_and_the_rest_is_unanswered() {
    let body = r#"{"data":{"nodes":[{"additions":1,"deletions":2},null,null]},"errors":[
        {"type":"NOT_FOUND","path":["nodes",1],"message":"Could not resolve to a node"},
        {"type":"RESOURCE_LIMITS_EXCEEDED","message":"Resource limits for this query exceeded."}]}"#;
    let found = found(answered(AskedBy::NodeIds, 3, body).await);
    assert!(
        matches!(&found[0], PullLookup::Found(details) if details.language == Language::Unknown)
    );
    assert_eq!(found[1..], [PullLookup::Gone, PullLookup::Unanswered]);
}

#[tokio::test]
async fn overload_differs_from_refusal() {
    for status in [502, 504] {
        let (outcome, ..) =
            ask(AskedBy::NodeIds, 1, move |_| FakeReply::new(status, "<html>")).await;
        assert!(
            matches!(outcome, QueryOutcome::TooHeavy { is_reported: false, .. }),
            "{outcome:?}"
        );
    }
    let wrong = r#"{"data":null,"errors":[{"message":"Something went wrong while executing"}]}"#;
    let named = r#"{"data":null,"errors":[{"type":"RESOURCE_LIMITS_EXCEEDED","message":"no"}]}"#;
    for (body, is_named) in [(wrong, false), (named, true)] {
        let outcome = answered(AskedBy::NodeIds, 1, body).await;
        let QueryOutcome::TooHeavy { is_reported, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!(is_reported, is_named, "{body}");
    }
    let refused = r#"{"errors":[{"message":"Field 'x' doesn't exist on type 'PullRequest'"}]}"#;
    let outcome = answered(AskedBy::NodeIds, 1, refused).await;
    let QueryOutcome::Failed(error) = outcome else { panic!("{outcome:?}") };
    assert!(error.to_string().contains("Field 'x'"), "{error}");
    let outcome = answered(AskedBy::NodeIds, 1, "<html>").await;
    assert!(matches!(outcome, QueryOutcome::Failed(_)), "{outcome:?}");
}

#[tokio::test]
async fn exhausted_limit_blocks_the_token_until_the_reset() {
    let limited = r#"{"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}"#;
    let (outcome, pool, _) = ask(AskedBy::NodeIds, 1, move |_| {
        let reset = Clock::system().now().second().0 + 500;
        FakeReply::new(200, limited)
            .with("x-ratelimit-remaining", 0)
            .with("x-ratelimit-reset", reset)
    })
    .await;
    let QueryOutcome::Limited { wait: Some(wait) } = outcome else { panic!("{outcome:?}") };
    assert!((400..=500).contains(&wait.as_secs()), "{wait:?}");
    let Some(TokenGrant::Wait(until)) = pool.grant_query(QueryKind::Pulls) else {
        panic!("the token is used up")
    };
    assert!(until > Clock::system().instant() + Duration::from_secs(400));
    assert!(matches!(pool.grant(), TokenGrant::Go(_)), "pages have a limit of their own");
}

#[tokio::test]
async fn secondary_limit_differs_from_a_dead_token() {
    let secondary = r#"{"message":"You have exceeded a secondary rate limit."}"#;
    let (outcome, ..) =
        ask(AskedBy::Names, 1, move |_| FakeReply::new(403, secondary).with("retry-after", 7))
            .await;
    assert!(matches!(outcome, QueryOutcome::Limited { wait: Some(wait) } if wait.as_secs() == 7));
    let (outcome, pool, _) = ask(AskedBy::Names, 1, |_| FakeReply::new(401, "{}")).await;
    assert!(matches!(outcome, QueryOutcome::TokenDead { reason: DeadToken::Revoked }));
    assert!(pool.grant_query(QueryKind::Pulls).is_none(), "no token is left");
}

#[tokio::test]
async fn remaining_points_are_read_from_the_body() {
    let body = r#"{"data":{"rateLimit":{"cost":1,"remaining":0,"resetAt":"2999-01-01T00:00:00Z"},
        "nodes":[null]}}"#;
    let (_, pool, _) = ask(AskedBy::NodeIds, 1, move |_| FakeReply::new(200, body)).await;
    let Some(TokenGrant::Wait(until)) = pool.grant_query(QueryKind::Pulls) else {
        panic!("nothing is left")
    };
    let hour = Clock::system().instant() + Duration::from_secs(4_000);
    assert!(until < hour, "no window is longer than an hour and a little, whatever is said");
}

#[tokio::test]
async fn missing_permission_differs_from_a_missing_object() {
    let saml = r#"{"data":{"nodes":[null,null,null,null]},"errors":[
        {"type":"FORBIDDEN","path":["nodes",0],"extensions":{"saml_failure":true},
         "message":"Resource protected by organization SAML enforcement."},
        {"type":"NOT_FOUND","path":["nodes",1],"message":"Could not resolve to a node"},
        {"type":"INSUFFICIENT_SCOPES","path":["nodes",2],"message":"Your token"},
        {"path":["nodes",3],"message":"the `o` organization has an IP allow list enabled"}]}"#;
    let found = found(answered(AskedBy::NodeIds, 4, saml).await);
    let is_forbidden = |found: &PullLookup| matches!(found, PullLookup::Forbidden(_));
    assert!(is_forbidden(&found[0]) && is_forbidden(&found[2]) && is_forbidden(&found[3]));
    assert_eq!(found[1], PullLookup::Gone);
    // An error without a path applies to everything that is missing.
    let policy = r#"{"type":"FORBIDDEN","message":"The enterprise forbids access via a token."}"#;
    for data in [r#"{"nodes":[null,null]}"#, "null"] {
        let body = format!(r#"{{"data":{data},"errors":[{policy}]}}"#);
        let (outcome, ..) = ask(AskedBy::NodeIds, 2, move |_| FakeReply::new(200, &body)).await;
        let QueryOutcome::Answered(found) = outcome else { panic!("{outcome:?}") };
        assert!(found.iter().all(is_forbidden), "{found:?}");
    }
}

#[tokio::test]
async fn unreadable_value_drops_only_itself() {
    let deep = ["[", "]"].map(|bracket| bracket.repeat(200)).concat();
    for odd in [r#""half \ud83d""#, "1e999", &deep, r#""\udc00\u0000""#] {
        for form in [AskedBy::NodeIds, AskedBy::Names] {
            let pull = format!(
                r#"{{"id":"PR_a","fullDatabaseId":"10","additions":3,"deletions":{odd},"title":{odd},
                "baseRepository":{{"primaryLanguage":{{"name":{odd}}}}}}}"#
            );
            let fine = r#"{"fullDatabaseId":"11","additions":4,"deletions":2,"title":"T"}"#;
            let body = match form {
                AskedBy::NodeIds => format!(r#"{{"data":{{"nodes":[{pull},{fine}]}},"x":{odd}}}"#),
                AskedBy::Names => format!(
                    r#"{{"data":{{"p0":{{"pullRequest":{pull}}},"p1":{{"primaryLanguage":null,
                    "pullRequest":{fine}}}}},"extensions":{{"\ud83d":{odd}}}}}"#
                ),
            };
            let (outcome, ..) = ask(form, 2, move |_| FakeReply::new(200, &body)).await;
            let found = found(outcome);
            let details = |at: usize| match &found[at] {
                PullLookup::Found(details) => details.clone(),
                other => panic!("{odd}: {other:?}"),
            };
            assert_eq!((details(0).additions, details(0).deletions), (Some(3), None), "{odd}");
            assert_eq!((details(0).title, details(0).language), (None, Language::Unknown), "{odd}");
            assert_eq!((details(1).deletions, details(1).title.as_deref()), (Some(2), Some("T")));
        }
    }
}
