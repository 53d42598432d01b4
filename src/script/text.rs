//! Formats values of a script as text within a limit.
//!
//! A few texts that a container shares many times, or nested containers, are small in memory and
//! take gigabytes as text. So the length is checked while the text is written, and nothing is
//! written beyond the limit.

use std::fmt::{self, Display, Write as _};

use rhai::{Dynamic, EvalAltResult, FnPtr, ImmutableString, NativeCallContext};

use super::meter::{self, STRING_BYTES};
use super::sum::NativeResult;

/// The longest text in a diagnostic, in bytes.
pub(super) const DIAGNOSTIC_BYTES: usize = 1_000;

/// A text up to a limit; writing more is an error.
pub(super) struct Bounded {
    text: String,
    left: usize,
}

impl Bounded {
    pub(super) fn new(bytes: usize) -> Self {
        Self { text: String::new(), left: bytes }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let whole = more.len() <= self.left;
        let mut end = more.len().min(self.left);
        while !more.is_char_boundary(end) {
            end -= 1;
        }
        let fits = &more[..end];
        self.text.push_str(fits);
        self.left = if whole { self.left - more.len() } else { 0 };
        if whole { Ok(()) } else { Err(fmt::Error) }
    }
}

/// A value as a diagnostic shows it: cut after [`DIAGNOSTIC_BYTES`].
pub(super) fn diagnostic(value: impl Display) -> String {
    let mut out = Bounded::new(DIAGNOSTIC_BYTES);
    match write!(out, "{value}") {
        Ok(()) => out.text,
        Err(fmt::Error) => out.text + "…",
    }
}

/// A diagnostic that already is a text, cut likewise.
pub(super) fn shortened(text: String) -> String {
    if text.len() <= DIAGNOSTIC_BYTES + "…".len() { text } else { diagnostic(text) }
}

/// How a value is formatted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueFormat {
    /// As `print` and interpolation do.
    Text,
    /// As `debug` does, and both do inside containers.
    Debug,
}

impl ValueFormat {
    fn function(self) -> &'static str {
        match self {
            Self::Text => "to_string",
            Self::Debug => "to_debug",
        }
    }
}

/// A value as text, as the interpreter formats it; an error when it exceeds the longest text.
pub(super) fn shown(
    context: &NativeCallContext<'_>,
    value: &Dynamic,
    how: ValueFormat,
) -> NativeResult<ImmutableString> {
    let mut out = Bounded::new(STRING_BYTES);
    if value.is_array() || value.is_map() {
        write_value(context, value, how, &mut out)?;
    } else {
        let written = match how {
            ValueFormat::Text => write!(out, "{value}"),
            ValueFormat::Debug => write!(out, "{value:?}"),
        };
        written.or_else(|_| too_long())?;
    }
    Ok(context.engine().map_type_name(&out.text).into())
}

/// A value that is part of another, or is appended to a text.
pub(super) fn write_value(
    context: &NativeCallContext<'_>,
    value: &Dynamic,
    how: ValueFormat,
    out: &mut Bounded,
) -> NativeResult<()> {
    meter::work(1)?;
    if let Ok(array) = value.as_array_ref() {
        put(out, "[")?;
        for (at, item) in array.iter().enumerate() {
            put(out, if at == 0 { "" } else { ", " })?;
            write_value(context, item, ValueFormat::Debug, out)?;
        }
        return put(out, "]");
    }
    if let Ok(map) = value.as_map_ref() {
        put(out, "#{")?;
        for (at, (key, item)) in map.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(out, "{comma}{key:?}: ").or_else(|_| too_long())?;
            write_value(context, item, ValueFormat::Debug, out)?;
        }
        return put(out, "}");
    }
    // Texts are shared, and native objects show a few names.
    let mut leaf = value.clone();
    match context.call_native_fn_raw(how.function(), true, &mut [&mut leaf]) {
        Ok(text) => match text.into_immutable_string() {
            Ok(text) => put(out, &text),
            Err(kind) => put(out, context.engine().map_type_name(kind)),
        },
        Err(error) if is_limit(&error) => Err(error),
        Err(_) => write!(out, "{value}").or_else(|_| too_long()),
    }
}

/// Whether a call ended because of a limit, and not because the function does not exist.
fn is_limit(error: &EvalAltResult) -> bool {
    matches!(
        error.unwrap_inner(),
        EvalAltResult::ErrorTerminated(..)
            | EvalAltResult::ErrorDataTooLarge(..)
            | EvalAltResult::ErrorTooManyOperations(..)
    )
}

fn put(out: &mut Bounded, text: &str) -> NativeResult<()> {
    meter::work(text.len() / 8)?;
    out.write_str(text).or_else(|_| too_long())
}

/// Fails when a value with all its members exceeds the longest text.
pub(super) fn weigh(value: &Dynamic) -> NativeResult<()> {
    let mut left = STRING_BYTES;
    weigh_part(value, &mut left)
}

fn weigh_part(value: &Dynamic, left: &mut usize) -> NativeResult<()> {
    meter::work(1)?;
    let mut spend = |bytes: usize| match left.checked_sub(bytes) {
        Some(less) => {
            *left = less;
            Ok(())
        }
        None => too_long(),
    };
    if let Ok(text) = value.as_immutable_string_ref() {
        return spend(text.len() + 2);
    }
    if let Ok(array) = value.as_array_ref() {
        spend(2)?;
        return array.iter().try_for_each(|item| weigh_part(item, left));
    }
    if let Ok(map) = value.as_map_ref() {
        spend(2)?;
        for (key, item) in map.iter() {
            *left = left.saturating_sub(key.len() + 4);
            weigh_part(item, left)?;
        }
        return Ok(());
    }
    spend(1)?;
    match value.read_lock::<FnPtr>() {
        Some(function) => function.iter_curry().try_for_each(|item| weigh_part(item, left)),
        None => Ok(()),
    }
}

/// Rhai's error for a text beyond its limit.
pub(super) fn too_long<T>() -> NativeResult<T> {
    let what = "Length of string".to_owned();
    Err(EvalAltResult::ErrorDataTooLarge(what, rhai::Position::NONE).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_is_cut_between_characters() {
        let long = diagnostic("ä".repeat(DIAGNOSTIC_BYTES));
        assert_eq!(long, "ä".repeat(DIAGNOSTIC_BYTES / 2) + "…");
        assert_eq!(diagnostic("short"), "short");
        let text: ImmutableString = "x".repeat(60_000).into();
        let many: rhai::Array = vec![text.into(); 10_000];
        assert!(diagnostic(Dynamic::from(many)).len() < DIAGNOSTIC_BYTES + 4);
    }
}
