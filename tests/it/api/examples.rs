//! The README's examples as programs, run as they are printed.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use super::events::push;
use super::site::Site;
use crate::common::documented::example;
use crate::common::running::{soon, until_some};

/// A language with an example, how its comments begin, and the program that runs it.
struct ProgramLanguage {
    name: &'static str,
    comment: &'static str,
    file: &'static str,
    command: &'static [&'static str],
}

const JAVASCRIPT: ProgramLanguage =
    ProgramLanguage { name: "js", comment: "// ", file: "pushes.mjs", command: &["node"] };
// Without `-u` the output to a pipe would be held back.
const PYTHON: ProgramLanguage = ProgramLanguage {
    name: "python",
    comment: "# ",
    file: "pushes.py",
    command: &["python3", "-u"],
};

fn push_to(id: u64) -> String {
    push(id).replace("ann/tool", &format!("ann/tool{id}"))
}

/// Starts the example in its directory, and reads lines until it prints `last`; then kills it.
async fn run_until(language: &ProgramLanguage, dir: &Path, site: &Site, last: u64) -> Vec<String> {
    let mut command = Command::new(language.command[0]);
    command.args(&language.command[1..]).arg(language.file).current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    // It is connected when it has kept its first cursor.
    let kept = dir.join("pushes.cursor");
    until_some("it keeps a cursor", async || kept.exists().then_some(())).await;
    site.push(&[push_to(last - 1), push_to(last)]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = Vec::new();
    while printed.last() != Some(&format!("ann/tool{last}")) {
        let line = soon("it prints", lines.next_line()).await.unwrap();
        printed.push(line.unwrap_or_else(|| panic!("it ended after {printed:?}")));
    }
    child.kill().await.unwrap();
    printed
}

/// Does what the comment at the top of the example says, and runs it twice.
async fn expect_the_example(language: &ProgramLanguage) {
    let (site, dir) = (Site::start(&[]).await, tempfile::tempdir().unwrap());
    let text = example(language.name, site.running.public);
    let first = text.lines().next().unwrap();
    let download = first.strip_prefix(language.comment).expect("it begins with a comment");
    assert!(download.starts_with("curl "), "{download}");
    for program in ["curl", language.command[0]] {
        if Command::new(program).arg("--version").output().await.is_err() {
            println!("skipped: the example in {}: no {program} here", language.name);
            return;
        }
    }
    let mut curl = Command::new("sh");
    curl.args(["-c", download]).current_dir(dir.path());
    let done = soon("curl ends", curl.output()).await.unwrap();
    assert!(done.status.success(), "{done:?}");
    std::fs::write(dir.path().join(language.file), &text).unwrap();

    let printed = run_until(language, dir.path(), &site, 2).await;
    assert_eq!(printed, ["ann/tool1", "ann/tool2"]);
    site.push(&[push_to(3)]);
    let again = run_until(language, dir.path(), &site, 5).await;
    // The cursor of the last event is kept when the next one is asked for.
    let fresh = again.strip_prefix(&["ann/tool2".to_owned()][..]).unwrap_or(&again);
    assert_eq!(fresh, ["ann/tool3", "ann/tool4", "ann/tool5"]);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_example_runs_as_printed_and_resumes() {
    expect_the_example(&JAVASCRIPT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_example_runs_as_printed_and_resumes() {
    expect_the_example(&PYTHON).await;
}
