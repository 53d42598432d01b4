//! The database unavailable, frozen, slow, or misconfigured: each error says what to do, none
//! contains the password, and the last known figures remain visible.

use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse::config::{Secret, TidbConfig};
use ghpulse::model::part::PartState;
use ghpulse::tidb::{QueryLimits, check};

use super::database::{Database, Kind, PASSWORD, kind};
use super::node::{HASTY, Node, PATIENT, Pull, at, days, sums};
use crate::common::certificates::certify;
use crate::common::ports::free_port;
use crate::common::running::soon;

const NOW: &str = "2026-03-03T10:00:00Z";

const PULL: Pull = Pull {
    id: 1,
    actor: 7,
    repo: 1,
    action: "opened",
    lines: 10,
    created: "2026-03-01T08:00:00Z",
    received: "2026-03-01T08:00:00Z",
};

/// A database with one event, and a node that has synced with it.
async fn synced(kind: &Kind) -> (Database, Node, tempfile::TempDir) {
    let database = Database::start(kind).await;
    database.sql(&PULL.row()).await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), database.config(), NOW, PATIENT);
    node.synced().await;
    (database, node, dir)
}

fn one_is_shown(node: &Node) {
    let shown = node.shown_alone(2026);
    assert_eq!(days(&shown), [("2026-03-01".to_owned(), [1, 0, 0, 1])]);
    assert_eq!(sums(&shown), [0, 0, 1, 1]);
}

/// The error of a sync, which must match that of `ghpulse check`.
async fn refused(tidb: TidbConfig) -> String {
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), tidb.clone(), NOW, PATIENT);
    let said = node.failed().await;
    // Degraded if the other query succeeded.
    assert!(matches!(node.health().state, PartState::Down | PartState::Degraded));
    assert_eq!(node.health().error.as_deref(), Some(said.as_str()));
    node.end().await;
    let clock = Clock::starting_at(at(NOW));
    let wrong = check(&tidb, PATIENT, clock).await.expect_err("check finds it too");
    let checked: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    // The position of a syntax error depends on the surrounding text of the query.
    let same = |one: &String| one.split(" to use ").next() == said.split(" to use ").next();
    assert!(checked.iter().any(same), "{said}\n{checked:#?}");
    assert!(!format!("{checked:?}{wrong:?}{tidb:?}").contains(PASSWORD));
    said
}

fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[tokio::test]
async fn killed_database_delays_only_figures() {
    let Some(kind) = kind("killed_database_delays_only_figures") else {
        return;
    };
    let (mut database, node, _dir) = synced(&kind).await;
    assert_eq!(node.health().state, PartState::Ok);
    database.kill();
    let said = node.failed().await;
    says(&said, &["cannot connect to 127.0.0.1:", "tidb.port"]);
    assert_eq!(node.health().state, PartState::Degraded);
    one_is_shown(&node);
    let live = Pull { id: 2, received: "2026-03-03T10:10:00Z", ..PULL };
    node.apply(&[live]).await;
    assert_eq!(days(&node.shown_alone(2026))[0].1, [2, 0, 0, 2]);
    // It is back with its previous data: one event, by one developer.
    database.run();
    node.synced().await;
    assert_eq!(node.health().state, PartState::Ok);
    assert_eq!(node.health().error, None);
    node.end().await;
}

#[tokio::test]
async fn unresponsive_database_is_given_up_in_time() {
    let Some(kind) = kind("unresponsive_database_is_given_up_in_time") else { return };
    let (mut database, node, dir) = synced(&kind).await;
    node.end().await;
    let node = Node::start(dir.path(), database.config(), NOW, HASTY);
    database.freeze(true);
    let said = node.failed().await;
    says(&said, &["did not complete the login within 2000 ms"]);
    one_is_shown(&node);
    database.freeze(false);
    // It may need several attempts until it is as fast as this node requires.
    soon("it answers in time", async { while node.sync().await.error.is_some() {} }).await;
    one_is_shown(&node);
    node.end().await;
}

#[tokio::test]
async fn slow_query_times_out_and_the_other_succeeds() {
    let Some(kind) = kind("slow_query_times_out_and_the_other_succeeds") else {
        return;
    };
    let database = Database::start(&kind).await;
    database.sql(&PULL.row()).await;
    let mut tidb = database.config();
    tidb.yearly = "SELECT SLEEP(60), 1, 1, 1".to_owned();
    let dir = tempfile::tempdir().unwrap();
    let limits = QueryLimits { query: Duration::from_secs(6), ..PATIENT };
    let node = Node::start(dir.path(), tidb, NOW, limits);
    let synced = node.sync().await;
    // TiDB ends the query itself by the setting we send; MariaDB does not know the setting.
    assert!(synced.daily == Some(2) && synced.yearly.is_none(), "{synced}");
    says(&synced.error.unwrap(), &["tidb.sql.yearly"]);
    assert_eq!(days(&node.shown_alone(2026)).len(), 1);
    node.end().await;
}

#[tokio::test]
async fn slow_daily_query_does_not_prevent_the_yearly_one() {
    let Some(kind) = kind("slow_daily_query_does_not_prevent_the_yearly_one") else { return };
    let database = Database::start(&kind).await;
    database.sql(&PULL.row()).await;
    let mut tidb = database.config();
    // Cancelled by our own time limit, which closes the connection.
    tidb.events_daily = "SELECT '2026-03-01', 1, 1, 1, SLEEP(60)".to_owned();
    tidb.repo_languages = Some("SELECT 7, 'Rust'".to_owned());
    let dir = tempfile::tempdir().unwrap();
    let limits = QueryLimits { query: Duration::from_secs(3), ..PATIENT };
    let node = Node::start(dir.path(), tidb, NOW, limits);
    let synced = node.sync().await;
    assert_eq!((synced.daily, synced.yearly, synced.languages), (None, Some(2), Some(1)));
    assert!(!synced.is_complete());
    says(&synced.error.unwrap(), &["tidb.sql.eventsDaily"]);
    assert_eq!(sums(&node.shown_alone(2026)), [0, 0, 1, 1]);
    node.end().await;
}

#[tokio::test]
async fn sync_requested_while_one_runs_sees_changes_made_before_it() {
    let Some(kind) = kind("sync_requested_while_one_runs_sees_changes_made_before_it") else {
        return;
    };
    let database = Database::start(&kind).await;
    let mut tidb = database.config();
    // The yearly query has read its rows and waits for a lock, which this test holds.
    tidb.yearly = "SELECT COUNT(*), 0, 0, GET_LOCK('gate', 25) FROM github_events".to_owned();
    database.sql(&PULL.row()).await;
    let gate = database.locked("gate").await;
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), tidb, NOW, PATIENT);
    let early = node.sync();
    let late = async {
        // Requested once the first sync is in progress: it has a connection that runs the query.
        database.until_running("GET_LOCK(").await;
        database.sql(&Pull { id: 2, ..PULL }.row()).await;
        let released = async { gate.disconnect().await.unwrap() };
        tokio::join!(node.sync(), released).0
    };
    let (early, late) = tokio::join!(early, late);
    assert!(early.is_complete() && late.is_complete(), "{early} / {late}");
    assert_eq!(sums(&node.shown_alone(2026))[2], 2);
    node.end().await;
}

#[tokio::test]
async fn wrong_setup_is_reported_with_its_cure() {
    let Some(kind) = kind("wrong_setup_is_reported_with_its_cure") else { return };
    let database = Database::start(&kind).await;
    let right = database.config();
    let with = |change: &dyn Fn(&mut TidbConfig)| {
        let mut tidb = right.clone();
        change(&mut tidb);
        tidb
    };
    let said = refused(with(&|tidb| tidb.password = Some(Secret::new("wrong-one")))).await;
    says(&said, &["refused user `ghpulse`", "tidb.password"]);
    assert!(!said.contains("wrong-one"), "{said}");
    let said = refused(with(&|tidb| tidb.user = "nobody".to_owned())).await;
    says(&said, &["refused user `nobody`", "tidb.user"]);
    let said = refused(with(&|tidb| tidb.port = free_port())).await;
    says(&said, &["cannot connect to 127.0.0.1:", "tidb.host"]);
    let said = refused(with(&|tidb| tidb.host = "no-such-host.invalid".to_owned())).await;
    says(&said, &["cannot resolve host no-such-host.invalid", "tidb.host"]);
    // The error for a user without rights does not disclose whether the table exists.
    let said = refused(with(&|tidb| tidb.user = "stranger".to_owned())).await;
    says(&said, &["user `stranger` is missing a privilege", "SELECT"]);
    let said = refused(with(&|tidb| {
        tidb.user = "root".to_owned();
        tidb.password = None;
        tidb.db = "gharchive_old".to_owned();
    }))
    .await;
    says(&said, &["has no database `gharchive_old`", "tidb.db"]);
    let said = refused(with(&|tidb| {
        tidb.user = "root".to_owned();
        tidb.password = None;
        tidb.events_daily = "SELECT a, b, c, d, e FROM no_events".to_owned();
    }))
    .await;
    says(&said, &["tidb.sql.eventsDaily", "no_events", "correct the query"]);
    let said = refused(with(&|tidb| {
        tidb.yearly = "SELECT actor, repo_id, additions, deletions FROM github_events;".to_owned();
    }))
    .await;
    says(&said, &["tidb.sql.yearly", "actor", "correct the query"]);
    let said = refused(with(&|tidb| tidb.yearly = "SELEC 1, 2, 3, 4".to_owned())).await;
    says(&said, &["tidb.sql.yearly", "correct the query"]);
    let said =
        refused(with(&|tidb| tidb.yearly = "SELECT 1 AS developers, 2 AS b".to_owned())).await;
    says(&said, &["tidb.sql.yearly", "it has 2 columns (developers, b), not 4"]);
}

#[tokio::test]
async fn invalid_rows_are_reported_by_row_and_column() {
    let Some(kind) = kind("invalid_rows_are_reported_by_row_and_column") else { return };
    let (database, node, dir) = synced(&kind).await;
    node.end().await;
    let mut tidb = database.config();
    tidb.yearly = "SELECT 1 AS developers, 'a lot' AS repos, 1.5 AS c, NULL AS d".to_owned();
    let node = Node::start(dir.path(), tidb.clone(), NOW, PATIENT);
    says(&node.failed().await, &["tidb.sql.yearly", "column repos of row 1 is \"a lot\""]);
    // The other query's result was written, and the old sums are kept.
    one_is_shown(&node);
    node.end().await;
    tidb.events_daily = "SELECT 1 AS a, 2 AS b, 3 AS c, 4 AS d, 5 AS e".to_owned();
    let node = Node::start(dir.path(), tidb, NOW, PATIENT);
    says(&node.failed().await, &["tidb.sql.eventsDaily", "column a of row 1 is \"1\""]);
    one_is_shown(&node);
    node.end().await;
}

#[tokio::test]
async fn columns_may_have_any_order_and_type() {
    let Some(kind) = kind("columns_may_have_any_order_and_type") else { return };
    let database = Database::start(&kind).await;
    let mut tidb = database.config();
    // Columns by name, in reverse order; a DATETIME, DECIMALs, a text, a float.
    tidb.events_daily = "SELECT CAST(4 AS DECIMAL(20,3)) AS merged_prs, '3' AS closed_prs, \
                         2e0 AS opened_prs, 1 AS developers, \
                         CAST('2026-03-01 08:00:00' AS DATETIME) AS event_day"
        .to_owned();
    // Columns by position, because no name is known; a comment at the end.
    tidb.yearly = "SELECT 5, 6.00, CAST('64787714692' AS CHAR), NULL -- that is all".to_owned();
    let said = check(&tidb, PATIENT, Clock::starting_at(at(NOW))).await;
    let said = said.unwrap_or_else(|wrong| panic!("{wrong:?}"));
    says(&said, &["without TLS", "`gharchive`", "all queries are accepted"]);
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), tidb, NOW, PATIENT);
    node.synced().await;
    let shown = node.shown_alone(2026);
    assert_eq!(days(&shown), [("2026-03-01".to_owned(), [2, 4, 3, 1])]);
    assert_eq!(sums(&shown), [64_787_714_692, 0, 5, 6]);
    node.end().await;
}

#[tokio::test]
async fn concurrent_syncs_share_one_run() {
    let Some(kind) = kind("concurrent_syncs_share_one_run") else { return };
    let database = Database::start(&kind).await;
    database
        .sql("CREATE SEQUENCE gharchive.asked; GRANT ALL ON gharchive.* TO 'ghpulse'@'%'")
        .await;
    let mut tidb = database.config();
    tidb.yearly = "SELECT NEXTVAL(asked), SLEEP(1), 0, 0".to_owned();
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), tidb, NOW, PATIENT);
    let all = futures_util::future::join4(node.sync(), node.sync(), node.sync(), node.sync());
    let all = all.await;
    assert_eq!(all.0.error, None);
    assert!(all.0 == all.1 && all.1 == all.2 && all.2 == all.3, "{all:?}");
    assert_eq!(sums(&node.shown_alone(2026))[2], 1);
    node.synced().await;
    assert_eq!(sums(&node.shown_alone(2026))[2], 2);
    node.end().await;
}

#[tokio::test]
async fn tls_is_used_and_the_certificate_checked() {
    let Some(kind) = kind("tls_is_used_and_the_certificate_checked") else { return };
    let files = tempfile::tempdir().unwrap();
    certify(files.path());
    let file = |name: &str| files.path().join(name);
    let mut extra: Vec<String> = ["ca", "cert", "key"]
        .map(|what| format!("--ssl-{what}={}", file(&format!("{what}.pem")).display()))
        .into();
    if let Kind::TiDb(_) = kind {
        // TiDB reads these from a file.
        let entry = |what: &str| format!("ssl-{what} = {:?}\n", file(&format!("{what}.pem")));
        let text = format!("[security]\n{}{}", entry("cert"), entry("key"));
        std::fs::write(file("tidb.toml"), text).unwrap();
        extra = vec!["-config".to_owned(), file("tidb.toml").display().to_string()];
    }
    let database = Database::start_with(&kind, &extra).await;
    database.sql("ALTER USER 'ghpulse'@'%' REQUIRE SSL").await;
    let plain = database.config();
    // Both servers reject such a login like any other, without the reason.
    says(&refused(plain.clone()).await, &["refused user `ghpulse`", "tidb.tls: on"]);
    let public = TidbConfig { tls: true, ..plain };
    says(&refused(public.clone()).await, &["TLS handshake with 127.0.0.1:", "tidb.ca"]);
    let missing = TidbConfig { ca: Some(file("none.pem")), ..public.clone() };
    says(&refused(missing).await, &["cannot use `tidb.ca`", "none.pem"]);
    let no_certificate = TidbConfig { ca: Some(file("ca.key")), ..public.clone() };
    says(&refused(no_certificate).await, &["cannot use `tidb.ca`", "no PEM certificate"]);
    let ours = TidbConfig { ca: Some(file("ca.pem")), ..public };
    let said = check(&ours, PATIENT, Clock::starting_at(at(NOW))).await;
    let said = said.unwrap_or_else(|wrong| panic!("{wrong:?}"));
    says(&said, &["with TLS", "all queries are accepted"]);
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), ours.clone(), NOW, PATIENT);
    node.synced().await;
    node.end().await;
}

#[tokio::test]
async fn server_without_tls_is_reported() {
    let Some(kind) = kind("server_without_tls_is_reported") else { return };
    if let Kind::TiDb(_) = kind {
        eprintln!("skipped: server_without_tls_is_reported: TiDB makes itself a certificate");
        return;
    }
    let database = Database::start(&kind).await;
    let tidb = TidbConfig { tls: true, ..database.config() };
    says(&refused(tidb).await, &["does not offer TLS", "tidb.tls: off"]);
}
