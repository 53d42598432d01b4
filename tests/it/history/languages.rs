//! Languages of repositories from the database: which of them are stored, and how they replace
//! requests to GitHub that cannot be made.

use std::collections::BTreeMap;

use ghpulse::simulate::{Options, Shape};
use serde_json::{Value, json};

use super::database::{Database, PASSWORD, kind};
use super::node::{Node, PATIENT, at};
use crate::common::client::{Client, request};
use crate::common::running::{GitHub, Running, soon};
use crate::common::stored;

const QUERY: &str = "SELECT repo_id, language, MAX(created_at) AS as_of FROM github_events \
                     WHERE language <> '' GROUP BY repo_id, language LIMIT 100000";

async fn insert(database: &Database, rows: &[(u64, &str, &str)]) {
    let rows: Vec<String> = rows
        .iter()
        .map(|(repo, language, at)| format!("('WatchEvent', {repo}, '{language}', '{at}', 2026)"))
        .collect();
    let into =
        "INSERT INTO gharchive.github_events (type, repo_id, language, created_at, event_year)";
    database.sql(&format!("{into} VALUES {}", rows.join(", "))).await;
}

#[tokio::test]
async fn languages_come_with_the_days_and_never_replace_newer_ones() {
    let name = "languages_come_with_the_days_and_never_replace_newer_ones";
    let Some(kind) = kind(name) else { return };
    let database = Database::start(&kind).await;
    let rows = [
        (7, "C", "2026-02-01 10:00:00"),
        (7, "Zig", "2026-02-20 10:00:00"),
        (8, "", "2026-02-01 10:00:00"),
        (9, "Ada", "2026-03-01 09:00:00"),
    ];
    insert(&database, &rows).await;
    let mut tidb = database.config();
    tidb.repo_languages = Some(QUERY.to_owned());
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), tidb.clone(), "2026-03-01T10:00:00Z", PATIENT);
    let synced = node.sync().await;
    assert_eq!((synced.error.as_deref(), synced.languages), (None, Some(2)), "{synced}");
    assert!(synced.to_string().contains("wrote 2 languages of repositories"), "{synced}");
    let known = |repo, language: &str, as_of| {
        assert_eq!(node.language(repo), Some((language.to_owned(), at(as_of))));
    };
    known(7, "Zig", "2026-02-20T10:00:00Z");
    known(9, "Ada", "2026-03-01T09:00:00Z");
    assert_eq!(node.language(8), None);
    // An equal value changes nothing; a newer one does, an older one does not.
    assert_eq!(node.sync().await.languages, Some(0));
    insert(&database, &[(7, "Rust", "2026-02-28 10:00:00"), (9, "C", "2026-02-28 10:00:00")]).await;
    assert_eq!(node.sync().await.languages, Some(1));
    known(7, "Rust", "2026-02-28T10:00:00Z");
    known(9, "Ada", "2026-03-01T09:00:00Z");
    node.end().await;
    // A wrong query is named in the error, and the figures are still there.
    tidb.repo_languages = Some("SELECT repo_id, tongue FROM github_events".to_owned());
    let node = Node::start(dir.path(), tidb.clone(), "2026-03-01T11:00:00Z", PATIENT);
    let synced = node.sync().await;
    assert!(synced.daily.is_some() && synced.yearly.is_some() && synced.languages.is_none());
    let error = synced.error.unwrap();
    assert!(error.contains("`tidb.sql.repoLanguages` does not fit database"), "{error}");
    node.end().await;
    // Without the query, nothing is requested.
    tidb.repo_languages = None;
    let node = Node::start(dir.path(), tidb, "2026-03-01T12:00:00Z", PATIENT);
    let synced = node.sync().await;
    assert_eq!((synced.error, synced.languages), (None, None));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_token_languages_come_from_the_database() {
    let name = "without_a_token_languages_come_from_the_database";
    let Some(kind) = kind(name) else { return };
    let database = Database::start(&kind).await;
    // The same world, some time earlier.
    let options = || Options { shape: Shape::Today, ..Options::by_hand(61) };
    let earlier = GitHub::start(options()).await;
    earlier.control.emit(250);
    let mut languages = BTreeMap::new();
    for pull in earlier.control.pull_requests() {
        let pull: Value = serde_json::from_str(&pull).unwrap();
        let base = &pull["base"]["repo"];
        if let Some(language) = base["language"].as_str() {
            languages.insert(base["id"].as_u64().unwrap(), language.to_owned());
        }
    }
    // Old enough to be forgotten, if they had been learned from GitHub.
    let rows: Vec<_> = languages
        .iter()
        .map(|(repo, name)| (*repo, name.as_str(), "2019-02-01 10:00:00"))
        .collect();
    insert(&database, &rows).await;
    let (github, dir) = (GitHub::start(options()).await, tempfile::tempdir().unwrap());
    let port = database.port.to_string();
    let settings = [
        ("GHPULSE_GITHUB_TOKENS", ""),
        ("GHPULSE_TIDB_HOST", "127.0.0.1"),
        ("GHPULSE_TIDB_PORT", port.as_str()),
        ("GHPULSE_TIDB_USER", "ghpulse"),
        ("GHPULSE_TIDB_PASSWORD", PASSWORD),
        ("GHPULSE_TIDB_DB", "gharchive"),
        ("GHPULSE_TIDB_SQL_REPOLANGUAGES", QUERY),
        ("GHPULSE_DISABLE_INTERVAL", "true"),
        ("GHPULSE_INTERVAL_LATEST", "100ms"),
    ];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let answer = request(running.public, "POST", "/sync-event", &[]).await.json();
    assert_eq!(answer["synced"], json!(true), "{answer}");
    let said = format!("wrote {} languages", languages.len());
    assert!(answer["message"].as_str().unwrap().contains(&said), "{answer}");
    let mut wall = Client::connect(running.public, "/language/latest").await;
    wall.subscribe("{}").await;
    let mut reader = Client::connect(running.public, "/sampling").await;
    reader.json().await;
    reader.subscribe(r#"{"samplingRate":1}"#).await;
    github.control.emit(250);
    for _ in 0..250 {
        reader.json().await;
    }
    soon("the wall shows it", async { while wall.json().await == json!({}) {} }).await;
    running.end().await;
    let mut counted = 0;
    for (_, facts, event) in stored::journal(dir.path()).iter().filter(|(_, f, _)| f.flags.pr) {
        let repo = event["payload"]["pull_request"]["base"]["repo"]["id"].as_u64().unwrap();
        assert_eq!(facts.language.as_ref(), languages.get(&repo), "repository {repo}");
        counted += usize::from(facts.language.is_some());
        assert!(!facts.enriched, "its size is not known");
    }
    assert!(counted > 10, "{counted}");
}
