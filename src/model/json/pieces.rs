//! Objects out of a text that is damaged: cut, glued, or with bytes in it that no JSON has.

use serde_json::value::RawValue;

/// What is read in vain of a text, at most, in lengths of it: of pieces that are open to its end,
/// one inside of the other, each would be read to there.
pub(super) const VAIN: usize = 16;

/// A part of a text that holds no whole object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken<'a> {
    /// What is wrong with it.
    pub reason: Wrong,
    /// From where it begins to where the next whole object does.
    pub text: &'a str,
}

/// What is wrong with a broken part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It begins with something else than an object.
    #[error("not a JSON object")]
    NoObject,
    /// It is no JSON from this byte of it on, counted from 1.
    #[error("broken JSON at byte {0} of it")]
    BrokenAt(usize),
    /// Looking for more in it would take too long.
    #[error("too broken; the rest of it is passed over")]
    TooBroken,
}

/// Calls `take` with each object of a text, and with what stands between them that is none.
///
/// White space, NUL bytes, a byte order mark, commas and brackets between objects are passed over.
/// Behind a broken part the next object is the first one that is `wanted`: others are parts of what
/// is broken. Takes time in proportion to the text, whatever is in it.
///
/// # Errors
/// Those of `take`, which end it.
pub fn pieces<'a, E>(
    text: &'a str,
    wanted: impl Fn(&str) -> bool,
    mut take: impl FnMut(Result<&'a str, Broken<'a>>) -> Result<(), E>,
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
                    take(Err(Broken { reason, text: rest }))?;
                    return take(Err(Broken { reason: Wrong::TooBroken, text: "" }));
                };
                take(Err(Broken { reason, text: &rest[..rest.len() - next.len()] }))?;
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

/// The object that a text begins with, and what comes behind it; else what is wrong, and how many
/// bytes were read to see it.
fn first_object(text: &str) -> Result<(&str, &str), (Wrong, usize)> {
    if !text.starts_with('{') {
        return Err((Wrong::NoObject, 1));
    }
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    match values.next() {
        Some(Ok(object)) => Ok((object.get(), &text[values.byte_offset()..])),
        Some(Err(error)) => {
            let read = byte_of(text, &error);
            Err((Wrong::BrokenAt(read), read))
        }
        None => Err((Wrong::NoObject, 1)),
    }
}

/// Bytes of a text up to where an error of its parser is.
fn byte_of(text: &str, error: &serde_json::Error) -> usize {
    let lines = error.line().saturating_sub(1);
    let before: usize = text.split_inclusive('\n').take(lines).map(str::len).sum();
    (before + error.column()).min(text.len())
}

/// Where the next whole object begins that is wanted, behind the beginning of a text; empty when
/// there is none, `None` when there is no patience left to look for it.
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
            // What is in a whole object is no object of its own.
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
