use proptest::prelude::*;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::super::{MemberName, compact};
use super::*;

/// Members of an object by `serde_json`, as text.
struct Members<'n>(&'n [&'n str]);

impl<'de> Visitor<'de> for Members<'_> {
    type Value = Vec<Option<&'de str>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.0.len()];
        while let Some(key) = map.next_key::<MemberName<'de>>()? {
            match self.0.iter().position(|name| name.as_bytes() == &*key.0) {
                Some(i) => found[i] = Some(map.next_value::<&'de RawValue>()?.get()),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// What `serde_json` finds, member by member.
fn expected<'a>(json: &'a str, path: &[&str]) -> Option<&'a str> {
    path.iter().try_fold(json, |value, name| {
        let mut reader = serde_json::Deserializer::from_str(value);
        reader.deserialize_any(Members(&[*name])).ok()?[0]
    })
}

const PATHS: [&[&str]; 7] =
    [&["a"], &["a", "b"], &["a", "b", "a"], &["b"], &["b", "a"], &["a\"\n", ""], &["a", "a"]];

fn compare(json: &str) {
    let found = find(json, PATHS);
    let wanted = PATHS.map(|path| expected(json, path));
    assert_eq!(found.values, wanted, "{json}");
    if found.is_compact {
        assert_eq!(compact(json), json);
    } else if serde_json::from_str::<&RawValue>(json).is_ok() && json.starts_with('{') {
        assert_ne!(compact(json), json);
    }
}

#[test]
fn values_at_all_depths_are_found_in_one_pass() {
    let json = r#"{"x":[{"a":1}],"a":{"b":{"a":"1\"}"},"c":{}},"b":-0.5e+7}"#;
    let found = find(json, PATHS);
    let (inside, whole) = (r#"{"a":"1\"}"}"#, r#"{"b":{"a":"1\"}"},"c":{}}"#);
    let wanted = [Some(whole), Some(inside), Some(r#""1\"}""#), Some("-0.5e+7"), None, None, None];
    assert_eq!(found.values, wanted);
    assert!(found.is_compact);
    compare(json);
}

#[test]
fn last_of_repeated_members_counts() {
    for json in [
        r#"{"a":{"b":{"a":1}},"a":{"a":2}}"#,
        r#"{"a":{"a":2},"a":null}"#,
        r#"{"a":{"b":1,"b":{"a":[]}},"\u0061":{"b":{"\u0061":0}}}"#,
    ] {
        compare(json);
    }
    assert_eq!(find(r#"{"a":{"b":1},"a":{}}"#, PATHS).values[1], None);
}

#[test]
fn invalid_json_is_refused_and_text_after_it_ignored() {
    for json in [
        "",
        "{",
        "[]",
        " {\"a\":1}",
        "{\"a\":1} x",
        "{\"a\":1}x",
        "{\"a\":1 ,\"b\":2}",
        "{\"a\":01}",
        "{\"a\":-}",
        "{\"a\":1.}",
        "{\"a\":1e}",
        "{\"a\":1e+5}",
        "{\"a\":1,}",
        "{\"a\":[1,]}",
        "{\"a\":[1}",
        "{\"a\":{\"b\":1]}",
        "{\"a\":[[],{},[{}]],\"b\":tru}",
        "{\"a\":true,\"b\":false}",
        "{\"a\":nul}",
        "{\"a\":null}",
        "{\"a\":\"\\x\"}",
        "{\"a\":\"\\u12g4\"}",
        "{\"a\":\"\\u12\"}",
        "{\"a\":\"\\ud800\"}",
        "{\"\\ud800\":1,\"a\":2}",
        "{\"\\ud800\\u0041\":1,\"a\":2}",
        "{\"a\":\"\u{1}\"}",
        "{\"\u{1}\":1,\"a\":2}",
        "{\"b\":{\"\u{1}\":1},\"a\":2}",
        "{\"a\":{\"\u{1}\":1},\"b\":2}",
        "{\"a\\\"\\n\":{\"\":1}}",
        "{\"a\":\"12345678\\\"12345678\"}",
        "{a:1}",
        "{\"a\" 1}",
        "{1:1}",
        "{,}",
        "{\"a\":1}}",
        "{\"a\":+1}",
    ] {
        compare(json);
    }
}

#[test]
fn deeply_nested_object_is_skipped() {
    let deep = 200_000;
    let json = format!("{{\"x\":{}1{},\"a\":2}}", "[".repeat(deep), "]".repeat(deep));
    assert_eq!(find(&json, PATHS).values[0], Some("2"));
}

/// Text made of the pieces that JSON is made of.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"a\"",
        "\"b\"",
        "\"a\":",
        "\"b\":{",
        "{\"a\":",
        "\"",
        "\\",
        "\\\"",
        "\\u00e9",
        "\\n",
        "1",
        "0",
        "-",
        ".5",
        "e9",
        "true",
        "null",
        "false",
        " ",
        "\n",
        "é",
        "\u{7}",
        "x",
        "\"01234567\"",
        "\"\\u0061\":",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// JSON with the names that are looked for, and white space here and there.
fn json() -> impl Strategy<Value = String> {
    let space = || prop::sample::select(vec!["", "", "", "", " ", "\n\t"]);
    let leaf = prop_oneof![
        any::<f64>().prop_map(|n| serde_json::Value::from(n).to_string()),
        ".{0,20}".prop_map(|text| serde_json::Value::from(text).to_string()),
        prop::sample::select(vec!["1", "null", "true", "[]", "{}", "\"\\ud800\"", "12345.60"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(5, 60, 6, move |inner| {
        let name = prop::sample::select(vec!["a", "b", "c", "\\u0061", "a\\\"\\n", ""]);
        let member = (space(), name, space(), inner.clone(), space())
            .prop_map(|(a, name, b, value, c)| format!("{a}\"{name}\"{b}:{c}{value}"));
        prop_oneof![
            4 => prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
            1 => prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(","))),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn valid_json_is_read_as_by_serde_json(json in json()) {
        compare(&json);
        for cut in 0..json.len() {
            if json.is_char_boundary(cut) {
                compare(&json[..cut]);
            }
        }
    }

    #[test]
    fn broken_json_is_refused_as_by_serde_json(text in pieces()) {
        compare(&text);
        compare(&format!("{{\"a\":{text}}}"));
        compare(&format!("{{\"x\":{text},\"a\":{{\"b\":1}}}}"));
    }

    #[test]
    fn arbitrary_text_never_panics(text in ".{0,80}") {
        compare(&text);
        compare(&format!("{{\"a\":\"{text}\"}}"));
    }
}
