//! Parameters: every invalid one is rejected by name, and other clients are unaffected.

use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

use super::events::push;
use super::site::Site;
use crate::common::client::{Came, Client};

/// Invalid parameters of `/sampling`, with the field that the error names.
fn bad_for_sampling() -> Vec<(String, Value)> {
    let no_object =
        ["", "{", "null", "1", "\"x\"", "[]", "true", "{\"samplingRate\":1}}", "{'a':1}"];
    let mut bad: Vec<_> = no_object.iter().map(|text| ((*text).to_owned(), Value::Null)).collect();
    let of_rate = ["0", "-1", "1.5", "-0.5", "\"1\"", "[1]", "{}", "true", "null", "\"\"", "[]"];
    bad.extend(
        of_rate.iter().map(|v| (format!(r#"{{"samplingRate":{v}}}"#), "samplingRate".into())),
    );
    bad.push(("{}".to_owned(), "samplingRate".into()));
    bad.push((r#"{"filter":["event.id"]}"#.to_owned(), "samplingRate".into()));
    for field in ["eventType", "repoName", "userName", "returnType"] {
        for value in ["1", "[\"x\"]", "{}", "true"] {
            bad.push((format!(r#"{{"samplingRate":1,"{field}":{value}}}"#), field.into()));
        }
    }
    for value in ["\"array\"", "\"MAP\"", "\"List\""] {
        bad.push((format!(r#"{{"samplingRate":1,"returnType":{value}}}"#), "returnType".into()));
    }
    for value in
        ["\"event.id\"", "1", "{}", "[1]", "[null]", "[[\"event\"]]", "[\"id\"]", "[\"events.id\"]"]
    {
        bad.push((format!(r#"{{"samplingRate":1,"filter":{value}}}"#), "filter".into()));
    }
    bad
}

fn bad_for_languages(watch: bool) -> Vec<(String, Value)> {
    let mut bad: Vec<(String, Value)> =
        ["", "{", "null", "[]"].iter().map(|text| ((*text).to_owned(), Value::Null)).collect();
    for value in ["\"Java\"", "1", "{}", "[1]", "[null]", "[[\"Java\"]]"] {
        bad.push((format!(r#"{{"language":{value}}}"#), "language".into()));
    }
    let of_top = ["-1", "1.5", "\"1\"", "[1]", "{}", "true"];
    if !watch {
        bad.extend(of_top.iter().map(|value| (format!(r#"{{"top":{value}}}"#), "top".into())));
    }
    bad
}

/// Checks the error object byte for byte except for the message, which must contain an example.
fn check_error(text: &str, field: &Value, params: &str) {
    let error: Value = serde_json::from_str(text).unwrap();
    let message = error["error"]["message"].as_str().unwrap_or_default();
    let wanted = format!(
        r#"{{"error":{{"code":"invalid_params","field":{field},"message":{}}}}}"#,
        Value::from(message)
    );
    assert_eq!(text, wanted, "{params}");
    assert!(message.contains("such as {"), "{params}: {message}");
    if let Some(field) = field.as_str() {
        assert!(message.contains(field), "{params}: {message}");
    }
}

async fn check_refused(client: &mut Client, params: &str, field: &Value) {
    client.send(params).await;
    check_error(&client.text().await, field, params);
    match client.next().await {
        Came::Closed(Some((1008, reason))) => {
            assert!(!reason.is_empty() && reason.len() < 124, "{params}: {reason}");
        }
        other => panic!("{params}: a close frame 1008 was to come, not {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_params_close_with_1008_and_affect_only_the_sender() {
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    for (params, field) in bad_for_sampling() {
        let mut client = site.connect("/sampling").await;
        client.text().await;
        check_refused(&mut client, &params, &field).await;
    }
    for (path, watch) in [("/language/latest", false), ("/language/watch", true)] {
        for (params, field) in bad_for_languages(watch) {
            let mut client = site.connect(path).await;
            if watch {
                client.text().await;
            }
            check_refused(&mut client, &params, &field).await;
        }
    }
    site.push(&[push(1)]);
    assert_eq!(site.settle(&mut reader, 1).await.len(), 1);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn later_bad_params_are_answered_and_the_first_stay_in_force() {
    let settings = [("GHPULSE_SERVER_LIMITS_PARAMSPERMINUTE", "1000")];
    let site = Site::start(&settings).await;
    let mut reader =
        site.sampling(r#"{"samplingRate":1,"filter":["event.id"],"returnType":"list"}"#).await;
    for (params, field) in bad_for_sampling() {
        reader.subscribe(&params).await;
        check_error(&reader.text().await, &field, &params);
    }
    site.push(&[push(1)]);
    assert_eq!(reader.text().await, r#"["1"]"#);
    for (path, watch) in [("/language/latest", false), ("/language/watch", true)] {
        let mut client = site.connect(path).await;
        client.subscribe("{}").await;
        for (params, field) in bad_for_languages(watch) {
            client.subscribe(&params).await;
            loop {
                let text = client.text().await;
                if text.starts_with(r#"{"error""#) {
                    check_error(&text, &field, &params);
                    break;
                }
            }
        }
    }
    site.end().await;
}

/// Valid parameters of exactly this many bytes.
fn padded(params: &str, bytes: usize) -> String {
    let tail = &params[1..];
    let pad = bytes - params.len() - r#""pad":"","#.len();
    format!("{{\"pad\":\"{}\",{tail}", "x".repeat(pad))
}

#[tokio::test(flavor = "multi_thread")]
async fn params_over_64_kib_are_answered_and_closed_with_1009() {
    const LIMIT: usize = 64 * 1024;
    let site = Site::start(&[]).await;
    let rate = r#"{"samplingRate":1}"#;
    for (path, params, has_first) in [
        ("/sampling", rate, true),
        ("/language/latest", r#"{"top":1}"#, false),
        ("/language/watch", r#"{"language":[]}"#, true),
    ] {
        for bytes in [LIMIT + 1, 4 * LIMIT + 1, 16 * LIMIT] {
            let mut client = site.connect(path).await;
            if has_first {
                client.text().await;
            }
            client.send(&padded(params, bytes)).await;
            check_error(&client.text().await, &Value::Null, "a long text");
            match client.next().await {
                Came::Closed(Some((1009, reason))) => assert!(reason.contains("65536"), "{reason}"),
                other => panic!("{path} {bytes}: 1009 was to come, not {other:?}"),
            }
        }
    }
    let mut client = site.sampling(&padded(rate, LIMIT)).await;
    client.subscribe(&padded(rate, LIMIT + 1)).await;
    check_error(&client.text().await, &Value::Null, "a long text");
    site.push(&[push(1)]);
    assert_eq!(client.json().await["event"]["id"], "1", "the first ones stay in force");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn binary_is_ignored_and_ping_is_answered_with_its_bytes() {
    let site = Site::start(&[]).await;
    let mut client = site.connect("/sampling").await;
    client.text().await;
    for bytes in [&b""[..], b"{", br#"{"samplingRate":0}"#, &[0xff; 3000]] {
        client.send_message(Message::Binary(bytes.into())).await;
    }
    client.send_message(Message::Ping(b"are you there".as_slice().into())).await;
    assert_eq!(client.next().await, Came::Pong(b"are you there".to_vec()));
    client.send_message(Message::Pong(b"unasked".as_slice().into())).await;
    client.subscribe(r#"{"samplingRate":1}"#).await;
    client.send_message(Message::Binary(b"x".as_slice().into())).await;
    site.push(&[push(1)]);
    assert_eq!(client.json().await["event"]["id"], "1");
    // A close frame is answered with its own code.
    client.goodbye(1000).await;
    assert!(matches!(client.next().await, Came::Closed(Some((1000, _)))));
    site.end().await;
}
