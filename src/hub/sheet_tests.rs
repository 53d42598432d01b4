//! What readers of sheets are told, and that it adds up.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::model::position::{BusTag, Position};

fn reading(at: u32, value: &[(&str, i64)]) -> Reading {
    let second = i64::from(at);
    Reading {
        cursor: Cursor { tag: BusTag(1), position: Position::counted(at.into()) },
        from: Second(second - 59),
        to: Second(second),
        counted_from: Second(5),
        left_out: 0,
        value: value.iter().map(|(name, n)| (*name, *n)).collect(),
    }
}

fn body(note: Option<Note>) -> String {
    note.expect("there is something to tell").frame.body().to_owned()
}

#[test]
fn the_snapshot_comes_first_and_then_each_value() {
    let sheets = Sheets::default();
    let sheet = sheets.open("stars");
    let bell = Arc::new(Bell::default());
    let mut follow = sheet.follow(Telling::Values, &bell);
    assert!(follow.take().is_none() && sheet.snapshot().is_none());
    sheet.show(reading(100, &[("a/b", 2)]));
    assert_eq!(
        body(follow.take()),
        concat!(
            r#"{"type":"snapshot","cursor":"00000001-bd64b","name":"stars","#,
            r#""from":"1970-01-01T00:00:41Z","to":"1970-01-01T00:01:40Z","#,
            r#""counted_from":"1970-01-01T00:00:05Z","complete":true,"#,
            r#""value":{"a/b":2}}"#
        )
    );
    assert!(follow.take().is_none());
    sheet.show(reading(63, &[]));
    assert_eq!(
        body(follow.take()),
        concat!(
            r#"{"type":"tick","cursor":"00000001-bd3fb","name":"stars","#,
            r#""from":"1970-01-01T00:00:04Z","to":"1970-01-01T00:01:03Z","#,
            r#""counted_from":"1970-01-01T00:00:05Z","complete":false,"value":{}}"#
        )
    );
    sheets.close("stars");
    assert!(body(follow.take()).starts_with(r#"{"type":"bye","#));
    assert!(follow.take().is_none() && follow.has_ended() && sheets.get("stars").is_none());
}

fn add(map: &mut BTreeMap<String, i64>, changes: &Value) {
    for (name, n) in changes.as_object().expect("an object") {
        *map.entry(name.clone()).or_default() += n.as_i64().expect("a number");
    }
    map.retain(|_, n| *n != 0);
}

proptest! {
    #[test]
    fn a_snapshot_and_the_changes_are_the_last_snapshot(
        values in prop::collection::vec(
            (prop::collection::btree_map("[a-d]", 1_i64..9, 0..4), any::<bool>()), 1..20),
    ) {
        let sheet = Sheets::default().open("languages");
        let bell = Arc::new(Bell::default());
        let mut follow = sheet.follow(Telling::Changes, &bell);
        let mut map = BTreeMap::new();
        let last = values.len() - 1;
        for (at, (value, read)) in values.into_iter().enumerate() {
            let pairs: Vec<_> = value.iter().map(|(name, n)| (name.as_str(), *n)).collect();
            sheet.show(reading(u32::try_from(at).unwrap(), &pairs));
            if !read && at < last {
                continue;
            }
            if let Some(note) = follow.take() {
                let message: Value = serde_json::from_str(note.frame.body()).unwrap();
                let key = if note.kind == "snapshot" { "value" } else { "changes" };
                let is_empty = message[key] == serde_json::json!({});
                prop_assert!(note.kind == "snapshot" || !is_empty, "a change of nothing");
                add(&mut map, &message[key]);
            }
            prop_assert_eq!(&map, &value);
        }
    }
}
