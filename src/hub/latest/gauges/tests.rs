//! Updates of gauge topics, and that they add up.

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::model::position::{BusTag, Position};

fn snapshot(at: u32, value: &[(&str, i64)]) -> GaugeSnapshot {
    let second = i64::from(at);
    GaugeSnapshot {
        cursor: Cursor { tag: BusTag(1), position: Position::counted(at.into()) },
        from: Second(second - 59),
        to: Second(second),
        counted_from: Second(5),
        left_out: 0,
        value: value.iter().map(|(name, n)| (*name, *n)).collect(),
    }
}

fn body(update: Option<GaugeUpdate>) -> String {
    update.expect("there is an update").frame.body().to_owned()
}

#[test]
fn snapshot_comes_first_and_then_each_value() {
    let topics = GaugeTopics::default();
    let topic = topics.open("stars");
    let notifier = Arc::new(Notifier::default());
    let mut follow = topic.subscribe(&notifier);
    assert!(follow.take().is_none() && topic.snapshot().is_none());
    topic.publish(snapshot(100, &[("a/b", 2)]));
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
    topic.publish(snapshot(63, &[]));
    assert_eq!(
        body(follow.take()),
        concat!(
            r#"{"type":"tick","cursor":"00000001-bd3fb","name":"stars","#,
            r#""from":"1970-01-01T00:00:04Z","to":"1970-01-01T00:01:03Z","#,
            r#""counted_from":"1970-01-01T00:00:05Z","complete":false,"value":{}}"#
        )
    );
    topics.close("stars");
    assert!(body(follow.take()).starts_with(r#"{"type":"bye","#));
    assert!(follow.take().is_none() && follow.has_ended() && topics.get("stars").is_none());
}

fn kind(update: Option<GaugeUpdate>) -> Value {
    serde_json::from_str::<Value>(&body(update)).unwrap()["type"].clone()
}

fn add(map: &mut BTreeMap<String, i64>, changes: &Value) {
    for (name, n) in changes.as_object().expect("an object") {
        *map.entry(name.clone()).or_default() += n.as_i64().expect("a number");
    }
    map.retain(|_, n| *n != 0);
}

fn apply(map: &mut BTreeMap<String, i64>, update: &GaugeUpdate) -> ResumeToken {
    let message: Value = serde_json::from_str(update.frame.body()).unwrap();
    if message["type"] == "snapshot" {
        map.clear();
        add(map, &message["value"]);
    } else if message["type"] == "delta" {
        add(map, &message["changes"]);
    }
    let token = update.token.expect("it is about counts");
    assert_eq!(message["cursor"], token.to_string());
    token
}

#[test]
fn returning_subscriber_receives_delta_if_value_is_known() {
    let topic = GaugeTopics::resumable().open("languages/1h");
    let notifier = Arc::new(Notifier::default());
    topic.publish(snapshot(100, &[("C", 1), ("Go", 2)]));
    let mut map = BTreeMap::new();
    let token = apply(&mut map, &topic.subscribe(&notifier).take().unwrap());
    let back = |token: ResumeToken| {
        let mut follow = topic.subscribe(&notifier);
        follow.resume(token);
        follow
    };
    // The window has moved but the value is the same: no update until the value changes.
    topic.publish(snapshot(101, &[("C", 1), ("Go", 2)]));
    let mut same = back(token);
    assert!(same.take().is_none());
    assert_eq!(apply(&mut map.clone(), &same.heartbeat()).value, token.value);
    topic.publish(snapshot(102, &[("Go", 3)]));
    let told = [same.take(), back(token).take()].map(body);
    assert_eq!(told[0], told[1], "encoded once");
    assert!(told[0].ends_with(r#","changes":{"C":-1,"Go":1}}"#), "{}", told[0]);
    // Without the hash, with an unknown one, and of a topic that keeps no values.
    for other in [ResumeToken { value: None, ..token }, ResumeToken { value: Some(7), ..token }] {
        assert_eq!(kind(back(other).take()), "snapshot");
    }
    let forgetful = GaugeTopics::default().open("stars");
    forgetful.publish(snapshot(100, &[("C", 1), ("Go", 2)]));
    let mut follow = forgetful.subscribe(&notifier);
    follow.resume(token);
    assert_eq!(kind(follow.take()), "snapshot");
    // Values that are too old are not known any more.
    for at in 0..KEPT_VALUES {
        topic.publish(snapshot(103, &[("D", i64::try_from(at).unwrap() + 1)]));
    }
    assert_eq!(lock(&topic.kept).len(), KEPT_VALUES);
    assert_eq!(kind(back(token).take()), "snapshot");
}

#[test]
fn withdrawn_value_is_known_to_nobody_who_comes_later() {
    let topic = GaugeTopics::resumable().open("busiest-stars/1h");
    let notifier = Arc::new(Notifier::default());
    topic.publish(snapshot(100, &[("a/b", 1), ("c/d", 2)]));
    let mut map = BTreeMap::new();
    let mut early = topic.subscribe(&notifier);
    let token = apply(&mut map, &early.take().unwrap());
    topic.withdraw();
    assert!(topic.snapshot().is_none() && topic.latest().is_none() && early.take().is_none());
    let mut late = topic.subscribe(&notifier);
    late.resume(token);
    assert!(late.take().is_none());
    topic.publish(snapshot(101, &[("c/d", 2)]));
    assert_eq!(kind(late.take()), "snapshot");
    apply(&mut map, &early.take().unwrap());
    assert_eq!(map.into_iter().collect::<Vec<_>>(), [("c/d".to_owned(), 2)]);
}

proptest! {
    #[test]
    fn updates_add_up_across_reconnects_to_two_nodes(
        values in prop::collection::vec(
            (prop::collection::btree_map("[a-c]", 1_i64..4, 0..3), 0..8_u8), 1..40),
    ) {
        // Two nodes that count the same, but are not always asked at the same ticks.
        let nodes = [(); 2].map(|()| GaugeTopics::resumable().open("types/1m"));
        let notifier = Arc::new(Notifier::default());
        let mut map = BTreeMap::new();
        let mut follow = nodes[0].subscribe(&notifier);
        let (mut token, mut at_node) = (None, 0);
        for (at, (value, toss)) in values.into_iter().enumerate() {
            let pairs: Vec<_> = value.iter().map(|(name, n)| (name.as_str(), *n)).collect();
            for (number, node) in nodes.iter().enumerate() {
                if toss != 7 || number == at_node {
                    node.publish(snapshot(u32::try_from(at).unwrap(), &pairs));
                }
            }
            match toss {
                0 => continue,
                1 | 2 => {
                    at_node = usize::from(toss - 1);
                    follow = nodes[at_node].subscribe(&notifier);
                    if let Some(token) = token {
                        follow.resume(token);
                    }
                }
                _ => {}
            }
            if let Some(update) = follow.take() {
                token = Some(apply(&mut map, &update));
            }
            let shown = nodes[at_node].snapshot().unwrap();
            let mut whole = BTreeMap::new();
            apply(&mut whole, &shown);
            prop_assert_eq!(&map, &whole);
        }
    }

    #[test]
    fn snapshot_plus_deltas_is_the_last_snapshot(
        values in prop::collection::vec(
            (prop::collection::btree_map("[a-d]", 1_i64..9, 0..4), any::<bool>()), 1..20),
    ) {
        let topic = GaugeTopics::resumable().open("languages");
        let notifier = Arc::new(Notifier::default());
        let mut follow = topic.subscribe(&notifier);
        let mut map = BTreeMap::new();
        let last = values.len() - 1;
        for (at, (value, read)) in values.into_iter().enumerate() {
            let pairs: Vec<_> = value.iter().map(|(name, n)| (name.as_str(), *n)).collect();
            topic.publish(snapshot(u32::try_from(at).unwrap(), &pairs));
            if !read && at < last {
                continue;
            }
            if let Some(update) = follow.take() {
                let message: Value = serde_json::from_str(update.frame.body()).unwrap();
                let is_whole = message["type"] == "snapshot";
                let key = if is_whole { "value" } else { "changes" };
                let is_empty = message[key] == serde_json::json!({});
                prop_assert!(is_whole || !is_empty, "a change of nothing");
                add(&mut map, &message[key]);
            }
            prop_assert_eq!(&map, &value);
        }
    }
}
