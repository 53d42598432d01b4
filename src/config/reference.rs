//! Output generated from the table: the default file, the reference, the environment names.

use std::fmt::Write;

use serde_json::{Map, Value as Json, json};

use super::table::{self, ConfigKey, KEYS, ValueKind};
use super::value;

/// A config file with every key, its meaning and its default; it loads without errors or warnings.
#[must_use]
pub fn default_file() -> String {
    let mut text = "# Every key of ghpulse with its default. Keys left empty are not set.\n\
                    # Environment: GHPULSE_SECTION_KEY, as GHPULSE_GITHUB_TOKENS=a,b.\n"
        .to_owned();
    let mut open: Vec<&str> = Vec::new();
    for key in KEYS {
        let mut parts: Vec<&str> = key.path.split('.').collect();
        let name = parts.pop().expect("a path has a last word");
        let shared = open.iter().zip(&parts).take_while(|(a, b)| a == b).count();
        for (depth, section) in parts.iter().enumerate().skip(shared) {
            let gap = if depth == 0 { "\n" } else { "" };
            push(&mut text, format_args!("{gap}{}{section}:\n", indent(depth)));
        }
        entry(&mut text, key, name, parts.len());
        open = parts;
    }
    text
}

fn entry(text: &mut String, key: &ConfigKey, name: &str, depth: usize) {
    let margin = indent(depth);
    for line in wrapped(key.meaning, 90 - margin.len()) {
        push(text, format_args!("{margin}# {line}\n"));
    }
    match key.kind {
        ValueKind::Unused(why) => push(text, format_args!("{margin}# {name}:  # {why}\n")),
        _ if key.default.contains('\n') => {
            push(text, format_args!("{margin}{name}: |\n"));
            for line in key.default.lines() {
                push(text, format_args!("{margin}  {line}\n"));
            }
        }
        _ if key.default.is_empty() => push(text, format_args!("{margin}{name}:\n")),
        _ => push(text, format_args!("{margin}{name}: {}\n", key.default)),
    }
}

/// The reference as Markdown: one table per section.
#[must_use]
pub fn reference() -> String {
    let mut text = "# Configuration\n\n\
        Made from the table that the parser uses (`ghpulse config reference`). The file is the \
        first of `--config`, `./config.yaml`, `./config/config.yaml`, `../config/config.yaml`; \
        then comes the environment, then flags; later wins. Keys match without regard to case. \
        Durations are `90s`, `5m`, `1h30m`; sizes `512 MiB`, `8 GiB`. A list is written as a list \
        or as one text with commas. Keys of ossinsight-plugin are marked °: they keep its names, \
        units and meanings, so its config file loads unchanged.\n"
        .to_owned();
    let mut section = "";
    for key in KEYS {
        let own = key.path.split('.').next().unwrap_or(key.path);
        if own != section {
            section = own;
            push(&mut text, format_args!("\n## {section}\n\n"));
            text.push_str("| key | accepts | default | variable | meaning |\n");
            text.push_str("|---|---|---|---|---|\n");
        }
        let default = match key.default {
            "" => "none".to_owned(),
            long if long.contains('\n') => "see `ghpulse config default`".to_owned(),
            plain => format!("`{plain}`"),
        };
        let meaning = match key.kind {
            ValueKind::Unused(why) => format!("{} It is {why}.", key.meaning),
            _ => key.meaning.to_owned(),
        };
        let mark = if key.peer { "°" } else { "" };
        let (path, variable) = (key.path, key.variable());
        let accepts = value::describe(key.kind);
        push(
            &mut text,
            format_args!("| `{path}`{mark} | {accepts} | {default} | `{variable}` | {meaning} |\n"),
        );
    }
    text.push_str("\n## Accepted and not used\n\n");
    for (section, why) in table::RETIRED {
        push(&mut text, format_args!("- `{section}.*`°: {why}.\n"));
    }
    text.push_str("\nOther variables: ");
    let others: Vec<String> =
        table::OTHER_VARIABLES.iter().map(|name| format!("`{name}`")).collect();
    push(&mut text, format_args!("{} (tests only).\n", others.join(", ")));
    text
}

/// The reference for programs: one object per key.
#[must_use]
pub fn reference_json() -> Json {
    let rows = KEYS.iter().map(|key| {
        json!({
            "key": key.path,
            "accepts": value::describe(key.kind),
            "default": if key.default.is_empty() { Json::Null } else { json!(key.default) },
            "variable": key.variable(),
            "peer": key.peer,
            "secret": key.is_secret(),
            "used": !matches!(key.kind, ValueKind::Unused(_)),
            "meaning": key.meaning,
        })
    });
    Json::Array(rows.collect())
}

/// The defaults for programs: sections as objects, values in their written form.
#[must_use]
pub fn defaults_json() -> Json {
    let mut root = Map::new();
    for key in KEYS.iter().filter(|key| !matches!(key.kind, ValueKind::Unused(_))) {
        let mut parts: Vec<&str> = key.path.split('.').collect();
        let name = parts.pop().expect("a path has a last word");
        let mut section = &mut root;
        for part in parts {
            let below = section.entry(part).or_insert_with(|| json!({}));
            section = below.as_object_mut().expect("a path is no key and section at once");
        }
        section.insert(name.to_owned(), plain(key));
    }
    Json::Object(root)
}

fn plain(key: &ConfigKey) -> Json {
    let number = || key.default.parse::<u64>().ok().map(Json::from);
    match key.kind {
        _ if key.default.is_empty() => Json::Null,
        ValueKind::Switch => json!(key.default == "true"),
        ValueKind::Share => json!(key.default.parse::<f64>().unwrap_or_default()),
        ValueKind::Whole(..) | ValueKind::Port | ValueKind::Span(..) => {
            number().unwrap_or(json!(key.default))
        }
        _ => json!(key.default),
    }
}

/// Each environment variable, with its key.
#[must_use]
pub fn variables() -> Vec<(String, &'static str)> {
    let used = KEYS.iter().filter(|key| !matches!(key.kind, ValueKind::Unused(_)));
    used.map(|key| (key.variable(), key.path)).collect()
}

fn push(text: &mut String, line: std::fmt::Arguments<'_>) {
    text.write_fmt(line).expect("a String takes every write");
}

fn indent(depth: usize) -> String {
    "  ".repeat(depth)
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.len() + 1 + word.len() > width {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}
