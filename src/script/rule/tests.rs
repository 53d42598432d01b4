//! What rules take, refuse and count.

use proptest::prelude::*;

use super::*;
use crate::model::event::Event;
use crate::model::window::Timestamp;

const STAR: &str = r#"{"id":"5","type":"WatchEvent","actor":{"id":7,"login":"a[bot]"},
    "repo":{"id":9,"name":"x/y"},"payload":{"action":"started","n":1.50,"o":{}},"public":true}"#;

fn rule(by: &str, conditions: &[(&str, &[&str])]) -> Result<AggregateRule, String> {
    let text = |text: &&str| (*text).to_owned();
    let conditions: Vec<_> = conditions
        .iter()
        .map(|(at, values)| (text(at), values.iter().map(text).collect()))
        .collect();
    AggregateRule::new(by, &conditions, None, None)
}

fn name(rule: &AggregateRule, text: &str) -> Option<String> {
    let facts = Facts::of(&Event::read(text).unwrap(), Timestamp::default());
    rule.name(&Subject::new(&facts, text)).map(Cow::into_owned)
}

#[test]
fn event_is_counted_under_the_value_of_its_path() {
    for (by, counted) in [
        ("event.repo.name", Some("x/y")),
        ("event.payload.n", Some("1.50")),
        ("event.public", Some("true")),
        ("event.actor.id", Some("7")),
        ("event.payload.o", None),
        ("event.nothing.at.all", None),
        ("payload.pr", Some("0")),
        ("payload.language", None),
        ("key", Some("evt.watch.insert")),
        ("evt.watch.insert", Some("evt.watch.insert")),
        ("evt.*.insert", Some("evt.watch.insert")),
        ("evt.fork.insert", None),
    ] {
        assert_eq!(name(&rule(by, &[]).unwrap(), STAR).as_deref(), counted, "{by}");
    }
}

#[test]
fn all_conditions_must_hold() {
    let types: (&str, &[&str]) = ("event.type", &["ForkEvent", "WatchEvent"]);
    for (where_, counted) in [
        (vec![types], true),
        (vec![types, ("event.actor.login", &["*[bot]"])], true),
        (vec![types, ("event.actor.login", &["!*[bot]"])], false),
        (vec![types, ("event.org.login", &["x"])], false),
        (vec![types, ("event.org.login", &["!x"])], true),
        (vec![("event.type", &["*Event", "!Watch*"])], false),
        (vec![("event.type", &[])], true),
    ] {
        let rule = rule("event.repo.name", &where_).unwrap();
        assert_eq!(name(&rule, STAR).is_some(), counted, "{where_:?}");
    }
}

#[test]
fn uncountable_rules_are_refused() {
    for (by, said) in [
        ("repo.name", "by: `repo.name` begins with neither"),
        ("event", "by: `event` is not a single value"),
        ("payload.a.b", "the payload has no nested objects"),
    ] {
        assert!(rule(by, &[]).unwrap_err().contains(said), "{by}");
    }
    assert!(rule("key", &[("x", &["y"])]).unwrap_err().starts_with("where: `x`"));
    let times = |window, tick| {
        AggregateRule::new("key", &[], Some(Duration::from_millis(window)), tick)
            .map(|rule| (rule.window(), rule.tick(), rule.shape().step))
    };
    assert_eq!(times(60_000, None), Ok((60, 1, 1)));
    assert_eq!(times(86_400_000, None), Ok((86_400, 24, 24)));
    assert_eq!(times(5_401_000, None), Ok((5_402, 2, 2)));
    for (window, tick) in [(0, None), (500, None), (86_401_000, None), (5_401_000, Some(1))] {
        assert!(times(window, tick.map(Duration::from_secs)).is_err(), "{window}");
    }
}

/// Any JSON of a few levels with short names.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        ".{0,4}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            prop::collection::btree_map("[a-c]|type|repo", inner, 0..3)
                .prop_map(|map| map.into_iter().collect::<serde_json::Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #[test]
    fn a_path_leads_where_a_whole_reading_of_the_event_leads(
        event in prop::collection::btree_map("[a-c]|type|repo", any_json(), 0..4),
        path in prop::collection::vec("[a-c]|type|repo", 1..4),
    ) {
        let text = serde_json::to_string(&event).unwrap();
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wanted = whole.pointer(&format!("/{}", path.join("/"))).and_then(|value| match value {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(_) | serde_json::Value::Bool(_) => Some(value.to_string()),
            _ => None,
        });
        let rule = rule(&format!("event.{}", path.join(".")), &[]).unwrap();
        let facts = Facts::default();
        let found = rule.name(&Subject::new(&facts, &text)).map(Cow::into_owned);
        prop_assert_eq!(found, wanted.filter(|name| !name.is_empty()));
    }

    #[test]
    fn any_event_is_counted_or_not_without_a_panic(text in ".{0,200}", by in "(event|payload)(\\.[a-z]{0,7}){0,3}") {
        let facts = Facts::default();
        if let Ok(rule) = rule(&by, &[("event.type", &["*"])]) {
            let _ = rule.name(&Subject::new(&facts, &text));
        }
    }
}
