//! Tests of the message format: golden bytes, round trips, and the peer's messages.

use proptest::prelude::*;

use super::*;

fn published() -> Timestamp {
    Timestamp::from_micros(1_771_968_826_000_000)
}

const NOTHING: [Option<&str>; 2] = [None, None];

fn outgoing(facts: &Facts, text: &str) -> Outgoing {
    let envelope = Envelope { facts: facts.clone(), event: text.into() };
    Outgoing::new(&envelope, &EventSummary::of(Event::read(text).unwrap()))
}

fn read_back(outgoing: &Outgoing) -> Incoming {
    let property = |name: &str| {
        outgoing.properties.iter().find(|(known, _)| *known == name).map(|(_, v)| v.as_str())
    };
    let properties = [RECEIVED, SCHEMA].map(property);
    Incoming::read(outgoing.body.as_bytes(), properties, published()).unwrap()
}

#[test]
fn our_message_has_the_peers_body_and_three_properties() {
    let text =
        r#"{"id":"7","type":"PullRequestEvent","repo":{"id":9},"payload":{"action":"opened"}}"#;
    let facts = Facts {
        received_at: published(),
        flags: Flags { pr: true, open: true, dev_year: true, ..Flags::default() },
        enriched: true,
        language: Some("C\"".to_owned()),
        additions: Some(3),
        ..Facts::default()
    };
    let outgoing = outgoing(&facts, text);
    let payload = r#"{"pr":1,"open":1,"merge":0,"close":0,"devDay":0,"devYear":1,"repoYear":0,"language":"C\"","additions":3,"deletions":null,"enriched":1}"#;
    assert_eq!(outgoing.body, format!("{{\"event\":{text},\"payload\":{payload}}}"));
    assert_eq!(outgoing.key.as_deref(), Some("9"));
    assert_eq!(
        outgoing.properties,
        [
            ("received", "1771968826000000".to_owned()),
            ("key", "evt.pullrequest.insert".to_owned()),
            ("schema", "1".to_owned())
        ]
    );
    assert_eq!((outgoing.outage, outgoing.simulated), (None, false));
    assert!(self::outgoing(&Facts { simulated: true, ..facts.clone() }, text).simulated);
    let read = read_back(&outgoing);
    assert!(read.flags_given);
    assert_eq!(read.envelope, Envelope { facts, event: text.into() });
}

#[test]
fn only_the_event_of_the_peers_message_is_used() {
    let body = r#"{"event":{"id":"7","type":"PullRequestEvent","payload":{"action":"closed",
        "pull_request":{"merged":true,"additions":5,"deletions":1,
        "base":{"repo":{"language":"Go"}}}}},"payload":{"devDay":1,"merge":0}}"#;
    let read = Incoming::read(body.as_bytes(), NOTHING, published()).unwrap();
    assert!(!read.flags_given);
    let facts = &read.envelope.facts;
    assert_eq!(facts.received_at, published());
    assert_eq!(facts.flags, Flags { pr: true, merge: true, ..Flags::default() });
    assert_eq!((facts.language.as_deref(), facts.additions), (Some("Go"), Some(5)));
    assert!(read.envelope.event.starts_with(r#"{"id":"7","type""#));
    assert_eq!(read.summary, EventSummary::of(Event::read(&read.envelope.event).unwrap()));
}

#[test]
fn summary_is_of_the_kept_text() {
    let ours = [None, Some("1")];
    for event in [
        r#"{"type":"X","n":1}"#,
        r#"{ "type":"X" , "n" : 1 }"#,
        r#"{"type":"PullRequestEvent","payload":{"action":"opened","pull_request":{"id":4}}}"#,
        r#"{"id":"5","type":"IssuesEvent","repo":{"id":1},"payload":
            {"action":"opened","issue":{"id":3}}}"#,
    ] {
        let body = format!(r#"{{"event":{event},"payload":{{}}}}"#);
        for read in [
            Incoming::read(body.as_bytes(), ours, published()).unwrap(),
            Incoming::read(body.as_bytes(), NOTHING, published()).unwrap(),
        ] {
            let kept = Event::read(&read.envelope.event).unwrap();
            assert!(kept.is_compact());
            assert_eq!(read.summary, EventSummary::of(kept), "{event}");
        }
    }
}

#[test]
fn missing_and_unknown_payload_fields_are_accepted() {
    let schema = [None, Some("2")];
    let body = br#"{"payload":{"pr":1,"new":[1],"language":""},"event":{"id":"1"},"more":{}}"#;
    let read = Incoming::read(body, schema, published()).unwrap();
    assert!(read.flags_given);
    assert_eq!(read.envelope.facts.flags, Flags { pr: true, ..Flags::default() });
    assert_eq!(read.envelope.facts.language, None);
    let without = br#"{"event":{"id":"1","type":"PushEvent"}}"#;
    assert!(!Incoming::read(without, schema, published()).unwrap().flags_given);
}

#[test]
fn implausible_receive_time_is_the_publish_time() {
    let body = br#"{"event":{"id":"1"},"payload":{}}"#;
    let read = |text: &'static str| {
        Incoming::read(body, [Some(text), None], published()).unwrap().envelope.facts.received_at
    };
    assert_eq!(read("1771968820000000"), Timestamp::from_micros(1_771_968_820_000_000));
    for odd in ["", "x", "0", "-5", "9223372036854775807", "1971968826000000"] {
        assert_eq!(read(odd), published(), "{odd}");
    }
}

#[test]
fn impossible_publish_time_is_replaced_by_the_receive_time() {
    let body = br#"{"event":{"id":"1"},"payload":{}}"#;
    let read = |received: &'static str, published_at: i64| {
        let read =
            Incoming::read(body, [Some(received), None], Timestamp::from_micros(published_at));
        read.map(|incoming| incoming.envelope.facts.received_at)
    };
    let said = Timestamp::from_micros(1_771_968_820_000_000);
    for impossible in [i64::MIN, 0, 4_102_444_800_000_000, i64::MAX] {
        assert_eq!(read("1771968820000000", impossible), Ok(said), "{impossible}");
        for odd in ["", "0", "4102444800000000", "9223372036854775807"] {
            let words = read(odd, impossible).unwrap_err().to_string();
            assert!(words.contains("cannot be true"), "{words}");
        }
    }
    assert_eq!(read("", said.micros()), Ok(said));
}

#[test]
fn unreadable_message_has_a_reason() {
    let why = |body: &[u8]| Incoming::read(body, NOTHING, published()).unwrap_err().to_string();
    assert_eq!(why(b"\xff"), "the body is not UTF-8");
    for body in ["{}", r#"{"payload":{}}"#] {
        assert_eq!(why(body.as_bytes()), "the body has no member `event`");
    }
    let whole = r#"{"event":{"id":"7","type":"X"},"payload":{}}"#;
    let spoiled = ["garbage", " {}", "{", "}", "]", ",", "\0", "null", whole];
    let spoiled = spoiled.map(|behind| format!("{whole}{behind}"));
    let other = ["", "[]", "null", r#"{"event":"#, r#"x{"event":{"id":"7"}}"#, "\u{feff}{}"];
    let other = other.map(str::to_owned);
    for body in spoiled.iter().chain(&other) {
        let reason = "the body is not exactly one JSON object";
        assert_eq!(why(body.as_bytes()), reason, "{body}");
    }
    // Everything that admission accepts is accepted here.
    for text in [r#""half \ud83d""#, "1e999", &format!("{}{}", "[".repeat(130), "]".repeat(130))] {
        let body = format!(" {{\"event\":{{\"id\":\"7\",\"x\":{text}}},\"payload\":{{}}}}\n");
        assert!(Incoming::read(body.as_bytes(), NOTHING, published()).is_ok(), "{body}");
    }
    assert_eq!(why(br#"{"event":null}"#), "its `event` is not a JSON object");
    assert_eq!(why(br#"{"event":{}}"#), "its `event` is an object with neither `id` nor `type`");
}

/// Compares the two ways of reading a body; returns whether it has our form.
fn is_read_alike(body: &str) -> bool {
    let Some((event, payload)) = event_and_payload(body) else { return false };
    let (expected, whole) = parse(body).unwrap_or_else(|error| panic!("{error}: {body:?}"));
    assert_eq!((event.text, Some(payload)), (expected.text, whole), "{body:?}");
    assert_eq!(EventSummary::of(event), EventSummary::of(expected), "{body:?}");
    true
}

#[test]
fn body_of_our_form_is_read_as_any_other() {
    let facts = Facts { language: Some(",\"payload\":{".to_owned()), ..Facts::default() };
    let event = r#"{"id":"1","type":"X","payload":{"payload":{"a":[1,"\u0000 b"]}}}"#;
    assert!(is_read_alike(&outgoing(&facts, event).body));
    assert!(is_read_alike(r#"{"event":{"id":"1","id":"2"},"payload":{}}"#));
    for other in [
        r#"{"event":{"id":"1"}}"#,
        r#"{"event":{"id":"1"},"payload":null}"#,
        r#"{"event":{"id":"1"},"payload": {}}"#,
        r#"{"event":{"id":"1"},"payload":{} }"#,
        r#"{"event": {"id":"1"},"payload":{}}"#,
        r#"{"event":{"id": "1"},"payload":{}}"#,
        r#"{"event":{"id":"1"}, "payload":{}}"#,
        r#"{"event":{"id":"1"},"payload":{}}}"#,
        r#"{"event":{"id":"1"},"payload":{},"more":1}"#,
        r#"{"event":{"id":"1"},"event":{"id":"2"},"payload":{}}"#,
        "{\"event\":{\"id\":\"1\",\"\u{1}\":2},\"payload\":{}}",
        r#"{"event":{"id":"1","x":1e},"payload":{}}"#,
    ] {
        assert!(!is_read_alike(other), "{other}");
    }
}

proptest! {
    #[test]
    fn damaged_body_is_read_alike(
        at in any::<prop::sample::Index>(),
        cut in 0..3_usize,
        put in "[\u{0}-\u{7f}]{0,3}",
    ) {
        let event = r#"{"id":"1","type":"X","payload":{"a":[1,-2.5e3,"\u00e9"],"payload":{}}}"#;
        let mut body = outgoing(&Facts::default(), event).body;
        let at = at.index(body.len());
        body.replace_range(at..body.len().min(at + cut), &put);
        is_read_alike(&body);
    }

    #[test]
    fn facts_survive_a_message(
        flags in any::<[bool; 7]>(),
        micros in -1_000_000_i64..1_000_000,
        language in prop::option::of(".{1,20}"),
        additions in prop::option::of(any::<u64>()),
        enriched in any::<bool>(),
    ) {
        let facts = Facts {
            received_at: Timestamp::from_micros(published().micros() + micros),
            flags: Flags::from_named(flags),
            enriched,
            language,
            additions,
            deletions: additions.map(|n| n / 2),
            ..Facts::default()
        };
        let read = read_back(&outgoing(&facts, r#"{"id":"1","type":"X"}"#));
        prop_assert_eq!(read.envelope.facts, facts);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in any::<Vec<u8>>()) {
        let _ = Incoming::read(&body, NOTHING, published());
    }
}
