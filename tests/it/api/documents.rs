//! `/openapi.json` and `/asyncapi.json`: they document everything served, and what they say is
//! true.

use std::net::SocketAddr;

use serde_json::{Map, Value, json};

use super::events::{opened, push};
use super::site::Site;
use crate::common::client::{Answer, Client, request};

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// Validates a value against a schema, as far as our schemas go; `$ref` resolves against `root`.
fn check(root: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{at}: {value} {what} of {schema}"));
    if let Some(reference) = schema["$ref"].as_str() {
        let path = reference.strip_prefix('#').expect("references are inside");
        let target = root.pointer(path).unwrap_or_else(|| panic!("{reference} leads nowhere"));
        return check(root, target, value, at);
    }
    for key in ["anyOf", "oneOf"] {
        let Some(choices) = schema[key].as_array() else { continue };
        if choices.iter().all(|choice| check(root, choice, value, at).is_err()) {
            return wrong("is none");
        }
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let is = |name: &Value| match name.as_str().expect("a type is a text") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("{at}: `{other}` is no type"),
    };
    if !types.is_empty() && !types.iter().any(is) {
        return wrong("is of no type");
    }
    if schema["enum"].as_array().is_some_and(|known| !known.contains(value)) {
        return wrong("is no value");
    }
    if schema.get("const").is_some_and(|only| only != value) {
        return wrong("is not the value");
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if schema.get("items").is_some() {
            check(root, &schema["items"], item, &format!("{at}/{index}"))?;
        }
    }
    let Some(object) = value.as_object() else { return Ok(()) };
    for name in schema["required"].as_array().into_iter().flatten() {
        if !object.contains_key(name.as_str().expect("a name")) {
            return wrong(&format!("has no {name}"));
        }
    }
    for (name, item) in object {
        let known = schema["properties"].get(name);
        if let Some(schema) = known.or(schema.get("additionalProperties")) {
            check(root, schema, item, &format!("{at}/{name}"))?;
        }
    }
    Ok(())
}

fn accept(root: &Value, schema: &Value, value: &Value, at: &str) {
    check(root, schema, value, at).unwrap_or_else(|why| panic!("{why}"));
}

/// An hour in the archive of the test.
const HOUR: &str = "2026-11-29-5.json.gz";

/// Every schema of the OpenAPI document is reachable from an operation, so that generated clients
/// have types of the streams too.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_are_reachable_from_operations() {
    let site = Site::start(&[]).await;
    let root = document(&site, "/openapi.json").await;
    let schemas = root["components"]["schemas"].as_object().unwrap();
    let mut texts = vec![root["paths"].to_string()];
    let mut missing: Vec<&String> = schemas.keys().collect();
    while let Some(text) = texts.pop() {
        let is_used = |name: &String| text.contains(&format!("\"#/components/schemas/{name}\""));
        let (used, rest) = missing.into_iter().partition(|name| is_used(name));
        missing = rest;
        let used: Vec<&String> = used;
        texts.extend(used.into_iter().map(|name| schemas[name].to_string()));
    }
    assert_eq!(missing, Vec::<&String>::new(), "no operation leads to these");
    let lines = &root["paths"]["/stream"]["get"]["responses"]["200"]["content"];
    let line = &lines["application/x-ndjson"]["schema"];
    let polled = request(site.running.public, "GET", "/stream?poll=1", &[]).await;
    assert!(polled.body.lines().count() >= 3, "{}", polled.body);
    for message in polled.body.lines() {
        accept(&root, line, &serde_json::from_str(message).unwrap(), message);
    }
    site.end().await;
}

/// Fills in the names in a path: one of the shipped aggregates, the repository of [`push`], an hour
/// of the archive.
fn filled(path: &str) -> String {
    let path = path.replace("{owner}/{name}", "ann/tool");
    let path = path.replace("/archive/{name}", &format!("/archive/{HOUR}"));
    path.replace("{name}", "stars").replace("{page}", "config")
}

/// Requests a path of the document. Only streaming responses are endless, so the stream is polled
/// for the events available now.
async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    let path = format!("{}?poll=1", filled(path));
    request(address, &method.to_uppercase(), &path, &[]).await
}

/// Waits until the shipped aggregates are served.
async fn settle(site: &Site) {
    let mut ticks = site.latest("{}").await;
    while request(site.running.public, "GET", &filled("/aggregate/{name}"), &[]).await.status == 404
    {
        ticks.text().await;
    }
}

async fn document(site: &Site, path: &str) -> Value {
    let answer = request(site.running.public, "GET", path, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

fn operations(paths: &Value) -> Vec<(&String, &str, &Value)> {
    let paths = paths.as_object().unwrap();
    let below = |path: &Map<String, Value>| path.keys().cloned().collect::<Vec<_>>();
    let mut all = Vec::new();
    for (path, item) in paths {
        for method in below(item.as_object().unwrap()) {
            let known = METHODS.into_iter().find(|known| **known == method);
            let known = known.unwrap_or_else(|| panic!("{path}: `{method}` is no method"));
            all.push((path, known, &item[known]));
        }
    }
    all
}

/// Asserts that a response is one that the document lists, with the documented schema.
fn expect_documented(root: &Value, place: &str, operation: &Value, answer: &Answer) {
    let described = &operation["responses"][answer.status.to_string()];
    assert!(described.is_object(), "{place} answers {}: {}", answer.status, answer.body);
    let head = answer.head.to_ascii_lowercase();
    let kind = head.lines().find_map(|line| line.strip_prefix("content-type:"));
    let Some(kind) = kind.map(str::trim) else { return };
    let bare = |kind: &str| kind.split(';').next().unwrap_or_default().to_owned();
    let content = described["content"].as_object().unwrap_or_else(|| panic!("{place}: {kind}"));
    let found = content.iter().find(|(known, _)| bare(known) == bare(kind));
    let (_, content) = found.unwrap_or_else(|| panic!("{place} answers {kind}: {}", answer.body));
    if bare(kind).ends_with("json") && !bare(kind).ends_with("ndjson") {
        accept(root, &content["schema"], &answer.json(), place);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_are_documented_and_respond_as_documented() {
    let hours = tempfile::tempdir().unwrap();
    std::fs::write(hours.path().join(HOUR), "rows").unwrap();
    let settings = [
        ("GHPULSE_SERVER_HEALTH", "/alive"),
        ("GHPULSE_SERVER_BASEPATH", "/websocket"),
        ("GHPULSE_ARCHIVE_DIR", hours.path().to_str().unwrap()),
    ];
    let site = Site::start(&settings).await;
    settle(&site).await;
    site.push(&[push(1)]);
    for path in ["/repo/ann/tool", "/top"] {
        let asked = async || {
            let answer = request(site.running.public, "GET", path, &[]).await;
            (answer.status == 200).then_some(())
        };
        crate::common::running::until_some(path, asked).await;
    }
    let root = document(&site, "/openapi.json").await;
    assert_eq!(root["openapi"], "3.1.0");
    assert!(root["info"]["title"].is_string() && root["info"]["version"].is_string());
    assert_eq!(root["servers"], json!([{ "url": "/websocket" }, { "url": "/" }]));
    let mut ids = Vec::new();
    for (path, method, operation) in operations(&root["paths"]) {
        let place = format!("{method} {path}");
        ids.push(operation["operationId"].as_str().unwrap().to_owned());
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{place}");
        assert!(!operation["responses"].as_object().unwrap().is_empty(), "{place}");
        let is_ops = operation["tags"][0] == "ops";
        for (address, is_there) in [(site.running.public, !is_ops), (site.running.ops, true)] {
            let answer = ask(address, method, path).await;
            if is_there {
                // An operation with a request body gets none here, and responds with its own
                // status.
                if operation.get("requestBody").is_none() {
                    expect_documented(&root, &place, operation, &answer);
                }
                assert!(!matches!(answer.status, 404 | 405), "{place}: {}", answer.body);
            } else {
                assert_eq!(answer.status, 404, "{place} is for ops alone");
            }
        }
        for other in METHODS {
            if root["paths"][path].get(other).is_none() {
                let answer = ask(site.running.ops, other, path).await;
                assert_eq!(answer.status, 405, "{other} {path} is served and not documented");
            }
        }
    }
    ids.sort();
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "operationIds are not unique");
    for path in ["/alive", "/readyz", "/status", "/openapi.json", "/metrics"] {
        assert!(root["paths"].get(path).is_some(), "{path} is not documented");
    }
    let file = &root["paths"]["/archive/{name}"]["get"]["responses"]["200"];
    assert_eq!(file["description"], "The file");
    let parameters = root["paths"]["/stream"]["get"]["parameters"].as_array().unwrap();
    let names: Vec<_> = parameters.iter().filter_map(|one| one["name"].as_str()).collect();
    assert!(names.starts_with(&["keys", "types", "repos"]), "{names:?}");
    assert!(names.ends_with(&["latest", "poll", "limit"]), "{names:?}");
    // The endpoints listed in a 404 response come from the same table.
    let lost = request(site.running.public, "GET", "/nowhere", &[]).await.json();
    accept(&root, &root["components"]["schemas"]["Problem"], &lost, "problem");
    for path in lost["endpoints"].as_array().unwrap() {
        assert!(root["paths"].get(path.as_str().unwrap()).is_some(), "{path}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_messages_have_the_documented_schemas() {
    let site = Site::start(&[]).await;
    settle(&site).await;
    let root = document(&site, "/asyncapi.json").await;
    assert_eq!(root["asyncapi"], "3.0.0");
    let server = json!({ "host": site.running.public.to_string(), "protocol": "ws" });
    assert_eq!(root["servers"], json!({ "ghpulse": server }));
    let channels = root["channels"].as_object().unwrap();
    for (name, channel) in channels {
        let address = filled(channel["address"].as_str().unwrap());
        assert!(Client::open(site.running.public, &address, &[]).await.is_ok(), "{address}");
        let messages = channel["messages"].as_object().unwrap();
        for (message, described) in messages {
            let example = &described["examples"][0]["payload"];
            accept(&root, &described["payload"], example, &format!("{name} {message}"));
        }
    }
    let http = document(&site, "/openapi.json").await;
    for (path, _, operation) in operations(&http["paths"]) {
        if operation["responses"].get("101").is_some() {
            let known = channels.values().any(|channel| channel["address"] == **path);
            assert!(known, "{path} becomes a WebSocket and has no channel");
        }
    }
    for operation in root["operations"].as_object().unwrap().values() {
        let references = operation["messages"].as_array().unwrap().iter();
        for reference in references.chain([&operation["channel"]]) {
            let path = reference["$ref"].as_str().unwrap().trim_start_matches('#');
            assert!(root.pointer(path).is_some(), "{path} leads nowhere");
        }
    }
    let schema = |channel: &str, message: &str| {
        root["channels"][channel]["messages"][message]["payload"].clone()
    };
    let mut client = site.connect("/sampling").await;
    accept(&root, &schema("sampling", "counts"), &client.json().await, "counts");
    client.subscribe(r#"{"samplingRate":1}"#).await;
    site.push(&[push(1)]);
    accept(&root, &schema("sampling", "wholeEvent"), &client.json().await, "wholeEvent");
    client.send(r#"{"samplingRate":0}"#).await;
    accept(&root, &schema("sampling", "refused"), &client.json().await, "refused");
    let mut watch = site.connect("/language/watch").await;
    let first = watch.json().await;
    accept(&root, &schema("language-watch", "languageMap"), &first, "languageMap");
    watch.subscribe("{}").await;
    site.push(&[opened(2, "Go")]);
    accept(&root, &schema("language-watch", "changes"), &watch.json().await, "changes");
    let mut rolling = site.connect("/stream/languages").await;
    for message in ["hello", "snapshot"] {
        accept(&root, &schema("stream-languages", message), &rolling.json().await, message);
    }
    rolling.send(r#"{"window":"x"}"#).await;
    let refused = async {
        loop {
            let message = rolling.json().await;
            if message.get("error").is_some() {
                return message;
            }
        }
    };
    let refused = crate::common::running::soon("the refusal comes", refused).await;
    accept(&root, &schema("stream-languages", "refused"), &refused, "refused");
    let mut aggregate = site.connect(&filled("/aggregate/{name}")).await;
    for message in ["snapshot", "tick"] {
        accept(&root, &schema("aggregate-name", message), &aggregate.json().await, message);
    }
    queries_fit_their_schema(&site, &root, &schema("stream", "query")).await;
    let mut latest = site.latest("{}").await;
    accept(&root, &schema("language-latest", "languages"), &latest.json().await, "languages");
    site.end().await;
}

/// The next `ack` or `error`.
async fn answered(client: &mut Client) -> Value {
    loop {
        let message = client.json().await;
        if message["type"] == "ack" || message["type"] == "error" {
            return message;
        }
    }
}

/// Asserts that the server accepts a query exactly if its schema does.
async fn queries_fit_their_schema(site: &Site, root: &Value, schema: &Value) {
    assert!(schema["properties"]["types"].get("enum").is_none(), "{schema}");
    for (text, is_valid) in [
        ("{}", true),
        (r#"{"types":"PushEvent"}"#, true),
        (r#"{"types":["PushEvent"],"repos":["rust-lang/*"]}"#, true),
        (r#"{"sample":10}"#, true),
        (r#"{"sample":"10"}"#, true),
        (r#"{"fields":"event.id"}"#, true),
        (r#"{"since":"15m"}"#, true),
        (r#"{"poll":1}"#, true),
        (r#"{"poll":true,"limit":"5"}"#, true),
        (r#"{"poll":"false"}"#, true),
        (r#"{"poll":2}"#, false),
        (r#"{"sample":{}}"#, false),
        (r#"{"types":{"PushEvent":1}}"#, false),
    ] {
        let query = serde_json::from_str(text).unwrap();
        assert_eq!(check(root, schema, &query, text).is_ok(), is_valid, "{text}");
        let mut client = site.connect("/stream").await;
        assert_eq!(answered(&mut client).await["type"], "ack");
        client.send(text).await;
        let answer = answered(&mut client).await;
        assert_eq!(answer["type"], if is_valid { "ack" } else { "error" }, "{text}: {answer}");
    }
}

#[test]
fn schema_check_finds_invalid_values() {
    let schema = json!({
        "type": "object", "required": ["a"],
        "properties": { "a": { "type": "array", "items": { "type": "integer" } } },
        "additionalProperties": { "anyOf": [{ "type": "string" }, { "type": "null" }] },
    });
    for (text, fits) in [
        (r#"{"a":[1,2],"b":"x","c":null}"#, true),
        (r#"{"b":"x"}"#, false),
        (r#"{"a":[1,"2"]}"#, false),
        (r#"{"a":[],"b":3}"#, false),
        ("[]", false),
    ] {
        let value = serde_json::from_str(text).unwrap();
        assert_eq!(check(&schema, &schema, &value, "").is_ok(), fits, "{text}");
    }
}
