//! Parameters: a table of valid and invalid ones.

use proptest::prelude::*;

use super::requests::{LatestRequest, ReturnType, SamplingRequest, WatchRequest, WindowRequest};
use super::*;

fn read(text: &str) -> SamplingParams {
    sampling(text, 100).unwrap()
}

fn paths(texts: &[&str]) -> Vec<FieldPath> {
    texts.iter().map(|text| FieldPath::read(text).unwrap()).collect()
}

#[test]
fn good_params_of_sampling_are_read() {
    for (text, rate) in [
        (r#"{"samplingRate":1}"#, 1),
        (r#" { "samplingRate" : 3 } "#, 3),
        (r#"{"SAMPLINGRATE":1.0}"#, 1),
        (r#"{"samplingrate":1e3,"unknown":{"a":[]}}"#, 1000),
        (r#"{"samplingRate":1,"eventType":null,"repoName":"","filter":[ ],"returnType":""}"#, 1),
        (r#"{"samplingRate":1,"samplingRate":2}"#, 2),
        (r#"{"sampling\u0052ate":18446744073709551615}"#, u64::MAX),
    ] {
        let params = read(text);
        assert_eq!(
            params,
            SamplingParams { rate, subscription: SamplingQuery::default() },
            "{text}"
        );
    }
}

#[test]
fn documented_params_are_read() {
    let some = |text: &str| Some(text.to_owned());
    let sampling = json::encoded(&SamplingRequest {
        sampling_rate: 3,
        event_type: some("PushEvent"),
        repo_name: some("a/b"),
        user_name: some("ann"),
        filter: vec!["event.id".to_owned()],
        return_type: Some(ReturnType::List),
    });
    let conditions = Conditions {
        kind: Some("PushEvent".into()),
        repo_name: Some("a/b".into()),
        actor_login: Some("ann".into()),
    };
    let encoding = SamplingEncoding::List(paths(&["event.id"]));
    let subscription = SamplingQuery { conditions, encoding };
    assert_eq!(read(&sampling), SamplingParams { rate: 3, subscription });
    let map = SamplingRequest {
        sampling_rate: 1,
        filter: vec!["event.id".to_owned()],
        return_type: Some(ReturnType::Map),
        ..SamplingRequest::default()
    };
    let encoding = SamplingEncoding::Map(paths(&["event.id"]));
    assert_eq!(read(&json::encoded(&map)).subscription.encoding, encoding);
    let language = vec!["Go".to_owned(), "C".to_owned()];
    let query = latest(&json::encoded(&LatestRequest { language: language.clone(), top: Some(5) }));
    assert_eq!(query.unwrap(), LanguageQuery::new(vec!["Go".into(), "C".into()], 5));
    let names = watch(&json::encoded(&WatchRequest { language })).unwrap();
    assert_eq!(names, ["Go".into(), "C".into()]);
    let window = window(&json::encoded(&WindowRequest { window: some("1m") }));
    assert_eq!(window.unwrap().as_deref(), Some("1m"));
}

#[test]
fn conditions_and_forms_are_read() {
    let params = read(
        r#"{"samplingRate":1,"EventType":"PushEvent","repoName":"a\/b","USERNAME":"ann",
            "filter":["payload.pr","event.id","event.id"]}"#,
    );
    let conditions = Conditions {
        kind: Some("PushEvent".into()),
        repo_name: Some("a/b".into()),
        actor_login: Some("ann".into()),
    };
    let encoding = SamplingEncoding::Map(paths(&["event.id", "payload.pr"]));
    assert_eq!(params.subscription, SamplingQuery { conditions, encoding });
    let list = r#"{"samplingRate":1,"filter":["payload.pr","event.id","event.id"],
        "returnType":"list"}"#;
    let encoding = SamplingEncoding::List(paths(&["payload.pr", "event.id", "event.id"]));
    assert_eq!(read(list).subscription.encoding, encoding);
    assert_eq!(
        read(r#"{"samplingRate":1,"returnType":"list"}"#).subscription.encoding,
        SamplingEncoding::Whole
    );
}

#[test]
fn invalid_params_are_reported_by_name() {
    for (text, field) in [
        ("", None),
        ("{", None),
        ("[]", None),
        ("1", None),
        ("null", None),
        (r#"{"samplingRate":1}x"#, None),
        (r#"{"samplingRate":}"#, None),
        ("{}", Some("samplingRate")),
        (r#"{"samplingRate":null}"#, Some("samplingRate")),
        (r#"{"samplingRate":0}"#, Some("samplingRate")),
        (r#"{"samplingRate":-1}"#, Some("samplingRate")),
        (r#"{"samplingRate":1.5}"#, Some("samplingRate")),
        (r#"{"samplingRate":1e999}"#, Some("samplingRate")),
        (r#"{"samplingRate":"3"}"#, Some("samplingRate")),
        (r#"{"samplingRate":true}"#, Some("samplingRate")),
        (r#"{"samplingRate":[1]}"#, Some("samplingRate")),
        (r#"{"samplingRate":1,"eventType":["PushEvent"]}"#, Some("eventType")),
        (r#"{"samplingRate":1,"repoName":5}"#, Some("repoName")),
        (r#"{"samplingRate":1,"userName":{}}"#, Some("userName")),
        (r#"{"samplingRate":1,"filter":"event.id"}"#, Some("filter")),
        (r#"{"samplingRate":1,"filter":[1]}"#, Some("filter")),
        (r#"{"samplingRate":1,"filter":["event.id",null]}"#, Some("filter")),
        (r#"{"samplingRate":1,"filter":["id"]}"#, Some("filter")),
        (r#"{"samplingRate":1,"filter":["events.id"]}"#, Some("filter")),
        (r#"{"samplingRate":1,"filter":[""]}"#, Some("filter")),
        (r#"{"samplingRate":1,"returnType":"List"}"#, Some("returnType")),
        (r#"{"samplingRate":1,"returnType":1}"#, Some("returnType")),
    ] {
        let refused = sampling(text, 100).unwrap_err();
        assert_eq!(refused.field, field, "{text}");
        assert!(refused.message.contains(r#"such as {"samplingRate":1"#), "{}", refused.message);
    }
}

#[test]
fn filter_paths_are_limited() {
    let of = |n| format!(r#"{{"samplingRate":1,"filter":[{}"event"]}}"#, "\"event.id\",".repeat(n));
    assert!(sampling(&of(3), 4).is_ok());
    assert_eq!(sampling(&of(4), 4).unwrap_err().field, Some("filter"));
}

#[test]
fn params_of_the_language_endpoints_are_read() {
    let names = |names: &[&str]| names.iter().map(|name| Box::from(*name)).collect::<Vec<_>>();
    for (text, wanted) in [
        ("{}", LanguageQuery::default()),
        (r#"{"language":null,"top":0}"#, LanguageQuery::default()),
        (r#"{"TOP":2.0,"Language":["Go","C"]}"#, LanguageQuery::new(names(&["C", "Go"]), 2)),
        (r#"{"samplingRate":"ignored","top":""}"#, LanguageQuery::default()),
    ] {
        assert_eq!(latest(text), Ok(wanted), "{text}");
    }
    assert_eq!(watch(r#"{"language":["Go"],"top":"ignored"}"#), Ok(names(&["Go"])));
    for (text, field) in [
        (r#"{"top":-1}"#, Some("top")),
        (r#"{"top":1.5}"#, Some("top")),
        (r#"{"top":"3"}"#, Some("top")),
        (r#"{"language":"Go"}"#, Some("language")),
        (r#"{"language":{"Go":1}}"#, Some("language")),
        (r#"{"language":[["Go"]]}"#, Some("language")),
        ("Go", None),
    ] {
        assert_eq!(latest(text).unwrap_err().field, field, "{text}");
    }
    assert_eq!(watch(r#"{"language":"Go"}"#).unwrap_err().field, Some("language"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_a_panic(text in ".{0,200}") {
        let _ = (sampling(&text, 9), latest(&text), watch(&text));
    }

    #[test]
    fn any_value_is_read_or_refused_without_a_panic(
        key in "samplingRate|eventType|filter|returnType|language|top",
        value in "[-0-9.eE]{1,8}|\"[ -~]{0,9}\"|\\[[0-9,\"a ]{0,9}\\]|null|true|\\{\\}",
    ) {
        let text = format!(r#"{{"samplingRate":1,"{key}":{value}}}"#);
        let _ = (sampling(&text, 9), latest(&text), watch(&text));
    }
}

#[test]
fn too_many_languages_are_rejected() {
    let asking = |n: usize| {
        let names: Vec<String> = (0..n).map(|n| format!("\"{n}\"")).collect();
        format!(r#"{{"language":[{}]}}"#, names.join(","))
    };
    assert_eq!(watch(&asking(LANGUAGES)).unwrap().len(), LANGUAGES);
    for refused in [watch(&asking(LANGUAGES + 1)).err(), latest(&asking(LANGUAGES + 1)).err()] {
        let refused = refused.unwrap();
        assert_eq!(refused.field, Some("language"));
        assert!(refused.message.contains("give at most 200"), "{}", refused.message);
    }
}

#[test]
fn key_that_is_not_unicode_is_ignored() {
    let text = r#"{"samplingRate":1,"\ud800":2}"#;
    assert!(sampling(text, 10).is_ok());
}

#[test]
fn paths_that_repeat_an_object_are_rejected_by_name() {
    let of = |encoding: &str, filter: &[&str]| {
        let filter = serde_json::to_string(filter).unwrap();
        let text = format!(r#"{{"samplingRate":1,"returnType":"{encoding}","filter":{filter}}}"#);
        sampling(&text, 100)
    };
    for (encoding, filter) in [
        ("list", &["event"; 100][..]),
        ("list", &["event.payload"; 3]),
        ("list", &["event", "event.payload", "event.payload.issue"]),
        ("map", &["event", "event.payload", "event.payload.issue"]),
    ] {
        let refused = of(encoding, filter).unwrap_err();
        assert_eq!(refused.field, Some("filter"), "{encoding} {filter:?}");
        assert!(refused.message.contains("times in each message"), "{}", refused.message);
    }
    assert!(of("list", &["event.id"; 100]).is_ok());
    // In the map encoding, each path occurs once.
    assert!(of("map", &["event"; 100]).is_ok());
    let long: Vec<String> = (0..40).map(|i| format!("event.{i:0249}")).collect();
    let long: Vec<&str> = long.iter().map(String::as_str).collect();
    assert!(of("map", &long).unwrap_err().message.contains("bytes together"));
}

#[test]
fn names_are_limited_in_length() {
    for field in ["eventType", "repoName", "userName"] {
        let of = |n| format!(r#"{{"samplingRate":1,"{field}":"{}"}}"#, "x".repeat(n));
        assert!(sampling(&of(255), 9).is_ok());
        let refused = sampling(&of(256), 9).unwrap_err();
        assert_eq!(refused.field, Some(field));
        assert!(refused.message.contains("at most 255 bytes"), "{}", refused.message);
    }
    let long = format!(r#"{{"language":["{}"]}}"#, "x".repeat(256));
    assert_eq!(watch(&long).unwrap_err().field, Some("language"));
    assert_eq!(latest(&long).unwrap_err().field, Some("language"));
}
