//! Functions of rhai's packages that check sizes before they allocate.
//!
//! Rhai checks sizes after a call, so one call could allocate gigabytes first. A function is
//! replaced here when its result can exceed the memory of its arguments by more than a constant. By
//! package:
//!
//! - Arithmetic, Logic, `BasicMath`: none; they make numbers, and `max` and `min` of texts.
//! - `BasicFn`, `BasicIterator`: none; a name, and iterators that make one item at a time.
//! - `BasicString`: `print`, `debug`, `to_string`, `to_debug` of anything.
//! - `MoreString`: `+`, `+=`, `append` of text and anything, `replace`, `pad`, `split`,
//!   `split_rev`, `to_chars`. The rest makes a part of the text, or one up to three times as long.
//! - `BasicArray`: `==`, `!=`. The rest makes what the arrays given have, or an item for each call
//!   of a script's function; its `pad` measures.
//! - `BasicMap`: `to_json`, `==`, `!=`; the rest likewise.
//!
//! `tests/metered.rs` has a case for each, and notices when a package gets more functions.

use std::fmt::Write as _;

use rhai::{
    Array, Dynamic, Engine, EvalAltResult, INT, ImmutableString, Map, NativeCallContext, Position,
};

use super::meter::{self, ARRAY_ITEMS, STRING_BYTES};
use super::sum::{NativeResult, wrong};
use super::text::{Bounded, ValueFormat, shown, too_long, weigh, write_value};

/// Registers them in front of the packages' own.
pub(super) fn register(engine: &mut Engine) {
    shows(engine);
    joins(engine);
    replaces(engine);
    splits(engine);
    compares(engine);
}

fn shows(engine: &mut Engine) {
    macro_rules! show {
        ($how:expr, $($name:literal)*) => {
            $(engine
                .register_fn($name, |context: NativeCallContext, value: &mut Dynamic| {
                    shown(&context, value, $how)
                })
                .register_fn($name, |context: NativeCallContext, array: &mut Array| {
                    let show = |array: &Dynamic| shown(&context, array, ValueFormat::Debug);
                    as_value(array, Dynamic::from_array, show)
                })
                .register_fn($name, |context: NativeCallContext, map: &mut Map| {
                    let show = |map: &Dynamic| shown(&context, map, ValueFormat::Debug);
                    as_value(map, Dynamic::from_map, show)
                });)*
        };
    }
    show!(ValueFormat::Text, "print" "to_string");
    show!(ValueFormat::Debug, "debug" "to_debug");
    engine.register_fn("to_json", |map: &mut Map| -> NativeResult<String> {
        as_value(map, Dynamic::from_map, weigh)?;
        Ok(rhai::format_map_as_json(map))
    });
}

/// Passes a container to `look` as a value, without a copy.
fn as_value<C: std::any::Any + Clone + Default, T>(
    container: &mut C,
    value_of: impl FnOnce(C) -> Dynamic,
    look: impl FnOnce(&Dynamic) -> T,
) -> T {
    let value = value_of(std::mem::take(container));
    let seen = look(&value);
    *container = value.cast();
    seen
}

fn joins(engine: &mut Engine) {
    engine
        .register_fn(
            "+",
            |context: NativeCallContext, text: &mut ImmutableString, more: Dynamic| {
                append(&context, text, &more)
            },
        )
        .register_fn("+", |context: NativeCallContext, value: &mut Dynamic, text: &str| {
            let mut out = Bounded::new(STRING_BYTES);
            write_value(&context, value, ValueFormat::Text, &mut out)?;
            out.write_str(text).or_else(|_| too_long())?;
            Ok::<ImmutableString, Box<EvalAltResult>>(out.into_text().into())
        });
    for name in ["+=", "append"] {
        let add = |context: NativeCallContext, text: &mut ImmutableString, more: Dynamic| {
            *text = append(&context, text, &more)?;
            Ok::<(), Box<EvalAltResult>>(())
        };
        engine.register_fn(name, add);
    }
}

fn append(
    context: &NativeCallContext<'_>,
    text: &ImmutableString,
    more: &Dynamic,
) -> NativeResult<ImmutableString> {
    let mut out = Bounded::new(STRING_BYTES);
    out.write_str(text).or_else(|_| too_long())?;
    write_value(context, more, ValueFormat::Text, &mut out)?;
    Ok(out.into_text().into())
}

fn replaces(engine: &mut Engine) {
    type Str = ImmutableString;
    engine
        .register_fn("replace", |text: &mut Str, find: &str, by: &str| replace(text, find, by))
        .register_fn("replace", |text: &mut Str, find: &str, by: char| {
            replace(text, find, by.encode_utf8(&mut [0; 4]))
        })
        .register_fn("replace", |text: &mut Str, find: char, by: &str| {
            replace(text, find.encode_utf8(&mut [0; 4]), by)
        })
        .register_fn("replace", |text: &mut Str, find: char, by: char| {
            replace(text, find.encode_utf8(&mut [0; 4]), by.encode_utf8(&mut [0; 4]))
        })
        .register_fn("pad", |text: &mut Str, len: INT, by: &str| pad(text, len, by))
        .register_fn("pad", |text: &mut Str, len: INT, by: char| {
            pad(text, len, by.encode_utf8(&mut [0; 4]))
        });
}

/// Whether a text may have this length; counted as work.
fn room(bytes: usize) -> NativeResult<()> {
    if bytes > STRING_BYTES {
        return too_long();
    }
    meter::work(1 + bytes / 8)
}

fn replace(text: &mut ImmutableString, find: &str, by: &str) -> NativeResult<()> {
    if text.is_empty() {
        return Ok(());
    }
    meter::work(1 + text.len() / 8)?;
    let times = text.matches(find).count();
    let kept = text.len().saturating_sub(times.saturating_mul(find.len()));
    room(kept.saturating_add(times.saturating_mul(by.len())))?;
    *text = text.replace(find, by).into();
    Ok(())
}

/// Pads a text to a length in characters.
fn pad(text: &mut ImmutableString, len: INT, by: &str) -> NativeResult<()> {
    let chars = text.chars().count();
    let missing = usize::try_from(len).unwrap_or(0).saturating_sub(chars);
    if missing == 0 {
        return Ok(());
    }
    let width = by.chars().count();
    if width == 0 {
        return wrong("pad takes a text that is not empty".to_owned());
    }
    let (times, rest) = (missing / width, missing % width);
    let end = by.char_indices().nth(rest).map_or(by.len(), |(at, _)| at);
    let more = times.saturating_mul(by.len()).saturating_add(if rest == 0 { 0 } else { end });
    room(text.len().saturating_add(more))?;
    let mut longer = String::with_capacity(text.len() + more);
    longer.push_str(text);
    longer.extend(std::iter::repeat_n(by, times));
    longer.extend(by.chars().take(rest));
    *text = longer.into();
    Ok(())
}

fn splits(engine: &mut Engine) {
    type Str = ImmutableString;
    engine.register_fn("to_chars", |text: &str| pieces(text.chars(), 1)).register_fn(
        "split",
        |text: &mut Str| {
            if text.is_empty() {
                return Ok(vec![text.clone().into()]);
            }
            pieces(text.split_whitespace(), 2)
        },
    );
    macro_rules! by {
        ($name:literal, $split:ident, $splitn:ident, $by:ty) => {
            engine
                .register_fn($name, |text: &mut Str, by: $by| -> NativeResult<Array> {
                    if text.is_empty() {
                        return Ok(vec![text.clone().into()]);
                    }
                    pieces(text.$split(by), 2)
                })
                .register_fn($name, |text: &mut Str, by: $by, most: INT| -> NativeResult<Array> {
                    if text.is_empty() || most <= 1 {
                        return Ok(vec![text.clone().into()]);
                    }
                    let most = usize::try_from(most).unwrap_or(usize::MAX);
                    pieces(text.$splitn(most, by), 2)
                });
        };
    }
    by!("split", split, splitn, &str);
    by!("split", split, splitn, char);
    by!("split_rev", rsplit, rsplitn, &str);
    by!("split_rev", rsplit, rsplitn, char);
}

/// The pieces of a text as an array, each `steps` of work.
fn pieces<T: Into<Dynamic>>(found: impl Iterator<Item = T>, steps: usize) -> NativeResult<Array> {
    let mut all = Array::new();
    for piece in found {
        if all.len() >= ARRAY_ITEMS {
            let what = "Size of array/BLOB".to_owned();
            return Err(EvalAltResult::ErrorDataTooLarge(what, Position::NONE).into());
        }
        meter::work(steps)?;
        all.push(piece.into());
    }
    Ok(all)
}

fn compares(engine: &mut Engine) {
    engine
        .register_fn("==", |context: NativeCallContext, a: &mut Array, b: Array| {
            are_arrays_equal(&context, a, b)
        })
        .register_fn("!=", |context: NativeCallContext, a: &mut Array, b: Array| {
            are_arrays_equal(&context, a, b).map(|equal| !equal)
        })
        .register_fn("==", |context: NativeCallContext, a: &mut Map, b: Map| {
            are_maps_equal(&context, a, b)
        })
        .register_fn("!=", |context: NativeCallContext, a: &mut Map, b: Map| {
            are_maps_equal(&context, a, b).map(|equal| !equal)
        });
}

fn are_arrays_equal(
    context: &NativeCallContext<'_>,
    a: &mut Array,
    b: Array,
) -> NativeResult<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (one, mut other) in a.iter_mut().zip(b) {
        if !are_equal(context, one, &mut other)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn are_maps_equal(context: &NativeCallContext<'_>, a: &mut Map, mut b: Map) -> NativeResult<bool> {
    if a.len() != b.len() {
        return Ok(false);
    }
    for (key, one) in a {
        let Some(other) = b.get_mut(key) else { return Ok(false) };
        if !are_equal(context, one, other)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn are_equal(
    context: &NativeCallContext<'_>,
    a: &mut Dynamic,
    b: &mut Dynamic,
) -> NativeResult<bool> {
    meter::work(1)?;
    let is_one_kind = a.type_id() == b.type_id();
    match context.call_native_fn_raw("==", true, &mut [a, b]) {
        Ok(equal) => Ok(equal.as_bool().unwrap_or(false)),
        // Values of two types differ unless defined otherwise.
        Err(error) => match *error {
            EvalAltResult::ErrorFunctionNotFound(ref call, ..)
                if call.starts_with("==") && !is_one_kind =>
            {
                Ok(false)
            }
            _ => Err(error),
        },
    }
}
