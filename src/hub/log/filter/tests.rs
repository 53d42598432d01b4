use proptest::prelude::*;

use super::*;
use crate::hub::log::tail::TailEvent;
use crate::hub::log::tail::tests::tail_event;

fn list(values: &[&str]) -> Vec<String> {
    values.iter().map(|&value| value.to_owned()).collect()
}

fn compile(query: &StreamQuery) -> Filter {
    Filter::compile(query).unwrap().0
}

fn opened() -> TailEvent {
    let text = r#"{"id":"1","type":"PullRequestEvent","actor":{"login":"Ann"},
        "repo":{"name":"Rust-Lang/Rust"},"org":{"login":"rust-lang"},"payload":{"action":"opened",
        "pull_request":{"base":{"repo":{"language":"Rust"}}}}}"#;
    tail_event(1, text)
}

fn push() -> TailEvent {
    tail_event(2, r#"{"id":"2","type":"PushEvent","repo":{"name":"ann/tool"}}"#)
}

#[test]
fn values_are_alternatives_and_all_dimensions_must_match() {
    type Query = StreamQuery;
    let all = StreamQuery::default;
    for (query, takes_opened, takes_push) in [
        (all(), true, true),
        (Query { types: list(&["PushEvent", "pullrequestevent"]), ..all() }, true, true),
        (Query { types: list(&["pull*", "!*ReviewEvent"]), ..all() }, true, false),
        (Query { types: list(&["!PushEvent"]), ..all() }, true, false),
        (Query { repos: list(&["rust-lang/*"]), ..all() }, true, false),
        (Query { repos: list(&["*/*", "!ANN/tool"]), ..all() }, true, false),
        (Query { actors: list(&["ann"]), languages: list(&["rust"]), ..all() }, true, false),
        (Query { actors: list(&["ann"]), languages: list(&["go"]), ..all() }, false, false),
        (Query { orgs: list(&["*"]), ..all() }, true, false),
        (Query { orgs: list(&["!*"]), ..all() }, false, true),
        (Query { actions: list(&["Opened", "closed"]), ..all() }, true, false),
        (Query { actions: list(&["!opened"]), ..all() }, false, true),
        (Query { keys: list(&["evt.pullrequest.*"]), ..all() }, true, false),
        (Query { keys: list(&["!evt.pullrequest.*"]), ..all() }, false, true),
        (Query { keys: list(&["#", "!evt.push.#"]), ..all() }, true, false),
        (Query { keys: list(&["ent.#"]), ..all() }, false, false),
        (Query { types: list(&["", " "]), ..all() }, true, true),
    ] {
        let filter = compile(&query);
        assert_eq!(filter.matches(&opened()), takes_opened, "{query:?}");
        assert_eq!(filter.matches(&push()), takes_push, "{query:?}");
    }
}

#[test]
fn entities_need_a_key_that_matches_them() {
    let asks = |keys: &[&str]| {
        compile(&StreamQuery { keys: list(keys), ..StreamQuery::default() }).wants_entities()
    };
    assert!(!asks(&[]) && !asks(&["evt.#"]) && !asks(&["!evt.push.insert"]));
    assert!(asks(&["ent.commits.*"]) && asks(&["*.*.*"]) && asks(&["#"]));
    assert!(!asks(&["#", "!ent.#"]));
}

#[test]
fn queries_with_the_same_values_are_equal() {
    let one = StreamQuery {
        keys: list(&["evt.#", "#.#"]),
        repos: list(&["A/b", "c/d"]),
        ..StreamQuery::default()
    };
    let two = StreamQuery {
        keys: list(&["#", "#"]),
        repos: list(&["C/D", "a/B", "c/d", ""]),
        sample: Some(1),
        ..StreamQuery::default()
    };
    assert_eq!(compile(&one), compile(&two));
    assert_ne!(compile(&one), compile(&StreamQuery { sample: Some(2), ..two }));
}

#[test]
fn invalid_query_is_refused_with_field_and_value() {
    let error = |query: StreamQuery| Filter::compile(&query).unwrap_err();
    let all = StreamQuery::default;
    let sample = error(StreamQuery { sample: Some(0), ..all() });
    assert_eq!((sample.field, &*sample.value), ("sample", "0"));
    let bare = error(StreamQuery { actors: list(&["ann", "!"]), ..all() });
    assert_eq!(bare.to_string(), "actors: `!` needs a value behind `!`, as `!dependabot*`");
    let keys = error(StreamQuery { keys: list(&["#.a.#.#"]), ..all() });
    assert!(keys.message.contains("3 words `#`; the limit is 2"), "{}", keys.message);
    let long = error(StreamQuery { orgs: vec!["x".repeat(256)], ..all() });
    assert_eq!((long.field, long.value.len()), ("orgs", 80));
    let numbered = |n: usize, form: &str| (0..n).map(|i| format!("{form}{i}")).collect();
    for (query, word) in [
        (StreamQuery { repos: numbered(201, "a/b"), ..all() }, "one value too many"),
        (StreamQuery { repos: numbered(33, "a/*"), ..all() }, "one value with `*` too many"),
        (StreamQuery { actors: vec!["*a".repeat(9)], ..all() }, "more than 8 `*`"),
        (StreamQuery { keys: numbered(33, "evt."), ..all() }, "one pattern too many"),
        (
            StreamQuery { orgs: list(&["*a*"]), repos: numbered(32, &long_glob(16)), ..all() },
            "values with more than one `*` have 512 bytes in all",
        ),
    ] {
        let error = error(query);
        assert!(error.message.contains(word), "{}", error.message);
    }
    assert!(Filter::compile(&StreamQuery { repos: numbered(200, "a/b"), ..all() }).is_ok());
    assert!(Filter::compile(&StreamQuery { repos: numbered(32, &long_glob(15)), ..all() }).is_ok());
    // A value with one `*` costs little, however long it is.
    let long = format!("a*{}", "b".repeat(240));
    assert!(Filter::compile(&StreamQuery { repos: numbered(32, &long), ..all() }).is_ok());
}

/// A value with two `*` and this many bytes.
fn long_glob(bytes: usize) -> String {
    format!("*a{}*", "b".repeat(bytes - 3))
}

#[test]
fn probable_mistakes_are_accepted_with_a_warning() {
    let query = StreamQuery {
        keys: list(&["evt.repos.insert", "evt.push.insert"]),
        types: list(&["push", "PushEvent", "*event"]),
        repos: list(&["ann", "ann/tool"]),
        ..StreamQuery::default()
    };
    let (_, warnings) = Filter::compile(&query).unwrap();
    let odd: Vec<(&str, &str)> = warnings.iter().map(|w| (w.field, &*w.value)).collect();
    assert_eq!(odd, [("types", "push"), ("repos", "ann"), ("keys", "evt.repos.insert")]);
    assert!(warnings[0].message.ends_with("did you mean PushEvent?"), "{warnings:?}");
    assert!(warnings[1].message.contains("`ann/*`"));
    let said = |keys: &str| {
        let query = StreamQuery { keys: list(&[keys]), ..StreamQuery::default() };
        Filter::compile(&query).unwrap().1.remove(0).message
    };
    assert!(said("evt.pullrequests.insert").ends_with("did you mean `evt.pullrequest.insert`?"));
    assert!(said("evt.gist.insert").ends_with("GitHub has not made such events since 2013"));
    assert!(said("!ent.").contains("`%23`"));
    assert!(said("something.else").ends_with("/topics lists them"));
}

/// Whether a dimension takes a text, value by value.
fn plainly_takes(values: &[String], text: Option<&str>) -> bool {
    let folded: Vec<String> = values.iter().map(|value| value.to_ascii_lowercase()).collect();
    let text = text.map(str::to_ascii_lowercase);
    let is_match = |value: &str| {
        text.as_ref().is_some_and(|text| crate::model::glob::matches(value, text.as_bytes()))
    };
    let mut wanted = folded.iter().filter(|value| !value.starts_with('!')).peekable();
    let is_wanted = wanted.peek().is_none() || wanted.any(|value| is_match(value));
    is_wanted && !folded.iter().filter_map(|value| value.strip_prefix('!')).any(is_match)
}

/// Some values of a dimension, several of which match some of [`names`].
fn values() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec("!?([aAb/]{1,3}|[aB/*]{2,6}|[ab]{0,2}(\\*[abA/]{1,3}){1,4}\\*?)", 0..6)
}

fn names() -> impl Strategy<Value = Option<String>> {
    proptest::option::of("[aAb]{0,3}/?[abB]{0,12}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn filter_matches_like_its_values_one_by_one(
        lists in prop::array::uniform5(values()), names in prop::array::uniform5(names()),
    ) {
        let [types, repos, actors, orgs, actions] = lists.clone();
        let filter = StreamQuery { types, repos, actors, orgs, actions, ..StreamQuery::default() };
        let filter = compile(&filter);
        let [kind, repo, actor, org, action] = &names;
        let event = serde_json::json!({
            "id": "7", "type": kind, "repo": {"name": repo}, "actor": {"login": actor},
            "org": {"login": org}, "payload": {"action": action},
        });
        let event = tail_event(1, &event.to_string());
        let fields =
            [IndexedField::Kind, IndexedField::Repo, IndexedField::Actor, IndexedField::Org];
        let texts = fields.map(|field| event.index().get(field));
        let texts = texts.into_iter().chain([event.action()]);
        let expected = lists.iter().zip(texts).all(|(list, text)| plainly_takes(list, text));
        prop_assert_eq!(filter.matches(&event), expected, "{:?}", lists);
    }

    #[test]
    fn sample_is_part_of_a_divisors_sample(id in any::<u64>(), n in 1..50_u64, times in 1..9_u64) {
        let event = tail_event(1, &format!(r#"{{"id":"{id}","type":"PushEvent"}}"#));
        let of = |n| compile(&StreamQuery { sample: Some(n), ..StreamQuery::default() });
        prop_assert!(of(n).matches(&event) || !of(n * times).matches(&event));
    }
}

#[test]
fn sample_takes_about_one_event_in_n() {
    let tenth = compile(&StreamQuery { sample: Some(10), ..StreamQuery::default() });
    let id = |n: u64| format!(r#"{{"id":"{}","type":"PushEvent"}}"#, 22_249_084_964 + 7 * n);
    let taken = (0..10_000).filter(|n| tenth.matches(&tail_event(1, &id(*n)))).count();
    assert!((850..1_150).contains(&taken), "{taken}");
}
