//! The interpreter of all scripts: the functions they may call, and their limits.
//!
//! The interpreter has only the packages that compute; functions that sleep, read the time or
//! files, load modules or evaluate text are not registered. It does not depend on the kind of
//! script, so each kind (the merge script, aggregates) registers its own objects.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rhai::packages::{
    ArithmeticPackage, BasicArrayPackage, BasicFnPackage, BasicIteratorPackage, BasicMapPackage,
    BasicMathPackage, BasicStringPackage, LogicPackage, MoreStringPackage, Package,
};
use rhai::{Engine, Position};
use tracing::{debug, info};

use super::meter::{self, ARRAY_ITEMS, STRING_BYTES, ScriptLimits};
use super::metered;
use crate::clock::Stopwatch;
use crate::model::tally::NAMES;

const CALL_LEVELS: usize = 32;
const EXPRESSION_DEPTH: usize = 64;
const FUNCTION_EXPRESSION_DEPTH: usize = 32;
const VARIABLES: usize = 256;
const FUNCTIONS: usize = 256;
/// The most lines that `print` and `debug` may log per minute.
const LINES_A_MINUTE: u64 = 60;
/// The longest line that `print` logs, in characters.
const LINE_CHARS: usize = 1_000;

/// An interpreter without the crate's own objects.
pub(super) fn build(file: &Arc<str>, limits: ScriptLimits) -> Engine {
    let mut engine = Engine::new_raw();
    ArithmeticPackage::new().register_into_engine(&mut engine);
    BasicArrayPackage::new().register_into_engine(&mut engine);
    BasicFnPackage::new().register_into_engine(&mut engine);
    BasicIteratorPackage::new().register_into_engine(&mut engine);
    BasicMapPackage::new().register_into_engine(&mut engine);
    BasicMathPackage::new().register_into_engine(&mut engine);
    BasicStringPackage::new().register_into_engine(&mut engine);
    LogicPackage::new().register_into_engine(&mut engine);
    MoreStringPackage::new().register_into_engine(&mut engine);
    metered::register(&mut engine);
    engine
        .set_max_operations(limits.operations)
        .set_max_call_levels(CALL_LEVELS)
        .set_max_expr_depths(EXPRESSION_DEPTH, FUNCTION_EXPRESSION_DEPTH)
        .set_max_variables(VARIABLES)
        .set_max_functions(FUNCTIONS)
        .set_max_modules(0)
        .set_max_string_size(STRING_BYTES)
        .set_max_array_size(ARRAY_ITEMS)
        .set_max_map_size(NAMES)
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true)
        .disable_symbol("eval")
        .disable_symbol("import")
        .disable_symbol("export")
        .on_progress(|operations| meter::progress(operations).map(Into::into));
    log_to_tracing(&mut engine, file);
    engine
}

fn log_to_tracing(engine: &mut Engine, file: &Arc<str>) {
    let lines = Arc::new(LineQuota::new());
    let (same_lines, same_file) = (Arc::clone(&lines), Arc::clone(file));
    let name = Arc::clone(file);
    engine.on_print(move |text| {
        if lines.admit(&name) {
            info!(file = %name, "{}", cut(text));
        }
    });
    engine.on_debug(move |text, _, position: Position| {
        if same_lines.admit(&same_file) {
            let line = position.line().unwrap_or(0);
            debug!(file = %same_file, line, "{}", cut(text));
        }
    });
}

/// A script's text as one log line: it cannot forge others.
fn cut(text: &str) -> String {
    let cut = text.char_indices().nth(LINE_CHARS).map_or(text, |(end, _)| &text[..end]);
    crate::terminal::plain(cut)
}

/// Number of lines logged this minute; further ones are counted and reported once.
struct LineQuota {
    watch: Stopwatch,
    minute: AtomicU64,
    written: AtomicU64,
}

impl LineQuota {
    fn new() -> Self {
        Self { watch: Stopwatch::start(), minute: AtomicU64::new(0), written: AtomicU64::new(0) }
    }

    fn admit(&self, file: &str) -> bool {
        let minute = self.watch.elapsed().as_secs() / 60;
        if self.minute.swap(minute, Ordering::Relaxed) != minute {
            let written = self.written.swap(0, Ordering::Relaxed);
            if written > LINES_A_MINUTE {
                info!(file, left_out = written - LINES_A_MINUTE, "script log lines dropped");
            }
        }
        self.written.fetch_add(1, Ordering::Relaxed) < LINES_A_MINUTE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_past_the_limit_are_left_out() {
        let lines = LineQuota::new();
        let written = (0..1_000).filter(|_| lines.admit("x.rhai")).count();
        assert_eq!(written as u64, LINES_A_MINUTE);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(cut(&"ä".repeat(LINE_CHARS + 1)), "ä".repeat(LINE_CHARS));
        assert_eq!(cut("short"), "short");
        assert_eq!(cut("a\n2026-11-29 ERROR forged\u{1b}[2J"), "a 2026-11-29 ERROR forged[2J");
    }
}
