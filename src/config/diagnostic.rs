//! Errors and warnings about a configuration: location, key, cause and remedy.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum ValueOrigin {
    /// A file.
    File {
        /// Its path.
        file: PathBuf,
        /// The line, counted from 1; `None` for the file as a whole.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable {
        /// Its name.
        variable: String,
    },
    /// A command line flag.
    Flag {
        /// Its name with dashes.
        flag: &'static str,
    },
    /// Nowhere: a default, or a missing value.
    Nowhere,
}

/// An error: the configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// Where it was written.
    #[serde(flatten)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigWarning {
    /// Its severity.
    pub level: Severity,
    /// Location, key and message.
    #[serde(flatten)]
    pub about: ConfigError,
}

impl ValueOrigin {
    /// The same location, at another line of the file.
    pub(super) fn with_line(&self, line: usize) -> Self {
        match self {
            Self::File { file, .. } => Self::File { file: file.clone(), line: Some(line) },
            other => other.clone(),
        }
    }
}

impl ConfigError {
    /// An error of a key.
    #[must_use]
    pub fn new(place: ValueOrigin, key: impl Into<String>, message: impl Into<String>) -> Self {
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
            Self::File { file, line: Some(line) } => write!(f, "{}:{line}", file.display()),
            Self::File { file, line: None } => write!(f, "{}", file.display()),
            Self::Variable { variable } => f.write_str(variable),
            Self::Flag { flag } => f.write_str(flag),
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
