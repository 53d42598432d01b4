//! Queries of the module graph for the rules in `tidy.rs`: the module of a file, whether the table
//! permits a path, whether there is a cycle, and where a dependency is named.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::ends_in_word;

/// Module at the top -> module that it names -> the first place where it does.
pub(crate) type Edges = BTreeMap<String, BTreeMap<String, String>>;

/// `src/store/keys.rs` -> `store::keys`; `src/store/mod.rs` -> `store`.
pub(crate) fn module_of(path: &str) -> String {
    let inner = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    inner.replace('/', "::")
}

/// Whether `path` is `part` or lies in it.
pub(crate) fn within(path: &str, part: &str) -> bool {
    path == part || path.strip_prefix(part).is_some_and(|rest| rest.starts_with("::"))
}

/// Whether a module's row allows a path outside the infrastructure: the longest entry that covers
/// the path decides, `*` covers all, `!` before an entry forbids.
pub(crate) fn allowed(row: &[&str], path: &str) -> bool {
    row.iter()
        .map(|entry| entry.strip_prefix('!').map_or((*entry, true), |name| (name, false)))
        .filter(|(name, _)| *name == "*" || within(path, name))
        .max_by_key(|(name, _)| name.len())
        .is_some_and(|(_, allows)| allows)
}

/// The first circle among the modules at the top, in words.
pub(crate) fn circle(edges: &Edges) -> Option<String> {
    fn walk(
        at: &str,
        edges: &Edges,
        way: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<String> {
        if let Some(begin) = way.iter().position(|step| step == at) {
            let circle = [&way[begin..], &[at.to_owned()]].concat();
            let place = &edges[way.last()?.as_str()][at];
            return Some(format!(
                "{place}: a circle: {}: reverse one of these uses",
                circle.join(" -> ")
            ));
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        way.push(at.to_owned());
        let found =
            edges.get(at).and_then(|next| next.keys().find_map(|to| walk(to, edges, way, done)));
        way.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|at| walk(at, edges, &mut Vec::new(), &mut done))
}

/// Bytes at which code names the dependency: `name::`, `use name;`, `use name as`.
pub(crate) fn uses_of(code: &str, name: &str) -> Vec<usize> {
    code.match_indices(name)
        .filter(|(at, _)| {
            let (before, after) = (&code[..*at], &code[at + name.len()..]);
            let named_in_use = before.ends_with("use ") && after.starts_with([';', ' ']);
            !ends_in_word(before)
                && !before.ends_with([':', '.'])
                && (after.starts_with("::") || named_in_use)
        })
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn the_longest_entry_of_a_row_decides() {
    let row = ["bus", "!bus::pulsar", "model::window"];
    let verdicts =
        ["bus", "bus::Bus", "bus::pulsar::Reader", "model::window", "model::event", "buses"]
            .map(|path| allowed(&row, path));
    assert_eq!(verdicts, [true, true, false, true, false, false]);
    assert!(allowed(&["*"], "anything::at::all"));
}

#[test]
fn dependency_circle_is_found_and_diamond_allowed() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges = Edges::new();
        for (from, to) in pairs {
            edges.entry((*from).into()).or_default().insert((*to).into(), format!("{from}.rs:1"));
        }
        edges
    };
    assert_eq!(circle(&edges(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])), None);
    let found =
        circle(&edges(&[("a", "b"), ("b", "c"), ("c", "b")])).expect("b and c are a circle");
    assert!(found.starts_with("c.rs:1: a circle: b -> c -> b"), "{found}");
}

#[test]
fn a_dependency_is_found_by_its_own_name_only() {
    assert_eq!(uses_of("use rhai::Engine;", "rhai"), [4]);
    assert_eq!(uses_of("use rhai;", "rhai"), [4]);
    assert_eq!(uses_of("#[derive(rhai::Custom)]", "rhai"), [9]);
    assert!(uses_of("use crate::rhai::X; self.rhai::<T>(); rhai_like::f();", "rhai").is_empty());
}
