//! ghpulse feeding a real RabbitMQ: delivers what GHTorrent's readers were promised, to their own
//! client, and loses nothing when the broker or the feeder stops.
//!
//! Without a RabbitMQ the tests fail with a message, unless `GHPULSE_TEST_WITHOUT_SERVERS=1` is
//! set.

pub(crate) mod broker;
mod faults;
mod kills;
mod lying;
mod node;
mod rights;
mod secured;

use std::collections::BTreeSet;

use broker::{Reader, broker};
use ghpulse::amqp::probe;
use ghpulse::clock::Clock;
use node::{Node, issue, push};

#[tokio::test(flavor = "multi_thread")]
async fn the_tutorials_own_client_and_pika_are_served_as_promised() {
    let Some(broker) = broker("the_tutorials_own_client_and_pika").await else { return };
    let port = broker.port();
    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &broker.options("ght-streams"));
    node.is_connected(true).await;

    let ruby = ["tutorial.rb", "127.0.0.1", &port, "ent.issues.*", "3"];
    let mut tutorial = Reader::new("ruby", &ruby);
    assert_eq!(tutorial.line().await, "bound");
    let mut pika = broker.reader("pika_queue", &["#", "*.*.insert"]).await;

    let events = [push(1), issue(2, 5, "opened"), issue(3, 5, "closed"), issue(4, 6, "opened")];
    node.admit(&events).await;
    let mut found = Vec::new();
    for _ in 0..7 {
        found.push(pika.message().await);
    }
    let keys: Vec<&str> = found.iter().map(|message| message["key"].as_str().unwrap()).collect();
    let expected = [
        "evt.push.insert",
        "evt.issues.insert",
        "ent.issues.insert",
        "evt.issues.insert",
        "ent.issues.update",
        "evt.issues.insert",
        "ent.issues.insert",
    ];
    assert_eq!(keys, expected, "in order, each once though two keys match");
    let first = &found[0];
    assert_eq!(first["type"], "PushEvent");
    assert_eq!(first["content_type"], "application/json");
    assert!(found.iter().all(|message| message["headers"]["simulated"] == true), "{found:?}");
    assert_eq!((first["delivery_mode"].as_u64(), first["timestamp"].as_u64()), {
        (Some(1), Some(1_772_359_200))
    });
    let body = first["body"].as_str().unwrap();
    let id = first["id"].as_str().unwrap();
    assert_eq!(body, format!(r#"{{"_id":{{"$oid":"{id}"}},{}"#, &events[0][1..]));
    let ids: BTreeSet<&str> = found.iter().map(|message| message["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 7);
    assert_eq!(found[2]["type"], "issues");

    let lines = tutorial.rest().await;
    let told: Vec<&str> = lines.iter().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(told, ["ent.issues.insert", "ent.issues.update", "ent.issues.insert"]);
    node.end().await;

    let mut refused = Reader::new("/usr/bin/python3", &["refused.py", &port]);
    let mut codes = Vec::new();
    for _ in 0..6 {
        codes.push(refused.line().await);
    }
    assert_eq!(codes, ["403", "403", "403", "403", "403", "allowed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_broker_and_stopped_publisher_lose_nothing() {
    let Some(mut broker) = broker("a_broker_that_is_killed").await else { return };
    let dir = tempfile::tempdir().unwrap();
    let options = broker.options("ght-streams");
    let mut node = Node::start(dir.path(), &options);
    node.is_connected(true).await;
    let mut reader = broker.reader("pika_queue", &["evt.push.*"]).await;
    let mut seen = BTreeSet::new();
    let pushes = |from: usize, until: usize| (from..until).map(push).collect::<Vec<_>>();

    node.admit(&pushes(0, 300)).await;
    while seen.len() < 300 {
        seen.insert(reader.message().await["id"].as_str().unwrap().to_owned());
    }
    broker.kill();
    assert!(!node.is_connected(false).await.is_empty());
    node.admit(&pushes(300, 700)).await;
    broker.start().await;
    let mut reader = broker.reader("pika_queue", &["evt.push.*"]).await;
    node.is_connected(true).await;
    while seen.len() < 700 {
        seen.insert(reader.message().await["id"].as_str().unwrap().to_owned());
    }

    // Events that the outage caused to be published twice precede this one in the queue.
    node.admit(&pushes(700, 701)).await;
    while seen.len() < 701 {
        seen.insert(reader.message().await["id"].as_str().unwrap().to_owned());
    }
    node.has_fed_all().await;
    node.end().await;
    let node = Node::start(dir.path(), &options);
    node.admit(&pushes(701, 710)).await;
    while seen.len() < 710 {
        let message = reader.message().await;
        let is_new = seen.insert(message["id"].as_str().unwrap().to_owned());
        assert!(is_new, "what was confirmed is not published again");
    }
    assert_eq!(reader.line_now(), None);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn broker_errors_are_reported_by_name() {
    let Some(broker) = broker("what_is_wrong_with_a_broker").await else { return };
    let clock = Clock::system();
    let found = probe(&broker.options("ght-streams"), clock).await.unwrap();
    assert_eq!(found, "logged in; exchange `ght-streams` exists");
    let found = probe(&broker.options("new"), clock).await.unwrap();
    assert_eq!(found, "logged in; exchange `new` does not exist yet and will be declared");
    let direct = probe(&broker.options("amq.direct"), clock).await.unwrap_err().to_string();
    assert!(direct.contains("`amq.direct`: it exists and is not a durable topic"), "{direct}");

    let mut wrong = broker.options("ght-streams");
    let secret = format!("amqp://ghpulse:telltale@127.0.0.1:{}/", broker.port());
    wrong.url = ghpulse::config::Secret::new(secret);
    let login = probe(&wrong, clock).await.unwrap_err().to_string();
    assert!(login.contains("login refused for user `ghpulse`"), "{login}");
    assert!(!login.contains("telltale"));
    let secret = format!("amqp://ghpulse:ghpulse@127.0.0.1:{}/nothere", broker.port());
    wrong.url = ghpulse::config::Secret::new(secret);
    let host = probe(&wrong, clock).await.unwrap_err().to_string();
    assert!(host.contains("virtual host `nothere`"), "{host}");

    let dir = tempfile::tempdir().unwrap();
    let mut node = Node::start(dir.path(), &broker.options("amq.direct"));
    let said = node.is_connected(false).await;
    assert!(said.contains("`amq.direct`"), "{said}");
    node.end().await;
}
