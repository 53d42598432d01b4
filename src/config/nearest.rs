//! Suggestions for unknown names.

use super::secret::quotable;
use super::table::{self, KEYS};
use crate::model::nearest::nearest;

/// Reports an unknown key, with the nearest known one.
pub(super) fn key(path: &str) -> String {
    let lower = path.to_lowercase();
    let own = lower.rsplit('.').next().unwrap_or(&lower);
    let candidates = KEYS.iter().map(|key| key.path).chain(table::sections());
    // The same last word in another section: the key is in the wrong section.
    let moved = KEYS.iter().find(|key| {
        let last = key.path.rsplit('.').next().unwrap_or(key.path);
        last.eq_ignore_ascii_case(own) && last.len() > 3
    });
    let near = closest(&lower, candidates).or(moved.map(|key| key.path));
    match near {
        Some(near) => format!("unknown key; did you mean {near}?"),
        None => "unknown key; `ghpulse config reference` lists all of them".to_owned(),
    }
}

/// Reports an unknown variable, with the nearest known one.
pub(super) fn variable(name: &str) -> String {
    let names: Vec<String> = KEYS.iter().map(table::ConfigKey::variable).collect();
    // Words may be split in too many places: GHPULSE_SERVER_BASE_PATH.
    let joined = name.to_ascii_uppercase().replace('_', "");
    let split = names.iter().find(|known| known.replace('_', "") == joined);
    let near = split
        .map(String::as_str)
        .or_else(|| closest(&name.to_lowercase(), names.iter().map(String::as_str)));
    match near {
        Some(near) => format!("unknown variable; did you mean {near}?"),
        None => "unknown variable; `ghpulse config env` lists all of them".to_owned(),
    }
}

/// The names directly below a section, for a value in its place.
pub(super) fn members(section: &str) -> String {
    let start = format!("{}.", section.to_lowercase());
    let mut names: Vec<&str> = KEYS
        .iter()
        .filter(|key| key.path.to_lowercase().starts_with(&start))
        .filter_map(|key| key.path[start.len()..].split('.').next())
        .collect();
    names.dedup();
    format!("below it are {}", names.join(", "))
}

/// The nearest known name; none for what may be a secret.
fn closest<'a>(lower: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if quotable(lower) == super::secret::HIDDEN { None } else { nearest(lower, known) }
}
