//! Import circles among the files of one top-level module.
//!
//! A file that uses its parent module uses whatever the parent re-exports, so a module whose
//! children use it must not define or re-export what its children need from each other.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::{module_of, uses_of};
use crate::source::{Source, absolute_paths, read_rust};
use crate::{root, settle};

/// Module -> files that its largest circle may have. A module that is not listed has none. Numbers
/// may only shrink.
const CIRCLES: &[(&str, usize)] = &[];

/// File -> the files of the same top-level module that it uses.
type Uses = BTreeMap<String, BTreeSet<String>>;

#[test]
fn files_of_a_module_use_each_other_in_one_direction() {
    let mut complaints = Vec::new();
    for circle in circles(&uses(&read_rust(root(), "src"))) {
        let top = top_of(&circle[0]);
        let allowed = CIRCLES.iter().find(|(name, _)| *name == top).map_or(0, |(_, most)| *most);
        if circle.len() > allowed {
            complaints.push(format!(
                "src/{top}: {} files use each other in a circle, the limit is {allowed}: {}: let \
                 them import from the file that defines, not from the parent that re-exports",
                circle.len(),
                circle.join(", ")
            ));
        }
    }
    settle(&complaints);
}

fn top_of(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn uses(sources: &[Source]) -> Uses {
    let live = || sources.iter().filter(|source| !source.live.is_empty());
    let modules: BTreeSet<String> = live().map(|source| module_of(&source.path)).collect();
    let mut uses = Uses::new();
    for source in live() {
        let own = module_of(&source.path);
        let named = absolute_paths(source).into_iter().filter_map(|path| file_of(&path, &modules));
        let children = modules.iter().filter(|module| {
            let child = module.strip_prefix(&own).and_then(|rest| rest.strip_prefix("::"));
            child.is_some_and(|child| !uses_of(&source.live, child).is_empty())
        });
        let all = named.chain(children.cloned());
        let inside = all.filter(|other| *other != own && top_of(other) == top_of(&own));
        uses.insert(own.clone(), inside.collect());
    }
    uses
}

/// The file that a path leads into: the longest beginning of it that is a module.
fn file_of(path: &[String], modules: &BTreeSet<String>) -> Option<String> {
    let beginnings = (1..=path.len()).rev().map(|length| path[..length].join("::"));
    beginnings.into_iter().find(|module| modules.contains(module))
}

/// The groups of files of which each uses every other one, directly or not.
fn circles(uses: &Uses) -> Vec<Vec<String>> {
    let reached: BTreeMap<&str, BTreeSet<&str>> =
        uses.keys().map(|from| (from.as_str(), reach(from, uses))).collect();
    let mut circles: Vec<Vec<String>> = Vec::new();
    for (from, to) in &reached {
        let is_new = !circles.iter().any(|circle| circle.iter().any(|file| file == from));
        if to.contains(from) && is_new {
            let back = |other: &&&str| reached.get(**other).is_some_and(|back| back.contains(from));
            circles.push(to.iter().filter(back).map(|other| (*other).to_owned()).collect());
        }
    }
    circles
}

/// The files that a file uses, directly or not.
fn reach<'a>(from: &str, uses: &'a Uses) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = uses.get(from).into_iter().flatten().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if found.insert(next) {
            open.extend(uses.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    found
}

#[test]
fn import_circles_are_found_and_diamonds_allowed() {
    let uses = |pairs: &[(&str, &str)]| {
        let mut uses = Uses::new();
        for (from, to) in pairs {
            uses.entry((*from).to_owned()).or_default().insert((*to).to_owned());
            uses.entry((*to).to_owned()).or_default();
        }
        uses
    };
    assert!(circles(&uses(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])).is_empty());
    let found = circles(&uses(&[("a", "b"), ("b", "c"), ("c", "b"), ("x", "y"), ("y", "x")]));
    assert_eq!(found, [["b", "c"], ["x", "y"]]);
}
