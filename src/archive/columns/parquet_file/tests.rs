//! What was written is read back.

use parquet::file::metadata::RowGroupMetaData;
use parquet::record::Row;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::*;

fn write(path: &Path, existing: Option<&Path>, events: &[String]) {
    let existing = existing.map(|path| File::open(path).unwrap());
    let mut out = ColumnFile::create(File::create(path).unwrap(), existing).unwrap();
    for event in events {
        out.add(&Event::read(event).unwrap()).unwrap();
    }
    out.finish().unwrap();
}

fn read(path: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

fn cell(row: &Row, name: &str) -> Option<Field> {
    let found = row.get_column_iter().find(|(known, _)| *known == name);
    found.map(|(_, field)| field.clone()).filter(|field| *field != Field::Null)
}

fn text(row: &Row, name: &str) -> Option<String> {
    match cell(row, name)? {
        Field::Str(text) => Some(text),
        other => panic!("{name} is no text: {other:?}"),
    }
}

/// The event that a row was made of.
fn event_of(row: &Row) -> Value {
    let json = |name| text(row, name).map(|text| serde_json::from_str::<Value>(&text).unwrap());
    let mut event = match json("other") {
        Some(Value::Object(other)) => other,
        _ => Map::new(),
    };
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value
            && !event.contains_key(name)
        {
            event.insert(name.to_owned(), value);
        }
    };
    put("payload", json("payload"));
    put("id", text(row, "id").filter(|id| !id.starts_with('#')).map(Value::from));
    put("type", text(row, "type").map(Value::from));
    let at = cell(row, "created_at").map(|field| match field {
        Field::TimestampMicros(micros) => crate::model::window::Timestamp::from_micros(micros),
        other => panic!("no time: {other:?}"),
    });
    put("created_at", at.map(|at| json!(at)));
    put("public", cell(row, "public").map(|public| json!(public == Field::Bool(true))));
    Value::Object(event)
}

fn sample(id: u64) -> String {
    json!({
        "id": id.to_string(),
        "type": "PullRequestEvent",
        "actor": {"id": 7, "login": "ann", "gravatar_id": ""},
        "repo": {"id": 9, "name": "ann/tool", "url": "https://api.github.com/repos/ann/tool"},
        "org": {"id": 11, "login": "tools"},
        "payload": {
            "action": "closed",
            "number": 3,
            "pull_request": {
                "merged": true, "additions": 5, "deletions": 2,
                "base": {"repo": {"language": "Rust"}}
            }
        },
        "public": true,
        "created_at": "2026-02-24T21:33:46Z",
    })
    .to_string()
}

#[test]
fn common_fields_are_typed_columns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.parquet");
    let push = json!({
        "id": "5", "type": "PushEvent", "payload": {"ref": "refs/heads/main", "size": 1},
        "created_at": "2026-02-24T21:33:47+01:00",
    });
    let created = json!({"id": "6", "type": "CreateEvent", "payload": {"ref": null,
        "ref_type": "repository"}, "created_at": "soon", "public": "yes"});
    let comment = json!({"id": "7", "type": "IssueCommentEvent",
        "payload": {"action": "created", "issue": {"number": 12}}});
    let events = [sample(1), push.to_string(), created.to_string(), comment.to_string()];
    write(&path, None, &events);
    let rows = read(&path);
    let shown = |row: &Row| {
        let names = ["id", "type", "actor_id", "actor_login", "repo_id", "repo_name", "org_id"];
        let more = ["org_login", "action", "number", "ref", "ref_type", "merged", "language"];
        let last = ["additions", "deletions", "created_at", "public"];
        [&names[..], &more, &last]
            .concat()
            .into_iter()
            .filter_map(|name| cell(row, name).map(|field| format!("{name}={field}")))
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        shown(&rows[0]),
        "id=\"1\" type=\"PullRequestEvent\" actor_id=7 actor_login=\"ann\" repo_id=9 \
         repo_name=\"ann/tool\" org_id=11 org_login=\"tools\" action=\"closed\" number=3 \
         merged=true language=\"Rust\" additions=5 deletions=2 \
         created_at=2026-02-24 21:33:46.000000 +00:00 public=true"
    );
    assert_eq!(
        shown(&rows[1]),
        "id=\"5\" type=\"PushEvent\" ref=\"refs/heads/main\" \
         created_at=2026-02-24 20:33:47.000000 +00:00"
    );
    // A time with another offset is not its column to the letter.
    assert_eq!(text(&rows[1], "other").unwrap(), r#"{"created_at":"2026-02-24T21:33:47+01:00"}"#);
    assert_eq!(shown(&rows[2]), "id=\"6\" type=\"CreateEvent\" ref_type=\"repository\"");
    assert_eq!(shown(&rows[3]), "id=\"7\" type=\"IssueCommentEvent\" action=\"created\" number=12");
    assert_eq!(text(&rows[3], "other"), None);
    for (row, event) in rows.iter().zip(&events) {
        assert_eq!(event_of(row), serde_json::from_str::<Value>(event).unwrap());
    }
}

#[test]
fn events_are_added_behind_those_of_a_file() {
    let dir = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| dir.path().join(name));
    write(&one, None, &[sample(1), sample(2)]);
    write(&two, Some(&one), &[sample(3), r#"{"type":"OddEvent","x":1}"#.to_owned()]);
    assert_eq!(rows(&two).unwrap(), 4);
    let ids: Vec<_> = read(&two).iter().map(|row| text(row, "id").unwrap()).collect();
    assert_eq!(ids[..3], ["1", "2", "3"]);
    let mut seen = HashSet::new();
    read_keys(&two, &mut seen).unwrap();
    let events = [sample(1), sample(2), sample(3), r#"{"type":"OddEvent","x":1}"#.to_owned()];
    let key = |text: &String| crate::archive::recorded::key_of(&Event::read(text).unwrap());
    assert_eq!(seen, events.iter().map(key).collect());
    // The first file's rows are there to the last field.
    assert_eq!(read(&two)[..2], read(&one)[..]);
}

#[test]
fn foreign_and_broken_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    std::fs::write(&path, "PAR1 but not really").unwrap();
    assert!(rows(&path).is_err());
    assert!(read_keys(&path, &mut HashSet::<u128>::new()).is_err());
    let schema = parse_message_type("message other { required int32 x; }").unwrap();
    let file = File::create(&path).unwrap();
    let foreign = SerializedFileWriter::new(file, Arc::new(schema), Arc::default()).unwrap();
    foreign.close().unwrap();
    let error = read_keys(&path, &mut HashSet::<u128>::new()).unwrap_err();
    assert!(error.to_string().contains("move it away"), "{error}");
    let out = File::create(dir.path().join("y")).unwrap();
    let error = ColumnFile::create(out, Some(File::open(&path).unwrap())).err().unwrap();
    assert!(error.to_string().contains("move it away"), "{error}");
}

#[test]
fn rows_above_the_limit_begin_another_group() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x");
    let filler = "x".repeat(3 << 20);
    let events: Vec<_> = (0..30)
        .map(|id| json!({"id": id.to_string(), "type": "A", "payload": filler}).to_string())
        .collect();
    write(&path, None, &events);
    let reader = SerializedFileReader::new(File::open(&path).unwrap()).unwrap();
    let groups: Vec<_> =
        reader.metadata().row_groups().iter().map(RowGroupMetaData::num_rows).collect();
    assert_eq!(groups, [22, 8]);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,6}".prop_map(Value::from),
        Just(json!("2026-02-24T21:33:46Z")),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        let name = prop::sample::select(vec!["id", "login", "action", "number", "ref", "x"]);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::hash_map(name.prop_map(str::to_owned), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_field_of_any_event_is_lost(
        events in prop::collection::vec(
            prop::collection::hash_map(
                prop::sample::select(vec![
                    "id", "type", "actor", "repo", "org", "payload", "public", "created_at", "y",
                ]),
                any_json(),
                1..9,
            ),
            1..5,
        ),
    ) {
        let texts: Vec<String> = events
            .iter()
            .map(|event| json!(event).to_string())
            .filter(|text| Event::read(text).is_ok())
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        write(&path, None, &texts);
        let rows = read(&path);
        prop_assert_eq!(rows.len(), texts.len());
        for (row, text) in rows.iter().zip(&texts) {
            prop_assert_eq!(event_of(row), serde_json::from_str::<Value>(text).unwrap());
        }
    }
}
