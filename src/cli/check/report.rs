//! The report of `ghpulse check`: as lines, as JSON, and as an exit code.

use std::fmt::Display;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::json;

use crate::cli::config_file::line_of;
use crate::config::{self, ConfigError, ConfigWarning};
use crate::supervise::Exit;

/// The result of testing a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct ServerCheck {
    pub(super) server: &'static str,
    pub(super) address: String,
    /// Whether it is usable, as far as tested; `None` when it was not tested.
    pub(super) connected: Option<bool>,
    pub(super) said: String,
    /// Whether only a change of the configuration helps.
    #[serde(skip)]
    pub(super) misconfigured: bool,
}

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Note,
    /// Something probably does not have the intended effect.
    Warning,
    /// It cannot work.
    Error,
}

/// The result of one test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) level: Level,
    /// The key that it concerns.
    pub(super) key: &'static str,
    /// The directory, file, address or other value that was tested; never a secret.
    pub(super) what: String,
    pub(super) said: String,
    /// The exit code that it causes.
    #[serde(skip)]
    pub(super) exit: Option<Exit>,
}

impl Finding {
    fn new(level: Level, key: &'static str, what: impl Display, said: impl Into<String>) -> Self {
        Self { level, key, what: what.to_string(), said: said.into(), exit: None }
    }

    pub(super) fn ok(key: &'static str, what: impl Display, said: impl Into<String>) -> Self {
        Self::new(Level::Ok, key, what, said)
    }

    pub(super) fn note(key: &'static str, what: impl Display, said: impl Into<String>) -> Self {
        Self::new(Level::Note, key, what, said)
    }

    pub(super) fn warning(key: &'static str, what: impl Display, said: impl Into<String>) -> Self {
        Self::new(Level::Warning, key, what, said)
    }

    pub(super) fn error(
        key: &'static str,
        what: impl Display,
        said: impl Into<String>,
        exit: Exit,
    ) -> Self {
        Self { exit: Some(exit), ..Self::new(Level::Error, key, what, said) }
    }

    pub(super) fn io(key: &'static str, what: impl Display, said: impl Into<String>) -> Self {
        Self::error(key, what, said, Exit::Io)
    }

    pub(super) fn of_io(
        key: &'static str,
        what: impl Display,
        tried: Result<String, String>,
    ) -> Self {
        match tried {
            Ok(said) => Self::ok(key, what, said),
            Err(why) => Self::io(key, what, why),
        }
    }

    fn line(&self) -> String {
        let word = match self.level {
            Level::Ok => "ok",
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let Self { key, what, said, .. } = self;
        format!("{word}: {key}: {what}: {said}")
    }
}

/// All findings.
pub(super) struct CheckReport {
    pub(super) file: Option<PathBuf>,
    pub(super) config_warnings: Vec<ConfigWarning>,
    pub(super) config_errors: Vec<ConfigError>,
    pub(super) scripts: Vec<String>,
    pub(super) findings: Vec<Finding>,
    pub(super) servers: Vec<ServerCheck>,
    pub(super) anonymous: bool,
    pub(super) offline: bool,
}

impl CheckReport {
    fn errors(&self) -> usize {
        let findings = self.findings.iter().filter(|found| found.level == Level::Error);
        let servers = self.servers.iter().filter(|one| one.connected == Some(false));
        self.config_errors.len() + findings.count() + servers.count()
    }

    fn warnings(&self) -> usize {
        let config_warnings =
            self.config_warnings.iter().filter(|one| one.level == config::Severity::Warning);
        let findings = self.findings.iter().filter(|found| found.level == Level::Warning);
        config_warnings.count() + findings.count() + self.scripts.len()
    }

    pub(super) fn exit(&self) -> Exit {
        let found = |exit: Exit| self.findings.iter().any(|found| found.exit == Some(exit));
        let misconfigured = self.servers.iter().any(|one| one.misconfigured);
        let away = self.servers.iter().any(|one| one.connected == Some(false));
        if !self.config_errors.is_empty() || misconfigured || found(Exit::Config) {
            Exit::Config
        } else if found(Exit::Io) {
            Exit::Io
        } else if away || found(Exit::Unavailable) {
            Exit::Unavailable
        } else {
            Exit::Fine
        }
    }

    pub(super) fn json(&self) -> serde_json::Value {
        json!({
            "config": self.file,
            "complaints": self.config_errors,
            "notices": self.config_warnings,
            "scripts": self.scripts,
            "findings": self.findings,
            "servers": self.servers,
            "errors": self.errors(),
            "warnings": self.warnings(),
        })
    }

    pub(super) fn text(&self) -> String {
        let file = match &self.file {
            Some(path) => path.display().to_string(),
            None => format!("none; looked for {}", config::PLACES.join(", ")),
        };
        let mut lines = vec![format!("config: {file}")];
        lines.extend(self.config_warnings.iter().map(line_of));
        lines.extend(self.scripts.iter().map(|said| format!("warning: {said}")));
        lines.extend(self.findings.iter().map(Finding::line));
        for one in &self.servers {
            let word = match one.connected {
                Some(true) => "ok",
                Some(false) => "error",
                None => "note",
            };
            lines.push(format!("{word}: {} at {}: {}", one.server, one.address, one.said));
        }
        if self.anonymous {
            let said = "note: no GitHub token: follows anonymously, within 60 requests an hour";
            lines.push(said.to_owned());
        }
        if self.offline {
            lines.push("note: --offline: no server was contacted".to_owned());
        }
        lines.extend(self.config_errors.iter().map(|error| format!("error: {error}")));
        let count = |n: usize, of: &str| format!("{n} {of}{}", if n == 1 { "" } else { "s" });
        let (errors, warnings) = (self.errors(), self.warnings());
        if errors == 0 {
            lines.push("the configuration is valid".to_owned());
        }
        lines.push(format!("{}, {}", count(errors, "error"), count(warnings, "warning")));
        lines.join("\n")
    }
}
