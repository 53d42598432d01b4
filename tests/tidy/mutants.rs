//! The deliberate bugs of `tests/mutants`: each still applies, and names the test that finds it.

use std::process::Command;

use crate::source::files_below;
use crate::{read, root, settle};

#[test]
fn mutants_apply_and_name_their_test() {
    let mut complaints = Vec::new();
    let patches = files_below(root(), "tests/mutants");
    for patch in patches.into_iter().filter(|path| path.ends_with(".patch")) {
        let text = read(&patch);
        let test = text.lines().find_map(|line| line.strip_prefix("Found by: "));
        let name = test.and_then(|test| test.split("::").last()).unwrap_or_default();
        if name.is_empty() || !is_a_test(name) {
            complaints
                .push(format!("{patch}:1: `{name}` is not a test: name the one that finds it"));
        }
        let tried =
            Command::new("git").args(["apply", "--check", &patch]).current_dir(root()).output();
        let tried = tried.expect("git is there");
        if !tried.status.success() {
            let why = String::from_utf8_lossy(&tried.stderr);
            complaints.push(format!("{patch}:1: does not apply any more: write it anew: {why}"));
        }
    }
    settle(&complaints);
}

/// Whether a function of this name stands anywhere in the code.
fn is_a_test(name: &str) -> bool {
    let declared = format!("fn {name}(");
    ["src", "tests"].iter().any(|dir| {
        let sources = crate::source::read_rust(root(), dir);
        sources.iter().any(|source| source.text.contains(&declared))
    })
}
