//! Checks the project's text against its rules: dependencies between modules, one adapter per
//! external dependency, no cycles, sizes, names, words, and documented settings and metrics.
//!
//! The rules are tables, so that a change of a rule is visible as a line in review. A diagnostic
//! names file and line, the rule, and what to do.

#[path = "tidy/circles.rs"]
mod circles;
#[path = "tidy/documents.rs"]
mod documents;
#[path = "tidy/graph.rs"]
mod graph;
#[path = "tidy/names.rs"]
mod names;
#[path = "tidy/promises.rs"]
mod promises;
#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use documents::{quoted, texts};
use graph::{Edges, allowed, circle, module_of, uses_of, within};
use source::{
    Source, crate_paths, ends_in_word, files_below, is_a, is_outside, line_of, read_rust,
};

/// Modules that do not depend on the pipeline. They may use each other, without cycles.
const INFRASTRUCTURE: &[&str] = &[
    "clock",
    "config",
    "http",
    "fault",
    "metrics",
    "logging",
    "alerts",
    "supervise",
    "backoff",
    "terminal",
    "secrets",
    "private",
    "gunzip",
    "reload",
    "sync",
];

/// Module -> the other modules that it may use, in addition to the infrastructure. A longer path
/// allows only that part. `infrastructure` is the row of those of [`INFRASTRUCTURE`] that have none
/// of their own; `!` forbids a path.
const MODULES: &[(&str, &[&str])] = &[
    ("model", &["!infrastructure"]),
    ("infrastructure", &["model::window", "model::names", "model::nearest"]),
    ("supervise", &["store::StoreError"]), // an error's exit code is named where the process ends
    ("store", &["model"]),
    ("github", &["model::window", "model::json", "model::names", "model::push"]),
    ("collect", &["model", "store", "github", "lists", "bus", "!bus::embedded", "!bus::pulsar"]),
    ("bus", &["model", "store"]),
    (
        "apply",
        &["model", "store", "bus", "!bus::embedded", "!bus::pulsar", "hub", "script", "tidb"],
    ),
    ("script", &["model", "hub::FieldPath", "store"]),
    ("aggregates", &["model", "store", "hub", "lists", "script"]),
    ("tidb", &["model", "store"]),
    ("lists", &[]),
    ("hub", &["model", "store", "lists"]),
    ("manual", &[]),
    ("serve", &["model", "hub", "lists", "manual"]),
    ("archive", &["model", "store", "lists"]),
    ("amqp", &["model", "store"]),
    ("simulate", &["model"]),
    (
        "cli",
        &[
            "appliance",
            "archive",
            "lists",
            "manual",
            "model",
            "tidb",
            "script",
            "aggregates",
            "simulate",
            "store",
        ],
    ),
    ("appliance", &["*"]),
    ("build", &[]),
    ("main", &["*"]),
    ("lib", &["*"]),
];

/// Dependency -> the only files or modules that may name it.
const ADAPTERS: &[(&str, &[&str])] = &[
    ("async_rs", &["amqp"]),
    ("axum", &["serve", "simulate"]),
    ("base64", &["alerts", "github", "manual", "simulate"]),
    ("clap", &["cli", "main"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("crc", &["bus::pulsar"]),
    ("flate2", &["archive", "bus::pulsar", "gunzip", "hub::fanout::deflate", "serve"]),
    ("hyper", &["serve", "simulate"]),
    ("hyper_util", &["serve", "simulate"]),
    ("indicatif", &["cli"]),
    ("ipnet", &["config", "serve"]),
    ("jiff", &["model::window"]),
    ("lapin", &["amqp"]),
    ("lz4", &["bus::pulsar"]),
    ("memchr", &["model::glob"]),
    ("metrics_exporter_prometheus", &["metrics"]),
    ("metrics_process", &["metrics"]),
    ("mysql_async", &["tidb"]),
    ("parquet", &["archive::columns"]),
    ("pulldown_cmark", &["manual"]),
    ("prost", &["bus::pulsar"]),
    ("pulsar", &["bus::pulsar"]),
    ("reqwest", &["http"]),
    ("rhai", &["script"]),
    ("ring", &["alerts", "secrets"]),
    ("rocksdb", &["store"]),
    ("rustix", &["appliance", "clock", "private"]),
    ("signal_hook", &["cli"]),
    ("rustls", &["amqp", "bus::pulsar", "http", "reload", "secrets", "serve", "main"]),
    ("schemars", &["hub", "model", "serve"]),
    ("sd_notify", &["supervise", "appliance"]),
    ("serde_saphyr", &["config"]),
    ("sha1", &["model::privacy"]),
    ("socket2", &["serve"]),
    ("strsim", &["model::nearest"]),
    ("tempfile", &["cli"]),
    ("tikv_jemallocator", &["main"]),
    ("tokio_rustls", &["bus::pulsar", "serve"]),
    ("tokio_tungstenite", &["serve", "cli"]),
    ("tower", &["serve", "simulate"]),
    ("tracing_subscriber", &["logging"]),
    ("webpki_roots", &["bus::pulsar"]),
    ("zstd", &["bus::pulsar", "serve"]),
];

/// Dependencies that any module may use: plain data, the runtime, errors, hashes. `http` is types
/// only; `metrics` is kept in by its macros, below.
const COMMON: &[&str] = &[
    "anyhow",
    "arc_swap",
    "bytes",
    "fastrand",
    "foldhash",
    "futures_util",
    "http",
    "metrics",
    "serde",
    "serde_json",
    "thiserror",
    "tokio",
    "tokio_util",
    "tracing",
    "xxhash_rust",
];

/// Where a banned word is searched.
#[derive(Clone, Copy, PartialEq)]
enum In {
    /// Code of `src` except that for tests only.
    Src,
    /// Code of `tests`.
    Tests,
    /// Code of both.
    Both,
    /// Every text file of the project, comments included.
    Text,
}

/// Word, where, the files that may have it, and what to do instead. A word that begins with a
/// letter is found only where a word begins.
const BANNED: &[(&str, In, &[&str], &str)] = &[
    (concat!("to", "do!("), In::Both, &[], "write it, or leave it out and say so in the issue"),
    (concat!("un", "implemented!("), In::Both, &[], "write it, or leave it out"),
    (concat!("db", "g!("), In::Both, &[], "remove it, or make it a tracing event"),
    (concat!("TO", "DO"), In::Text, &[], "do it now, or file an issue"),
    (concat!("FIX", "ME"), In::Text, &[], "do it now, or file an issue"),
    ("SystemTime::now", In::Both, &["src/clock.rs"], "take wall time from the Clock"),
    ("Instant::now", In::Both, &["src/clock.rs"], "take monotonic time from the Clock"),
    ("Timestamp::now", In::Both, &[], "take wall time from the Clock"),
    ("Zoned::now", In::Both, &[], "take wall time from the Clock"),
    ("Utc::now", In::Both, &[], "take wall time from the Clock"),
    (concat!("thread::", "sleep"), In::Tests, &[], "wait for a position or a state"),
    ("time::sleep", In::Tests, &[], "wait for a position or a state"),
    ("time::sleep", In::Src, &["src/clock.rs"], "wait with Clock::sleep"),
    (concat!("#[", "ignore"), In::Both, &[], "let the test say `skipped: NAME: why` and return"),
    ("#[allow(", In::Both, &[], "use #[expect(lint, reason = \"…\")]"),
    ("process::exit", In::Src, &["src/main.rs"], "return the exit code up to main"),
    ("fn handle", In::Both, &[], "name what it does: fetch, claim, enrich, relay, apply, serve"),
    ("fn process", In::Both, &[], "name what it does: fetch, claim, enrich, relay, apply, serve"),
    ("fn manage", In::Both, &[], "name what it does"),
    ("fn do_", In::Both, &[], "name what it does"),
    ("metrics::counter!", In::Src, &["src/metrics.rs"], "add a row to the table in metrics.rs"),
    ("metrics::gauge!", In::Src, &["src/metrics.rs"], "add a row to the table in metrics.rs"),
    ("metrics::histogram!", In::Src, &["src/metrics.rs"], "add a row to the table in metrics.rs"),
    (concat!("/wo", "rk/"), In::Text, &[], "name no path of one machine"),
    (concat!("/fa", "rm/"), In::Text, &[], "name no path of one machine"),
    (concat!("/ro", "ot/"), In::Text, &[], "name no path of one machine"),
];

/// Wanted and maximum number of lines of a file.
const FILE_LINES: (usize, usize) = (400, 600);
/// Characters of a line; and when only a string literal makes it longer.
const LINE_CHARS: (usize, usize) = (100, 160);
/// Lines of a module's head comment; a file of fewer lines than `TINY` needs none.
const HEAD_LINES: usize = 30;
const TINY: usize = 10;

/// What the root directory may contain, in addition to dot files and ignored files.
const TOP_LEVEL: &[&str] = &[
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "config",
    "data",
    "scripts",
    "src",
    "tests",
];
const TOP_LEVEL_IGNORED: &[&str] = &["target", "config.yaml", "proptest-regressions"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path} cannot be read: {e}"))
}

/// Fails with all diagnostics at once.
fn settle(complaints: &[String]) {
    assert!(complaints.is_empty(), "{} complaints\n{}\n", complaints.len(), complaints.join("\n"));
}

#[test]
fn modules_use_only_allowed_modules() {
    let mut complaints = Vec::new();
    let mut edges = Edges::new();
    for source in read_rust(root(), "src") {
        let module = module_of(&source.path);
        let top = module.split("::").next().expect("a path has a first part");
        let name = if INFRASTRUCTURE.contains(&top) { "infrastructure" } else { top };
        let row_of = |wanted: &str| MODULES.iter().find(|(name, _)| *name == wanted);
        let Some((name, row)) = row_of(top).or(row_of(name)) else {
            complaints.push(format!(
                "{}:1: module `{name}` is in no table: add it to MODULES or INFRASTRUCTURE in \
                 tests/tidy.rs",
                source.path
            ));
            continue;
        };
        for (at, path) in crate_paths(&source) {
            let Some(first) = path.first().map(String::as_str) else { continue };
            let is_infrastructure = INFRASTRUCTURE.contains(&first);
            if first == top
                || !(is_infrastructure || MODULES.iter().any(|(name, _)| *name == first))
            {
                continue;
            }
            let (place, path) = (source.place(at), path.join("::"));
            let may = if is_infrastructure {
                !row.contains(&"!infrastructure")
            } else {
                allowed(row, &path)
            };
            if !may {
                complaints.push(format!(
                    "{place}: `{name}` must not use `{path}`: pass it in, or move the code to \
                     the module that may (MODULES in tests/tidy.rs)"
                ));
            }
            edges.entry(top.to_owned()).or_default().entry(first.to_owned()).or_insert(place);
        }
    }
    complaints.extend(circle(&edges));
    settle(&complaints);
}

#[test]
fn each_dependency_has_one_adapter() {
    let mut complaints = Vec::new();
    for source in read_rust(root(), "src") {
        let module = module_of(&source.path);
        for (name, adapters) in ADAPTERS {
            if adapters.iter().any(|adapter| within(&module, adapter)) {
                continue;
            }
            // A module of ours with a dependency's name (`bus::pulsar`) shows by `mod` or `use`.
            let ours = source.live.contains(&format!("mod {name}"))
                || source.live.contains(&format!("::{name};"));
            for at in uses_of(&source.live, name).into_iter().filter(|_| !ours) {
                complaints.push(format!(
                    "{}: `{name}` is used outside its adapter ({}): add what you need there",
                    source.place(at),
                    adapters.join(", ")
                ));
            }
        }
    }
    settle(&complaints);
}

#[test]
fn each_dependency_is_in_one_table() {
    let manifest = read("Cargo.toml");
    let section = manifest.split("\n[dependencies]\n").nth(1).expect("Cargo.toml has dependencies");
    let named: BTreeSet<String> = section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter(|line| !line.contains("path = \"tests/")) // a part of the tests
        .filter_map(|line| line.split_once(" = "))
        .map(|(name, _)| name.trim().replace('-', "_"))
        .collect();
    let known: BTreeSet<String> = ADAPTERS
        .iter()
        .map(|(name, _)| *name)
        .chain(COMMON.iter().copied())
        .map(str::to_owned)
        .collect();
    let missing = named.difference(&known).map(|name| {
        format!(
            "Cargo.toml: `{name}` has no adapter: add it to ADAPTERS (or COMMON) in tests/tidy.rs"
        )
    });
    let stale = known.difference(&named).map(|name| {
        format!("tests/tidy.rs: `{name}` is not a dependency any more: remove its row")
    });
    let sources = read_rust(root(), "src");
    let is_used = |name: &str| {
        let path = format!("{name}::");
        let derive = format!("use {name}");
        sources.iter().any(|source| source.text.contains(&path) || source.text.contains(&derive))
    };
    let unused = named
        .iter()
        .filter(|name| !is_used(name))
        .map(|name| format!("Cargo.toml: nothing in src uses `{name}`: remove it"));
    settle(&missing.chain(stale).chain(unused).collect::<Vec<_>>());
}

#[test]
fn files_lines_and_heads_are_short() {
    let mut complaints = Vec::new();
    for source in both() {
        let lines = source.text.lines().count();
        if lines > FILE_LINES.1 {
            complaints.push(format!(
                "{}:{lines}: {lines} lines, the limit is {}: give its second idea a file",
                source.path, FILE_LINES.1
            ));
        } else if lines > FILE_LINES.0 {
            eprintln!("note: {} has {lines} lines, aim for {}", source.path, FILE_LINES.0);
        }
        for (number, (line, code)) in source.text.lines().zip(source.code.lines()).enumerate() {
            let chars = line.chars().count();
            let outside = code.chars().filter(|c| is_outside(*c)).count();
            let long = chars > LINE_CHARS.1 || outside > LINE_CHARS.0;
            if chars > LINE_CHARS.0 && long && !line.contains("://") {
                complaints.push(format!(
                    "{}:{}: {chars} characters, the limit is {}: break the line",
                    source.path,
                    number + 1,
                    LINE_CHARS.0
                ));
            }
        }
        let head = source.text.lines().take_while(|line| line.starts_with("//!")).count();
        let included = source.text.starts_with("#![doc = include_str!");
        let only_tests = source.live.is_empty();
        if head == 0 && !included && !only_tests && lines >= TINY {
            complaints.push(format!(
                "{}:1: no head comment: say with `//!` what it is, what it promises, why this way",
                source.path
            ));
        } else if head > HEAD_LINES {
            complaints.push(format!(
                "{}:{head}: a head comment of {head} lines, the limit is {HEAD_LINES}: shorten it, \
                 or move it to src/README.md",
                source.path
            ));
        }
    }
    settle(&complaints);
}

/// All Rust files of the project.
fn both() -> Vec<Source> {
    [read_rust(root(), "src"), read_rust(root(), "tests")].into_iter().flatten().collect()
}

fn find_word(path: &str, text: &str, word: &str, instead: &str) -> Vec<String> {
    let is_word = word.starts_with(|c: char| c.is_alphabetic());
    text.match_indices(word)
        .filter(|(at, _)| !(is_word && ends_in_word(&text[..*at])))
        .map(|(at, _)| format!("{path}:{}: `{word}`: {instead}", line_of(text, at)))
        .collect()
}

#[test]
fn banned_words_are_absent() {
    let mut complaints = Vec::new();
    let (sources, texts) = (both(), texts());
    for (word, place, except, instead) in BANNED {
        if *place == In::Text {
            for (path, text) in &texts {
                complaints.extend(find_word(path, text, word, instead));
            }
            continue;
        }
        for source in &sources {
            let here = if source.path.starts_with("src/") { In::Src } else { In::Tests };
            if !except.contains(&source.path.as_str()) && [here, In::Both].contains(place) {
                let text = if *place == In::Src { &source.live } else { &source.code };
                complaints.extend(find_word(&source.path, text, word, instead));
            }
        }
    }
    settle(&complaints);
}

#[test]
fn top_level_has_only_known_files() {
    let extra: Vec<String> = fs::read_dir(root())
        .expect("the top can be read")
        .map(|entry| {
            entry.expect("an entry can be read").file_name().to_string_lossy().into_owned()
        })
        .filter(|name| !name.starts_with('.'))
        .filter(|name| !TOP_LEVEL.contains(&&**name) && !TOP_LEVEL_IGNORED.contains(&&**name))
        .map(|name| format!("{name}:1: does not belong at the top: see TOP_LEVEL in tests/tidy.rs"))
        .collect();
    let in_scripts = files_below(root(), "scripts")
        .into_iter()
        .filter(|path| !is_a(path, "rhai") && path != "scripts/README.md")
        .map(|path| format!("{path}:1: only Rhai scripts and their README live in scripts/"));
    settle(&extra.into_iter().chain(in_scripts).collect::<Vec<_>>());
}

#[test]
fn every_fault_point_is_listed_and_passed() {
    let table = read("src/fault.rs");
    let (_, table) = table.split_once("POINTS: &[&str] = &[").expect("fault.rs has its table");
    let points = quoted(table.split("];").next().expect("the table ends"));
    let mut complaints = Vec::new();
    let mut passed = BTreeSet::new();
    for source in read_rust(root(), "src").iter().filter(|s| s.path != "src/fault.rs") {
        for (at, call) in source.live.match_indices("fault::point(") {
            let name = source.text[at + call.len()..].split('"').nth(1).unwrap_or_default();
            if !points.contains(name) {
                let place = source.place(at);
                complaints
                    .push(format!("{place}: `{name}` is not in POINTS of src/fault.rs: add it"));
            }
            passed.insert(name.to_owned());
        }
    }
    complaints.extend(points.iter().filter(|point| !passed.contains(**point)).map(|point| {
        format!("src/fault.rs: `{point}` is passed nowhere: call fault::point there, or remove it")
    }));
    settle(&complaints);
}

/// Where events pass as text: what is needed of one is picked from it (`model::json`). A model of
/// JSON has no place for half a surrogate pair, or for a number beyond all bounds.
const TEXT_ONLY: &[&str] = &["model", "collect", "hub", "bus", "archive", "amqp", "cli::tail"];

#[test]
fn events_are_text_and_never_parsed_into_a_model() {
    let mut complaints = Vec::new();
    for source in read_rust(root(), "src") {
        let module = module_of(&source.path);
        if !TEXT_ONLY.iter().any(|text_only| within(&module, text_only)) {
            continue;
        }
        for word in ["serde_json::Value", "serde_json::{", "serde_json::json", "serde_json::Map"] {
            for (at, _) in source.live.match_indices(word) {
                let place = source.place(at);
                complaints.push(format!("{place}: `{word}`: pick from the text with model::json"));
            }
        }
    }
    settle(&complaints);
}
