//! Rules about documents: every metric and setting is documented, and everything documented exists.

use std::collections::BTreeSet;
use std::fs;

use crate::source::{files_below, is_a, line_of, read_rust};
use crate::{read, root, settle};

/// Variables with our prefix that are not configuration keys.
const OTHER_VARIABLES: &[&str] = &[
    "GHPULSE_FAULT",
    "GHPULSE_SIM_SEED",
    "GHPULSE_SIM_RUNS",
    "GHPULSE_COMMIT",
    "GHPULSE_",
    "GHPULSE_TEST_PROGRAMS",
    "GHPULSE_TEST_TIDB",
    "GHPULSE_TEST_WITHOUT_SERVERS",
    "GHPULSE_TEST_WRITE_STORE",
];

/// Every text file of the project: path and text.
pub(crate) fn texts() -> Vec<(String, String)> {
    let folders = ["src", "tests", "scripts", "config", "data", ".ci", ".github"];
    let files = ["Cargo.toml", "Makefile", "README.md", "CHANGELOG.md"];
    folders
        .iter()
        .flat_map(|folder| files_below(root(), folder))
        .chain(files.map(str::to_owned))
        .filter(|path| !path.starts_with("data/") || path == "data/README.md")
        .filter(|path| path != "config/config.yaml")
        .filter_map(|path| fs::read_to_string(root().join(&path)).ok().map(|text| (path, text)))
        .collect()
}

/// The quoted words of `text`.
pub(crate) fn quoted(text: &str) -> BTreeSet<&str> {
    text.split('"').skip(1).step_by(2).collect()
}

#[test]
fn every_metric_is_in_the_table_and_no_other() {
    let is_metric = |word: &&str| word.starts_with("ghpulse_");
    let table = read("src/metrics.rs");
    let page = read("config/README.md");
    let measured: BTreeSet<&str> = quoted(&table).into_iter().filter(is_metric).collect();
    let told: BTreeSet<&str> = page.split('`').skip(1).step_by(2).filter(is_metric).collect();
    let untold = measured.difference(&told).map(|name| {
        format!("config/README.md: metric `{name}` is not in the table of metrics: add its row")
    });
    let gone = told.difference(&measured).map(|name| {
        format!(
            "config/README.md: metric `{name}` does not exist in src/metrics.rs: remove its row"
        )
    });
    settle(&untold.chain(gone).collect::<Vec<_>>());
}

/// Maximum size of the README in bytes: the first ten minutes, and links to the rest.
const README_BYTES: usize = 15 << 10;
/// Maximum length of a line of prose in a page; tables, code and a single long word may be longer.
const PROSE_CHARS: usize = 100;

#[test]
fn pages_are_short_enough_to_be_read() {
    let bytes = read("README.md").len();
    let mut complaints = Vec::new();
    if bytes > README_BYTES {
        complaints.push(format!(
            "README.md: {bytes} bytes, the limit is {README_BYTES}: move what is not needed in the \
             first ten minutes to its page"
        ));
    }
    for (path, text) in texts().iter().filter(|(path, _)| is_a(path, "md")) {
        let mut in_code = false;
        for (number, line) in text.lines().enumerate() {
            let chars = line.chars().count();
            in_code ^= line.trim_start().starts_with("```");
            let is_prose = !in_code && !line.starts_with(['|', '#']);
            if is_prose && chars > PROSE_CHARS && line.trim().contains(' ') {
                let number = number + 1;
                complaints.push(format!(
                    "{path}:{number}: {chars} characters, the limit is {PROSE_CHARS}: break the line"
                ));
            }
        }
    }
    settle(&complaints);
}

#[test]
fn every_value_of_a_metrics_label_is_in_its_row() {
    let table = read("src/metrics.rs");
    let row = |id: &str| {
        let at = table.find(&format!("    {id} ")).unwrap_or_else(|| panic!("no metric {id}"));
        &table[at..at + table[at..].find(';').expect("a row ends")]
    };
    let mut complaints = Vec::new();
    for source in read_rust(root(), "src").iter().filter(|s| s.path != "src/metrics.rs") {
        for call in [".add_for(\"", ".set_for(\"", ".shift_for(\""] {
            for (at, _) in source.text.match_indices(call) {
                let before = source.text[..at].rsplit("metrics::").next().unwrap_or_default();
                let value = source.text[at + call.len()..].split('"').next().unwrap_or_default();
                if !row(before).contains(&format!("\"{value}\"")) {
                    complaints.push(format!(
                        "{}: `{value}` is not in the row of {before} in src/metrics.rs: add it, \
                         so that its series is there before it happens",
                        source.place(at)
                    ));
                }
            }
        }
    }
    settle(&complaints);
}

#[test]
fn documents_name_only_files_and_commands_that_exist() {
    let makefile = read("Makefile");
    let mut complaints = Vec::new();
    for (path, text) in texts().iter().filter(|(path, _)| is_a(path, "md")) {
        let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for (at, _) in text.match_indices("](") {
            let link = text[at + 2..].split([')', '#', ' ']).next().unwrap_or_default();
            if !link.is_empty() && !link.contains(':') && !root().join(folder).join(link).exists() {
                complaints.push(format!("{path}:{}: no such file: {link}", line_of(text, at)));
            }
        }
        for (at, _) in text.match_indices("make ") {
            let spelt = text[..at].ends_with('`') || text[..at].ends_with('\n');
            let target = text[at + 5..].split([' ', '`', '\n', ';']).next().unwrap_or_default();
            if spelt && !makefile.contains(&format!("\n{target}:")) {
                complaints
                    .push(format!("{path}:{}: no such make target: {target}", line_of(text, at)));
            }
        }
    }
    settle(&complaints);
}

/// The paths of all configuration keys, from the table's text.
fn keys() -> BTreeSet<String> {
    let table = read("src/config/keys.rs");
    let rows = table.lines().map(str::trim);
    rows.filter_map(|row| row.strip_prefix("peer \"").or_else(|| row.strip_prefix("ours \"")))
        .filter_map(|row| row.split('"').next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn documents_name_only_keys_and_variables_that_exist() {
    let keys = keys();
    assert!(keys.len() > 50, "the table of src/config/keys.rs is not found: {keys:?}");
    let under =
        |path: &str, key: &String| key.strip_prefix(path).is_some_and(|k| k.starts_with('.'));
    let mut complaints = Vec::new();
    for (path, text) in &texts() {
        if is_a(path, "md") {
            for word in text.split('`').skip(1).step_by(2) {
                let section = word.split('.').next().unwrap_or_default();
                let plain =
                    word.contains('.') && word.chars().all(|c| c.is_alphanumeric() || c == '.');
                let ours = plain && keys.iter().any(|key| under(section, key));
                if ours && !keys.contains(word) && !keys.iter().any(|key| under(word, key)) {
                    complaints.push(format!("{path}: `{word}` is no configuration key"));
                }
            }
        }
        if is_a(path, "rs") {
            continue;
        }
        for (at, _) in text.match_indices("GHPULSE_") {
            let name = text[at..].split(|c: char| !c.is_ascii_uppercase() && c != '_').next();
            let name = name.unwrap_or_default();
            let known = keys.iter().any(|key| {
                name.strip_prefix("GHPULSE_") == Some(&*key.replace('.', "_").to_ascii_uppercase())
            });
            if !known && !OTHER_VARIABLES.contains(&name) {
                complaints.push(format!("{path}:{}: no such variable: {name}", line_of(text, at)));
            }
        }
    }
    settle(&complaints);
}

#[test]
fn workflows_pin_actions_and_start_without_permissions() {
    let mut complaints = Vec::new();
    let workflows = texts().into_iter().filter(|(path, _)| path.starts_with(".github/workflows/"));
    for (path, text) in workflows {
        if !text.contains("\npermissions: {}\n") {
            complaints.push(format!(
                "{path}:1: permissions are not empty at the top: name them in each job"
            ));
        }
        for (number, line) in text.lines().enumerate() {
            let Some((_, action)) = line.split_once("uses: ") else { continue };
            let (_, commit) = action.split_once('@').unwrap_or_default();
            let (commit, version) = commit.split_once(" # v").unwrap_or_default();
            let is_commit = commit.len() == 40 && commit.chars().all(|c| c.is_ascii_hexdigit());
            if !is_commit || version.is_empty() {
                let number = number + 1;
                complaints.push(format!(
                    "{path}:{number}: `{action}`: pin it by its commit, with the version behind it: \
                     `uses: OWNER/NAME@COMMIT # vX.Y.Z`"
                ));
            }
        }
    }
    settle(&complaints);
}
