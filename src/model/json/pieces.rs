//! Recovers the JSON objects of a damaged text: cut off, concatenated, or with invalid bytes.

use serde_json::value::RawValue;

/// The most bytes that are read in vain, in lengths of the text: of nested objects that are not
/// closed, each would be read to the end.
pub(super) const VAIN: usize = 16;

/// A part of a text without a whole object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenPiece<'a> {
    /// What is wrong.
    pub reason: PieceError,
    /// The part, up to the next whole object.
    pub text: &'a str,
}

/// What is wrong with a broken part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PieceError {
    /// It does not begin with an object.
    #[error("not a JSON object")]
    NoObject,
    /// It is malformed from this byte on, counted from 1.
    #[error("malformed JSON at byte {0} of it")]
    BrokenAt(usize),
    /// Searching it further would take too long.
    #[error("too damaged; the rest of it is skipped")]
    TooBroken,
}

/// Passes each object of a text to `take`, and each broken part between them.
///
/// White space, NUL bytes, a byte order mark, commas and brackets between objects are skipped.
/// After a broken part the next object is the first one that is `wanted`, since others may be
/// inside the broken one. The time is proportional to the text, whatever it contains.
///
/// # Errors
/// The first error of `take`, which ends the search.
pub fn pieces<'a, E>(
    text: &'a str,
    wanted: impl Fn(&str) -> bool,
    mut take: impl FnMut(Result<&'a str, BrokenPiece<'a>>) -> Result<(), E>,
) -> Result<(), E> {
    let mut patience = text.len().saturating_mul(VAIN);
    let mut rest = behind_separators(text);
    while !rest.is_empty() {
        match first_object(rest) {
            Ok((object, behind)) => {
                take(Ok(object))?;
                rest = behind_separators(behind);
            }
            Err((reason, read)) => {
                let has_patience = patience >= read;
                patience = patience.saturating_sub(read);
                let next = next_wanted(rest, &wanted, &mut patience).filter(|_| has_patience);
                let Some(next) = next else {
                    take(Err(BrokenPiece { reason, text: rest }))?;
                    return take(Err(BrokenPiece { reason: PieceError::TooBroken, text: "" }));
                };
                take(Err(BrokenPiece { reason, text: &rest[..rest.len() - next.len()] }))?;
                rest = next;
            }
        }
    }
    Ok(())
}

fn behind_separators(text: &str) -> &str {
    text.trim_start_matches(|c: char| {
        matches!(c, '\0' | ',' | '[' | ']' | '\u{feff}') || c.is_ascii_whitespace()
    })
}

/// Splits the first object off a text. Otherwise returns what is wrong, and how many bytes were
/// read to find out.
fn first_object(text: &str) -> Result<(&str, &str), (PieceError, usize)> {
    if !text.starts_with('{') {
        return Err((PieceError::NoObject, 1));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    match values.next() {
        Some(Ok(object)) => Ok((object.get(), &text[values.byte_offset()..])),
        Some(Err(error)) => {
            let read = byte_of(text, &error);
            Err((PieceError::BrokenAt(read), read))
        }
        None => Err((PieceError::NoObject, 1)),
    }
}

/// The offset of a parser error in the text.
fn byte_of(text: &str, error: &serde_json::Error) -> usize {
    let lines = error.line().saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(lines).map(str::len).sum();
    (before + error.column()).min(text.len())
}

/// The rest of a text from the next whole wanted object on, after its first byte; empty when there
/// is none, `None` when `patience` is used up.
fn next_wanted<'a>(
    text: &'a str,
    wanted: impl Fn(&str) -> bool,
    patience: &mut usize,
) -> Option<&'a str> {
    let mut from = 1;
    while let Some(at) = text.get(from..).and_then(|rest| rest.find('{')).map(|at| from + at) {
        let found = &text[at..];
        let read = match first_object(found) {
            Ok((object, _)) if wanted(object) => return Some(found),
            // Objects inside a whole object do not count.
            Ok((object, _)) => {
                from = at + object.len();
                object.len()
            }
            Err((_, read)) => {
                from = at + 1;
                read
            }
        };
        *patience = patience.checked_sub(read)?;
    }
    Some("")
}

#[cfg(test)]
mod tests;
