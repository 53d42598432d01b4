//! The written layers: file, environment, flags; each known key once, the last layer wins.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::diagnostic::{ConfigError, ConfigWarning, ValueOrigin};
use super::raw::{self, YamlNode, YamlValue};
use super::secret::{HIDDEN, quotable};
use super::table::{self, ConfigKey, KEYS, ValueKind};
use super::value::{self, ConfigValue};
use super::{impossible, nearest, peer};

/// The most values of a list.
const MAX_VALUES: usize = 1000;

/// An accepted value, and where it was written.
#[derive(Debug, Clone)]
pub(super) struct GivenValue {
    pub value: ConfigValue,
    pub place: ValueOrigin,
}

/// All layers combined.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// By the key's path.
    pub given: BTreeMap<&'static str, GivenValue>,
    /// Paths that were left empty on purpose, or contain the example's placeholder, and so are
    /// deliberately not set.
    pub left_out: BTreeSet<&'static str>,
    /// Paths whose value was refused, so that they are not reported as missing.
    pub refused: Vec<&'static str>,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<ConfigWarning>,
}

impl Layers {
    /// Adds a file's text.
    pub(super) fn file(&mut self, path: &Path, text: &str) {
        let place = |line| ValueOrigin::File { file: path.to_owned(), line: Some(line) };
        match raw::parse(text) {
            Err(error) => {
                let message = match peer::cure(text) {
                    Some(cure) => format!("{}; {cure}", error.message),
                    None => error.message,
                };
                self.errors.push(ConfigError::whole(place(error.line), message));
            }
            Ok(root) => match root.shape {
                YamlValue::Null => {}
                YamlValue::Map(_) => self.section("", &root, &place),
                _ => {
                    let message = "a config file must be a mapping of sections, such as `server:` \
                                   with `port: 8600` indented below it";
                    self.errors.push(ConfigError::whole(place(root.line), message));
                }
            },
        }
    }

    /// Adds environment variables; those without the prefix are ignored.
    pub(super) fn environment(&mut self, variables: &[(String, String)]) {
        for (name, text) in variables {
            let other = table::OTHER_VARIABLES.contains(&name.as_str());
            if !name.starts_with(table::PREFIX) || other {
                continue;
            }
            let place = ValueOrigin::Variable { variable: name.clone() };
            if let Some(key) = KEYS.iter().find(|key| key.variable() == *name) {
                self.text(key, text, place);
            } else if is_of_kubernetes(name) {
                let message = "ignored: Kubernetes sets it for a Service called ghpulse";
                self.warnings.push(ConfigWarning::warning(ConfigError::whole(place, message)));
            } else {
                let message = nearest::variable(name);
                self.errors.push(ConfigError::whole(place, message));
            }
        }
    }

    /// Adds a flag.
    pub(super) fn flag(&mut self, name: &'static str, path: &str, text: &str) {
        let key = table::find(path).expect("flags name keys of the table");
        self.text(key, text, ValueOrigin::Flag { flag: name });
    }

    fn section(&mut self, path: &str, node: &YamlNode, place: &dyn Fn(usize) -> ValueOrigin) {
        let YamlValue::Map(entries) = &node.shape else { return };
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        for entry in entries {
            let below = if path.is_empty() { String::new() } else { format!("{path}.") };
            let full = format!("{below}{}", entry.key);
            let here = place(entry.line);
            if let Some(first) = lines.insert(full.to_ascii_lowercase(), entry.line) {
                let message = format!("duplicate key, first in line {first}; keep one");
                self.errors.push(ConfigError::new(here, shown(&full), message));
                continue;
            }
            if let Some((_, why)) = retired(&full) {
                self.warnings.push(peer::retired(&full, why, &entry.node, here));
            } else if let Some(key) = table::find(&full) {
                self.node(key, &entry.node, here);
            } else if table::is_section(&full) {
                self.subsection(&full, &entry.node, here, place);
            } else {
                let message = nearest::key(&full);
                self.errors.push(ConfigError::new(here, shown(&full), message));
            }
        }
    }

    fn subsection(
        &mut self,
        path: &str,
        node: &YamlNode,
        here: ValueOrigin,
        place: &dyn Fn(usize) -> ValueOrigin,
    ) {
        match &node.shape {
            YamlValue::Null => {}
            YamlValue::Map(_) => self.section(path, node, place),
            YamlValue::Scalar(_) | YamlValue::List(_) => {
                let message = format!("this is a section, not a value: {}", nearest::members(path));
                self.errors.push(ConfigError::new(here, path, message));
            }
        }
    }

    fn node(&mut self, key: &'static ConfigKey, node: &YamlNode, place: ValueOrigin) {
        if let ValueKind::Unused(why) = key.kind {
            let about = ConfigError::new(place, key.path, format!("accepted and not used: {why}"));
            self.warnings.push(ConfigWarning::info(about));
            return;
        }
        let expected = value::describe(key.kind);
        match &node.shape {
            YamlValue::Null => self.leave_out(key),
            YamlValue::Scalar(text) => self.text(key, text, place),
            YamlValue::List(_) if !key.kind.is_list() => {
                self.refuse(key, place, format!("a list is not accepted: use {expected}"));
            }
            YamlValue::List(items) => {
                let lines = items.iter().map(|item| place.with_line(item.line));
                let lines: Vec<_> = lines.collect();
                let texts = items.iter().map(|item| match &item.shape {
                    YamlValue::Scalar(text) => Some(text.trim()),
                    YamlValue::Null => Some(""),
                    _ => None,
                });
                self.list(key, texts.collect(), &lines, place);
            }
            YamlValue::Map(_) => {
                let message = format!("a section is not accepted: use {expected}");
                self.refuse(key, place, message);
            }
        }
    }

    fn text(&mut self, key: &'static ConfigKey, text: &str, place: ValueOrigin) {
        let empty = text.trim().is_empty();
        if empty && matches!(place, ValueOrigin::Variable { .. }) {
            // Compose files and systemd units write `VARIABLE=` for an unset variable.
            return;
        }
        if empty && key.default.is_empty() {
            return self.leave_out(key);
        }
        if key.kind.is_list() {
            let texts: Vec<_> = text.split(',').map(|text| Some(text.trim())).collect();
            let places = vec![place.clone(); texts.len()];
            return self.list(key, texts, &places, place);
        }
        if peer::is_placeholder(text) {
            let keep = peer::keeps_placeholder(key);
            self.warnings.push(peer::placeholder(key, &place, keep));
            if !keep {
                return self.leave_out(key);
            }
        }
        if let Some(why) = impossible::text(key, text) {
            let shown = if key.is_secret() { HIDDEN.to_owned() } else { quotable(text.trim()) };
            return self.refuse(key, place, format!("{shown} {why}"));
        }
        match value::read(key, text) {
            Ok(value) => self.give(key, GivenValue { value, place }),
            Err(message) => self.refuse(key, place, message),
        }
    }

    /// Uses a value. A variable that replaces another value of the file is reported, because people
    /// look in the file.
    fn give(&mut self, key: &'static ConfigKey, given: GivenValue) {
        let place = given.place.clone();
        let value = given.value.clone();
        let before = self.given.insert(key.path, given);
        if let (Some(before), ValueOrigin::Variable { variable }) = (before, place)
            && before.value != value
            && matches!(before.place, ValueOrigin::File { .. })
        {
            let message = format!("not used: the environment has precedence ({variable})");
            let about = ConfigError::new(before.place, key.path, message);
            self.warnings.push(ConfigWarning::info(about));
        }
    }

    /// Reads a list: `None` is a value that is not a text; `places` has the location of each. Every
    /// refused value is reported with its number.
    fn list(
        &mut self,
        key: &'static ConfigKey,
        mut texts: Vec<Option<&str>>,
        places: &[ValueOrigin],
        place: ValueOrigin,
    ) {
        let all = texts.len();
        if all > MAX_VALUES {
            return self.refuse(key, place, format!("more than {MAX_VALUES} values"));
        }
        let mut wrong = Vec::new();
        for (index, text) in texts.iter_mut().enumerate() {
            match text {
                None => wrong.push((index, format!("nested: use {}", value::describe(key.kind)))),
                Some(token)
                    if key.kind == ValueKind::Tokens && peer::is_placeholder_token(token) =>
                {
                    self.warnings.push(peer::placeholder(key, &places[index], false));
                    *text = Some("");
                }
                Some(_) => {}
            }
        }
        let texts: Vec<&str> = texts.into_iter().map(Option::unwrap_or_default).collect();
        match value::list(key, &texts) {
            Ok(value) if wrong.is_empty() => {
                return self.give(key, GivenValue { value, place });
            }
            Ok(_) => {}
            Err(refused) => wrong.extend(refused),
        }
        wrong.sort_by_key(|(index, _)| *index);
        for (index, why) in wrong {
            let number = index + 1;
            let message = match key.kind {
                ValueKind::Tokens => format!("token {number} of {all} {why}"),
                _ if all == 1 => why,
                _ => format!("value {number} of {all}: {why}"),
            };
            self.refuse(key, places[index].clone(), message);
        }
    }

    fn leave_out(&mut self, key: &'static ConfigKey) {
        self.given.remove(key.path);
        self.left_out.insert(key.path);
    }

    fn refuse(&mut self, key: &'static ConfigKey, place: ValueOrigin, message: String) {
        self.refused.push(key.path);
        self.errors.push(ConfigError::new(place, key.path, message));
    }
}

fn retired(path: &str) -> Option<&'static (&'static str, &'static str)> {
    table::RETIRED.iter().find(|(section, _)| section.eq_ignore_ascii_case(path))
}

/// A key as it was written; a text that looks like a credential is hidden.
fn shown(path: &str) -> String {
    quotable(path).trim_matches('"').to_owned()
}

/// Whether Kubernetes sets this variable for a Service.
fn is_of_kubernetes(name: &str) -> bool {
    let rest = name.strip_prefix(table::PREFIX).unwrap_or_default();
    let of_port = rest.strip_prefix("PORT_").is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit()) && rest.contains("_TCP")
    });
    rest == "PORT"
        || rest.starts_with("SERVICE_HOST")
        || rest.starts_with("SERVICE_PORT")
        || of_port
}
