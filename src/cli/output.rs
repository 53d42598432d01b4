//! Writes results to stdout. A closed pipe (`| head`) is not an error.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal as _, Write};

use serde::Serialize;

use crate::supervise::Exit;
use crate::terminal;

pub(super) use crate::terminal::plain;

/// Columns of a terminal without `$COLUMNS`, and the fewest that are used.
const COLUMNS: usize = 80;
const LEAST_COLUMNS: usize = 40;

/// Prints a text with a final line end. Removes control characters: the text may come from
/// strangers.
pub(super) fn text(text: &str) -> Exit {
    print(&terminal::lines(text))
}

/// Prints lines of JSON as they are; on a terminal, with control characters escaped.
pub(super) fn json_lines(lines: &str) -> Exit {
    if io::stdout().is_terminal() { print(&terminal::json(lines)) } else { print(lines) }
}

fn print(text: &str) -> Exit {
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    settled(write!(io::stdout().lock(), "{text}{end}").and_then(|()| io::stdout().flush()))
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl Serialize) -> Exit {
    match serde_json::to_string(value) {
        Ok(line) => json_lines(&line),
        Err(error) => {
            to_stderr(&format!("cannot be written as JSON: {error}"));
            Exit::Stage
        }
    }
}

/// Prints a result as a line of JSON, or as text.
pub(super) fn result(
    as_json: bool,
    value: &impl Serialize,
    words: impl FnOnce() -> String,
) -> Exit {
    if as_json { json(value) } else { text(&words()) }
}

/// Prints why a command fails. Returns its exit code.
pub(super) fn failed(exit: Exit, reason: impl Display) -> Exit {
    to_stderr(&format!("error: {reason}"));
    exit
}

/// Prints a line to stderr; a failure of that is ignored.
pub(super) fn to_stderr(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", terminal::lines(message));
}

/// Columns of the terminal: `$COLUMNS`, or [`COLUMNS`].
pub(super) fn columns() -> usize {
    let columns = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    columns.unwrap_or(COLUMNS).max(LEAST_COLUMNS)
}

/// Bytes for people: `1.5 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    let mut unit = 1_u64;
    for name in ["B", "KiB", "MiB", "GiB"] {
        if bytes < unit.saturating_mul(1_024) {
            let tenths = u128::from(bytes) * 10 / u128::from(unit);
            return if unit == 1 || tenths >= 100 {
                format!("{} {name}", tenths / 10)
            } else {
                format!("{}.{} {name}", tenths / 10, tenths % 10)
            };
        }
        unit = unit.saturating_mul(1_024);
    }
    format!("{} TiB", bytes / unit)
}

/// The exit code after writing output.
pub(super) fn settled(written: io::Result<()>) -> Exit {
    match written {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => failed(Exit::Io, format_args!("cannot write to stdout: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (n, shown) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (15_770, "15 KiB"),
            (1_572_864, "1.5 MiB"),
            (5 << 40, "5 TiB"),
        ] {
            assert_eq!(bytes(n), shown);
        }
    }

    #[test]
    fn closed_pipe_succeeds_and_full_disk_fails() {
        assert_eq!(settled(Err(ErrorKind::BrokenPipe.into())), Exit::Fine);
        assert_eq!(settled(Err(ErrorKind::StorageFull.into())), Exit::Io);
    }
}
