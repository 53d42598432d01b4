//! Every consumer carries any JSON that is admitted. Events with constructs that JSON allows, but
//! that common data models cannot represent, pass through a complete appliance and its programs.

use std::path::Path;
use std::process::Stdio;

use fastrand::Rng;
use ghpulse::clock::Clock;
use tokio::process::Command;

use super::site::Site;
use crate::common::client::request;
use crate::common::running::soon;

/// Events per run; GitHub's pages show all of them at once.
const EVENTS: u64 = 60;
const RUNS: u64 = 2;

/// Types with their own schema or their own line in a terminal, and an unknown one.
const TYPES: [&str; 12] = [
    "PushEvent",
    "PullRequestEvent",
    "PullRequestReviewEvent",
    "IssuesEvent",
    "IssueCommentEvent",
    "CreateEvent",
    "ForkEvent",
    "WatchEvent",
    "MemberEvent",
    "CommitCommentEvent",
    "ReleaseEvent",
    "NeverSeenEvent",
];

/// Generates a compact JSON value, as unusual as possible.
fn odd(rng: &mut Rng, depth: usize) -> String {
    let deep = |n: usize, open: &str, inside: &str, close: &str| {
        [&open.repeat(n), inside, &close.repeat(n)].concat()
    };
    match rng.u8(0..if depth == 0 { 13 } else { 15 }) {
        0 => r#""half \ud83d""#.to_owned(),
        1 => r#""\udc00\ud83d\ude00\u0000\u001b]0;x\u0007""#.to_owned(),
        2 => "1e999".to_owned(),
        3 => "-1E+9999".to_owned(),
        4 => "123456789012345678901234567890.123456789012345678901234567890".to_owned(),
        5 => "18446744073709551616".to_owned(),
        6 => deep(rng.usize(100..400), "[", "", "]"),
        7 => deep(rng.usize(100..400), r#"{"a":"#, "null", "}"),
        8 => "null".to_owned(),
        9 => "-0".to_owned(),
        10 => "\"\u{202e}\u{feff}\u{7f}\u{10ffff}é\\/\\\"\"".to_owned(),
        11 => "\"\"".to_owned(),
        12 => ["true", "{}", "[]", "0.0"][rng.usize(..4)].to_owned(),
        13 => format!("[{},{}]", odd(rng, depth - 1), odd(rng, depth - 1)),
        _ => {
            let name = [r#""\ud800""#, r#""a""#, r#""a""#, r#""""#, r#""title""#][rng.usize(..5)];
            format!("{{{name}:{},\"a\":{}}}", odd(rng, depth - 1), odd(rng, depth - 1))
        }
    }
}

/// Generates an event in which everything except id and type may be unusual.
fn event(rng: &mut Rng, id: u64, at: &str) -> String {
    let kind = TYPES[rng.usize(..TYPES.len())];
    let mut or = |usual: String| if rng.u8(0..3) == 0 { odd(rng, 3) } else { usual };
    let object = format!(
        r#"{{"id":{},"number":{},"title":{},"body":{},"user":{},"base":{}}}"#,
        or(id.to_string()),
        or(id.to_string()),
        or(r#""T""#.to_owned()),
        or("null".to_owned()),
        or(r#"{"login":"u"}"#.to_owned()),
        or(r#"{"ref":"main","repo":{"id":9,"name":"t"}}"#.to_owned()),
    );
    let object = or(object);
    format!(
        concat!(
            r#"{{"id":"{id}","type":"{kind}","actor":{actor},"repo":{repo},"payload":{{"#,
            r#""action":{action},"ref":{branch},"ref_type":{ref_type},"commits":{commits},"#,
            r#""pull_request":{object},"issue":{object},"comment":{object},"forkee":{object},"#,
            r#""member":{object},"odd":{odd},"last":"{id}"}},"public":true,"created_at":"{at}"}}"#
        ),
        id = id,
        kind = kind,
        at = at,
        actor = or(format!(r#"{{"id":{id},"login":"user{id}"}}"#)),
        repo = or(format!(r#"{{"id":{id},"name":"owner/repo{id}","url":"u"}}"#)),
        action = or(r#""opened""#.to_owned()),
        branch = or(r#""refs/heads/main""#.to_owned()),
        ref_type = or(r#""repository""#.to_owned()),
        commits = or(r#"[{"sha":"a","message":"m"}]"#.to_owned()),
        object = object,
        odd = or("0".to_owned()),
    )
}

/// The program's output; it must succeed.
async fn said(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    command.args(arguments).env_clear().current_dir(std::env::temp_dir()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = soon("the program ends", command.output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {:?} {err}", output.status);
    out
}

/// Asserts that the line with this event's id holds the complete event as GitHub sent it.
fn assert_carried(what: &str, lines: &str, event: &str, id: u64) {
    let last = format!(r#""last":"{id}""#);
    let line = lines.lines().find(|line| line.contains(&last));
    let line = line.unwrap_or_else(|| panic!("{what}: {id} is missing: {event}"));
    // Enrichment modifies pull requests; everything around them is unchanged.
    let at = event.find(r#""pull_request":"#).unwrap();
    let behind = event.find(r#","issue":"#).unwrap();
    for part in [&event[..at], &event[behind..]] {
        assert!(line.contains(part), "{what}: {part} is not in {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn admitted_events_reach_every_consumer() {
    for seed in 0..RUNS {
        println!("seed {seed}");
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let hour = Clock::system().now().minus(std::time::Duration::from_secs(3 * 3_600)).to_string();
    let hour = format!("{}:00:00Z", &hour[..13]);
    let events: Vec<String> = (1..=EVENTS).map(|id| event(&mut rng, 700 + id, &hour)).collect();
    let site = Site::start(&[("GHPULSE_GITHUB_ENRICH_DEADLINE", "1s")]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let mut picked = site
        .sampling(r#"{"samplingRate":1,"filter":["event.payload.last","event.payload.odd"]}"#)
        .await;
    site.push(&events);
    let count = usize::try_from(EVENTS).unwrap();
    let sampled = site.settle(&mut reader, count).await.join("\n");
    let of_sampling = site.settle(&mut picked, count).await.join("\n");
    let public = site.running.public;
    let ndjson = ["accept: application/x-ndjson"];
    let stream = request(public, "GET", "/stream?poll=1", &ndjson).await.body;
    let fields = "/stream?poll=1&fields=event.payload.last,event.payload.odd,event.actor";
    let fields = request(public, "GET", fields, &ndjson).await.body;
    let url = format!("http://{public}");
    let all = EVENTS.to_string();
    let since = ["tail", "--url", &url, "--since", "1h", "--limit", &all];
    let tailed = said(&[&since[..], &["--json"]].concat()).await;
    let lines = said(&since).await;
    assert_eq!(lines.lines().count(), count, "{lines}");
    assert!(!lines.chars().any(|c| c != '\n' && c.is_control()), "{lines:?}");
    let entities = ["tail", "--url", &url, "--since", "1h", "--key", "ent.#", "--limit", "5"];
    assert_eq!(said(&entities).await.lines().count(), 5);
    for (id, event) in (701..).zip(&events) {
        let carried = [("/sampling", &sampled), ("/stream", &stream), ("tail", &tailed)];
        for (what, lines) in carried {
            assert_carried(what, lines, event, id);
        }
        let odd = event.rsplit_once(r#","odd":"#).unwrap().1.rsplit_once(r#","last":"#).unwrap().0;
        let pair = format!(r#""event.payload.last":"{id}","event.payload.odd":{odd}"#);
        assert!(fields.contains(&pair), "{pair} is not in {fields}");
        assert!(of_sampling.contains(&pair), "{pair} is not in {of_sampling}");
    }
    let data = site.dir.path().display().to_string();
    let hours = tempfile::tempdir().unwrap();
    let to = hours.path().display().to_string();
    // Once through the running appliance, and once without it.
    export_and_import(&data, &to, &events).await;
    let Site { dir, running, .. } = site;
    running.end().await;
    let alone = tempfile::tempdir().unwrap();
    let data = dir.path().display().to_string();
    export_and_import(&data, &alone.path().display().to_string(), &events).await;
    let journal = said(&["inspect", "journal", "--data", &data, "--json", "--limit", "100"]).await;
    for (id, event) in (701..).zip(&events) {
        assert_carried("inspect", &journal, event, id);
    }
}

async fn export_and_import(data: &str, to: &str, events: &[String]) {
    said(&["export", "--data", data, "--since", "6h", "--to", to]).await;
    let files = std::fs::read_dir(to).unwrap().map(|file| file.unwrap().path());
    // Beside it is how complete the hour is.
    let files: Vec<_> = files.filter(|file| file.extension() == Some("gz".as_ref())).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let exported = unpacked(&files[0]);
    for (id, event) in (701..).zip(events) {
        assert_carried("export", &exported, event, id);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let (other, file) = (elsewhere.path().display().to_string(), files[0].display().to_string());
    let imported = said(&["import", "--json", "--data", &other, &file]).await;
    let imported: serde_json::Value = serde_json::from_str(&imported).unwrap();
    assert_eq!(
        (&imported["events"], &imported["broken"], &imported["simulated"]),
        (&EVENTS.into(), &0.into(), &true.into()),
        "{imported}"
    );
}

fn unpacked(file: &Path) -> String {
    let packed = std::fs::File::open(file).unwrap();
    let packed = ghpulse::gunzip::Gunzip::new(std::io::BufReader::new(packed));
    std::io::read_to_string(packed).unwrap()
}
