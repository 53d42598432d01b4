//! What the database returns and what is shown of it, over days, years, restarts and backlogs.

use super::database::{Database, kind};
use super::node::{Node, PATIENT, Pull, counted, days, sums};

const fn pull(id: i64, actor: i64, action: &'static str, created: &'static str) -> Pull {
    Pull { id, actor, repo: id % 2, action, lines: 10, created, received: created }
}

/// Two days of 2026 and one of 2025.
const PULLS: &[Pull] = &[
    pull(1, 7, "opened", "2026-03-01T08:00:00Z"),
    pull(2, 7, "opened", "2026-03-01T09:00:00Z"),
    pull(3, 8, "merged", "2026-03-01T10:00:00Z"),
    pull(4, 9, "closed", "2026-03-02T08:00:00Z"),
    pull(5, 9, "merged", "2026-03-02T09:00:00Z"),
    pull(6, 5, "opened", "2025-12-31T23:00:00Z"),
];

async fn insert(database: &Database, pulls: &[Pull]) {
    database.sql(&pulls.iter().map(Pull::row).collect::<String>()).await;
}

fn day(day: &str, figures: [i64; 4]) -> (String, [i64; 4]) {
    (day.to_owned(), figures)
}

#[tokio::test]
async fn the_peers_queries_are_shown_as_the_database_counts() {
    let Some(kind) = kind("the_peers_queries_are_shown_as_the_database_counts") else { return };
    let database = Database::start(&kind).await;
    insert(&database, PULLS).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), database.config(), "2026-03-03T10:00:00Z", PATIENT);
    let synced = node.sync().await;
    assert_eq!((synced.daily, synced.yearly, synced.error), (Some(6), Some(4), None));
    let shown = node.shown_alone(2026);
    let expected = [day("2026-03-01", [2, 1, 0, 2]), day("2026-03-02", [0, 1, 1, 1])];
    assert_eq!(days(&shown), expected);
    assert_eq!(sums(&shown), [20, 20, 3, 2]);
    node.end().await;
    // After a restart the stored figures are available at once, even without the database.
    drop(database);
    let away = database_that_is_away();
    let node = Node::start(dir.path(), away, "2026-03-03T11:00:00Z", PATIENT);
    assert_eq!(node.shown_alone(2026), shown);
    node.end().await;
}

fn database_that_is_away() -> ghpulse::config::TidbConfig {
    ghpulse::config::TidbConfig {
        host: "127.0.0.1".to_owned(),
        port: crate::common::ports::free_port(),
        user: "ghpulse".to_owned(),
        password: None,
        db: "gharchive".to_owned(),
        tls: false,
        ca: None,
        timeout: std::time::Duration::from_secs(60),
        events_daily: "SELECT 1".to_owned(),
        yearly: "SELECT 1".to_owned(),
        repo_languages: None,
        repo_days: None,
    }
}

#[tokio::test]
async fn the_table_of_the_page_has_what_the_default_queries_read() {
    let Some(kind) = kind("the_table_of_the_page_has_what_the_default_queries_read") else {
        return;
    };
    let database = Database::start(&kind).await;
    let page = include_str!("../../../config/README.md");
    let (_, table) = page.split_once("CREATE TABLE github_events").expect("the page has it");
    let (columns, _) = table.split_once(';').expect("it is a statement");
    database.sql("DROP TABLE gharchive.github_events").await;
    database.sql(&format!("CREATE TABLE gharchive.github_events {columns}")).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), database.config(), "2026-03-03T10:00:00Z", PATIENT);
    assert_eq!(node.sync().await.error, None);
    node.end().await;
}

#[tokio::test]
async fn empty_year_succeeds_without_figures() {
    let Some(kind) = kind("empty_year_succeeds_without_figures") else { return };
    let database = Database::start(&kind).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), database.config(), "2026-01-01T00:00:01Z", PATIENT);
    // COUNT returns 0 and SUM returns NULL.
    let synced = node.sync().await;
    assert_eq!((synced.daily, synced.yearly, synced.error), (Some(0), Some(0), None));
    let shown = node.shown_alone(2026);
    assert_eq!((days(&shown), sums(&shown)), (vec![], [0; 4]));
    node.end().await;
}

#[tokio::test]
async fn a_year_ends_and_the_next_begins_with_nothing() {
    let Some(kind) = kind("a_year_ends_and_the_next_begins_with_nothing") else { return };
    let database = Database::start(&kind).await;
    insert(&database, PULLS).await;
    let dir = tempfile::tempdir().unwrap();
    // The node's clock determines `YEAR(NOW())`, not the database's.
    let node = Node::start(dir.path(), database.config(), "2025-12-31T20:00:00Z", PATIENT);
    node.synced().await;
    let old = node.shown_alone(2025);
    assert_eq!(days(&old), [day("2025-12-31", [1, 0, 0, 1])]);
    assert_eq!(sums(&old), [0, 0, 1, 1]);
    // Midnight passes before the next sync: figures of the old year do not count for the new one.
    let first = pull(10, 5, "merged", "2026-01-01T00:00:03Z");
    node.apply(&[first]).await;
    let new = node.shown_alone(2026);
    assert_eq!(days(&new), [day("2026-01-01", [0, 1, 0, 1])]);
    assert_eq!(sums(&new), [10, 10, 1, 1]);
    node.end().await;
    // After the sync they are the database's.
    let node = Node::start(dir.path(), database.config(), "2026-03-03T00:00:00Z", PATIENT);
    node.synced().await;
    assert_eq!(sums(&node.shown_alone(2026)), [20, 20, 3, 2]);
    assert_eq!(sums(&node.shown_alone(2025)), [0; 4]);
    node.end().await;
}

#[tokio::test]
async fn day_adds_own_counts_to_the_database() {
    let Some(kind) = kind("day_adds_own_counts_to_the_database") else { return };
    let database = Database::start(&kind).await;
    insert(&database, PULLS).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), database.config(), "2026-03-02T20:00:00Z", PATIENT);
    node.synced().await;
    node.apply(&[pull(11, 7, "opened", "2026-03-03T00:00:01Z")]).await;
    let shown = node.shown(counted(2026, "2026-03-03", 1));
    assert_eq!(days(&shown)[2], day("2026-03-03", [1, 0, 0, 1]));
    node.end().await;
    // The database also has that event, and two that this node never saw.
    insert(&database, &[pull(11, 7, "opened", "2026-03-03T00:00:01Z")]).await;
    insert(&database, &[pull(12, 8, "opened", "2026-03-03T00:10:00Z")]).await;
    insert(&database, &[pull(13, 9, "opened", "2026-03-03T00:20:00Z")]).await;
    let node = Node::start(dir.path(), database.config(), "2026-03-03T01:00:00Z", PATIENT);
    node.synced().await;
    assert_eq!(days(&node.shown(counted(2026, "2026-03-03", 1)))[2].1[0], 3);
    node.apply(&[pull(14, 4, "opened", "2026-03-03T01:30:00Z")]).await;
    assert_eq!(days(&node.shown(counted(2026, "2026-03-03", 2)))[2].1[0], 4);
    node.end().await;
}

#[tokio::test]
async fn figure_falls_with_the_database() {
    let Some(kind) = kind("figure_falls_with_the_database") else { return };
    let database = Database::start(&kind).await;
    insert(&database, PULLS).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), database.config(), "2026-03-03T10:00:00Z", PATIENT);
    node.synced().await;
    database.sql("DELETE FROM gharchive.github_events WHERE id IN (1, 4, 5)").await;
    node.synced().await;
    let shown = node.shown_alone(2026);
    assert_eq!(days(&shown), [day("2026-03-01", [1, 1, 0, 2])]);
    assert_eq!(sums(&shown), [10, 10, 2, 2]);
    // But never below what this node counted.
    let shown = node.shown(counted(2026, "2026-03-01", 9));
    assert_eq!(days(&shown), [day("2026-03-01", [9, 1, 0, 2])]);
    node.end().await;
}

#[tokio::test]
async fn a_backlog_that_is_replayed_after_a_sync_is_not_counted_twice() {
    let Some(kind) = kind("a_backlog_that_is_replayed_after_a_sync_is_not_counted_twice") else {
        return;
    };
    let database = Database::start(&kind).await;
    insert(&database, PULLS).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), database.config(), "2026-03-03T10:00:00Z", PATIENT);
    node.synced().await;
    let before = node.shown_alone(2026);
    // The bus delivers all earlier events, which the database has already counted.
    node.apply(&PULLS[..3]).await;
    node.apply(&PULLS[3..]).await;
    assert_eq!(node.shown_alone(2026), before);
    // Live events are added to every figure, and remain after a restart.
    let live = Pull { received: "2026-03-03T10:30:00Z", ..PULLS[4] };
    node.apply(&[live]).await;
    node.end().await;
    let node = Node::start(dir.path(), database.config(), "2026-03-03T10:31:00Z", PATIENT);
    let shown = node.shown_alone(2026);
    assert_eq!(days(&shown)[1], day("2026-03-02", [0, 2, 1, 2]));
    assert_eq!(sums(&shown), [30, 30, 4, 3]);
    node.apply(PULLS).await;
    assert_eq!(node.shown_alone(2026), shown);
    node.end().await;
}
