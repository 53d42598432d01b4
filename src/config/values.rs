//! Reads the layers by key, each value as the type of its field.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::diagnostic::{ConfigError, ConfigWarning, ValueOrigin};
use super::layers::Layers;
use super::secret::Secret;
use super::table;
use super::typed::{
    AlertFormat, Compression, Durability, HashEmails, HourFormat, LogFormat, Network,
};
use super::value::{self, ConfigValue};

/// A section that is read as a whole.
pub(super) trait ReadSection: Sized {
    /// Reads its keys. Errors between keys are collected in `values`.
    fn read(values: &mut Values) -> Self;
}

/// A type of a section's field.
pub(super) trait FromValue: Sized {
    /// Converts the value; `None` when it does not fit, or is required and missing.
    fn from_value(value: Option<ConfigValue>) -> Option<Self>;
}

macro_rules! from_value {
    ($($type:ty: $($pattern:pat => $found:expr),+;)*) => {
        $(impl FromValue for $type {
            fn from_value(value: Option<ConfigValue>) -> Option<Self> {
                match value? {
                    $($pattern => $found,)+
                    _ => None,
                }
            }
        })*
    };
}

from_value! {
    bool: ConfigValue::Switch(on) => Some(on);
    u64: ConfigValue::Whole(number) => Some(number);
    // A duration in whole seconds.
    u32: ConfigValue::Whole(number) => number.try_into().ok(),
        ConfigValue::Span(span) => span.as_secs().try_into().ok();
    u16: ConfigValue::Whole(number) => number.try_into().ok();
    u8: ConfigValue::Whole(number) => number.try_into().ok();
    usize: ConfigValue::Whole(number) => number.try_into().ok();
    f64: ConfigValue::Share(share) => Some(share);
    String: ConfigValue::Text(text) => Some(text);
    PathBuf: ConfigValue::Path(path) => Some(path);
    Secret: ConfigValue::Secret(secret) => Some(secret);
    IpAddr: ConfigValue::Address(address) => Some(address);
    Option<SocketAddr>: ConfigValue::Listen(address) => Some(address);
    Duration: ConfigValue::Span(span) => Some(span);
    Durability: ConfigValue::Sync(sync) => Some(sync);
    LogFormat: ConfigValue::Text(word) => Self::of(&word);
    HourFormat: ConfigValue::Text(word) => Self::of(&word);
    HashEmails: ConfigValue::Text(word) => Self::of(&word);
    AlertFormat: ConfigValue::Text(word) => Self::of(&word);
    Compression: ConfigValue::Text(word) => Self::of(&word);
}

impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: Option<ConfigValue>) -> Option<Self> {
        match value {
            None => Some(None),
            value => T::from_value(value).map(Some),
        }
    }
}

macro_rules! from_list {
    ($($item:ty: $list:ident;)*) => {
        $(impl FromValue for Vec<$item> {
            fn from_value(value: Option<ConfigValue>) -> Option<Self> {
                match value {
                    None => Some(Self::new()),
                    Some(ConfigValue::$list(items)) => Some(items),
                    Some(_) => None,
                }
            }
        })*
    };
}

from_list! {
    Secret: Secrets;
    String: Texts;
    Network: Networks;
}

/// The layers, read by key; missing values come from the table.
pub(super) struct Values {
    layers: Layers,
    /// Values in place of a default, for keys that follow another key.
    followed: BTreeMap<&'static str, ConfigValue>,
}

impl Values {
    pub(super) fn new(layers: Layers) -> Self {
        Self { layers, followed: BTreeMap::new() }
    }

    /// The value in force; `None` without a written value and without a default.
    fn find(&self, path: &str) -> Option<ConfigValue> {
        let key = table::find(path).expect("only keys of the table are asked for");
        if let Some(given) = self.layers.given.get(key.path) {
            return Some(given.value.clone());
        }
        if let Some(value) = self.followed.get(key.path) {
            return Some(value.clone());
        }
        if key.default.is_empty() {
            return None;
        }
        Some(value::read(key, key.default).expect("a test reads every default"))
    }

    /// The value in force as the type of its field.
    pub(super) fn get<T: FromValue>(&self, path: &str) -> T {
        let found = T::from_value(self.find(path));
        found.unwrap_or_else(|| unreachable!("{path}: its row has a type that does not fit"))
    }

    /// Uses the value of another key as the default of a key.
    pub(super) fn follow(&mut self, path: &'static str, other: &str) {
        if let Some(value) = self.find(other) {
            self.followed.insert(path, value);
        }
    }

    /// Uses this text as the default of a key.
    pub(super) fn fill(&mut self, path: &'static str, text: &str) {
        self.followed.insert(path, ConfigValue::Text(text.to_owned()));
    }

    /// Uses this value in place of the written one.
    pub(super) fn set(&mut self, path: &'static str, value: ConfigValue) {
        match self.layers.given.get_mut(path) {
            Some(given) => given.value = value,
            None => _ = self.followed.insert(path, value),
        }
    }

    /// Whether the key has a value.
    pub(super) fn has(&self, path: &str) -> bool {
        self.find(path).is_some()
    }

    /// Whether the key is written.
    pub(super) fn is_given(&self, path: &str) -> bool {
        self.layers.given.contains_key(path)
    }

    pub(super) fn place(&self, path: &str) -> ValueOrigin {
        self.layers.given.get(path).map_or(ValueOrigin::Nowhere, |given| given.place.clone())
    }

    pub(super) fn report(&mut self, path: &str, message: impl Into<String>) {
        self.report_at(path, path, message);
    }

    /// Reports an error of one key at the location of another.
    pub(super) fn report_at(&mut self, written: &str, path: &str, message: impl Into<String>) {
        let error = ConfigError::new(self.place(written), path, message);
        self.layers.errors.push(error);
    }

    pub(super) fn warn(&mut self, path: &str, message: impl Into<String>) {
        let about = ConfigError::new(self.place(path), path, message);
        self.layers.warnings.push(ConfigWarning::warning(about));
    }

    /// Reports a missing key, unless its written value was refused already; the location is that of
    /// a related key.
    pub(super) fn need(&mut self, path: &str, message: impl Into<String>) {
        if !self.layers.refused.contains(&path) {
            let mut sections = path.match_indices('.').rev().map(|(end, _)| &path[..=end]);
            let beside = |section| self.layers.given.keys().find(|key| key.starts_with(section));
            let written = sections.find_map(beside).copied();
            self.report_at(written.unwrap_or(path), path, message);
        }
    }

    /// Whether two keys have values, of which neither is of use without the other; each comes with
    /// what it is. Reports the one that is missing.
    pub(super) fn both(&mut self, [(key, what), (other, other_what)]: [(&str, &str); 2]) -> bool {
        let has = [self.has(key), self.has(other)];
        match has {
            [true, false] => self.need(other, format!("missing: {key} needs {other_what}")),
            [false, true] => self.need(key, format!("missing: {other} needs {what}")),
            _ => {}
        }
        has == [true, true]
    }

    /// Refuses a section whose keys (`keys`, or prefixes of their paths) are written while none of
    /// its `addresses` is, not even empty. The error names the first address, at the location of
    /// the key without effect.
    pub(super) fn need_address(
        &mut self,
        keys: &[&str],
        addresses: &[&'static str],
        message: &str,
    ) {
        let is_known = |path: &&str| {
            let Layers { given, left_out, refused, .. } = &self.layers;
            given.contains_key(path) || left_out.contains(path) || refused.contains(path)
        };
        if addresses.iter().any(is_known) {
            return;
        }
        let is_of = |path: &&&str| keys.iter().any(|key| path.starts_with(key));
        if let Some(written) = self.layers.given.keys().find(is_of).copied() {
            self.report_at(written, addresses[0], format!("{message} ({written} is set)"));
        }
    }

    pub(super) fn end(self) -> Layers {
        self.layers
    }
}
