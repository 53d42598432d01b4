//! The filter of the stream: nanoseconds per event, for typical queries and for the worst that the
//! limits permit, next to a single string comparison.

use ghpulse::clock::Stopwatch;
use ghpulse::hub::{
    Filter, QUERY_GLOBS, QUERY_PATTERNS, QUERY_VALUES, StreamQuery, TailEvent, VALUE_BYTES,
};
use ghpulse::model::envelope::{Envelope, Facts};
use ghpulse::model::event_index::IndexedField;
use ghpulse::model::position::{BusTag, Cursor, Position};

use crate::report::Report;

const EVENTS: u64 = 1_000;
const ROUNDS: u32 = 200;

/// Measures the filter.
pub fn run(report: &mut Report) {
    let events: Vec<TailEvent> = (0..EVENTS).map(event).collect();
    report.section("filter", &format!("A query on {EVENTS} events, {ROUNDS} times."));
    let one = |list: &[&str]| list.iter().map(|&value| value.to_owned()).collect::<Vec<_>>();
    let all = StreamQuery::default;
    let cases = [
        ("everything", all()),
        ("one type", StreamQuery { types: one(&["PullRequestEvent"]), ..all() }),
        ("one key", StreamQuery { keys: one(&["evt.pullrequest.*"]), ..all() }),
        ("a tenth", StreamQuery { sample: Some(10), ..all() }),
        (
            "type, language, no bots",
            StreamQuery {
                types: one(&["PullRequestEvent", "PushEvent", "WatchEvent"]),
                languages: one(&["Rust", "Go", "!C"]),
                actors: one(&["!*[bot]"]),
                ..all()
            },
        ),
        ("no bots, an owner's", {
            let (actors, repos) = (one(&["!*[bot]"]), one(&["owner7/*"]));
            StreamQuery { actors, repos, ..all() }
        }),
        (
            "200 repositories",
            StreamQuery {
                repos: (0..QUERY_VALUES).map(|i| format!("owner{i}/name{i}")).collect(),
                ..all()
            },
        ),
        ("worst that is accepted", worst()),
    ];
    for (name, query) in cases {
        let (filter, _) = Filter::compile(&query).expect("it is within the limits");
        let nanos = nanos(&events, |event| filter.matches(event));
        report.add("filter", &format!("{name}: ghpulse"), "an event, ns", nanos);
    }
    let plain =
        nanos(&events, |event| event.index().get(IndexedField::Kind) == Some("PullRequestEvent"));
    report.add("filter", "one comparison of the type, by hand", "an event, ns", plain);
}

/// The maximum number of stars and patterns, each long, each with many near matches.
fn worst() -> StreamQuery {
    let glob = |i: usize| format!("!*{}{i}*", "ab".repeat((VALUE_BYTES - 8) / 2));
    let short = |i: usize| format!("!*a{}*b{i}*", "a".repeat(i));
    let mut repos: Vec<String> = (0..QUERY_GLOBS / 2).map(glob).collect();
    repos.extend((0..QUERY_GLOBS / 2).map(short));
    repos.extend((QUERY_GLOBS..QUERY_VALUES).map(|i| format!("!owner{i}/name{i}")));
    let keys = (0..QUERY_PATTERNS).map(|i| format!("#.x{i}.#.{}insert", "*.".repeat(i)));
    let keys = keys.skip(1).chain(["evt.#".to_owned()]).collect();
    StreamQuery { repos, keys, ..StreamQuery::default() }
}

fn event(n: u64) -> TailEvent {
    let kind = ["PushEvent", "PullRequestEvent", "WatchEvent", "IssueCommentEvent"];
    let kind = kind[usize::try_from(n % 4).unwrap_or(0)];
    let language = ["Rust", "TypeScript", "C"][usize::try_from(n % 3).unwrap_or(0)];
    let text = format!(
        r#"{{"id":"{}","type":"{kind}","actor":{{"login":"someone{n}"}},
        "repo":{{"name":"owner{}/abababab{n}"}},"payload":{{"action":"opened"}}}}"#,
        4_936_706_147 + n,
        n % 50
    );
    let facts = Facts { language: Some(language.to_owned()), ..Facts::default() };
    let cursor = Cursor { tag: BusTag(1), position: Position::counted(n) };
    let event = TailEvent::new(cursor, Envelope { facts, event: text.into() });
    let _ = (event.index(), event.action());
    event
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
fn nanos(events: &[TailEvent], takes: impl Fn(&TailEvent) -> bool) -> f64 {
    let mut count = 0_u64;
    let watch = Stopwatch::start();
    for _ in 0..ROUNDS {
        count += events.iter().filter(|event| takes(std::hint::black_box(event))).count() as u64;
    }
    let nanos = watch.elapsed().as_nanos() as f64;
    std::hint::black_box(count);
    nanos / f64::from(ROUNDS) / events.len() as f64
}
