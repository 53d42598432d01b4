//! Fuzzes texts: events, cursors, patterns, times, tokens, scripts, configuration.

use ghpulse::config::{self, BareUnit, ConfigPath, Request};
use ghpulse::lists::NameList;
use ghpulse::model::entity::entities;
use ghpulse::model::envelope::{Facts, written_back};
use ghpulse::model::event::{Event, is_event};
use ghpulse::model::event_index::{EventIndex, IndexedField};
use ghpulse::model::json;
use ghpulse::model::message::Incoming;
use ghpulse::model::missing_fields::MissingFields;
use ghpulse::model::offset::Offset;
use ghpulse::model::position::Cursor;
use ghpulse::model::resume_token::ResumeToken;
use ghpulse::model::routing::RoutingPattern;
use ghpulse::model::window::{Day, Timestamp};
use ghpulse::script::ScriptKind;
use serde_json::Value;

use super::{Fuzz, fuzz, fuzz_with, outcome, text};

const PULL: &[u8] = concat!(
    r#"{"id":"42","type":"PullRequestEvent","actor":{"id":7,"login":"ann"},"#,
    r#""repo":{"id":8,"name":"a/b"},"org":{"login":"o"},"payload":{"action":"closed","#,
    r#""number":3,"pull_request":{"id":9,"number":3,"merged":true,"additions":5,"#,
    r#""deletions":2,"title":"\u00e4 \ud83d\ude00","base":{"repo":{"id":8,"#,
    r#""language":"Rust"}}}},"public":true,"created_at":"2026-03-01T10:00:00Z"}"#,
)
.as_bytes();
const TODAY: &[u8] = concat!(
    r#"{"id":"43","type":"PullRequestEvent","repo":{"id":8,"name":"a/b"},"#,
    r#""payload":{"action":"merged","pull_request":{"id":9,"number":3,"#,
    r#""base":{"repo":{"id":8}}}},"created_at":"2026-03-01T10:00:00Z"}"#,
)
.as_bytes();
const PUSH: &[u8] =
    br#"{ "id" : "1", "type" : "PushEvent", "payload" : {"commits":[{"sha":"a"}]} }"#;
const AT: i64 = 1_772_359_200;

/// The text parsed as JSON by `serde_json`.
fn value(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

#[test]
fn json_scanner() {
    fuzz("json_scanner", &[PULL, TODAY, PUSH, b"[1,2,{\"a\":[]}]"], |input| {
        let text = text(input);
        let parsed = value(&text);
        let found = json::pick(&text, ["id", "type", "payload"]).map(|part| part.is_some());
        let items = json::items(&text, 50);
        if let Some(parsed) = &parsed {
            assert_eq!(value(&json::compact(&text)).as_ref(), Some(parsed));
            let is_object = parsed.is_object();
            assert_eq!(json::is_only_object(&text), is_object);
            if let Some(list) = parsed.as_array() {
                assert_eq!(items.len(), list.len().min(50));
            }
            if let Some(string) = parsed.as_str() {
                assert_eq!(json::text(text.trim()).as_deref(), Some(string));
            }
        }
        outcome((parsed.is_some(), found, items.len().min(3), json::members(&text).is_ok()))
    });
}

#[test]
fn events() {
    fuzz("events", &[PULL, TODAY, PUSH], |input| {
        let text = text(input);
        let event = match Event::read(&text) {
            Ok(event) => event,
            Err(error) => return outcome(error.to_string().split(' ').count()),
        };
        let compact = event.compact();
        if value(&text).is_some() {
            let again = Event::read(&compact).expect("it is the same without white space");
            assert_eq!((&again.key, again.created_at), (&event.key, event.created_at));
        }
        let pull = event.pull_request();
        let kinds = pull.as_ref().map(|pull| (pull.is_open(), pull.is_close(), pull.is_merge()));
        if let Some((open, close, merge)) = kinds {
            assert!(usize::from(open) + usize::from(close) + usize::from(merge) <= 1);
        }
        outcome((kinds, event.created_at.is_some(), event.is_compact(), is_event(&text)))
    });
}

#[test]
fn facts_and_indexes() {
    fuzz("facts_and_indexes", &[PULL, TODAY, PUSH], |input| {
        let text = text(input);
        let Ok(event) = Event::read(&text) else { return 0 };
        let facts = Facts::of(&event, Timestamp::from_seconds(AT));
        let mut bytes = Vec::new();
        facts.encode(&mut bytes);
        let (again, rest) = Facts::decode(&bytes).expect("it was just written");
        assert!(rest.is_empty() && again == facts);
        let index = EventIndex::of(&event, &facts);
        let mut bytes = Vec::new();
        if index.encode(&mut bytes) {
            let (head, _) = EventIndex::split(&bytes).expect("it was just written");
            assert_eq!(EventIndex::decode(head, &facts).as_ref(), Some(&index));
        }
        let has =
            [IndexedField::Language, IndexedField::Repo].map(|field| index.get(field).is_some());
        outcome((index.key().to_owned(), has[0], has[1]))
    });
}

#[test]
fn events_written_back() {
    fuzz("events_written_back", &[PULL, TODAY, PUSH], |input| {
        let text = text(input);
        let Ok(event) = Event::read(&text) else { return 0 };
        let facts = Facts::of(&event, Timestamp::from_seconds(AT));
        let written = written_back(&event, &facts);
        if value(&text).is_some() {
            assert!(value(&written).is_some(), "it was JSON: {written}");
        }
        let missing = MissingFields::of(&event).map(|missing| missing.is_wanting());
        outcome((missing, written.len() == text.len()))
    });
}

#[test]
fn entity_documents() {
    fuzz("entity_documents", &[PULL, TODAY, PUSH], |input| {
        let text = text(input);
        let Ok(event) = Event::read(&text) else { return 0 };
        let made = entities(&event, 1);
        outcome(made.len())
    });
}

#[test]
fn pulsar_messages() {
    let seeds: [&[u8]; 3] =
        [br#"{"event":{"id":"1","type":"PushEvent"},"payload":{"pr":1}}"#, b"{}", b"\xff"];
    fuzz("pulsar_messages", &seeds, |input| {
        let read = Incoming::read(input, [None; 2], Timestamp::from_seconds(AT));
        match read {
            Ok(read) => outcome((true, read.flags_given)),
            Err(error) => outcome((false, std::mem::discriminant(&error))),
        }
    });
}

#[test]
fn cursors() {
    let seeds: [&[u8]; 3] = [b"51a70c3e-be1f4b", b"00000000-bbb", b"ffffffff-rffffffffffffffffbb"];
    fuzz("cursors", &seeds, |input| {
        let text = text(input);
        let cursor = text.parse::<Cursor>().map(|cursor| assert_eq!(cursor.to_string(), text));
        let offset = text.parse::<Offset>().map(|offset| assert_eq!(offset.to_string(), text));
        let token = text.parse::<ResumeToken>().map(|token| assert_eq!(token.to_string(), text));
        outcome((cursor.is_ok(), offset.is_ok(), token.is_ok(), text.len().min(30)))
    });
}

/// Matches a pattern by definition: `*` is one word, `#` any number.
fn matches(pattern: &[&str], key: &[&str]) -> bool {
    match pattern.split_first() {
        None => key.is_empty(),
        Some((&"#", rest)) => (0..=key.len()).any(|taken| matches(rest, &key[taken..])),
        Some((&word, rest)) => key
            .split_first()
            .is_some_and(|(first, key)| (word == "*" || word == *first) && matches(rest, key)),
    }
}

#[test]
fn topic_patterns() {
    let seeds: [&[u8]; 4] =
        [b"evt.*.insert", b"#", b"ent.#.issues.*\nent.issues.insert", b"a.#.b.#.c\na.b.b.c"];
    fuzz("topic_patterns", &seeds, |input| {
        let text = text(input);
        let (pattern, key) = text.split_once('\n').unwrap_or((&text, "evt.push.insert"));
        let read = match RoutingPattern::read(pattern) {
            Ok(read) => read,
            Err(error) => return outcome(std::mem::discriminant(&error)),
        };
        let split = |text| -> Vec<&str> {
            if str::is_empty(text) { Vec::new() } else { text.split('.').collect() }
        };
        let (words, keys) = (split(pattern), split(key));
        let found = read.matches(key);
        // The naive algorithm takes exponential time.
        let wild = words.iter().filter(|word| **word == "#").count();
        if wild <= 3 && keys.len() <= 12 {
            assert_eq!(found, matches(&words, &keys));
        }
        outcome((found, wild.min(5), read.words().eq(["#"])))
    });
}

#[test]
fn times_and_lengths() {
    let seeds: [&[u8]; 5] = [
        b"2026-03-01T10:00:00Z",
        b"2026-03-01",
        b"1h30m",
        b"15s",
        b"Sun, 01 Mar 2026 10:00:00 GMT",
    ];
    fuzz("times_and_lengths", &seeds, |input| {
        let text = text(input);
        let now = Timestamp::from_seconds(AT);
        let day = Day::parse(&text).map(|day| assert_eq!(day.to_string(), text));
        let time = Timestamp::parse(&text).map(|time| {
            assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        });
        let length = config::duration(&text, BareUnit::Seconds).map(|length| {
            let shown = config::show_duration(length);
            assert_eq!(config::duration(&shown, BareUnit::Seconds), Some(length), "{shown}");
        });
        let moment = config::moment(&text, now).is_some();
        outcome((day.is_some(), time.is_some(), length.is_some(), moment))
    });
}

#[test]
fn tokens_file() {
    let seeds: [&[u8]; 2] =
        [b"# mine\nghp_abcdefghijklmnopqrstuvwxyz0123456789\n", b"alice\r\nbob"];
    fuzz("tokens_file", &seeds, |input| {
        let text = text(input);
        let read = config::read_tokens(&text);
        for (line, why) in &read.wrong {
            assert!(*line >= 1 && *line <= text.lines().count() && !why.is_empty());
        }
        outcome((read.wrong.len().min(5), read.placeholders.len().min(5)))
    });
}

#[test]
fn list_files() {
    let seeds: [&[u8]; 3] = [
        b"# ours\r\ncomplete: true\nRust-Lang/Rust # the compiler\ntokio-rs/*\n@Torvalds\n",
        b"\xef\xbb\xbfa/b\n@renovate[bot]\nA/B",
        b"complete: false\nhttps://github.com/a/b\n@\na/..\n",
    ];
    fuzz("list_files", &seeds, |input| {
        let list = match NameList::parse(input) {
            Ok(list) => list,
            Err(errors) => {
                assert!(!errors.is_empty() && errors.iter().all(|error| !error.reason.is_empty()));
                return outcome((false, errors.len()));
            }
        };
        let names: Vec<String> = list.iter().map(|name| name.to_string()).collect();
        let text = format!("complete: {}\n{}", list.is_complete(), names.join("\n"));
        assert_eq!(NameList::parse(text.as_bytes()).as_ref(), Ok(&list));
        outcome((true, list.len().min(9), list.is_complete()))
    });
}

#[test]
fn configuration_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    let default = config::default_file();
    let seeds: [&[u8]; 4] = [
        default.as_bytes(),
        b"github:\n  tokens: [a, b]\nstore: {sync: 1s}\n",
        b"a: &a [*a]\n",
        b"server:\n  port: 8080\n  bind: '::'\n",
    ];
    fuzz_with(Fuzz::slow("configuration_file", &seeds, 5), |input| {
        std::fs::write(&file, input).unwrap();
        let request =
            Request { lookup: ConfigPath::File(file.clone()), ..Request::of_variables(Vec::new()) };
        match config::load(&request) {
            Ok(loaded) => outcome((true, loaded.warnings.len())),
            Err(refused) => {
                assert!(!refused.errors.is_empty(), "refused without a word");
                outcome((false, refused.errors.len().min(20)))
            }
        }
    });
}

#[test]
fn configuration_variables() {
    let seeds: [&[u8]; 5] = [b"3\n8080", b"7\n1h", b"11\ntrue", b"20\n", b"31\nhttp://a:b@c:1/d?e"];
    fuzz("configuration_variables", &seeds, |input| {
        let text = text(input);
        let (at, value) = text.split_once('\n').unwrap_or(("0", &text));
        let key = &config::KEYS[at.parse::<usize>().unwrap_or_default() % config::KEYS.len()];
        let request = Request {
            lookup: ConfigPath::Nothing,
            directory: ".".into(),
            environment: vec![(key.variable(), value.to_owned())],
            flags: Vec::new(),
            host: "test".to_owned(),
        };
        match config::load(&request) {
            Ok(_) => outcome((key.path, true)),
            Err(refused) => {
                assert!(!refused.errors.is_empty(), "refused without a word");
                outcome((key.path, false))
            }
        }
    });
}

#[test]
fn addresses_of_servers() {
    let seeds: [&[u8]; 3] =
        [b"pulsar+ssl://h:6651", b"amqps://u:p@[::1]:5671/%2f", b"http://a.b/c"];
    fuzz("addresses_of_servers", &seeds, |input| {
        outcome(config::endpoint(&text(input)).map(|(scheme, _, port)| (scheme, port)))
    });
}

#[test]
fn merge_scripts() {
    let shipped = include_str!("../../../scripts/merge_latest.rhai");
    let seeds: [&[u8]; 4] = [
        shipped.as_bytes(),
        b"fn merge(window) { let a = []; loop { a += a; a.push(1); } }",
        b"fn merge(window) { merge(window) }",
        b"fn merge(window) { let s = \"x\"; while true { s += s; } Tally() }",
    ];
    fuzz_with(Fuzz::slow("merge_scripts", &seeds, 20), |input| {
        match ghpulse::script::prepare(ScriptKind::Merge, &text(input), "fuzz.rhai", |_| None) {
            Ok(_) => 1,
            Err(complaint) => outcome(complaint.reason.len()),
        }
    });
}

#[test]
fn hour_names() {
    let seeds: [&[u8]; 3] =
        [b"2026-03-01-1.json.gz", b"dir/half-2026-03-01-23.json", b"2026-13-40-99"];
    fuzz("hour_names", &seeds, |input| {
        let text = text(input);
        outcome(ghpulse::model::hour_file::HourName::of(std::path::Path::new(&*text)).is_some())
    });
}
