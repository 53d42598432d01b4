//! Projections: picking the values at some paths out of an event, in one pass over its text.
//!
//! The paths are sorted by their names once. An event's text is then read once, and values that no
//! path leads to are skipped. Values are slices of the text, so numbers keep their last digit. In
//! addition to the paths, a projection takes about as much memory as they do.

use crate::hub::fanout::frame::Frame;
use crate::hub::log::paths::{by_names, room};
use crate::hub::log::query::FieldPath;
use crate::hub::log::streamed_event::StreamedEvent as _;
use crate::hub::log::tail::{TailEvent, payload};
use crate::model::envelope::Flags;
use crate::model::json::{self, PathSet};

/// How the values at some paths are found, and the text that is written around them. The paths are
/// passed to each call, because the query of the subscribers holds them already.
#[derive(Debug)]
pub(in crate::hub) struct Projection {
    /// The texts before each value, concatenated, and the offset at which each ends.
    leads: Box<str>,
    lead_ends: Box<[u32]>,
    end: &'static str,
    sources: Box<[FieldSource]>,
    /// The paths into the event, sorted by their names: paths into a value follow the path to it.
    order: Box<[u16]>,
    /// Whether a part of an event may be written more than once.
    repeats: bool,
    /// The most bytes that do not come from the event.
    leads_bytes: usize,
}

/// Where the value of a path comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldSource {
    /// The event. With `zero`, an unknown number is written as 0.
    Event { zero: bool },
    /// The whole payload.
    Payload,
    /// One of the seven numbers of the payload.
    Flag(u8),
    /// Another member of the payload, if it has more than the seven.
    Other,
    /// Nowhere: always `null`.
    Nothing,
}

/// The most bytes of the payload of `/sampling`.
const PAYLOAD_BYTES: usize = 96;
/// The first name of paths into the event.
const EVENT: &str = "event";

/// Two numbers that are sent as 0 if a pull-request event does not have them: the public front end
/// adds them up and does not recover from null.
const ZERO_WHEN_UNKNOWN: [&str; 2] =
    ["event.payload.pull_request.additions", "event.payload.pull_request.deletions"];

impl Projection {
    /// For the map encoding; the paths are sorted and without duplicates.
    #[must_use]
    pub(in crate::hub) fn map(paths: &[FieldPath]) -> Self {
        Self::compile(paths, '{', "}", |lead, path| {
            json::push_text(lead, path.text());
            lead.push(':');
        })
    }

    /// For the list encoding.
    #[must_use]
    pub(in crate::hub) fn list(paths: &[FieldPath]) -> Self {
        Self::compile(paths, '[', "]", |_, _| {})
    }

    fn compile(
        paths: &[FieldPath],
        open: char,
        end: &'static str,
        push_key: fn(&mut String, &FieldPath),
    ) -> Self {
        let mut leads = String::new();
        let mut lead_ends = Vec::with_capacity(paths.len());
        for (slot, path) in paths.iter().enumerate() {
            leads.push(if slot == 0 { open } else { ',' });
            push_key(&mut leads, path);
            lead_ends.push(u32::try_from(leads.len()).expect("paths are short"));
        }
        let sources: Box<[FieldSource]> = paths.iter().map(FieldSource::of).collect();
        let is_of_event =
            |slot: &u16| matches!(sources[usize::from(*slot)], FieldSource::Event { .. });
        let slots = 0..u16::try_from(paths.len()).expect("there are few paths");
        let mut order: Box<[u16]> = slots.filter(is_of_event).collect();
        let path = |slot: u16| &paths[usize::from(slot)];
        order.sort_by(|a, b| by_names(path(*a), path(*b)));
        let is_within = |pair: &[u16]| {
            let [outer, inner] = [pair[0], pair[1]].map(|slot| path(slot).text());
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        let repeats = order.windows(2).any(is_within);
        // A value that is not from the event is `null`, a flag, or the payload.
        let ours =
            |source: &FieldSource| if *source == FieldSource::Payload { PAYLOAD_BYTES } else { 4 };
        let leads_bytes = leads.len() + sources.iter().map(ours).sum::<usize>() + end.len();
        Self {
            leads: leads.into(),
            lead_ends: lead_ends.into(),
            end,
            sources,
            order,
            repeats,
            leads_bytes,
        }
    }

    /// The most bytes of a message for an event of `weight` bytes. Only paths to the same value, or
    /// into each other, repeat parts of the event.
    #[must_use]
    pub(in crate::hub) fn bytes_of(&self, weight: usize) -> usize {
        self.leads_bytes.saturating_add(if self.repeats { room(weight) } else { weight })
    }

    /// The encoded event; `paths` are those that the projection was compiled from.
    #[must_use]
    pub(in crate::hub) fn encode(&self, paths: &[FieldPath], event: &TailEvent) -> Frame {
        let whole_payload = payload(event.envelope.facts.flags);
        let of = ProjectedEvent {
            text: &event.envelope.event,
            flags: event.envelope.facts.flags,
            payload: &whole_payload,
            zeros: event.index().is_pull_request(),
        };
        self.pick(paths, of, Frame::text)
    }

    /// Picks the values and calls `write` with the parts of the message. A value that would make
    /// the message larger than [`room`] allows is `null`; only repeated values can be.
    pub(in crate::hub) fn pick<R>(
        &self,
        paths: &[FieldPath],
        of: ProjectedEvent<'_>,
        write: impl FnOnce(&[&str]) -> R,
    ) -> R {
        let mut values = vec![None; self.sources.len()];
        let all = PathSubtree { paths, slots: &self.order, at: EVENT.len() };
        let (whole, within) = all.enter(&mut values);
        whole.set(of.text, &mut values);
        if !within.is_empty() && json::walk(of.text, within, &mut values).is_none() {
            within.enter(&mut values);
        }
        let flags = of.flags.named();
        let mut left = room(of.text.len());
        let mut parts: Vec<&str> = Vec::with_capacity(2 * values.len() + 1);
        let mut begin = 0;
        for (slot, source) in self.sources.iter().enumerate() {
            let end = self.lead_ends[slot] as usize;
            parts.push(&self.leads[begin..end]);
            begin = end;
            let value = values[slot];
            let value = match source {
                FieldSource::Event { zero: true } if of.zeros => {
                    value.filter(|value| *value != "null").unwrap_or("0")
                }
                FieldSource::Event { .. } => value.unwrap_or("null"),
                FieldSource::Payload => of.payload,
                FieldSource::Flag(i) => ["0", "1"][usize::from(flags[usize::from(*i)].1)],
                FieldSource::Other => {
                    let name = paths[slot].names().nth(1).unwrap_or_default();
                    json::pick(of.payload, [name])[0].unwrap_or("null")
                }
                FieldSource::Nothing => "null",
            };
            parts.push(if value.len() <= left { value } else { "null" });
            left = left.saturating_sub(value.len());
        }
        parts.push(self.end);
        write(&parts)
    }
}

/// The event from which values are picked.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct ProjectedEvent<'a> {
    pub(in crate::hub) text: &'a str,
    pub(in crate::hub) flags: Flags,
    pub(in crate::hub) payload: &'a str,
    /// Whether unknown numbers of changed lines are written as 0.
    pub(in crate::hub) zeros: bool,
}

impl FieldSource {
    fn of(path: &FieldPath) -> Self {
        let mut names = path.names();
        if names.next() == Some(EVENT) {
            return Self::Event { zero: ZERO_WHEN_UNKNOWN.contains(&path.text()) };
        }
        match (names.next(), names.next()) {
            (None, _) => Self::Payload,
            (Some(name), None) => {
                let flags = Flags::default().named();
                let flag = flags.iter().position(|(flag, _)| *flag == name);
                let flag = flag.and_then(|flag| u8::try_from(flag).ok());
                flag.map_or(Self::Other, Self::Flag)
            }
            (Some(_), Some(_)) => Self::Nothing,
        }
    }
}

/// A value in an event, and the paths that lead to it or through it.
#[derive(Debug, Clone, Copy)]
struct PathSubtree<'p> {
    paths: &'p [FieldPath],
    /// Sorted by names: paths that end here come first.
    slots: &'p [u16],
    /// Bytes of each path up to this value.
    at: usize,
}

impl<'p> PathSubtree<'p> {
    fn text(&self, slot: u16) -> &'p str {
        self.paths[usize::from(slot)].text()
    }

    /// How many of the paths end at this value.
    fn ending(&self) -> usize {
        self.slots.partition_point(|slot| self.text(*slot).len() == self.at)
    }
}

impl PathSet for PathSubtree<'_> {
    fn through(self, name: &[u8]) -> Self {
        let next = |slot: &u16| {
            self.text(*slot).as_bytes()[self.at + 1..].split(|byte| *byte == b'.').next()
        };
        let begin = self.slots.partition_point(|slot| next(slot) < Some(name));
        let count = self.slots[begin..].partition_point(|slot| next(slot) == Some(name));
        let slots = &self.slots[begin..begin + count];
        Self { slots, at: self.at + 1 + name.len(), ..self }
    }

    fn is_empty(self) -> bool {
        self.slots.is_empty()
    }

    fn enter(self, values: &mut [Option<&str>]) -> (Self, Self) {
        for slot in self.slots {
            values[usize::from(*slot)] = None;
        }
        let (ending, beyond) = self.slots.split_at(self.ending());
        (Self { slots: ending, ..self }, Self { slots: beyond, ..self })
    }

    fn set<'a>(self, value: &'a str, values: &mut [Option<&'a str>]) {
        for slot in self.slots {
            values[usize::from(*slot)] = Some(value);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hub::log::tail::tests::tail_event;

    const PULL: &str = concat!(
        r#"{"id":"7","type":"PullRequestEvent","actor":{"login":"ann","n":12345678901234567890.10},"#,
        r#""big":1e999,"list":[{"a":1}],"payload":{"action":"opened","pull_request":"#,
        r#"{"additions":null,"base":{"repo":{"language":"C"}}}},"actor":{"login":"\u0062ob"}}"#
    );

    fn paths(texts: &[&str]) -> Vec<FieldPath> {
        texts.iter().map(|text| FieldPath::read(text).unwrap()).collect()
    }

    fn list(texts: &[&str], event: &str) -> String {
        let paths = paths(texts);
        Projection::list(&paths).encode(&paths, &tail_event(1, event)).body().to_owned()
    }

    fn map(texts: &[&str], event: &str) -> String {
        let crate::hub::SamplingEncoding::Map(paths) =
            crate::hub::SamplingEncoding::map(paths(texts))
        else {
            unreachable!("map() makes maps")
        };
        Projection::map(&paths).encode(&paths, &tail_event(1, event)).body().to_owned()
    }

    #[test]
    fn list_keeps_order_and_duplicates() {
        assert_eq!(
            list(&["payload.pr", "event.id", "event.nothing", "event.id", "payload.merge"], PULL),
            r#"[1,"7",null,"7",0]"#
        );
    }

    #[test]
    fn map_is_sorted_without_duplicates() {
        assert_eq!(
            map(&["payload.open", "event.type", "event.id", "event.type", "event.id.x"], PULL),
            r#"{"event.id":"7","event.id.x":null,"event.type":"PullRequestEvent","payload.open":1}"#
        );
    }

    #[test]
    fn objects_are_copied_and_the_last_duplicate_counts() {
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
    fn path_through_a_scalar_or_list_leads_nowhere() {
        let ways = ["event.big.x", "event.list.a", "event.list.0", "payload.pr.x", "payload.dev"];
        assert_eq!(list(&ways, PULL), "[null,null,null,null,null]");
        assert_eq!(list(&["event.", "event.actor.login"], PULL), r#"[null,"\u0062ob"]"#);
    }

    #[test]
    fn unknown_line_counts_are_zero_for_pull_requests_only() {
        let ways = &ZERO_WHEN_UNKNOWN;
        assert_eq!(list(ways, PULL), "[0,0]");
        let known = PULL.replace("null", "31");
        assert_eq!(list(ways, &known), "[31,0]");
        let other = PULL.replace("PullRequestEvent", "PushEvent");
        assert_eq!(list(ways, &other), "[null,null]");
        assert_eq!(list(&["event.payload.pull_request.changed_files"], PULL), "[null]");
    }

    #[test]
    fn bytes_of_repeated_events_are_not_underestimated() {
        let event = tail_event(1, PULL);
        for ways in [
            &["event.id", "event.type", "payload.pr"][..],
            &["event", "event", "event.actor", "event.actor.login", "payload"],
            &["event.nothing", "payload.nothing", "event.payload", "event.payload.pull_request"],
        ] {
            let paths = paths(ways);
            let projection = Projection::list(&paths);
            let written = projection.encode(&paths, &event).body().len();
            assert!(written <= projection.bytes_of(event.weight()), "{ways:?}");
        }
        let bytes = |ways: &[&str]| Projection::list(&paths(ways)).bytes_of(1_000);
        assert!(bytes(&["event.id", "event.type", "event.actor.login"]) < 1_100);
        assert!((2_000..7_000).contains(&bytes(&["event"; 50])));
        assert!((2_000..7_000).contains(&bytes(&["event.a", "event.a.b", "event.a.b.c"])));
    }

    #[test]
    fn repeated_values_take_bounded_bytes() {
        let body = "x".repeat(40_000);
        let event = format!(
            r#"{{"id":"7","type":"IssueCommentEvent","payload":{{"comment":{{"body":"{body}"}}}}}}"#
        );
        let paths = paths(&["event.payload.comment.body"; 100]);
        let projection = Projection::list(&paths);
        let text = projection.encode(&paths, &tail_event(1, &event)).body().to_owned();
        let values: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(values.iter().filter(|value| value.as_str() == Some(&body)).count(), 2);
        assert!(values[2..].iter().all(serde_json::Value::is_null));
        assert!(text.len() <= projection.bytes_of(event.len()) && text.len() < 3 * event.len());
        let ids = vec!["event.id"; 100];
        assert_eq!(list(&ids, &event), format!("[{}]", [r#""7""#; 100].join(",")));
    }

    #[test]
    fn projection_is_about_as_large_as_its_paths() {
        let texts: Vec<String> = (0..100)
            .map(|i| format!("event.payload.pull_request.base.repo.owner.x{i:011}"))
            .collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let paths = paths(&texts);
        let projection = Projection::map(&paths);
        let kept = projection.leads.len()
            + size_of_val(&*projection.lead_ends)
            + size_of_val(&*projection.sources)
            + size_of_val(&*projection.order)
            + size_of_val(&*paths)
            + paths.iter().map(|path| path.text().len()).sum::<usize>();
        let text: usize = texts.iter().map(|text| text.len()).sum();
        assert!(kept < 3 * text, "{kept} bytes for {text}");
    }

    proptest! {
        #[test]
        fn one_pass_finds_the_same_as_single_lookups(
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
            prop_assume!(alone.iter().map(|value| value.len()).sum::<usize>() <= room(event.len()));
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
