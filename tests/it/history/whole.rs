//! A complete appliance with a database: the first message of `/sampling`, the responses of
//! `/sync-event` and `/readyz`, and the alert when the database is unavailable.

use ghpulse::clock::Clock;
use ghpulse::simulate::Options;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::database::{Database, PASSWORD, kind};
use crate::common::client::{Client, request};
use crate::common::running::{GitHub, Running, soon, until_some};
use crate::common::webhook::webhook;

#[tokio::test(flavor = "multi_thread")]
async fn first_message_has_the_figures_of_the_database() {
    let Some(kind) = kind("first_message_has_the_figures_of_the_database") else { return };
    let mut database = Database::start(&kind).await;
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let (port, year) = (database.port.to_string(), Clock::system().now().year());
    let (daily, yearly) = (
        format!("SELECT '{year}-01-01', 5, 4, 3, n FROM figures"),
        "SELECT 2373829, 7594633, 64787714692, 25243554672".to_owned(),
    );
    database.sql("CREATE TABLE gharchive.figures (n INT)").await;
    database.sql("INSERT INTO gharchive.figures VALUES (2)").await;
    let settings = [
        ("GHPULSE_TIDB_HOST", "127.0.0.1"),
        ("GHPULSE_TIDB_PORT", port.as_str()),
        ("GHPULSE_TIDB_USER", "ghpulse"),
        ("GHPULSE_TIDB_PASSWORD", PASSWORD),
        ("GHPULSE_TIDB_DB", "gharchive"),
        ("GHPULSE_TIDB_SQL_EVENTSDAILY", daily.as_str()),
        ("GHPULSE_TIDB_SQL_YEARLY", yearly.as_str()),
        // Sync only on request.
        ("GHPULSE_DISABLE_INTERVAL", "true"),
        ("GHPULSE_INTERVAL_LATEST", "100ms"),
    ];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    assert_eq!(first(&running).await["eventMap"], json!({}));
    let answer = request(running.public, "POST", "/sync-event", &[]).await;
    assert_eq!((answer.status, answer.json()["synced"].clone()), (200, json!(true)));
    let day = format!("{year}-01-01");
    let sums = json!({
        "additions": "64787714692", "deletions": "25243554672", "dev": "2373829",
        "repo": "7594633",
    });
    // The days are written before the year, and a tick may come between the two writes.
    let told = until_some("the database's figures and ours", async || {
        Some(first(&running).await).filter(|told| told["sumMap"] == sums)
    })
    .await;
    assert_eq!(told["eventMap"], json!({ day.as_str(): "9" }));
    assert_eq!(told["openMap"], json!({ day.as_str(): "4" }));
    assert_eq!(told["closeMap"], json!({ day.as_str(): "3" }));
    assert_eq!(told["mergeMap"], json!({ day.as_str(): "2" }));
    assert_eq!(told["devMap"], json!({ day.as_str(): "5" }));
    assert_eq!(tidb(&running).await["state"], "ok");
    // Without the database, the restarted appliance reports the same figures and the error.
    running.end().await;
    database.kill();
    let running = Running::start(dir.path(), &github.url, &settings).await;
    let again = until_some("figures after the restart", async || {
        Some(first(&running).await).filter(|told| told["eventMap"] != json!({}))
    })
    .await;
    assert_eq!(again, told);
    let answer = request(running.public, "GET", "/sync-event", &[]).await;
    assert_eq!(answer.json()["synced"], json!(false));
    assert!(answer.body.contains("cannot connect to 127.0.0.1"), "{}", answer.body);
    assert!(answer.status >= 500, "{}", answer.status);
    let state = tidb(&running).await;
    assert_eq!(state["state"], "degraded");
    assert!(state["error"].as_str().unwrap().contains("cannot connect"), "{state}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn database_outage_and_recovery_raise_alerts() {
    let name = "database_outage_and_recovery_raise_alerts";
    let Some(kind) = kind(name) else { return };
    let mut database = Database::start(&kind).await;
    let github = GitHub::start(Options::by_hand(2)).await;
    let dir = tempfile::tempdir().unwrap();
    let (webhook, mut posts) = webhook().await;
    let port = database.port.to_string();
    let settings = [
        ("GHPULSE_TIDB_HOST", "127.0.0.1"),
        ("GHPULSE_TIDB_PORT", port.as_str()),
        ("GHPULSE_TIDB_USER", "ghpulse"),
        ("GHPULSE_TIDB_PASSWORD", PASSWORD),
        ("GHPULSE_TIDB_DB", "gharchive"),
        ("GHPULSE_DISABLE_INTERVAL", "true"),
        ("GHPULSE_ALERTS_WEBHOOK", webhook.as_str()),
        ("GHPULSE_ALERTS_FORMAT", "json"),
        ("GHPULSE_ALERTS_TOLERANCE", "1"),
        ("GHPULSE_NODE_NAME", "box"),
    ];
    let running = Running::start(dir.path(), &github.url, &settings).await;
    database.kill();
    for _ in 0..3 {
        let answer = request(running.public, "POST", "/sync-event", &[]).await;
        assert_eq!(answer.json()["synced"], json!(false));
    }
    let told = soon("an alert is posted", of_tidb(&mut posts)).await.unwrap();
    assert_eq!(told["state"], json!("begins"));
    assert_eq!(told["node"], json!("box"));
    assert!(told["text"].as_str().unwrap().contains("cannot connect to 127.0.0.1"), "{told}");
    database.run();
    let answer = request(running.public, "POST", "/sync-event", &[]).await;
    assert_eq!(answer.json()["synced"], json!(true), "{}", answer.body);
    let told = soon("the end is posted", of_tidb(&mut posts)).await.unwrap();
    assert_eq!(told["state"], json!("over"));
    running.end().await;
    while let Ok(third) = posts.try_recv() {
        assert_ne!(third["condition"], json!("tidb_failing"), "there was a third");
    }
}

/// The next alert about the database; on a slow machine, the feed or the disk may cause others.
async fn of_tidb(posts: &mut mpsc::UnboundedReceiver<Value>) -> Option<Value> {
    loop {
        let told = posts.recv().await?;
        if told["condition"] == json!("tidb_failing") {
            return Some(told);
        }
    }
}

/// The first message to a new client of `/sampling`.
async fn first(running: &Running) -> Value {
    let mut client = Client::connect(running.public, "/sampling").await;
    client.json().await
}

async fn tidb(running: &Running) -> Value {
    let parts = request(running.ops, "GET", "/readyz", &[]).await.json();
    let list = parts.as_array().or_else(|| parts["parts"].as_array());
    let found = list.and_then(|parts| parts.iter().find(|part| part["name"] == "tidb"));
    found.unwrap_or_else(|| panic!("no part `tidb` in {parts}")).clone()
}
