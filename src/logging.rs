//! The log: text or JSON lines, to stderr or appended to a file. Adapter for tracing-subscriber.
//!
//! A bare level applies to this program: `debug` shows our details and leaves the libraries at
//! `info`. Nothing is below `debug`; `trace` means the same. Directives
//! (`info,ghpulse::store=debug`) are taken as they are. Colour is used only on a terminal, and not
//! with `NO_COLOR`.

pub mod line_limit;

use std::fs::{File, Metadata};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use thiserror::Error;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

use crate::config::{LogConfig, LogFormat};
use crate::{private, terminal};

/// Why the log cannot be set up.
#[derive(Debug, Error)]
pub enum LoggingError {
    /// The file cannot be opened.
    #[error("log.file: cannot open {path} for appending ({cause}); name a writable file")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
    /// Neither a level nor directives.
    #[error("invalid log.level `{text}` ({cause}); use info, or info,ghpulse=debug")]
    Level {
        /// The configured value.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The log is set up already.
    #[error("the log is set up already")]
    Twice,
}

/// Sets up the log of this process. To be called once.
///
/// # Errors
/// When the level is invalid, the file cannot be opened, or the log is set up already.
pub fn install(log: &LogConfig) -> Result<(), LoggingError> {
    let filter = EnvFilter::try_new(directives(&log.level)).map_err(|cause| {
        LoggingError::Level { text: log.level.clone(), cause: cause.to_string() }
    })?;
    let (writer, colour) = match &log.file {
        Some(path) => {
            let file = Arc::new(LogFile::open(path)?);
            let file = FILE.get_or_init(|| file);
            (BoxMakeWriter::new(OneLine(Arc::clone(file))), false)
        }
        None => (
            BoxMakeWriter::new(OneLine(std::io::stderr)),
            colourful(std::io::stderr().is_terminal()),
        ),
    };
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer);
    IS_JSON.store(log.format == LogFormat::Json, Ordering::Relaxed);
    let set = if log.format == LogFormat::Json {
        lines.json().flatten_event(true).with_current_span(false).try_init()
    } else {
        lines.with_ansi(colour).try_init()
    };
    set.map_err(|_| LoggingError::Twice)
}

/// The log file, when there is one.
static FILE: OnceLock<Arc<LogFile>> = OnceLock::new();
/// Whether lines are JSON.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// Whether the log is a file or JSON, so that its readers do not see the text that a command prints
/// to stderr.
#[must_use]
pub fn is_apart() -> bool {
    FILE.get().is_some() || IS_JSON.load(Ordering::Relaxed)
}

/// Reopens `log.file` when it was renamed or removed, as a log rotation does, and returns whether
/// it was.
///
/// # Errors
/// When the file cannot be opened; lines then still go to the old file.
pub fn follow_rotation() -> Result<bool, LoggingError> {
    FILE.get().map_or(Ok(false), |file| file.follow())
}

/// Writes each event as one line, whatever text from elsewhere it quotes. The library hands over an
/// event with one write.
struct OneLine<T>(T);

impl<'a, M: MakeWriter<'a>> MakeWriter<'a> for OneLine<M> {
    type Writer = OneLine<M::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        OneLine(self.0.make_writer())
    }
}

impl<W: Write> Write for OneLine<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        self.0.write_all(terminal::log_line(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// A file that lines are appended to, each with one write.
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

/// Whether output may have colour; `terminal` is whether it goes to a terminal.
#[must_use]
pub fn colourful(terminal: bool) -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    terminal && !refused && !dumb
}

/// Libraries whose lines are off unless they are named. Pulsar's logs every attempt as a warning
/// and every pause as an error; RabbitMQ's logs an error for each question that the broker answers
/// with no, as at the first start; those of HTTP/2 and TLS warn of what any client may send, as
/// often as it does. We log what matters ourselves.
const SILENT: [&str; 4] = ["pulsar", "lapin", "h2", "rustls"];

/// The directives for a configured level. `trace` becomes `debug`: a release has nothing below, and
/// the library would print a warning about it.
fn directives(level: &str) -> String {
    let is_named =
        |library: &str| level.split(',').any(|directive| directive.trim().starts_with(library));
    let unnamed = SILENT.iter().filter(|library| !is_named(library));
    let silent = unnamed.fold(String::new(), |text, library| text + "," + *library + "=off");
    if matches!(level, "debug" | "trace") {
        return format!("info,ghpulse=debug{silent}");
    }
    let known = level.split(',').map(|directive| match directive.trim().strip_suffix("trace") {
        Some(target) if target.is_empty() || target.ends_with('=') => format!("{target}debug"),
        _ => directive.to_owned(),
    });
    known.collect::<Vec<_>>().join(",") + silent.as_str()
}

fn open(path: &Path) -> Result<File, LoggingError> {
    private::append(path).map_err(|cause| LoggingError::File { path: path.to_owned(), cause })
}

/// The result of `work`, and what its thread logs meanwhile.
#[cfg(test)]
pub(crate) fn captured<T>(work: impl FnOnce() -> T) -> (T, String) {
    let log: Arc<CapturedLog> = Arc::default();
    let lines = tracing_subscriber::fmt().with_writer(Arc::clone(&log)).with_ansi(false).finish();
    let result = tracing::subscriber::with_default(lines, work);
    let text = String::from_utf8_lossy(&crate::sync::lock(&log.0)).into_owned();
    (result, text)
}

#[cfg(test)]
#[derive(Default)]
struct CapturedLog(std::sync::Mutex<Vec<u8>>);

#[cfg(test)]
impl Write for &CapturedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        crate::sync::lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_level_applies_to_this_program_only() {
        const SILENT: &str = "pulsar=off,lapin=off,h2=off,rustls=off";
        assert_eq!(directives("debug"), format!("info,ghpulse=debug,{SILENT}"));
        assert_eq!(directives("warn"), format!("warn,{SILENT}"));
        let of_hub = "info,ghpulse::hub=debug";
        assert_eq!(directives(of_hub), format!("{of_hub},{SILENT}"));
        let others = "lapin=off,h2=off,rustls=off";
        assert_eq!(directives("info,pulsar=debug"), format!("info,pulsar=debug,{others}"));
        let others = "pulsar=off,lapin=off,rustls=off";
        assert_eq!(directives("info,h2::proto=warn"), format!("info,h2::proto=warn,{others}"));
        let others = "pulsar=off,h2=off,rustls=off";
        assert_eq!(directives("warn,lapin=error"), format!("warn,lapin=error,{others}"));
        for level in ["debug", "trace", "error", "off", "info,ghpulse::store=debug"] {
            assert!(EnvFilter::try_new(directives(level)).is_ok(), "{level}");
        }
    }

    #[test]
    fn trace_means_debug() {
        assert_eq!(directives("trace"), directives("debug"));
        let (of_hub, traced) = ("info,ghpulse::hub=debug", "info,ghpulse::hub=trace");
        assert_eq!(directives(traced), directives(of_hub));
        assert!(directives("warn,backtrace=info").starts_with("warn,backtrace=info,"));
    }

    #[test]
    fn quoted_text_cannot_begin_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = Arc::new(LogFile::open(&path).unwrap());
        let lines = tracing_subscriber::fmt().with_writer(OneLine(file)).with_ansi(false).finish();
        tracing::subscriber::with_default(lines, || {
            tracing::warn!(name = "a\nb", "{} is odd", "x\n2026-11-30T00:00:00Z ERROR y\u{202e}");
        });
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("x\\n2026") && text.contains("y\\u202e"), "{text}");
    }

    #[test]
    fn colour_needs_a_terminal() {
        assert!(!colourful(false));
    }

    #[test]
    fn renamed_or_removed_file_is_reopened() {
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
    fn error_names_the_file_that_cannot_be_opened() {
        let file = Some(PathBuf::from("/nowhere/at/all.log"));
        let log = LogConfig { level: "info".to_owned(), file, format: LogFormat::Json };
        let error = install(&log).unwrap_err().to_string();
        assert!(error.contains("/nowhere/at/all.log"), "{error}");
    }
}
