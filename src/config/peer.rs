//! Special cases of the peer's config files: sections without a counterpart, the placeholders of
//! its printed example, and that example's indentation.

use super::diagnostic::{ConfigError, ConfigWarning, ValueOrigin};
use super::raw::{YamlNode, YamlValue};
use super::table::{ConfigKey, ValueKind};

/// Words that surround placeholders in the example without being part of them.
const AROUND: &[&str] = &["pulsar", "ssl", "http", "https", "ghp", "github", "pat", "json", "pem"];

/// Whether a value is still the example's, such as `pulsar+ssl://XXX.XXX.XXX:XXXX`.
pub(super) fn is_placeholder(text: &str) -> bool {
    let mut marked = false;
    let words = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        let blank = word.chars().all(|c| c == 'X') || word.chars().all(|c| c == 'x');
        if blank {
            marked |= word.len() >= 3;
        } else if !AROUND.contains(&word) {
            return false;
        }
    }
    marked && text.is_ascii()
}

/// Whether a token is a placeholder: the example's, or words that ask for one.
pub(super) fn is_placeholder_token(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let trimmed = lower.trim_end_matches(['.', '…', '*']);
    let asks = lower.contains("your") && lower.contains("token");
    let framed = lower.starts_with('<') || lower == "changeme";
    let elided = trimmed.len() < lower.len() && trimmed.len() < 20;
    is_placeholder(trimmed) || asks || framed || elided
}

/// Whether a placeholder may be meant literally: a topic or a password may be XXXXX, and the peer
/// would use it. An address or a path of that form leads nowhere.
pub(super) fn keeps_placeholder(key: &ConfigKey) -> bool {
    matches!(key.kind, ValueKind::Text | ValueKind::Secret) && key.path != "pulsar.audience"
}

/// The warning about a placeholder.
pub(super) fn placeholder(key: &ConfigKey, place: &ValueOrigin, kept: bool) -> ConfigWarning {
    let message = match (key.path, kept) {
        ("github.tokens", _) => {
            "a placeholder, not a token; ignored: replace it with a read-only token from \
             https://github.com/settings/tokens, or remove it"
        }
        (_, true) => "looks like the example's placeholder; it is used as written",
        (_, false) => "still the example's placeholder; treated as not set",
    };
    ConfigWarning::warning(ConfigError::new(place.clone(), key.path, message))
}

/// The warning about a section without a counterpart here.
pub(super) fn retired(path: &str, why: &str, node: &YamlNode, place: ValueOrigin) -> ConfigWarning {
    let script = lookup(node, "lua").is_some_and(|lua| lookup(lua, "mergeLatest").is_some());
    let message = if script {
        format!(
            "{why}; its Lua script mergeLatest is not run: scripts/merge_latest.rhai replaces it \
             and can be edited (scripts/README.md maps one to the other)"
        )
    } else {
        why.to_owned()
    };
    ConfigWarning::warning(ConfigError::new(place, path, message))
}

fn lookup<'a>(node: &'a YamlNode, name: &str) -> Option<&'a YamlNode> {
    let YamlValue::Map(entries) = &node.shape else { return None };
    let entry = entries.iter().find(|entry| entry.key.eq_ignore_ascii_case(name));
    entry.map(|entry| &entry.node)
}

/// For a text that is not YAML: the remedy, when it is the peer's example as its page prints it.
pub(super) fn cure(text: &str) -> Option<String> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let lines: Vec<&str> = text.lines().collect();
    let found = lines.iter().position(|line| {
        let line = line.trim_start().to_ascii_lowercase();
        line.starts_with("mergelatest:")
    });
    if found.is_none()
        && let Some(at) = lines.iter().zip(lines.iter().skip(1)).position(|(line, next)| {
            let opens =
                [": |", ": >", ": |-", ": >-"].iter().any(|end| line.trim_end().ends_with(end));
            opens && !next.trim().is_empty() && indent(next) <= indent(line)
        })
    {
        return Some(format!(
            "line {} opens a multi-line text, whose lines must be indented further",
            at + 1
        ));
    }
    if let Some(at) = found {
        let next = lines[at + 1..].iter().find(|line| !line.trim().is_empty())?;
        let block = lines[at].split('#').next().unwrap_or_default().trim_end();
        let opens = block.ends_with(['|', '>', '-', '+']);
        if opens && indent(next) <= indent(lines[at]) {
            return Some(format!(
                "line {} opens the Lua script redis.lua.mergeLatest, and the script's lines are \
                 not indented below it (the page it was copied from prints it so): delete the \
                 redis section, which ghpulse does not use (scripts/merge_latest.rhai replaces \
                 it), or indent those lines further than mergeLatest",
                at + 1
            ));
        }
        return None;
    }
    let one_line = lines.iter().any(|line| line.matches(": ").count() > 6 && line.len() > 200);
    one_line.then(|| {
        "the file seems to have lost its line breaks: write each key on its own line, indented \
         below its section"
            .to_owned()
    })
}
