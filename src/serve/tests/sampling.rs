//! The three contract endpoints: first messages, parameters, later messages, and close frames.

use std::sync::Arc;

use super::*;
use crate::hub::Tick;
use crate::model::window::Second;

const IDS: &str = r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#;

fn tick(pairs: &[(&str, i64)]) -> Arc<Tick> {
    Arc::new(Tick { at: Second(0), map: pairs.iter().map(|&(name, n)| (name, n)).collect() })
}

#[tokio::test]
async fn sampling_sends_counts_first_then_the_selected_events() {
    let served = served().await;
    let mut whole = served.connect("/sampling?whatever=1").await;
    assert!(whole.text().await.starts_with(
        r#"{"firstMessageTag":true,"apiVersion":2,"eventMap":{},"openMap":{},"mergeMap":{},"#
    ));
    whole.follow(r#"{"SamplingRate":2,"eventtype":"PushEvent"}"#).await;
    served.append_texts(
        ["Watch", "Push", "Watch", "Push"]
            .map(|kind| format!(r#"{{"id":"7","type":"{kind}Event","new":1.10,"actor":null}}"#)),
    );
    assert_eq!(
        whole.text().await,
        concat!(
            r#"{"event":{"id":"7","type":"PushEvent","new":1.10,"actor":null},"#,
            r#""payload":{"pr":0,"open":0,"merge":0,"close":0,"#,
            r#""devDay":0,"devYear":0,"repoYear":0}}"#
        )
    );
    whole.settle().await;
}

#[tokio::test]
async fn params_may_come_before_the_first_read_and_again() {
    let served = served().await;
    let mut client = served.connect("/sampling").await;
    client.send(IDS).await;
    client.text().await;
    client.settle().await;
    served.append([1, 2]);
    assert_eq!((client.text().await, client.text().await), ("[\"1\"]".into(), "[\"2\"]".into()));
    client.follow(r#"{"samplingRate":2,"filter":["event.id"]}"#).await;
    served.append([3, 4, 5, 6]);
    assert_eq!(client.text().await, r#"{"event.id":"4"}"#);
    assert_eq!(client.text().await, r#"{"event.id":"6"}"#);
}

#[tokio::test]
async fn invalid_params_are_reported_and_close_the_connection() {
    let served = served().await;
    for (params, field, reason) in [
        (r#"{"samplingRate":0}"#, Some("samplingRate"), "invalid params: samplingRate"),
        (r#"{"samplingRate":1,"filter":"event"}"#, Some("filter"), "invalid params: filter"),
        ("hello", None, "invalid params: no JSON object"),
    ] {
        let mut client = served.connect("/sampling").await;
        client.text().await;
        client.send(params).await;
        assert_eq!(client.error_field().await.as_deref(), field);
        assert_eq!(client.closed().await, (1008, reason.to_owned()));
    }
    let mut client = served.connect("/language/latest").await;
    client.send(r#"{"top":-1}"#).await;
    assert_eq!(client.error_field().await.as_deref(), Some("top"));
    assert_eq!(client.closed().await.0, 1008);
}

#[tokio::test]
async fn invalid_second_params_leave_the_first_in_force() {
    let served = served().await;
    let mut client = served.connect("/sampling").await;
    client.text().await;
    client.follow(IDS).await;
    client.send(r#"{"samplingRate":-3}"#).await;
    assert_eq!(client.error_field().await.as_deref(), Some("samplingRate"));
    client.send([IDS, &" ".repeat(70_000)].concat()).await;
    assert_eq!(client.error_field().await, None);
    served.append([1]);
    assert_eq!(client.text().await, r#"["1"]"#);
}

#[tokio::test]
async fn too_large_message_closes_with_1009() {
    let served = served().await;
    for length in [65_537, 1 << 20] {
        let mut client = served.connect("/sampling").await;
        client.text().await;
        client.send("x".repeat(length)).await;
        assert_eq!(client.error_field().await, None);
        assert_eq!(client.closed().await.0, 1009);
    }
    let mut just = served.connect("/sampling").await;
    just.text().await;
    just.follow(&[IDS, &" ".repeat(65_536 - IDS.len())].concat()).await;
}

#[tokio::test]
async fn latest_and_watch_send_each_tick() {
    let served = served().await;
    served.hub.latest_values.set_tick(tick(&[("Bicep", 1)]));
    let mut latest = served.connect("/language/latest").await;
    let mut watch = served.connect("/language/watch").await;
    assert_eq!(
        watch.text().await,
        r#"{"firstMessageTag":true,"apiVersion":2,"languageMap":{"Bicep":1}}"#
    );
    latest.follow(r#"{"top":1,"language":["Go","C"]}"#).await;
    watch.follow("{}").await;
    served.hub.latest_values.set_tick(tick(&[("C", 2), ("Go", 2), ("Java", 9)]));
    assert_eq!(latest.text().await, r#"{"C":2}"#);
    assert_eq!(
        watch.text().await,
        concat!(
            r#"{"Deletions":{"Bicep":"1"},"Additions":{"C":"2","Go":"2","Java":"9"},"#,
            r#""deletions":{"Bicep":"1"},"additions":{"C":"2","Go":"2","Java":"9"}}"#
        )
    );
    served.hub.latest_values.set_tick(tick(&[("C", 2), ("Go", 2), ("Java", 9)]));
    assert_eq!(latest.text().await, r#"{"C":2}"#);
    watch.settle().await;
    served.hub.latest_values.set_tick(tick(&[]));
    assert_eq!(latest.text().await, "{}");
}

#[tokio::test]
async fn binary_messages_are_ignored_and_pings_answered() {
    let served = served().await;
    let mut client = served.connect("/sampling").await;
    client.text().await;
    client.0.send(Message::binary(vec![0xff; 100])).await.unwrap();
    client.follow(IDS).await;
    served.append([1]);
    assert_eq!(client.text().await, r#"["1"]"#);
}

#[tokio::test]
async fn close_frame_is_answered() {
    let served = served().await;
    let mut client = served.connect("/sampling").await;
    client.text().await;
    client.0.close(None).await.unwrap();
    assert!(matches!(client.next().await, Message::Close(_)));
    assert!(soon(client.0.next()).await.is_none());
}

#[tokio::test]
async fn soft_stop_closes_every_websocket_with_1001() {
    let served = served().await;
    let mut clients = Vec::new();
    for path in ["/sampling", "/language/latest", "/language/watch"] {
        clients.push(served.connect(path).await);
    }
    clients[0].text().await;
    clients[2].text().await;
    served.soft.cancel();
    for client in &mut clients {
        let (code, reason) = client.closed().await;
        assert_eq!(code, 1001);
        assert!(reason.contains("stopping"), "{reason}");
    }
    drop(clients);
    soon(served.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn hard_stop_drops_connections() {
    let served = served().await;
    let mut client = served.connect("/sampling").await;
    client.text().await;
    served.hard.cancel();
    soon(served.running).await.unwrap().unwrap();
    assert!(soon(client.0.next()).await.is_none_or(|message| message.is_err()));
}
