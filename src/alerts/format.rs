//! The request bodies that webhooks expect, and their responses.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};

use super::ledger::AlertMessage;
use crate::config::AlertFormat;
use crate::model::window::Timestamp;

/// Maximum number of characters quoted from a refusal.
const QUOTED_CHARS: usize = 200;

/// The body of a post.
pub(super) fn body(
    format: AlertFormat,
    message: &AlertMessage,
    node: &str,
    sign_key: Option<&str>,
    now: Timestamp,
) -> String {
    let body = match format {
        AlertFormat::Json => json!({
            "condition": message.condition.name(),
            "state": if message.over.is_some() { "over" } else { "begins" },
            "node": node,
            "text": message.text,
            "failures": message.failures,
            "since": message.began.to_string(),
            "until": message.over.map(|at| at.to_string()),
        }),
        AlertFormat::Slack => json!({ "text": escaped(&words(message, node)) }),
        AlertFormat::Lark => lark(&words(message, node), sign_key, now),
    };
    body.to_string()
}

/// The message for people.
fn words(message: &AlertMessage, node: &str) -> String {
    let (title, began) = (message.condition.title(), message.began);
    match message.over {
        None => format!("ghpulse {node}: {title}, since {began}: {}", message.text),
        Some(over) => {
            let seconds = over.since(began).as_secs();
            let text = &message.text;
            format!("ghpulse {node}: over: {title}, {began} to {over} ({seconds} s): {text}")
        }
    }
}

/// Escapes the three characters that are special in Slack.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn lark(text: &str, sign_key: Option<&str>, now: Timestamp) -> Value {
    let mut body = json!({ "msg_type": "text", "content": { "text": text } });
    if let Some(key) = sign_key {
        let timestamp = now.second().0.to_string();
        body["sign"] = Value::String(signature(&timestamp, key));
        body["timestamp"] = Value::String(timestamp);
    }
    body
}

/// Lark's signature: the time and the secret are the key, and the signed text is empty.
fn signature(timestamp: &str, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, format!("{timestamp}\n{secret}").as_bytes());
    STANDARD.encode(hmac::sign(&key, b""))
}

/// Whether a response confirms the message; otherwise returns its text.
pub(super) fn accepted(format: AlertFormat, status: u16, body: &[u8]) -> Result<(), String> {
    let said = || -> String { String::from_utf8_lossy(body).chars().take(QUOTED_CHARS).collect() };
    if !(200..300).contains(&status) {
        return Err(format!("the webhook answers {status}: {}", said()));
    }
    if format != AlertFormat::Lark {
        return Ok(());
    }
    // Lark refuses with status 200 and its own code, under one of two names.
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let code = answer.get("code").or_else(|| answer.get("StatusCode"));
    match code.and_then(Value::as_i64) {
        Some(0) => Ok(()),
        _ => Err(format!("the webhook refuses it: {}", said())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::AlertCondition;

    fn message(over: bool) -> AlertMessage {
        let at = |text| Timestamp::parse(text).unwrap();
        AlertMessage {
            condition: AlertCondition::TidbFailing,
            text: "1 < 2 & \"x\"".to_owned(),
            failures: 4,
            began: at("2026-03-01T10:00:00Z"),
            over: over.then(|| at("2026-03-01T10:01:30Z")),
        }
    }

    fn text(format: AlertFormat, over: bool) -> String {
        body(format, &message(over), "box", Some("k"), Timestamp::from_seconds(1_599_360_473))
    }

    #[test]
    fn lark_gets_its_signature() {
        // Computed with another implementation of HMAC.
        let sign = "jwjqqq7KOdfSPzRqspeUqHeZ8h36QweNInUfBrjwy7o=";
        assert_eq!(
            text(AlertFormat::Lark, false),
            format!(
                "{{\"content\":{{\"text\":\"ghpulse box: the sync with TiDB fails, since \
                 2026-03-01T10:00:00Z: 1 < 2 & \\\"x\\\"\"}},\"msg_type\":\"text\",\
                 \"sign\":\"{sign}\",\"timestamp\":\"1599360473\"}}"
            )
        );
        let unsigned =
            body(AlertFormat::Lark, &message(false), "box", None, Timestamp::from_seconds(1));
        assert!(!unsigned.contains("sign"), "{unsigned}");
    }

    #[test]
    fn slack_gets_text_with_its_characters_escaped() {
        assert_eq!(
            text(AlertFormat::Slack, true),
            "{\"text\":\"ghpulse box: over: the sync with TiDB fails, 2026-03-01T10:00:00Z to \
             2026-03-01T10:01:30Z (90 s): 1 &lt; 2 &amp; \\\"x\\\"\"}"
        );
    }

    #[test]
    fn json_message_has_one_field_per_value() {
        let value: Value = serde_json::from_str(&text(AlertFormat::Json, true)).unwrap();
        let expected = json!({
            "condition": "tidb_failing", "state": "over", "node": "box", "text": "1 < 2 & \"x\"",
            "failures": 4, "since": "2026-03-01T10:00:00Z", "until": "2026-03-01T10:01:30Z",
        });
        assert_eq!(value, expected);
        let value: Value = serde_json::from_str(&text(AlertFormat::Json, false)).unwrap();
        assert_eq!((&value["state"], &value["until"]), (&json!("begins"), &Value::Null));
    }

    #[test]
    fn an_answer_that_refuses_is_quoted() {
        let ok = [
            (AlertFormat::Json, 204, ""),
            (AlertFormat::Slack, 200, "ok"),
            (AlertFormat::Lark, 200, "{\"code\":0,\"msg\":\"success\"}"),
            (AlertFormat::Lark, 200, "{\"StatusCode\":0}"),
        ];
        for (format, status, body) in ok {
            assert_eq!(accepted(format, status, body.as_bytes()), Ok(()));
        }
        let refused = "{\"code\":19021,\"msg\":\"sign match fail\"}";
        let said = accepted(AlertFormat::Lark, 200, refused.as_bytes()).unwrap_err();
        assert!(said.contains("sign match fail"), "{said}");
        assert!(accepted(AlertFormat::Lark, 200, b"<html>").is_err());
        let said = accepted(AlertFormat::Slack, 404, b"no_service").unwrap_err();
        assert_eq!(said, "the webhook answers 404: no_service");
    }
}
