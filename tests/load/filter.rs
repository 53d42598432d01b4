//! The filter of the stream: nanoseconds per event, for typical queries and for the worst that the
//! limits permit, next to a single string comparison.

mod hostile;

use ghpulse::clock::Stopwatch;
use ghpulse::hub::{Filter, QUERY_VALUES, StreamQuery, StreamedEvent as _, TailEvent};
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
        (
            "three names anywhere",
            StreamQuery { repos: one(&["*linux*", "*kernel*", "*rust*"]), ..all() },
        ),
    ];
    for (name, query) in cases {
        let (filter, _) = Filter::compile(&query).expect("it is within the limits");
        let nanos = nanos(&events, ROUNDS, |event| filter.matches(event));
        report.add("filter", &format!("{name}: ghpulse"), "an event, ns", nanos);
    }
    let lists = hostile::lists();
    let constructed = hostile::constructed(&lists);
    let (filter, _) = Filter::compile(&constructed).expect("it is within the limits");
    let made = nanos(&hostile::events("ab"), ROUNDS, |event| filter.matches(event));
    report.add("filter", "near matches in every field: ghpulse", "an event, ns", made);
    let (query, kind, found) = hostile::search(&lists);
    println!("the slowest found, on names of `{kind}`: {query:?}");
    report.add("filter", "worst that is accepted: ghpulse", "an event, ns", made.max(found));
    let is_pull =
        |event: &TailEvent| event.index().get(IndexedField::Kind) == Some("PullRequestEvent");
    let plain = nanos(&events, ROUNDS, is_pull);
    report.add("filter", "one comparison of the type, by hand", "an event, ns", plain);
}

fn event(n: u64) -> TailEvent {
    let kind = ["PushEvent", "PullRequestEvent", "WatchEvent", "IssueCommentEvent"];
    let kind = kind[usize::try_from(n % 4).unwrap_or(0)];
    let language = ["Rust", "TypeScript", "C"][usize::try_from(n % 3).unwrap_or(0)];
    let (repo, actor) = (format!("owner{}/abababab{n}", n % 50), format!("someone{n}"));
    event_of(n, kind, [&repo, &actor, ""], language)
}

/// An event of this type, with these names of the repository, the actor and the organisation.
fn event_of(n: u64, kind: &str, [repo, actor, org]: [&str; 3], language: &str) -> TailEvent {
    let text = format!(
        r#"{{"id":"{}","type":"{kind}","actor":{{"login":"{actor}"}},"repo":{{"name":"{repo}"}},
        "org":{{"login":"{org}"}},"payload":{{"action":"opened"}}}}"#,
        4_936_706_147 + n,
    );
    let facts = Facts { language: Some(language.to_owned()), ..Facts::default() };
    let cursor = Cursor { tag: BusTag(1), position: Position::counted(n) };
    let event = TailEvent::new(cursor, Envelope { facts, event: text.into() });
    let _ = (event.index(), event.action());
    event
}

#[expect(clippy::cast_precision_loss, reason = "counts of a benchmark are small")]
fn nanos(events: &[TailEvent], rounds: u32, takes: impl Fn(&TailEvent) -> bool) -> f64 {
    let mut count = 0_u64;
    let watch = Stopwatch::start();
    for _ in 0..rounds {
        count += events.iter().filter(|event| takes(std::hint::black_box(event))).count() as u64;
    }
    let nanos = watch.elapsed().as_nanos() as f64;
    std::hint::black_box(count);
    nanos / f64::from(rounds) / events.len() as f64
}
