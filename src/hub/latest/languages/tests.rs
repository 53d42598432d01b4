//! Subscribers of the language map. Invariant: the first message, plus all additions, minus all
//! deletions, equals the map.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::hub::LatestValues;
use crate::model::tally::Tally;
use crate::model::window::Second;

type Counts = BTreeMap<String, i64>;

fn latest_values() -> Arc<LatestValues> {
    Arc::new(LatestValues::new(2, Clock::system()))
}

fn tick(pairs: &[(&str, i64)]) -> Arc<Tick> {
    Arc::new(Tick { at: Second(1), map: pairs.iter().map(|&(name, n)| (name, n)).collect() })
}

fn body(frame: Option<Frame>) -> Option<String> {
    frame.map(|frame| frame.body().to_owned())
}

#[test]
fn latest_filters_first_and_then_takes_the_largest() {
    let (values, notifier) = (latest_values(), Arc::new(Notifier::default()));
    let names = ["Go", "C", "Rust", "C"].map(Box::from).to_vec();
    let mut some = values.follow_languages(LanguageQuery::new(names, 2), &notifier);
    let mut all = values.follow_languages(LanguageQuery::default(), &notifier);
    assert_eq!(body(all.take()), None);
    values.set_tick(tick(&[("Ada", 9), ("C", 1), ("Go", 1), ("Rust", 5)]));
    assert_eq!(body(some.take()).as_deref(), Some(r#"{"C":1,"Rust":5}"#));
    assert_eq!(body(all.take()).as_deref(), Some(r#"{"Ada":9,"C":1,"Go":1,"Rust":5}"#));
    assert_eq!(body(all.take()), None);
    values.set_tick(tick(&[]));
    assert_eq!(body(some.take()).as_deref(), Some("{}"));
}

#[test]
fn watch_sends_both_spellings_and_nothing_without_a_change() {
    let (values, notifier) = (latest_values(), Arc::new(Notifier::default()));
    values.set_tick(tick(&[("Bicep", 1), ("Java", 2)]));
    let (mut watch, first) = values.watch_languages(&notifier);
    assert_eq!(
        first.body(),
        r#"{"firstMessageTag":true,"apiVersion":2,"languageMap":{"Bicep":1,"Java":2}}"#
    );
    values.set_tick(tick(&[("Bicep", 1), ("Java", 3)]));
    assert_eq!(body(watch.take()), None, "nothing before it asked");
    watch.ask(Vec::new());
    assert_eq!(
        body(watch.take()).as_deref(),
        Some(concat!(
            r#"{"Deletions":{},"Additions":{"Java":"1"},"#,
            r#""deletions":{},"additions":{"Java":"1"}}"#
        ))
    );
    values.set_tick(tick(&[("Bicep", 1), ("Java", 3)]));
    assert_eq!(body(watch.take()), None);
    values.set_tick(tick(&[("Java", 1)]));
    assert_eq!(
        body(watch.take()).as_deref(),
        Some(concat!(
            r#"{"Deletions":{"Bicep":"1","Java":"2"},"Additions":{},"#,
            r#""deletions":{"Bicep":"1","Java":"2"},"additions":{}}"#
        ))
    );
}

#[test]
fn equal_subscribers_share_the_bytes_of_a_tick() {
    let (values, notifier) = (latest_values(), Arc::new(Notifier::default()));
    let mut latest = [(); 2].map(|()| values.follow_languages(LanguageQuery::default(), &notifier));
    let mut watch = [(); 2].map(|()| values.watch_languages(&notifier).0);
    for watch in &mut watch {
        watch.ask(Vec::new());
    }
    values.set_tick(tick(&[("C", 1)]));
    let [one, two] = latest.each_mut().map(|latest| latest.take().unwrap());
    assert_eq!(one.bytes().as_ptr(), two.bytes().as_ptr());
    let [one, two] = watch.each_mut().map(|watch| watch.take().unwrap());
    assert_eq!(one.bytes().as_ptr(), two.bytes().as_ptr());
}

/// What a subscriber knows from the messages alone.
#[derive(Default)]
struct Known(Counts);

impl Known {
    fn of(first: &Frame) -> Self {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct First {
            language_map: Counts,
        }
        Self(serde_json::from_str::<First>(first.body()).unwrap().language_map)
    }

    fn apply(&mut self, frame: Option<Frame>) {
        let Some(frame) = frame else { return };
        let change: BTreeMap<String, BTreeMap<String, String>> =
            serde_json::from_str(frame.body()).unwrap();
        assert_eq!(change["Additions"], change["additions"]);
        assert_eq!(change["Deletions"], change["deletions"]);
        assert!(!change["additions"].is_empty() || !change["deletions"].is_empty());
        for (sign, part) in [(1, "additions"), (-1, "deletions")] {
            for (name, count) in &change[part] {
                *self.0.entry(name.clone()).or_default() += sign * count.parse::<i64>().unwrap();
            }
        }
        self.0.retain(|_, count| *count != 0);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Tick(Vec<(String, i64)>),
    Ask(Vec<String>),
    Take,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec(("[A-D]", 1_i64..5), 0..4).prop_map(Step::Tick),
        prop::collection::vec("[A-E]", 0..3).prop_map(Step::Ask),
        Just(Step::Take),
    ]
}

proptest! {
    #[test]
    fn first_plus_additions_minus_deletions_is_the_map(
        before in prop::collection::vec(("[A-D]", 1_i64..5), 0..4),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let (values, notifier) = (latest_values(), Arc::new(Notifier::default()));
        values.set_tick(Arc::new(Tick { at: Second(0), map: before.into_iter().collect() }));
        let (mut watch, first) = values.watch_languages(&notifier);
        let mut known = Known::of(&first);
        let mut asked: Option<Vec<String>> = None;
        for step in steps {
            match step {
                Step::Tick(pairs) => {
                    let map: Tally = pairs.into_iter().collect();
                    values.set_tick(Arc::new(Tick { at: Second(1), map }));
                }
                Step::Ask(names) => {
                    watch.ask(names.iter().map(|name| Box::from(name.as_str())).collect());
                    asked = Some(names);
                }
                Step::Take => {
                    known.apply(watch.take());
                    let Some(asked) = &asked else { continue };
                    let now = values.tick();
                    for name in ["A", "B", "C", "D", "E"] {
                        if asked.is_empty() || asked.iter().any(|asked| asked == name) {
                            let known = known.0.get(name).copied().unwrap_or(0);
                            prop_assert_eq!(known, now.map.get(name), "{}", name);
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn watcher_of_all_languages_holds_only_the_last_tick() {
    let (values, notifier) = (latest_values(), Arc::new(Notifier::default()));
    let first = tick(&[("C", 1)]);
    let held = Arc::downgrade(&first);
    values.set_tick(first);
    let (mut watch, told) = values.watch_languages(&notifier);
    drop(told);
    watch.ask(Vec::new());
    values.set_tick(tick(&[("C", 2)]));
    assert!(watch.take().is_some());
    assert!(held.upgrade().is_none());
}

#[test]
fn more_names_than_languages_make_no_difference() {
    let (values, notifier) = (latest_values(), Arc::new(Notifier::default()));
    let names = (0..50).map(|n| format!("L{n}").into()).chain(["Go".into()]);
    let mut many = values.follow_languages(LanguageQuery::new(names.collect(), 0), &notifier);
    values.set_tick(tick(&[("C", 4), ("Go", 2), ("L7", 3)]));
    assert_eq!(body(many.take()).as_deref(), Some(r#"{"Go":2,"L7":3}"#));
}
