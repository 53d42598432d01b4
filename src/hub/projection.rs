//! Picking values out of an event: all paths in one pass over its text.
//!
//! The paths are made into a tree once; then an event's text is read once, and what no path leads
//! to is skipped without being looked at. Values are slices of the text, so a number comes through
//! to the last digit.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::frame::Frame;
use super::query::Path;
use super::tail::{TailEvent, payload};
use crate::model::envelope::Flags;
use crate::model::json;

/// Compiled paths with what is written around their values.
#[derive(Debug)]
pub(super) struct Projection {
    /// What is written before each value.
    leads: Vec<String>,
    end: &'static str,
    sources: Vec<Source>,
    tree: Node,
    /// How often the same part of an event may be written, at least 1.
    overlap: usize,
    /// Bytes of what does not come from the event.
    leads_bytes: usize,
}

/// Where a path's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// From the event; the names behind `event`.
    Event { names: Vec<Box<str>>, zero: bool },
    /// The whole payload.
    Payload,
    /// One of the payload's seven numbers.
    Flag(usize),
    /// Another member of the payload, where it has more than the seven.
    Other(Box<str>),
    /// From nowhere.
    Nothing,
}

/// A name on the way: which values are wanted here, and which names lead on.
#[derive(Debug, Default)]
struct Node {
    wanted: Vec<usize>,
    children: Vec<(Box<str>, Node)>,
}

/// What the payload of `/sampling` takes at most, bytes.
const PAYLOAD_BYTES: usize = 96;

/// The two numbers that are told as 0 where a pull-request event does not have them: the one
/// public front end adds them up and never recovers from null.
const ZERO_WHEN_UNKNOWN: [&str; 2] =
    ["event.payload.pull_request.additions", "event.payload.pull_request.deletions"];

impl Projection {
    /// For the map form; the paths are sorted and each there once.
    #[must_use]
    pub(super) fn map(paths: &[Path]) -> Self {
        let key = |path: &Path| {
            let mut key = String::new();
            json::push_text(&mut key, path.text());
            key + ":"
        };
        Self::compile(paths, '{', key, "}")
    }

    /// For the list form.
    #[must_use]
    pub(super) fn list(paths: &[Path]) -> Self {
        Self::compile(paths, '[', |_| String::new(), "]")
    }

    fn compile(paths: &[Path], open: char, key: fn(&Path) -> String, end: &'static str) -> Self {
        let mut tree = Node::default();
        let mut leads = Vec::with_capacity(paths.len());
        let mut sources = Vec::with_capacity(paths.len());
        for (slot, path) in paths.iter().enumerate() {
            leads.push(format!("{}{}", if slot == 0 { open } else { ',' }, key(path)));
            let source = Source::of(path);
            if let Source::Event { names, .. } = &source {
                tree.want(slot, names);
            }
            sources.push(source);
        }
        let overlap = tree.overlap().max(1);
        // Behind a lead comes, where it is not the event's, `null`, a flag or the payload.
        let ours = |source: &Source| if *source == Source::Payload { PAYLOAD_BYTES } else { 4 };
        let leads_bytes = leads.iter().map(String::len).sum::<usize>()
            + sources.iter().map(ours).sum::<usize>()
            + end.len();
        Self { leads, end, sources, tree, overlap, leads_bytes }
    }

    /// The most bytes that an event of `weight` bytes takes in this form. Paths that lead to the
    /// same value, or into each other, repeat the event; others only share it out.
    #[must_use]
    pub(super) fn bytes_of(&self, weight: usize) -> usize {
        self.leads_bytes.saturating_add(weight.saturating_mul(self.overlap))
    }

    /// The event in this form.
    #[must_use]
    pub(super) fn encode(&self, event: &TailEvent) -> Frame {
        let whole_payload = payload(event.envelope.facts.flags);
        let of = Of {
            text: &event.envelope.event,
            flags: event.envelope.facts.flags,
            payload: &whole_payload,
            zeros: event.head().is_pull_request(),
        };
        self.pick(of, Frame::text)
    }

    /// The values of an event's text; `payload` is what the paths into the payload lead into.
    pub(super) fn pick<R>(&self, of: Of<'_>, write: impl FnOnce(&[&str]) -> R) -> R {
        let mut values = vec![None; self.sources.len()];
        if self.tree.walk(of.text, &mut values).is_err() {
            // A number beyond all bounds on the way, say: then each path by itself.
            for (value, source) in values.iter_mut().zip(&self.sources) {
                *value = match source {
                    Source::Event { names, .. } => json::at(of.text, names),
                    _ => None,
                };
            }
        }
        let flags = of.flags.named();
        let mut parts: Vec<&str> = Vec::with_capacity(2 * values.len() + 1);
        for ((lead, source), value) in self.leads.iter().zip(&self.sources).zip(values) {
            parts.push(lead);
            parts.push(match source {
                Source::Event { zero: true, .. } if of.zeros => {
                    value.filter(|value| *value != "null").unwrap_or("0")
                }
                Source::Event { .. } => value.unwrap_or("null"),
                Source::Payload => of.payload,
                Source::Flag(i) => ["0", "1"][usize::from(flags[*i].1)],
                Source::Other(name) => json::pick(of.payload, [name])[0].unwrap_or("null"),
                Source::Nothing => "null",
            });
        }
        parts.push(self.end);
        write(&parts)
    }
}

/// What values are picked from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Of<'a> {
    pub(super) text: &'a str,
    pub(super) flags: Flags,
    pub(super) payload: &'a str,
    /// Whether unknown numbers of lines are written as 0.
    pub(super) zeros: bool,
}

impl Source {
    fn of(path: &Path) -> Self {
        let mut names = path.names();
        if names.next() == Some("event") {
            let zero = ZERO_WHEN_UNKNOWN.contains(&path.text());
            return Self::Event { names: names.map(Box::from).collect(), zero };
        }
        match (names.next(), names.next()) {
            (None, _) => Self::Payload,
            (Some(name), None) => {
                let flags = Flags::default().named();
                let flag = flags.iter().position(|(flag, _)| *flag == name);
                flag.map_or_else(|| Self::Other(name.into()), Self::Flag)
            }
            (Some(_), Some(_)) => Self::Nothing,
        }
    }
}

impl Node {
    /// The most values that one place below here is a part of.
    fn overlap(&self) -> usize {
        let below = self.children.iter().map(|(_, child)| child.overlap()).max();
        self.wanted.len() + below.unwrap_or(0)
    }

    fn want(&mut self, slot: usize, names: &[Box<str>]) {
        let Some((name, rest)) = names.split_first() else { return self.wanted.push(slot) };
        let known = self.children.iter().position(|(child, _)| child == name);
        let at = known.unwrap_or_else(|| {
            self.children.push((name.clone(), Self::default()));
            self.children.len() - 1
        });
        self.children[at].1.want(slot, rest);
    }

    /// Fills the values that are wanted from here on, from the text of the value here.
    fn walk<'a>(&self, text: &'a str, values: &mut [Option<&'a str>]) -> serde_json::Result<()> {
        for &slot in &self.wanted {
            values[slot] = Some(text);
        }
        if self.children.is_empty() {
            return Ok(());
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        Walk { node: self, values }.deserialize(&mut reader)
    }

    /// Forgets what an earlier member of the same name gave: the last one holds.
    fn clear(&self, values: &mut [Option<&str>]) {
        for &slot in &self.wanted {
            values[slot] = None;
        }
        for (_, child) in &self.children {
            child.clear(values);
        }
    }
}

struct Walk<'n, 'v, 'de> {
    node: &'n Node,
    values: &'v mut [Option<&'de str>],
}

/// A member's name, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de> DeserializeSeed<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

/// Objects are walked; everything else has no members and is passed over.
impl<'de> Visitor<'de> for Walk<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key::<Name<'de>>()? {
            let child = self.node.children.iter().find(|(child, _)| **child == *name);
            let Some((_, child)) = child else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            child.clear(self.values);
            if child.wanted.is_empty() {
                map.next_value_seed(Walk { node: child, values: &mut *self.values })?;
            } else {
                let text = map.next_value::<&'de RawValue>()?.get();
                child.walk(text, self.values).map_err(serde::de::Error::custom)?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tail::tests::tail_event;
    use super::*;

    const PULL: &str = concat!(
        r#"{"id":"7","type":"PullRequestEvent","actor":{"login":"ann","n":12345678901234567890.10},"#,
        r#""big":1e999,"list":[{"a":1}],"payload":{"action":"opened","pull_request":"#,
        r#"{"additions":null,"base":{"repo":{"language":"C"}}}},"actor":{"login":"\u0062ob"}}"#
    );

    fn paths(texts: &[&str]) -> Vec<Path> {
        texts.iter().map(|text| Path::read(text).unwrap()).collect()
    }

    fn list(texts: &[&str], event: &str) -> String {
        Projection::list(&paths(texts)).encode(&tail_event(1, event)).body().to_owned()
    }

    fn map(texts: &[&str], event: &str) -> String {
        let crate::hub::Form::Map(paths) = crate::hub::Form::map(paths(texts)) else {
            unreachable!("map() makes maps")
        };
        Projection::map(&paths).encode(&tail_event(1, event)).body().to_owned()
    }

    #[test]
    fn a_list_keeps_the_order_and_doubles() {
        assert_eq!(
            list(&["payload.pr", "event.id", "event.nothing", "event.id", "payload.merge"], PULL),
            r#"[1,"7",null,"7",0]"#
        );
    }

    #[test]
    fn a_map_is_sorted_with_each_path_once() {
        assert_eq!(
            map(&["payload.open", "event.type", "event.id", "event.type", "event.id.x"], PULL),
            r#"{"event.id":"7","event.id.x":null,"event.type":"PullRequestEvent","payload.open":1}"#
        );
    }

    #[test]
    fn objects_come_as_they_are_and_the_last_of_doubled_members_holds() {
        assert_eq!(
            list(&["event.actor", "event.actor.login", "event.actor.n", "event.big"], PULL),
            r#"[{"login":"\u0062ob"},"\u0062ob",null,1e999]"#
        );
        assert_eq!(
            list(&["event", "payload"], r#"{"id":"1","type":"A"}"#),
            concat!(
                r#"[{"id":"1","type":"A"},{"pr":0,"open":0,"merge":0,"close":0,"#,
                r#""devDay":0,"devYear":0,"repoYear":0}]"#
            )
        );
    }

    #[test]
    fn a_way_through_what_is_no_object_leads_nowhere() {
        let ways = ["event.big.x", "event.list.a", "event.list.0", "payload.pr.x", "payload.dev"];
        assert_eq!(list(&ways, PULL), "[null,null,null,null,null]");
        assert_eq!(list(&["event.", "event.actor.login"], PULL), r#"[null,"\u0062ob"]"#);
    }

    #[test]
    fn unknown_line_counts_of_pull_requests_are_zero_and_of_nothing_else() {
        let ways = &ZERO_WHEN_UNKNOWN;
        assert_eq!(list(ways, PULL), "[0,0]");
        let known = PULL.replace("null", "31");
        assert_eq!(list(ways, &known), "[31,0]");
        let other = PULL.replace("PullRequestEvent", "PushEvent");
        assert_eq!(list(ways, &other), "[null,null]");
        assert_eq!(list(&["event.payload.pull_request.changed_files"], PULL), "[null]");
    }

    #[test]
    fn what_repeats_the_event_is_known_to_be_larger() {
        let event = tail_event(1, PULL);
        for ways in [
            &["event.id", "event.type", "payload.pr"][..],
            &["event", "event", "event.actor", "event.actor.login", "payload"],
            &["event.nothing", "payload.nothing", "event.payload", "event.payload.pull_request"],
        ] {
            let form = Projection::list(&paths(ways));
            let written = form.encode(&event).body().len();
            assert!(written <= form.bytes_of(event.weight()), "{ways:?}");
        }
        let bytes = |ways: &[&str]| Projection::list(&paths(ways)).bytes_of(1_000);
        assert!(bytes(&["event.id", "event.type", "event.actor.login"]) < 1_100);
        assert!(bytes(&["event"; 50]) >= 50_000);
        assert!(bytes(&["event.a", "event.a.b", "event.a.b.c", "event.x"]) < 3_100);
    }

    proptest! {
        #[test]
        fn one_pass_finds_what_each_path_by_itself_finds(
            value in any_json(),
            ways in prop::collection::vec("event(\\.[ab]){0,3}", 1..6),
        ) {
            let event = format!(r#"{{"id":"1","type":"T","a":{value},"b":{value}}}"#);
            let alone: Vec<&str> = ways
                .iter()
                .map(|way| {
                    let names: Vec<&str> = way.split('.').skip(1).collect();
                    json::at(&event, &names).unwrap_or("null")
                })
                .collect();
            let ways: Vec<&str> = ways.iter().map(String::as_str).collect();
            prop_assert_eq!(list(&ways, &event), format!("[{}]", alone.join(",")));
            let most = Projection::list(&paths(&ways)).bytes_of(event.len());
            prop_assert!(list(&ways, &event).len() <= most);
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            Just("true".to_owned()),
            Just("1e999".to_owned()),
            Just("\"a\"".to_owned()),
            any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(|n| n.to_string()),
            Just("[1,{\"a\":2}]".to_owned()),
        ];
        leaf.prop_recursive(4, 16, 3, |inner| {
            prop::collection::vec(("[abc]", inner), 0..3).prop_map(|members| {
                let members: Vec<_> =
                    members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            })
        })
    }
}
