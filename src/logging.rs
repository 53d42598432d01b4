//! The log: text or JSON lines, on stderr or at the end of a file. Door to tracing-subscriber.
//!
//! A bare level speaks of this program: `debug` shows our details and leaves the libraries at
//! `info`. Directives (`info,ghpulse::store=debug`) say all of it themselves. Colour only on a
//! terminal, and never with `NO_COLOR`.

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{LogConfig, LogFormat};
use crate::private;

/// Why there is no log.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The file cannot be opened.
    #[error("log.file: {path} cannot be opened for appending ({cause}); name a file that can")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// The level is none and no directives.
    #[error("log.level: {text} is not understood ({cause}); use info, or info,ghpulse=debug")]
    Level {
        /// What was written.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// There is one already.
    #[error("the log is set up already; it is set up once a process")]
    Twice,
}

/// Sets the log of this process up, once.
pub fn install(log: &LogConfig) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(directives(&log.level)).map_err(|cause| {
        LoggingError::Level { text: log.level.clone(), cause: cause.to_string() }
    })?;
    let (writer, colour) = match &log.file {
        Some(path) => {
            let file = Arc::new(LogFile::open(path)?);
            let file = FILE.get_or_init(|| file);
            (BoxMakeWriter::new(Arc::clone(file)), false)
        }
        None => (BoxMakeWriter::new(std::io::stderr), colourful(std::io::stderr().is_terminal())),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    let set = if log.format == LogFormat::Json {
        lines.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        lines.with_ansi(colour).try_init()
    };
    set.map_err(|_| LoggingError::Twice)
}

/// The log's file, when there is one.
static FILE: OnceLock<Arc<LogFile>> = OnceLock::new();

/// Opens `log.file` anew when it was renamed or removed, as a log rotation does. True when it was.
/// When it cannot be opened, lines still go to the old file.
pub fn follow_rotation() -> Result<bool, LoggingError> {
    FILE.get().map_or(Ok(false), |file| file.follow())
}

/// A file that lines are appended to. Each line is one write.
struct LogFile {
    path: PathBuf,
    open: ArcSwap<File>,
}

impl LogFile {
    fn open(path: &Path) -> Result<Self, LoggingError> {
        Ok(Self { path: path.to_owned(), open: ArcSwap::from_pointee(open(path)?) })
    }

    fn follow(&self) -> Result<bool, LoggingError> {
        let identity = |about: Metadata| (about.dev(), about.ino());
        let ours = self.open.load().metadata().ok().map(identity);
        if ours.is_some() && std::fs::metadata(&self.path).ok().map(identity) == ours {
            return Ok(false);
        }
        self.open.store(Arc::new(open(&self.path)?));
        Ok(true)
    }
}

impl Write for &LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&**self.open.load()).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        (&**self.open.load()).flush()
    }
}

/// Whether output may have colour, given whether it goes to a terminal.
#[must_use]
pub fn colourful(terminal: bool) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    terminal && !refused && !dumb
}

/// Of a release there is nothing below `debug` to show, and the library would say so beside the
/// log, in colour: `trace` is as much as there is. Pulsar's library calls every attempt a warning
/// and every pause an error; what matters of that we say ourselves, so it is silent unless asked.
fn directives(level: &str) -> String {
    let of_pulsar = level.split(',').any(|directive| directive.trim().starts_with("pulsar"));
    let silent = if of_pulsar { "" } else { ",pulsar=off" };
    if matches!(level, "debug" | "trace") {
        return format!("info,ghpulse=debug{silent}");
    }
    let known = level.split(',').map(|directive| match directive.trim().strip_suffix("trace") {
        Some(target) if target.is_empty() || target.ends_with('=') => format!("{target}debug"),
        _ => directive.to_owned(),
    });
    known.collect::<Vec<_>>().join(",") + silent
}

fn open(path: &Path) -> Result<File, LoggingError> {
    private::append(path).map_err(|cause| LoggingError::File { path: path.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_level_speaks_of_this_program_only() {
        assert_eq!(directives("debug"), "info,ghpulse=debug,pulsar=off");
        assert_eq!(directives("warn"), "warn,pulsar=off");
        assert_eq!(directives("info,ghpulse::hub=debug"), "info,ghpulse::hub=debug,pulsar=off");
        assert_eq!(directives("info,pulsar=debug"), "info,pulsar=debug");
        for level in ["debug", "trace", "error", "off", "info,ghpulse::store=debug"] {
            assert!(EnvFilter::try_new(directives(level)).is_ok(), "{level}");
        }
    }

    #[test]
    fn trace_is_as_much_as_there_is() {
        assert_eq!(directives("trace"), "info,ghpulse=debug,pulsar=off");
        assert_eq!(directives("info,ghpulse::hub=trace"), "info,ghpulse::hub=debug,pulsar=off");
        assert_eq!(directives("warn,backtrace=info"), "warn,backtrace=info,pulsar=off");
    }

    #[test]
    fn colour_needs_a_terminal() {
        assert!(!colourful(false));
    }

    #[test]
    fn a_renamed_or_removed_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let log = LogFile::open(&path).unwrap();
        let say = |line: &str| (&log).write_all(line.as_bytes()).unwrap();
        let text = |path: &Path| std::fs::read_to_string(path).unwrap();
        say("one\n");
        assert!(!log.follow().unwrap());
        std::fs::rename(&path, &old).unwrap();
        say("two\n");
        assert!(log.follow().unwrap() && !log.follow().unwrap());
        say("three\n");
        assert_eq!((text(&old), text(&path)), ("one\ntwo\n".into(), "three\n".into()));
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(log.follow().unwrap_err().to_string().contains("a.log"));
        std::fs::remove_dir(&path).unwrap();
        assert!(log.follow().unwrap());
        say("four\n");
        assert_eq!(text(&path), "four\n");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_named() {
        let file = Some(PathBuf::from("/nowhere/at/all.log"));
        let log = LogConfig { level: "info".to_owned(), file, format: LogFormat::Json };
        let error = install(&log).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.log"), "{error}");
    }
}
