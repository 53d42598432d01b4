//! Errors and warnings about a configuration: location, key, cause and remedy.

use std::fmt;
use std::path::PathBuf;

use serde::{Serialize, Serializer, ser::SerializeMap};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValueOrigin {
    /// A file, at this line (counted from 1), or the file as a whole.
    File(PathBuf, Option<usize>),
    /// An environment variable.
    Variable(String),
    /// A command line flag, with its dashes.
    Flag(&'static str),
    /// Nowhere: a default, or a missing value.
    Nowhere,
}

/// An error: the configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it was written.
    pub place: ValueOrigin,
    /// The key as the reference spells it, or as written when unknown.
    pub key: Option<String>,
    /// What is wrong and what to do; contains no secret.
    pub message: String,
}

/// Severity of a warning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Something probably does not have the intended effect.
    Warning,
    /// Something is accepted and has no effect here, by design.
    Info,
}

/// A message for the log that does not prevent the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigWarning {
    /// Its severity.
    pub level: Severity,
    /// Location, key and message.
    pub about: ConfigError,
}

impl ValueOrigin {
    /// The same location, at another line of the file.
    pub(super) fn with_line(&self, line: usize) -> Self {
        match self {
            Self::File(path, _) => Self::File(path.clone(), Some(line)),
            other => other.clone(),
        }
    }
}

impl ConfigError {
    pub(super) fn new(
        place: ValueOrigin,
        key: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self { place, key: Some(key.into()), message: message.into() }
    }

    /// An error that concerns no particular key.
    pub(super) fn whole(place: ValueOrigin, message: impl Into<String>) -> Self {
        Self { place, key: None, message: message.into() }
    }
}

impl ConfigWarning {
    pub(super) fn warning(about: ConfigError) -> Self {
        Self { level: Severity::Warning, about }
    }

    pub(super) fn info(about: ConfigError) -> Self {
        Self { level: Severity::Info, about }
    }
}

impl fmt::Display for ValueOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, Some(line)) => write!(f, "{}:{line}", path.display()),
            Self::File(path, None) => write!(f, "{}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
            Self::Nowhere => Ok(()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place != ValueOrigin::Nowhere {
            write!(f, "{}: ", self.place)?;
        }
        if let Some(key) = &self.key {
            write!(f, "{key}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for ConfigWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.about.fmt(f)
    }
}

impl ConfigError {
    fn fields<M: SerializeMap>(&self, map: &mut M) -> Result<(), M::Error> {
        match &self.place {
            ValueOrigin::File(path, line) => {
                map.serialize_entry("file", path)?;
                map.serialize_entry("line", line)?;
            }
            ValueOrigin::Variable(name) => map.serialize_entry("variable", name)?,
            ValueOrigin::Flag(name) => map.serialize_entry("flag", name)?,
            ValueOrigin::Nowhere => {}
        }
        map.serialize_entry("key", &self.key)?;
        map.serialize_entry("message", &self.message)
    }
}

impl Serialize for ConfigError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        self.fields(&mut map)?;
        map.end()
    }
}

impl Serialize for ConfigWarning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("level", &self.level)?;
        self.about.fields(&mut map)?;
        map.end()
    }
}
