//! Tests of the bytes of facts, and of writing fields back.

use proptest::prelude::*;

use super::super::push::PushedCommits;
use super::*;

fn facts() -> impl Strategy<Value = Facts> {
    let number = || prop::option::of(any::<u64>());
    let text = || prop::option::of(".{0,20}");
    let numbers = (number(), number(), number(), number());
    let push = prop::option::of((number(), ".{0,20}"));
    let rest = (text(), any::<Option<bool>>(), push);
    (any::<i64>(), any::<u8>(), any::<bool>(), text(), numbers, rest).prop_map(
        |(at, flags, enriched, language, numbers, (title, draft, push))| Facts {
            received_at: Timestamp::from_micros(at),
            flags: Flags::from_bits(flags & 0x7f),
            enriched,
            language,
            additions: numbers.0,
            deletions: numbers.1,
            changed_files: numbers.2,
            title,
            draft,
            inserted: numbers.3.unwrap_or(0),
            push: push.map(|(size, commits)| Box::new(PushedCommits { size, commits })),
            simulated: flags & 0x80 != 0,
        },
    )
}

#[test]
fn bytes_of_facts_never_change() {
    let facts = Facts {
        received_at: Timestamp::from_micros(0x0102_0304),
        flags: Flags { pr: true, merge: true, repo_year: true, ..Flags::default() },
        enriched: true,
        language: Some("C".to_owned()),
        additions: Some(5),
        ..Facts::default()
    };
    let mut bytes = Vec::new();
    facts.encode(&mut bytes);
    let golden = [2, 0, 0, 0, 0, 1, 2, 3, 4, 0x45, 7, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 1, b'C'];
    assert_eq!(bytes, golden);
    let mut first_version = golden;
    first_version[0] = 1;
    assert_eq!(Facts::decode(&first_version), Some((facts.clone(), &[][..])));
    let mut bytes = Vec::new();
    Facts { inserted: 6, ..facts.clone() }.encode(&mut bytes);
    assert_eq!((bytes[0], &bytes[1..24]), (3, &golden[1..]));
    assert_eq!(bytes[24..], [0, 0, 0, 0, 0, 0, 0, 6]);
    bytes.clear();
    let commits = "[]".to_owned();
    let push = Some(Box::new(PushedCommits { size: Some(7), commits }));
    Facts { push, ..facts.clone() }.encode(&mut bytes);
    assert_eq!((bytes[0], &bytes[1..24], &bytes[24..32]), (4, &golden[1..], &[0; 8][..]));
    assert_eq!(bytes[32..], [1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 2, b'[', b']']);
    bytes.clear();
    Facts { simulated: true, ..facts.clone() }.encode(&mut bytes);
    assert_eq!((&bytes[..9], bytes[9], &bytes[10..]), (&golden[..9], 0xc5, &golden[10..]));
    let asked = Facts {
        changed_files: Some(3),
        title: Some("T".to_owned()),
        draft: Some(true),
        additions: None,
        ..facts
    };
    bytes.clear();
    asked.encode(&mut bytes);
    let golden = [
        2, 0, 0, 0, 0, 1, 2, 3, 4, 0x45, 0xf3, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 1, b'C', 0, 0, 0,
        1, b'T',
    ];
    assert_eq!(bytes, golden);
}

fn written(text: &str, facts: &Facts) -> String {
    written_back(&Event::read(text).unwrap(), facts).into_owned()
}

fn event(kind: &str, action: &str, pull: &str) -> String {
    format!(
        r#"{{"id":"1","type":"{kind}","payload":{{"action":"{action}","pull_request":{pull}}}}}"#
    )
}

#[test]
fn merged_is_written_back_from_the_action_alone() {
    let read = |action, pull| written(&event("PullRequestEvent", action, pull), &Facts::default());
    assert_eq!(
        read("merged", r#"{"id":3}"#),
        event("PullRequestEvent", "merged", r#"{"id":3,"merged":true}"#)
    );
    assert_eq!(read("closed", "{ }"), event("PullRequestEvent", "closed", r#"{"merged":false}"#));
}

#[test]
fn values_that_github_sent_are_kept() {
    let known = Facts { additions: Some(7), language: Some("C".to_owned()), ..Facts::default() };
    for text in [
        event("PullRequestEvent", "merged", r#"{"merged":null,"additions":null}"#),
        event("PullRequestEvent", "opened", "null"),
        event("PushEvent", "opened", r#"{"id":1}"#),
        event(
            "PullRequestEvent",
            "opened",
            r#"{"base":{"repo":{"language":null}},"merged":true,"additions":0}"#,
        ),
    ] {
        assert_eq!(written(&text, &known), text);
    }
}

#[test]
fn enriched_fields_go_to_their_old_place() {
    let known = Facts {
        flags: Flags { pr: true, ..Flags::default() },
        enriched: true,
        language: Some("C++".to_owned()),
        additions: Some(7),
        deletions: Some(u64::MAX),
        changed_files: Some(1),
        title: Some("Say \"no\"".to_owned()),
        draft: Some(false),
        ..Facts::default()
    };
    let today = event("PullRequestEvent", "opened", r#"{"id":3,"base":{"repo":{"id":9},"x":1}}"#);
    let whole = concat!(
        r#"{"id":3,"base":{"repo":{"id":9,"language":"C++"},"x":1},"merged":false,"additions":7,"#,
        r#""deletions":18446744073709551615,"changed_files":1,"title":"Say \"no\"","draft":false}"#
    );
    assert_eq!(written(&today, &known), event("PullRequestEvent", "opened", whole));
    let none = Facts { language: None, ..known.clone() };
    assert!(written(&today, &none).contains(r#"{"id":9,"language":null}"#));
    let late = Facts { enriched: false, ..none };
    assert!(written(&today, &late).contains(r#"{"id":9}"#));
    let review = event("PullRequestReviewEvent", "created", r#"{"base":{"repo":{}}}"#);
    let with_language =
        event("PullRequestReviewEvent", "created", r#"{"base":{"repo":{"language":"C++"}}}"#);
    assert_eq!(written(&review, &known), with_language);
}

#[test]
fn event_without_counted_fields_is_not_enriched() {
    let enriched = |kind, pull| {
        let text = event(kind, "opened", pull);
        Facts::of(&Event::read(&text).unwrap(), Timestamp::from_micros(0)).enriched
    };
    let old = r#"{"additions":1,"deletions":2,"base":{"repo":{"language":null}}}"#;
    assert!(enriched("PullRequestEvent", old));
    assert!(enriched("PushEvent", "{}"));
    assert!(!enriched("PullRequestEvent", r#"{"base":{"repo":{"language":null}}}"#));
    assert!(!enriched("PullRequestEvent", "null"));
    assert!(!enriched("PullRequestReviewEvent", r#"{"base":{"repo":{}}}"#));
    assert!(enriched("PullRequestReviewEvent", r#"{"base":{"repo":{"language":"C"}}}"#));
}

proptest! {
    #[test]
    fn facts_are_decoded_as_encoded(facts in facts(), behind in any::<Vec<u8>>()) {
        let mut bytes = Vec::new();
        facts.encode(&mut bytes);
        bytes.extend_from_slice(&behind);
        prop_assert_eq!(Facts::decode(&bytes), Some((facts, behind.as_slice())));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        let _ = Facts::decode(&bytes);
    }

    #[test]
    fn written_back_event_is_json_with_every_sent_value(
        facts in facts(), additions in prop::option::of(any::<u64>()), language in any::<bool>()
    ) {
        let additions = additions.map_or(String::new(), |n| format!(r#","additions":{n}"#));
        let language = if language { r#","language":"Zig""# } else { "" };
        let pull = format!(r#"{{"id":1{additions},"base":{{"repo":{{"id":2{language}}}}}}}"#);
        let sent = event("PullRequestEvent", "opened", &pull);
        let back: serde_json::Value = serde_json::from_str(&written(&sent, &facts)).unwrap();
        let sent: serde_json::Value = serde_json::from_str(&sent).unwrap();
        let pull = |event: &serde_json::Value| event["payload"]["pull_request"].clone();
        for (name, value) in pull(&sent).as_object().unwrap().iter().filter(|(n, _)| *n != "base") {
            prop_assert_eq!(&pull(&back)[name], value);
        }
        if !language.is_empty() {
            prop_assert_eq!(&pull(&back)["base"], &pull(&sent)["base"]);
        }
    }
}
