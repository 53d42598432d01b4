//! Results to stdout. A reader that closes the pipe (`| head`) has what it wanted.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

use super::Exit;

/// Prints a text, a line end behind it unless it has one.
pub(super) fn text(text: &str) -> Exit {
    let end = if text.ends_with('\n') || text.is_empty() { "" } else { "\n" };
    settled(write!(io::stdout().lock(), "{text}{end}").and_then(|()| io::stdout().flush()))
}

/// Prints a value as one line of JSON.
pub(super) fn json(value: &impl Serialize) -> Exit {
    match serde_json::to_string(value) {
        Ok(line) => text(&line),
        Err(error) => {
            complain(&format!("cannot be written as JSON: {error}"));
            Exit::Stage
        }
    }
}

/// Says on stderr what went wrong; there is nobody to tell when that fails too.
pub(super) fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "{message}");
}

/// Without what a terminal would obey: control characters, and those that turn the direction of
/// writing. A tab is a space.
pub(super) fn plain(text: &str) -> String {
    let is_obeyed = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let shown = |c: char| match c {
        '\t' | '\n' => Some(' '),
        c if is_obeyed(c) => None,
        c => Some(c),
    };
    text.chars().filter_map(shown).collect()
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

/// How a command ends whose output was written so.
pub(super) fn settled(written: io::Result<()>) -> Exit {
    match written {
        Ok(()) => Exit::Fine,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Exit::Fine,
        Err(error) => {
            complain(&format!("error: stdout cannot be written: {error}"));
            Exit::Io
        }
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
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        let wild = "a\u{1b}]0;evil\u{7}b\r\n\u{9b}31mc\u{202e}d\u{2066}e\tf \u{1f600}é";
        assert_eq!(plain(wild), "a]0;evilb 31mcde f \u{1f600}é");
    }

    #[test]
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        assert_eq!(settled(Err(ErrorKind::BrokenPipe.into())), Exit::Fine);
        assert_eq!(settled(Err(ErrorKind::StorageFull.into())), Exit::Io);
    }
}
