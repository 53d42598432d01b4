//! The types that `/client.d.ts` and `/client.py` declare are those of the schemas in
//! `/openapi.json`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::site::Site;
use crate::common::client::request;

/// A member of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    /// JSON types, or the texts that it may have, in quotes; empty where any value may be.
    types: BTreeSet<String>,
    is_required: bool,
}

type Members = BTreeMap<String, Member>;

/// The messages that the clients return: the type in TypeScript, in Python, and which of the
/// schemas of the messages of a type it is.
const MESSAGES: [(&str, &str, &str, &[&str]); 5] = [
    ("EventMessage", "Event", "EventMessage", &["event"]),
    ("EntityMessage", "Entity", "EntityMessage", &["entity"]),
    ("GapMessage", "Gap", "StreamMessage", &["gap"]),
    ("CaughtUpMessage", "CaughtUp", "StreamMessage", &["caught_up"]),
    // The clients add up snapshots and changes.
    ("CountsMessage", "Counts", "GaugeMessage", &["snapshot", "tick", "delta"]),
];

/// The schema that a reference leads to.
fn resolved<'v>(root: &'v Value, schema: &'v Value) -> &'v Value {
    match schema["$ref"].as_str() {
        Some(to) => resolved(root, root.pointer(&to[1..]).expect("it leads somewhere")),
        None => schema,
    }
}

/// The types that a schema allows.
fn types_of(root: &Value, schema: &Value) -> BTreeSet<String> {
    let schema = resolved(root, schema);
    let listed = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
    let choices = [listed("anyOf"), listed("oneOf")].concat();
    if !choices.is_empty() {
        return choices.iter().flat_map(|choice| types_of(root, choice)).collect();
    }
    let texts = schema.get("const").cloned().into_iter().chain(listed("enum"));
    let texts: BTreeSet<String> =
        texts.filter(Value::is_string).map(|text| text.to_string()).collect();
    if !texts.is_empty() {
        return texts;
    }
    let types = match &schema["type"] {
        Value::Array(types) => types.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    let types = types.iter().map(|name| name.as_str().expect("a name"));
    types.map(|name| name.replace("integer", "number")).collect()
}

/// The members of an object.
fn members_of(root: &Value, schema: &Value) -> Members {
    let mut members = Members::new();
    if schema.get("$ref").is_some() {
        // It may have other members beside it.
        members.extend(members_of(root, resolved(root, schema)));
    }
    let required = schema["required"].as_array().cloned().unwrap_or_default();
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.iter().any(|known| known == name);
        members.insert(name.clone(), Member { types: types_of(root, member), is_required });
    }
    members
}

/// The members of the messages of these types in a named schema.
fn message(root: &Value, schema: &str, kinds: &[&str]) -> Members {
    let schema = &root["components"]["schemas"][schema];
    let variants = schema["oneOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
    let mut all = Members::new();
    for kind in kinds {
        let mut of_kind = variants.iter().map(|variant| members_of(root, variant)).filter(|of| {
            of.get("type").is_some_and(|of| of.types.contains(&format!("\"{kind}\"")))
        });
        all.extend(of_kind.next().unwrap_or_else(|| panic!("no message {kind}")));
    }
    if kinds.contains(&"snapshot") {
        all.remove("changes").expect("changes of counts");
        all.get_mut("type").unwrap().types = BTreeSet::from(["\"counts\"".to_owned()]);
    }
    all
}

/// One type in TypeScript or Python.
fn type_named(name: &str) -> BTreeSet<String> {
    let name = name.trim();
    if name.starts_with('"') {
        return BTreeSet::from([name.to_owned()]);
    }
    let types: &[&str] = match name {
        "any" | "typing.Any" => &[],
        "string" | "str" => &["string"],
        "number" | "int" | "float" => &["number"],
        "boolean" | "bool" => &["boolean"],
        "null" => &["null"],
        _ => &["object"],
    };
    types.iter().map(|name| (*name).to_owned()).collect()
}

/// The members of each interface of a TypeScript file.
fn interfaces(text: &str) -> BTreeMap<String, Members> {
    let blocks = text.split("export interface ").skip(1);
    let of = |block: &str| {
        let (name, rest) = block.split_once(" {\n").expect("a body");
        let lines = rest.split("\n}").next().expect("it ends").lines().map(str::trim);
        let members = lines.filter_map(|line| {
            let (name, types) = line.strip_suffix(';')?.split_once(": ")?;
            let bare = name.strip_suffix('?').unwrap_or(name);
            let is_name = bare.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            // Objects are written out as `{ … }`.
            let types =
                if types.starts_with('{') { vec![types] } else { types.split('|').collect() };
            let types = types.into_iter().flat_map(type_named).collect();
            let member = Member { types, is_required: bare == name };
            is_name.then(|| (bare.to_owned(), member))
        });
        (name.to_owned(), members.collect())
    };
    blocks.map(of).collect()
}

/// The types in an annotation of Python.
fn annotated(annotation: &str) -> BTreeSet<String> {
    let within = |outer: &str| annotation.strip_prefix(outer)?.strip_suffix(']');
    if let Some(inner) = within("typing.Optional[") {
        return annotated(inner).into_iter().chain(type_named("null")).collect();
    }
    match within("typing.Literal[") {
        Some(texts) => texts.split(',').flat_map(type_named).collect(),
        None => type_named(annotation),
    }
}

/// The members of each `TypedDict` of a Python file.
fn typed_dicts(text: &str) -> BTreeMap<String, Members> {
    let mut all: BTreeMap<String, Members> = BTreeMap::new();
    let mut current: Option<(String, bool)> = None;
    for line in text.lines() {
        let bare = line.split("  #").next().unwrap_or_default().trim_end();
        if let Some((name, _)) = bare.split_once(" = typing.TypedDict(") {
            all.insert(name.to_owned(), Members::new());
            current = Some((name.to_owned(), true));
        } else if let Some(class) = bare.strip_prefix("class ") {
            current = None;
            let (name, bases) = class.trim_end_matches("):").split_once('(').expect("bases");
            let mut bases = bases.split(", ");
            let parent = bases.next().expect("a base");
            let inherited = all.get(parent).cloned();
            if inherited.is_some() || parent == "typing.TypedDict" {
                all.insert(name.to_owned(), inherited.unwrap_or_default());
                current = Some((name.to_owned(), bases.next() != Some("total=False")));
            }
        } else if !bare.starts_with([' ', ')']) && !bare.is_empty() {
            current = None;
        }
        let Some((class, is_required)) = &current else { continue };
        let Some((name, annotation)) = bare.trim().trim_end_matches(',').split_once(": ") else {
            continue;
        };
        let name = name.trim_matches('"').to_owned();
        if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            let member = Member { types: annotated(annotation), is_required: *is_required };
            all.get_mut(class).expect("it was found").insert(name, member);
        }
    }
    all
}

/// What differs between a declaration and the schema.
fn differences(declared: &Members, schema: &Members) -> Vec<String> {
    let names: BTreeSet<&String> = declared.keys().chain(schema.keys()).collect();
    let differing = names.into_iter().filter(|name| declared.get(*name) != schema.get(*name));
    differing
        .map(|name| format!("{name}: {:?}, not {:?}", declared.get(name), schema.get(name)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn declared_types_of_clients_are_those_of_the_schemas() {
    let site = Site::start(&[]).await;
    let get = async |path: &str| request(site.running.public, "GET", path, &[]).await;
    let root: Value = get("/openapi.json").await.json();
    let (typescript, python) = (get("/client.d.ts").await.body, get("/client.py").await.body);
    let (interfaces, dicts) = (interfaces(&typescript), typed_dicts(&python));
    let union = |text: &str, begin: &str, end: char| {
        text.split_once(begin).unwrap().1.split(end).next().unwrap().to_owned()
    };
    assert_eq!(union(&typescript, "type Message = ", ';'), MESSAGES.map(|one| one.0).join(" | "));
    let all = MESSAGES.map(|one| one.1).join(", ");
    assert_eq!(union(&python, "Message = typing.Union[", ']'), all);
    for (in_typescript, in_python, schema, kinds) in MESSAGES {
        let wanted = message(&root, schema, kinds);
        assert_eq!(differences(&interfaces[in_typescript], &wanted), [""; 0], "{in_typescript}");
        assert_eq!(differences(&dicts[in_python], &wanted), [""; 0], "{in_python}");
    }
    let payload = &root["components"]["schemas"]["EventMessage"]["properties"]["payload"];
    assert_eq!(differences(&interfaces["Flags"], &members_of(&root, payload)), [""; 0]);
    // GitHub's own event is declared as GitHub documents it; the schema allows more.
    let declared = &interfaces["GitHubEvent"];
    for (name, member) in members_of(&root, &root["components"]["schemas"]["Event"]) {
        let types = declared.get(&name).map(|declared| &declared.types);
        assert!(types.is_some_and(|types| types.is_subset(&member.types)), "{name}: {types:?}");
    }
    site.end().await;
}

#[test]
fn differences_of_declared_types_are_found() {
    let typescript = "export interface A {\n  /** An `a: b;` */\n  type: \"a\";\n  n?: number | null;\n  \
                      o: { x: string };\n  [member: string]: any;\n}\n";
    let python = "class B(typing.TypedDict):\n    \"\"\"A text: of it.\"\"\"\n\n    \
                  type: typing.Literal[\"a\"]\n    o: Json  # of what\n\n\nclass A(B, total=False):\n    \
                  n: typing.Optional[int]\n\nx: int = 1\n";
    let schema = |text: &str| {
        let schema = serde_json::from_str(text).unwrap();
        members_of(&schema, &schema)
    };
    let good = r##"{"properties":{"type":{"const":"a"},"n":{"type":["integer","null"]},
        "o":{"$ref":"#/x"}},"required":["type","o"],"x":{"type":"object"}}"##;
    for declared in [&interfaces(typescript)["A"], &typed_dicts(python)["A"]] {
        assert_eq!(differences(declared, &schema(good)), [""; 0]);
        for (from, to, what) in [
            (r#""n":"#, r#""other":"#, 2),
            (r#"["integer","null"]"#, r#""integer""#, 1),
            (r#""integer""#, r#""string""#, 1),
            (r#"{"const":"a"}"#, r#"{"enum":["a","b"]}"#, 1),
            (r#"["type","o"]"#, r#"["type"]"#, 1),
        ] {
            let found = differences(declared, &schema(&good.replace(from, to)));
            assert_eq!(found.len(), what, "{to}: {found:?}");
        }
    }
}
