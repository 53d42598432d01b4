//! Days of repositories from the database fill the ledger's past, once, and where nothing was
//! counted here.

use ghpulse::model::part::PartState;

use super::database::{Database, kind};
use super::node::{Node, PATIENT};

/// It fails on a day that is in the table `broken` twice.
const QUERY: &str = "SELECT repo_id, repo_name, @ghpulse_day AS day, \
                     SUM(type = 'WatchEvent') AS stars, SUM(type = 'PushEvent') AS pushes \
                     FROM github_events WHERE event_day = @ghpulse_day AND event_day <> COALESCE( \
                     (SELECT day FROM broken WHERE day = event_day), '1970-01-01') \
                     GROUP BY repo_id, repo_name";

/// Stars of a repository by day, and how many.
async fn insert(database: &Database, stars: &[(u64, &str, usize)]) {
    let row = |(repo, day, _): &(u64, &str, usize)| {
        format!("('WatchEvent', {repo}, 'ann/r{repo}', '{day}', 2026)")
    };
    let rows = stars.iter().flat_map(|star| std::iter::repeat_n(row(star), star.2));
    let rows: Vec<String> = rows.collect();
    let into = "INSERT INTO gharchive.github_events (type, repo_id, repo_name, event_day, \
                event_year)";
    database.sql(&format!("{into} VALUES {}", rows.join(", "))).await;
}

fn days(days: &[(&str, u64)]) -> Vec<(String, u64)> {
    days.iter().map(|(day, stars)| ((*day).to_owned(), *stars)).collect()
}

#[tokio::test]
async fn the_database_fills_days_that_were_not_counted_here() {
    let name = "the_database_fills_days_that_were_not_counted_here";
    let Some(kind) = kind(name) else { return };
    let database = Database::start(&kind).await;
    database.sql("CREATE TABLE gharchive.broken (day DATE)").await;
    let twice = "INSERT INTO gharchive.broken VALUES ('2026-02-25'), ('2026-02-25')";
    database.sql(twice).await;
    let stars = [
        (7, "2026-03-09", 9),
        (7, "2026-03-06", 5),
        (7, "2026-03-05", 2),
        (8, "2026-03-05", 1),
        (7, "2026-02-25", 4),
        (7, "2026-02-20", 3),
        (7, "2025-12-01", 1),
    ];
    insert(&database, &stars).await;
    let mut tidb = database.config();
    tidb.repo_days = Some(QUERY.to_owned());
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), tidb.clone(), "2026-03-10T10:00:00Z", PATIENT);
    node.count_star(7, "2026-03-06T01:00:00Z").await;
    // It fails on one day; the later ones are filled, and what was counted here stands.
    let error = node.failed().await;
    assert!(error.contains("`tidb.sql.repoDays` failed with error 1242"), "{error}");
    assert_eq!(node.stars(7), days(&[("2026-03-05", 2), ("2026-03-06", 1)]));
    assert_eq!(node.stars(8), days(&[("2026-03-05", 1)]));
    node.end().await;

    // It continues where it was, to the last day with rows before 31 without.
    database.sql("DELETE FROM gharchive.broken").await;
    insert(&database, &[(7, "2026-03-05", 50)]).await;
    let node = Node::start(dir.path(), tidb.clone(), "2026-03-10T11:00:00Z", PATIENT);
    let synced = node.sync().await;
    assert_eq!((synced.error.as_deref(), synced.repo_days), (None, Some(2)), "{synced}");
    assert!(synced.to_string().contains("wrote 2 days into the ledger"), "{synced}");
    let known = [("2026-02-20", 3), ("2026-02-25", 4), ("2026-03-05", 2), ("2026-03-06", 1)];
    assert_eq!(node.stars(7), days(&known));
    let filled = node.filled();
    assert_eq!((filled.days, filled.rows, filled.next), (3, 4, None));
    let ends = (filled.oldest.as_deref(), filled.latest.as_deref());
    assert_eq!(ends, (Some("2026-02-20"), Some("2026-03-05")));
    assert_eq!(node.sync().await.repo_days, Some(0), "it is done");
    node.end().await;

    // Another query begins anew, and replaces nothing.
    insert(&database, &[(7, "2026-02-26", 6)]).await;
    tidb.repo_days = Some(format!("{QUERY} HAVING repo_id > 0"));
    let node = Node::start(dir.path(), tidb.clone(), "2026-03-10T12:00:00Z", PATIENT);
    assert_eq!(node.sync().await.repo_days, Some(1));
    let mut known = known.to_vec();
    known.insert(2, ("2026-02-26", 6));
    assert_eq!(node.stars(7), days(&known));
    node.end().await;

    for (wrong, said) in [
        ("SELECT repo_id FROM github_events", "repo_id, repo_name, day, and by name one or more"),
        ("SELECT 7 AS repo_id, 'a/b' AS repo_name, '2026-01-01' AS day, 1 AS stars", "is of"),
        ("SELECT repo_id, stars FROM github_events", "`tidb.sql.repoDays` does not fit database"),
    ] {
        tidb.repo_days = Some(wrong.to_owned());
        let node = Node::start(dir.path(), tidb.clone(), "2026-03-12T12:00:00Z", PATIENT);
        let error = node.failed().await;
        assert!(error.contains(said) && error.contains("tidb.sql.repoDays"), "{error}");
        assert_eq!(node.stars(7), days(&known));
        node.end().await;
    }
}

#[tokio::test]
async fn a_postponed_day_that_fails_again_is_no_failed_sync() {
    let Some(kind) = kind("a_postponed_day_that_fails_again_is_no_failed_sync") else { return };
    let database = Database::start(&kind).await;
    database.sql("CREATE TABLE gharchive.broken (day DATE)").await;
    database.sql("INSERT INTO gharchive.broken VALUES ('2026-03-05'), ('2026-03-05')").await;
    insert(&database, &[(7, "2026-03-05", 2), (7, "2026-03-04", 1)]).await;
    let mut tidb = database.config();
    tidb.repo_days = Some(QUERY.to_owned());
    let dir = tempfile::tempdir().unwrap();
    let start = |now: &str| Node::start(dir.path(), tidb.clone(), now, PATIENT);
    let node = start("2026-03-10T10:00:00Z");
    for _ in 0..3 {
        node.failed().await;
    }
    assert_eq!(node.sync().await.repo_days, Some(1), "the day before it");
    node.end().await;

    let node = start("2026-03-11T10:00:00Z");
    let synced = node.sync().await;
    assert_eq!((synced.error.as_deref(), synced.repo_days), (None, Some(0)), "{synced}");
    assert_eq!(node.health().state, PartState::Ok);
    let postponed = node.filled().postponed;
    assert_eq!((postponed.len(), &*postponed[0].tried), (1, "2026-03-09"));
    node.end().await;

    database.sql("DELETE FROM gharchive.broken").await;
    let node = start("2026-03-12T10:00:00Z");
    assert_eq!(node.sync().await.repo_days, Some(1));
    assert_eq!(node.stars(7), days(&[("2026-03-04", 1), ("2026-03-05", 2)]));
    assert!(node.filled().postponed.is_empty());
    node.end().await;
}
