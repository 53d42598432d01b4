//! Compiles scripts, and runs them.
//!
//! Each run has a thread with a stack of known size: a script may nest data as deep as its limits
//! allow, and dropping it recurses. A panic inside the interpreter ends only that thread, and is
//! reported as an error of the script.

use std::sync::Arc;
use std::thread;

use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, FnAccess, FuncArgs, Scope};

use super::diagnostic::{LineColumn, ScriptDiagnostic};
use super::meter::{self, ScriptLimits};
use super::objects::{self, WindowObject};
use super::sum::{self, Sum};
use super::{engine, rules, sample};
use crate::model::tally::{Tally, WindowSnapshot};
use crate::script::rule::{AggregateRule, NAME_BYTES};

/// The longest script, in bytes; the built-in one has less than 2,000.
pub const SOURCE_BYTES: usize = 256 * 1024;

/// Stack for the deepest data that the limits allow, dropped level by level.
const STACK_BYTES: usize = 64 * 1024 * 1024;

const MERGE: &str = "merge";
const FORM: &str = "fn merge(window) { … }";
const CONFIG: &str = "config";
const CONFIG_FORM: &str = "fn config() { #{ by: \"event.repo.name\", window: \"1h\" } }";

/// Kind of a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScriptKind {
    /// Computes the language map.
    Merge,
    /// Defines its rule itself, and computes the value of an aggregate.
    Aggregate,
}

/// A compiled script; may be run any number of times, from any thread.
#[derive(Debug)]
pub struct Compiled {
    /// Its rule; `None` for the merge script.
    rule: Option<AggregateRule>,
    file: Arc<str>,
    source: Arc<str>,
    hash: u64,
    engine: Engine,
    ast: AST,
    limits: ScriptLimits,
    /// Location of `fn merge`, for errors without one.
    merge_at: LineColumn,
}

/// Compiles a script and runs it on the built-in sample and on the window that `live` returns for
/// its rule, if any. `file` is its name in errors.
pub fn prepare(
    kind: ScriptKind,
    source: &str,
    file: &str,
    live: impl FnOnce(Option<&AggregateRule>) -> Option<WindowSnapshot>,
) -> Result<Compiled, ScriptDiagnostic> {
    let compiled = match kind {
        ScriptKind::Merge => Compiled::new(source, file, ScriptLimits::default())?,
        ScriptKind::Aggregate => Compiled::aggregate(source, file, ScriptLimits::default())?,
    };
    compiled.run(&compiled.sample())?;
    if let Some(live) = live(compiled.rule.as_ref()) {
        compiled.run(&live)?;
    }
    Ok(compiled)
}

/// Identifies a source text: 16 hexadecimal digits.
#[must_use]
pub(super) fn fingerprint(hash: u64) -> String {
    format!("{hash:016x}")
}

#[must_use]
pub(super) fn hash(source: &str) -> u64 {
    xxhash_rust::xxh3::xxh3_64(source.as_bytes())
}

impl Compiled {
    /// Compiles and checks the form; runs nothing.
    pub(super) fn new(
        source: &str,
        file: &str,
        limits: ScriptLimits,
    ) -> Result<Self, ScriptDiagnostic> {
        let file: Arc<str> = file.into();
        if source.len() > SOURCE_BYTES {
            let long = source.len();
            let reason = format!("the script has {long} bytes, {SOURCE_BYTES} are allowed");
            return Err(ScriptDiagnostic::new(&file, None, reason));
        }
        let mut engine = engine::build(&file, limits);
        objects::register(&mut engine);
        let built = apart(|| engine.compile(source));
        let ast = match built {
            Ok(Ok(ast)) => ast,
            Ok(Err(error)) => return Err(ScriptDiagnostic::parse(&file, &error)),
            Err(reason) => return Err(ScriptDiagnostic::new(&file, None, reason)),
        };
        let merge_at = place_of(MERGE, source);
        let form = check_form(&ast, MERGE, 1, FORM);
        form.map_err(|reason| ScriptDiagnostic::new(&file, Some(merge_at), reason))?;
        let (source, hash) = (source.into(), hash(source));
        Ok(Self { rule: None, file, source, hash, engine, ast, limits, merge_at })
    }

    /// The same for an aggregate, whose `config` is run.
    pub(super) fn aggregate(
        source: &str,
        file: &str,
        limits: ScriptLimits,
    ) -> Result<Self, ScriptDiagnostic> {
        let limits = ScriptLimits { name_bytes: NAME_BYTES, ..limits };
        let mut compiled = Self::new(source, file, limits)?;
        let at = place_of(CONFIG, source);
        let complain = |reason: String| ScriptDiagnostic::new(&compiled.file, Some(at), reason);
        check_form(&compiled.ast, CONFIG, 0, CONFIG_FORM).map_err(complain)?;
        let read = compiled.call(CONFIG, (), at, rules::read)?;
        compiled.rule = Some(read);
        Ok(compiled)
    }

    /// Its rule; `None` for the merge script.
    #[must_use]
    pub fn rule(&self) -> Option<&AggregateRule> {
        self.rule.as_ref()
    }

    /// A window as the script will see them.
    pub(super) fn sample(&self) -> WindowSnapshot {
        sample::window(|language| match &self.rule {
            Some(rule) => rule.sample_name(language),
            None => language.to_owned(),
        })
    }

    /// Its text.
    #[must_use]
    pub fn source(&self) -> &Arc<str> {
        &self.source
    }

    /// Hash of its text: 16 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        fingerprint(self.hash)
    }

    /// The script's result for a window: names with counts above 0. Computes for up to the deadline
    /// of 200 ms; the calling thread waits.
    pub fn run(&self, window: &WindowSnapshot) -> Result<Tally, ScriptDiagnostic> {
        self.call(MERGE, (WindowObject::new(window.clone()),), self.merge_at, accept)
    }

    /// Calls a function of the script on a separate thread, and converts its result there.
    fn call<T: Send>(
        &self,
        name: &str,
        args: impl FuncArgs + Send,
        at: LineColumn,
        read: impl FnOnce(&Dynamic) -> Result<T, String> + Send,
    ) -> Result<T, ScriptDiagnostic> {
        let complain = |reason| ScriptDiagnostic::new(&self.file, Some(at), reason);
        let outcome = apart(|| {
            meter::begin(self.limits);
            let options = CallFnOptions::default();
            let scope = &mut Scope::new();
            let call = self
                .engine
                .call_fn_with_options::<Dynamic>(options, scope, &self.ast, name, args)
                .map_err(|error| self.complain_of(*error, at))?;
            read(&call).map_err(complain)
        });
        outcome.unwrap_or_else(|reason| Err(complain(reason)))
    }

    fn complain_of(&self, error: EvalAltResult, at: LineColumn) -> ScriptDiagnostic {
        if matches!(error.unwrap_inner(), EvalAltResult::ErrorTooManyOperations(_)) {
            let mut diagnostic = ScriptDiagnostic::run(&self.file, error, at);
            diagnostic.reason = format!("more than {} operations", self.limits.operations);
            return diagnostic;
        }
        ScriptDiagnostic::run(&self.file, error, at)
    }
}

/// Runs `work` on a separate thread and waits for it; a panic becomes an error.
fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().name("script".into()).stack_size(STACK_BYTES);
        let running = builder
            .spawn_scoped(scope, work)
            .map_err(|error| format!("cannot start its thread: {error}"))?;
        running.join().map_err(|panic| {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("the interpreter failed: {}", text.unwrap_or("no reason given"))
        })
    })
}

/// The kind of a text without a file name: with a `config` it is an aggregate.
pub(super) fn kind_of(source: &str) -> ScriptKind {
    match find(CONFIG, source) {
        Some(_) => ScriptKind::Aggregate,
        None => ScriptKind::Merge,
    }
}

/// Checks that a function of this name with this many parameters exists.
fn check_form(ast: &AST, name: &str, params: usize, form: &str) -> Result<(), String> {
    let mut arities = Vec::new();
    for function in ast.iter_functions().filter(|function| function.name == name) {
        if function.params.len() == params && function.access == FnAccess::Public {
            return Ok(());
        }
        let private = if function.access == FnAccess::Private { ", and is private" } else { "" };
        arities.push(format!("takes {} parameters{private}", function.params.len()));
    }
    Err(match arities.first() {
        None => format!("function {name} is missing; write {form}"),
        Some(arity) => format!("{name} {arity}; write {form}"),
    })
}

/// Line and column of a function's definition, or the start of the text.
fn place_of(function: &str, source: &str) -> LineColumn {
    find(function, source).unwrap_or((1, 1))
}

fn find(function: &str, source: &str) -> Option<LineColumn> {
    for (line, text) in (1..).zip(source.lines()) {
        let code = text.split("//").next().unwrap_or_default();
        for (start, _) in code.match_indices("fn") {
            let before = code[..start].chars().next_back().unwrap_or(' ');
            let after = &code[start + 2..];
            let name = after.trim_start();
            let rest = name.strip_prefix(function);
            let whole = rest.is_some_and(|rest| rest.trim_start().starts_with('('));
            if before.is_whitespace() && after.starts_with(char::is_whitespace) && whole {
                let column = code[..start].chars().count() + 1;
                return Some((line, u32::try_from(column).unwrap_or(u32::MAX)));
            }
        }
    }
    None
}

/// Converts a Tally, or a map of names and numbers.
fn accept(result: &Dynamic) -> Result<Tally, String> {
    if let Some(sum) = result.read_lock::<Sum>() {
        return sum.finish();
    }
    let Some(map) = result.as_map_ref().ok() else {
        let kind = kind(result);
        return Err(format!(
            "merge returns {kind}; a Tally or a map of name -> number is accepted"
        ));
    };
    let mut tally = Tally::default();
    for (name, value) in map.iter() {
        sum::check_name(name)?;
        let n = match (value.as_int(), value.as_float()) {
            (Ok(n), _) => sum::float(n),
            (_, Ok(n)) => n,
            _ => {
                let kind = kind(value);
                return Err(format!("the count of \"{name}\" is {kind}; a number is accepted"));
            }
        };
        sum::put(&mut tally, name.as_str().into(), n)?;
    }
    sum::check_size(&tally)?;
    Ok(tally)
}

/// The name of a value's type, for people.
fn kind(value: &Dynamic) -> String {
    match value.type_name() {
        "()" => "nothing".to_owned(),
        "bool" => "true or false".to_owned(),
        "string" | "char" => "a text".to_owned(),
        "array" => "an array".to_owned(),
        "map" => "a map".to_owned(),
        "i64" | "f64" => "a number".to_owned(),
        name if name.ends_with("Sum") => "a Tally".to_owned(),
        name if name.ends_with("WindowObject") => "a window".to_owned(),
        name if name.ends_with("BucketObject") => "a bucket".to_owned(),
        name => name.rsplit("::").next().unwrap_or(name).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_inside_a_run_is_a_complaint_and_ends_nothing_else() {
        let source = "\nfn merge(window) { boom() }";
        let limits = ScriptLimits::default();
        let mut compiled = Compiled::new(source, "x.rhai", limits).unwrap();
        compiled.engine.register_fn("boom", || -> i64 { panic!("it fell over") });
        let diagnostic = compiled.run(&compiled.sample()).unwrap_err();
        assert_eq!(diagnostic.to_string(), "x.rhai:2:1: the interpreter failed: it fell over");
        assert_eq!(apart(|| 1), Ok(1));
    }

    #[test]
    fn merge_is_found_where_it_is_defined() {
        let texts = [
            ("fn merge(w) {}", (1, 1)),
            ("// fn merge(a)\n/* x */  fn  merge (w) {}", (2, 10)),
            ("fn merge_all() {}\n  private fn merge(w) {}", (2, 11)),
            ("let ä = 1; fn merge(w) {}", (1, 12)),
            ("nothing", (1, 1)),
        ];
        for (text, place) in texts {
            assert_eq!(place_of(MERGE, text), place, "{text}");
        }
    }
}
