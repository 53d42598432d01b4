//! Errors in scripts, with their location.

use std::fmt;
use std::sync::Arc;

use rhai::{EvalAltResult, ParseError, Position};
use serde::Serialize;

use super::text;

/// An error in a script, with its location where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ScriptDiagnostic {
    /// The file, as it was given.
    pub file: Arc<str>,
    /// Line, from 1; `None` when it concerns the file as a whole.
    pub line: Option<u32>,
    /// Column in characters, from 1.
    pub column: Option<u32>,
    /// What is wrong and, where it helps, what is accepted. Up to a kilobyte: scripts write it, and
    /// `/readyz` shows it to everybody.
    pub reason: String,
}

/// Line and column, both from 1.
pub(super) type LineColumn = (u32, u32);

impl ScriptDiagnostic {
    pub(super) fn new(
        file: &Arc<str>,
        place: Option<LineColumn>,
        reason: impl Into<String>,
    ) -> Self {
        let (line, column) = place.unzip();
        Self { file: Arc::clone(file), line, column, reason: text::shortened(reason.into()) }
    }

    /// An error of compilation.
    pub(super) fn parse(file: &Arc<str>, error: &ParseError) -> Self {
        let reason = lower_first(&text::diagnostic(error.err_type()));
        Self::new(file, place(error.position()), reason)
    }

    /// An error of a run. The innermost location is reported: where it failed, not the caller.
    pub(super) fn run(file: &Arc<str>, mut error: EvalAltResult, fallback: LineColumn) -> Self {
        let mut at = None;
        loop {
            at = place(error.position()).or(at);
            match error {
                EvalAltResult::ErrorInFunctionCall(_, _, inner, _) => error = *inner,
                _ => break,
            }
        }
        error.clear_position();
        let reason = match error {
            EvalAltResult::ErrorRuntime(token, _) | EvalAltResult::ErrorTerminated(token, _) => {
                text::diagnostic(token)
            }
            EvalAltResult::ErrorStackOverflow(_) => "calls are nested too deep".to_owned(),
            other => lower_first(&text::diagnostic(other)),
        };
        Self::new(file, at.or(Some(fallback)), reason)
    }
}

impl std::error::Error for ScriptDiagnostic {}

/// `scripts/merge_latest.rhai:12:5: variable not found: totl`
impl fmt::Display for ScriptDiagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        write!(f, ": {}", self.reason)
    }
}

fn place(position: Position) -> Option<LineColumn> {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    position.line().map(|line| (number(line), number(position.position().unwrap_or(1))))
}

fn lower_first(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| {
        // "BLOB …" and the like stay as they are.
        let word = letters.as_str().starts_with(|next: char| !next.is_uppercase());
        let first = if word { first.to_ascii_lowercase() } else { first };
        format!("{first}{}", letters.as_str())
    })
}
