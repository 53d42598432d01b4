//! Queries and names made to be slow to match: constructed ones, and a seeded search for worse.

use ghpulse::hub::{
    Filter, GLOB_STARS, QUERY_GLOBS, QUERY_LISTS, QUERY_PATTERNS, QUERY_STAR_BYTES, QUERY_VALUES,
    StreamQuery, TailEvent,
};
use ghpulse::lists::{ListTerm, Lists};
use ghpulse::model::routing::MANY_WORDS;

use super::{event_of, nanos};

/// GitHub's longest login or name of an organisation, and its longest name of a repository.
const OWNER_BYTES: usize = 39;
const NAME_BYTES: usize = 100;
/// Queries that are tried, and mutations of the slowest of them.
const TRIES: usize = 400;
const MUTATIONS: usize = 1_200;
/// The slowest queries that are kept, each with its kind of names.
const KEPT: usize = 8;
/// Events on which a query is tried, and rounds of them.
const EVENTS: u64 = 64;
const QUICK: u32 = 12;
const LONG: u32 = 400;

/// Kinds of names: of what they are repetitions.
const KINDS: [&str; 6] = ["a", "ab", "aab", "-", "abcdefghijklmnopqrstuvwxyz0123456789-", "ba-"];

/// Events whose names are as long as GitHub permits and repeat `kind`.
pub(super) fn events(kind: &str) -> Vec<TailEvent> {
    let long = |n: u64, bytes: usize| {
        let number = n.to_string();
        format!("{}{number}", &kind.repeat(bytes)[..bytes - number.len()])
    };
    let event = |n: u64| {
        let repo = format!("{}/{}", long(n % 7, OWNER_BYTES), long(n, NAME_BYTES));
        let kind = ["PullRequestReviewCommentEvent", "IssueCommentEvent"][usize::from(n % 2 == 0)];
        event_of(
            n,
            kind,
            [&repo, &long(n, OWNER_BYTES), &long(n % 7, OWNER_BYTES)],
            "Jupyter Notebook",
        )
    };
    (0..EVENTS).map(event).collect()
}

/// As many excluded lists as are accepted, with names of each kind on them.
pub(super) fn lists() -> Vec<ListTerm> {
    let dir = tempfile::tempdir().expect("a directory can be made");
    for number in 0..QUERY_LISTS {
        let names = (0..1_000).map(|i| format!("a{i}/name{number}\nb{i}/*\n@c{i}\n"));
        let file = dir.path().join(format!("list{number}.txt"));
        std::fs::write(file, names.collect::<String>()).expect("the directory takes files");
    }
    let lists = Lists::open(dir.path());
    let term = |number: usize| lists.term(&format!("!list{number}")).expect("it was read");
    (0..QUERY_LISTS).map(term).collect()
}

/// Long near matches of names that repeat `ab`, in every field; as many values as are accepted.
pub(super) fn constructed(lists: &[ListTerm]) -> StreamQuery {
    let near = |i: usize| format!("!*{}*{}{i}*", "ab".repeat(2), "ab".repeat(3));
    let globs = QUERY_GLOBS - 6;
    let name = |i: usize| format!("!{}/{}{i}", "ab".repeat(19) + "0", "ab".repeat(49));
    let mut repos: Vec<String> = (0..globs).map(near).collect();
    repos.extend((QUERY_GLOBS..QUERY_VALUES).map(name));
    let keys = (1..QUERY_PATTERNS).map(|i| format!("!evt.#.x{i}.#"));
    let of = |value: &str| vec![value.to_owned()];
    StreamQuery {
        repos,
        keys: keys.chain(["#".to_owned()]).collect(),
        types: of("*e*n*t"),
        actors: of("*a*b*"),
        orgs: of("!*b*b*x*"),
        languages: of("*j*k"),
        actions: of("*o*d"),
        lists: lists.to_vec(),
        sample: None,
    }
}

/// The slowest query that the search finds, the names on which it is slow, and nanoseconds.
pub(super) fn search(lists: &[ListTerm]) -> (StreamQuery, &'static str, f64) {
    let mut random = fastrand::Rng::with_seed(15);
    let events = KINDS.map(events);
    let time = |query: &StreamQuery, kind: usize, rounds: u32| {
        let (filter, _) = Filter::compile(query).ok()?;
        Some(nanos(&events[kind], rounds, |event| filter.matches(event)))
    };
    let mut slowest: Vec<(f64, usize, StreamQuery)> = Vec::new();
    for tried in 0..TRIES + MUTATIONS {
        let (kind, query) = match slowest.get(random.usize(..KEPT)) {
            Some((_, kind, query)) if tried >= TRIES => {
                (*kind, mutated(&mut random, query.clone(), KINDS[*kind]))
            }
            _ => {
                let kind = random.usize(..KINDS.len());
                let query = random_query(&mut random, KINDS[kind]);
                (kind, StreamQuery { lists: lists.to_vec(), ..query })
            }
        };
        let Some(took) = time(&query, kind, QUICK) else { continue };
        let at = slowest.partition_point(|(other, ..)| *other > took);
        if at < KEPT {
            slowest.insert(at, (took, kind, query));
            slowest.truncate(KEPT);
        }
    }
    // Measured again, so that a query that was interrupted does not count as slow.
    let again = slowest.into_iter().filter_map(|(_, kind, query)| {
        let took = time(&query, kind, LONG)?;
        Some((query, KINDS[kind], took))
    });
    again.max_by(|one, other| one.2.total_cmp(&other.2)).expect("queries were accepted")
}

/// A query with as much in it as fits, made of pieces of the names.
fn random_query(random: &mut fastrand::Rng, kind: &str) -> StreamQuery {
    let mut query = StreamQuery::default();
    for _ in 0..random.usize(..QUERY_VALUES) {
        add_value(random, &mut query, kind);
    }
    for _ in 0..random.usize(..QUERY_PATTERNS) {
        let text = ["#", "*", "evt", "insert", "x", "issuecomment"];
        let words = (0..1 + random.usize(..4)).map(|_| text[random.usize(..text.len())]);
        let words: Vec<&str> = words.collect();
        if words.iter().filter(|word| **word == "#").count() <= MANY_WORDS {
            query.keys.push(format!("{}{}", ["", "!"][random.usize(..2)], words.join(".")));
        }
    }
    query
}

/// The query with some values more and some fewer.
fn mutated(random: &mut fastrand::Rng, mut query: StreamQuery, kind: &str) -> StreamQuery {
    for _ in 0..1 + random.usize(..6) {
        let list = dimension(random.usize(..6), &mut query);
        if !list.is_empty() {
            list.swap_remove(random.usize(..list.len()));
        }
        add_value(random, &mut query, kind);
    }
    query
}

fn dimension(number: usize, query: &mut StreamQuery) -> &mut Vec<String> {
    match number {
        0 => &mut query.types,
        1 => &mut query.actors,
        2 => &mut query.orgs,
        3 => &mut query.languages,
        4 => &mut query.actions,
        _ => &mut query.repos,
    }
}

/// Adds a value that is accepted alone: mostly of repositories, whose names are the longest.
fn add_value(random: &mut fastrand::Rng, query: &mut StreamQuery, kind: &str) {
    let number = random.usize(..12);
    let piece = |random: &mut fastrand::Rng, most: usize| {
        let bytes = 1 + random.usize(..most);
        let text = kind.repeat(2 + bytes / kind.len());
        let begin = random.usize(..kind.len());
        text[begin..begin + bytes].to_owned()
    };
    let stars = if random.u8(..3) == 0 { 1 + random.usize(..GLOB_STARS) } else { 0 };
    let most = [6, 16, 40, 100][random.usize(..4)];
    let mut value = match stars {
        0 => format!("{}/{}", piece(random, OWNER_BYTES), piece(random, NAME_BYTES)),
        _ => {
            let parts: Vec<String> = (0..=stars).map(|_| piece(random, most / stars + 1)).collect();
            parts.join("*")
        }
    };
    if stars > 1 && random.u8(..4) > 0 {
        value = format!("*{}*", value.replacen('*', "", 2));
    }
    // Values that match, so that the next dimension is looked at; else near matches.
    let value = match random.u8(..8) {
        0 => "*".to_owned(),
        1 => "!*zz".to_owned(),
        2 => value,
        _ => format!("!{value}"),
    };
    let value = if fits(query, &value) { value } else { value.replace('*', "x") };
    dimension(number, query).push(value);
}

/// Whether the query takes another value with `*`.
fn fits(query: &mut StreamQuery, value: &str) -> bool {
    let (mut globs, mut bytes) = (0, value.len());
    for number in 0..6 {
        for other in dimension(number, query) {
            let stars = other.matches('*').count();
            globs += usize::from(stars > 0);
            bytes += if stars > 1 { other.len() - stars + 1 } else { 0 };
        }
    }
    globs < QUERY_GLOBS && bytes <= QUERY_STAR_BYTES
}
