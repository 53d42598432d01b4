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

fn settled(written: io::Result<()>) -> Exit {
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
    fn a_closed_pipe_is_no_failure_and_a_full_disk_is() {
        assert_eq!(settled(Err(ErrorKind::BrokenPipe.into())), Exit::Fine);
        assert_eq!(settled(Err(ErrorKind::StorageFull.into())), Exit::Io);
    }
}
