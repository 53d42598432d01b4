//! The script in force, and its replacement.
//!
//! A script comes into force only after it compiled and ran on the sample and on the live window.
//! Until then the last good one remains in force; without one the native sum is used. When a script
//! fails at a tick, the native sum is used for that tick only. The swap is one pointer, so a tick
//! never sees a partial update and never waits for a compilation.

use std::borrow::Cow;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::diagnostic::ScriptDiagnostic;
use super::run::{self, Compiled, SOURCE_BYTES, ScriptKind};
use super::shipped;
use super::trials::Trials;
use crate::clock::{Clock, Stopwatch};
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::script_report::{InForce, QuotedLine, ScriptReport, ScriptStanding};
use crate::model::tally::{Tally, WindowSnapshot};
use crate::model::window::Timestamp;
use crate::private;
use crate::script::rule::AggregateRule;
use crate::sync::lock;

/// The most characters of a quoted line.
const LINE_CHARS: usize = 200;
/// The byte order mark with which some editors begin a file.
const MARK: &[u8] = "\u{feff}".as_bytes();
/// Why a missing file is refused.
pub(super) const NO_FILE: &str = "there is no such file";

/// The state of a script, for `/readyz` and the page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptStatus {
    /// The file, as errors name it.
    pub file: Arc<str>,
    /// The source of the tally.
    pub in_force: InForce,
    /// Hash of the text in force, 16 hexadecimal digits; `None` without a script.
    pub hash: Option<String>,
    /// When this script, or none, came into force.
    pub since: Timestamp,
    /// Why the file's present text is not in force.
    pub refused: Option<ScriptDiagnostic>,
    /// The line of the refused text that the reason concerns.
    pub refused_line: Option<String>,
    /// Why the script failed at the last tick.
    pub failed: Option<ScriptDiagnostic>,
}

/// The result of one tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Names with counts above 0.
    pub tally: Tally,
    /// Why this is the native sum and not the script's result.
    pub diagnostic: Option<ScriptDiagnostic>,
}

/// The script in force for one file.
#[derive(Debug)]
pub struct ScriptHost {
    kind: ScriptKind,
    file: Arc<str>,
    clock: Clock,
    force: ArcSwap<ForceState>,
    /// Duration of the last run in microseconds; 0 before the first.
    micros: AtomicU64,
    /// Where trials are recorded; `None` without a store.
    trials: Option<Trials>,
    /// The text in force in an earlier run.
    proven: Option<u64>,
    /// What the last look found: a text by its hash, or why there is none. So each text is tried
    /// once. `None` before the first look; locked during the trial.
    found: Mutex<Option<Result<(InForce, u64), String>>>,
    /// Limits lines about ticks: what the script gets decides when it fails, so it may be at every
    /// other.
    lines: LineLimit,
}

#[derive(Debug, Clone)]
struct ForceState {
    script: Option<Arc<Compiled>>,
    /// Its result for the built-in sample.
    sample: Option<Tally>,
    status: ScriptStatus,
}

impl ScriptStatus {
    /// The current error, if any: of the file, else of the last tick.
    #[must_use]
    pub fn diagnostic(&self) -> Option<&ScriptDiagnostic> {
        self.refused.as_ref().or(self.failed.as_ref())
    }
}

impl ScriptHost {
    /// Starts with the last good text of an earlier run, if there is one; reads nothing from disk
    /// before [`refresh`](Self::refresh). `file` is the script's name in errors, `trials` records
    /// trials. Blocks.
    #[must_use]
    pub fn of(
        kind: ScriptKind,
        file: &str,
        last_good: Option<&str>,
        trials: Option<Trials>,
        clock: Clock,
    ) -> Self {
        let file: Arc<str> = file.into();
        let mut script = None;
        let mut refused = None;
        if let Some(text) = last_good {
            match attempt(kind, text, &file, trials.as_ref(), true, |_| None) {
                Ok(compiled) => script = Some(Arc::new(compiled)),
                Err(diagnostic) => {
                    warn!(file = %file, %diagnostic, "the last good script no longer compiles");
                    refused = Some(diagnostic);
                }
            }
        }
        let in_force = if script.is_some() { InForce::LastGood } else { without(kind) };
        let hash = script.as_ref().map(|script| script.fingerprint());
        let since = clock.now();
        let status = ScriptStatus {
            file: Arc::clone(&file),
            in_force,
            hash,
            since,
            refused,
            refused_line: None,
            failed: None,
        };
        let force = ArcSwap::from_pointee(ForceState { script, sample: None, status });
        let proven = last_good.map(run::hash);
        Self {
            kind,
            file,
            clock,
            force,
            trials,
            proven,
            micros: AtomicU64::new(0),
            found: Mutex::new(None),
            lines: LineLimit::per_minute(4),
        }
    }

    /// The current state.
    #[must_use]
    pub fn status(&self) -> ScriptStatus {
        self.force.load().status.clone()
    }

    /// The text in force; `None` for the native sum.
    #[must_use]
    pub fn source(&self) -> Option<Arc<str>> {
        self.force.load().script.as_ref().map(|script| Arc::clone(script.source()))
    }

    /// The rule of the script in force; `None` without one, and for the merge script.
    #[must_use]
    pub fn rule(&self) -> Option<AggregateRule> {
        self.force.load().script.as_ref().and_then(|script| script.rule().cloned())
    }

    /// The tally of a window by the script in force. Blocks until the run ends, which computes for
    /// up to its deadline.
    pub fn merge(&self, window: &WindowSnapshot) -> Merged {
        match self.run(window) {
            None => Merged { tally: window.sum(), diagnostic: None },
            Some(Ok(tally)) => Merged { tally, diagnostic: None },
            Some(Err(diagnostic)) => Merged { tally: window.sum(), diagnostic: Some(diagnostic) },
        }
    }

    /// The result of the script in force for a window; `None` without one. Blocks as `merge` does.
    pub fn run(&self, window: &WindowSnapshot) -> Option<Result<Tally, ScriptDiagnostic>> {
        let force = self.force.load_full();
        let script = force.script.as_ref()?;
        let watch = Stopwatch::start();
        let outcome = script.run(window);
        let took = watch.elapsed();
        metrics::SCRIPT_SECONDS.record(took);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.store(micros.max(1), Ordering::Relaxed);
        if outcome.is_err() {
            metrics::SCRIPT_FAILURES.add(1);
        }
        self.note_tick(script, outcome.as_ref().err());
        Some(outcome)
    }

    /// The state as everybody may see it.
    #[must_use]
    pub fn report(&self) -> ScriptReport {
        let force = self.force.load();
        let status = &force.status;
        // The directory of the scripts is not public.
        let short = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let diagnostic = status.diagnostic();
        let line = diagnostic.and_then(|diagnostic| {
            let number = diagnostic.line?;
            let source = force.script.as_ref().map(|script| script.source());
            let text = match &status.refused {
                Some(_) => status.refused_line.clone(),
                None => source.and_then(|source| line_of(source, number)),
            };
            Some(QuotedLine { number, column: diagnostic.column, text: text? })
        });
        let error = diagnostic.map(|diagnostic| {
            let file = short(&diagnostic.file).into();
            ScriptDiagnostic { file, ..diagnostic.clone() }.to_string()
        });
        let state = ScriptStanding {
            file: short(&status.file),
            in_force: status.in_force,
            since: status.since,
            error,
            line,
            micros: Some(self.micros.load(Ordering::Relaxed)).filter(|micros| *micros > 0),
        };
        ScriptReport { state, sample: force.sample.clone() }
    }

    /// Checks the file and tries a new text: compiles it, runs it on the sample and on the window
    /// that `live` returns for its rule, if any, and puts it in force or records its error. Returns
    /// a text that came into force, to be stored as the last good one. Blocks: reads and computes.
    pub fn refresh<L>(&self, path: &Path, live: L) -> Option<Arc<str>>
    where
        L: FnOnce(Option<&AggregateRule>) -> Option<WindowSnapshot>,
    {
        let text = match read(path) {
            Ok(Some(text)) => Ok((InForce::File, Cow::Owned(text))),
            Ok(None) => match shipped::built_in(path).filter(|_| self.may_take_built_in()) {
                Some(text) => Ok((InForce::BuiltIn, Cow::Borrowed(text))),
                None => Err(NO_FILE.to_owned()),
            },
            Err(reason) => Err(reason),
        };
        let now = match &text {
            Ok((from, text)) => Ok((*from, run::hash(text))),
            Err(reason) => Err(reason.clone()),
        };
        let mut found = lock(&self.found);
        if found.as_ref() == Some(&now) {
            return None;
        }
        let kept = match text {
            // A built-in text is available at the next start too, so there is nothing to store.
            Ok((from, text)) => self.judge(&text, from, live).filter(|_| from == InForce::File),
            Err(reason) => self.refuse(&ScriptDiagnostic::new(&self.file, None, reason), ""),
        };
        *found = Some(now);
        kept
    }

    /// Whether a built-in text may replace the present one: not when a directory is temporarily
    /// unavailable, which must not change the numbers.
    fn may_take_built_in(&self) -> bool {
        let force = self.force.load();
        let is_shipped = |script: &Arc<Compiled>| shipped::is_built_in(script.source());
        force.script.as_ref().is_none_or(is_shipped)
    }

    fn judge<L>(&self, text: &str, in_force: InForce, live: L) -> Option<Arc<str>>
    where
        L: FnOnce(Option<&AggregateRule>) -> Option<WindowSnapshot>,
    {
        let was_in_force = self.proven == Some(run::hash(text));
        let trials = self.trials.as_ref();
        match attempt(self.kind, text, &self.file, trials, was_in_force, live) {
            Ok(compiled) => Some(self.adopt(compiled, in_force)),
            Err(diagnostic) => self.refuse(&diagnostic, text),
        }
    }

    fn adopt(&self, compiled: Compiled, in_force: InForce) -> Arc<str> {
        let (source, hash) = (Arc::clone(compiled.source()), compiled.fingerprint());
        let script = Arc::new(compiled);
        let sample = script.run(&script.sample()).ok();
        let now = self.clock.now();
        self.force.rcu(|old| {
            let same = old.status.hash.as_ref() == Some(&hash);
            let status = ScriptStatus {
                in_force,
                hash: Some(hash.clone()),
                since: if same { old.status.since } else { now },
                refused: None,
                refused_line: None,
                failed: None,
                ..old.status.clone()
            };
            ForceState { script: Some(Arc::clone(&script)), sample: sample.clone(), status }
        });
        if in_force == InForce::BuiltIn {
            info!(file = %self.file, "no such file: built-in script in force");
        } else {
            info!(file = %self.file, hash, "the script is in force");
        }
        source
    }

    /// Refuses the file's text; the present script remains. Returns `None`: nothing to store.
    fn refuse(&self, diagnostic: &ScriptDiagnostic, text: &str) -> Option<Arc<str>> {
        self.force.rcu(|old| {
            let in_force =
                if old.script.is_some() { InForce::LastGood } else { without(self.kind) };
            let refused = Some(diagnostic.clone());
            let refused_line = diagnostic.line.and_then(|number| line_of(text, number));
            let status = ScriptStatus { in_force, refused, refused_line, ..old.status.clone() };
            ForceState { status, ..(**old).clone() }
        });
        let stays = match self.force.load().status.in_force {
            InForce::NativeSum => "the native sum remains in force",
            InForce::Nothing => "the aggregate is not available",
            InForce::File | InForce::LastGood | InForce::BuiltIn => {
                "the last good script remains in force"
            }
        };
        warn!(%diagnostic, "{stays}");
        None
    }

    /// Records the result of a tick, unless another script came into force.
    fn note_tick(&self, script: &Arc<Compiled>, failed: Option<&ScriptDiagnostic>) {
        let before = self.force.load();
        if before.status.failed.as_ref() == failed {
            return;
        }
        match (&before.status.failed, failed) {
            (None, Some(diagnostic)) if self.kind == ScriptKind::Aggregate => {
                self.lines.log(|left_out| {
                    let words = "the script failed; the aggregate keeps its last result";
                    warn!(%diagnostic, left_out, "{words}");
                });
            }
            (None, Some(diagnostic)) => {
                self.lines.log(|left_out| {
                    let words = "the script failed; the native sum is used instead";
                    warn!(%diagnostic, left_out, "{words}");
                });
            }
            (Some(_), None) => self.lines.log(|left_out| {
                info!(file = %self.file, left_out, "the script works again");
            }),
            _ => {}
        }
        self.force.rcu(|old| {
            let same = old.script.as_ref().is_some_and(|other| Arc::ptr_eq(other, script));
            let mut status = old.status.clone();
            if same {
                status.failed = failed.cloned();
            }
            ForceState { status, ..(**old).clone() }
        });
    }
}

/// A line of a text, from 1, cut to the most characters of a quoted line.
fn line_of(text: &str, line: u32) -> Option<String> {
    let at = usize::try_from(line).ok()?.checked_sub(1)?;
    text.lines().nth(at).map(|line| line.chars().take(LINE_CHARS).collect())
}

/// Compiles and tries a text, unless an earlier process died while it tried it.
fn attempt(
    kind: ScriptKind,
    text: &str,
    file: &Arc<str>,
    trials: Option<&Trials>,
    was_in_force: bool,
    live: impl FnOnce(Option<&AggregateRule>) -> Option<WindowSnapshot>,
) -> Result<Compiled, ScriptDiagnostic> {
    let hash = run::hash(text);
    // A built-in text cannot be the cause of a crash.
    let Some(trials) = trials.filter(|_| !shipped::is_built_in(text)) else {
        return run::prepare(kind, text, file, live);
    };
    if trials.is_deadly(hash, was_in_force) {
        let reason = "the process ended while it tried this script, so the script is not tried \
                      again: change it (`ghpulse script check FILE` tries it in a separate \
                      process)";
        return Err(ScriptDiagnostic::new(file, None, reason));
    }
    trials.begin(hash);
    let prepared = run::prepare(kind, text, file, live);
    trials.end();
    prepared
}

/// What is in force without a script.
fn without(kind: ScriptKind) -> InForce {
    match kind {
        ScriptKind::Merge => InForce::NativeSum,
        ScriptKind::Aggregate => InForce::Nothing,
    }
}

/// The text of a file, `None` when it does not exist; or why it cannot be read.
pub(super) fn read(path: &Path) -> Result<Option<String>, String> {
    let read = || {
        let file = private::open_file(path)?;
        let mut bytes = Vec::new();
        // One byte more than the limit behind the mark, so that the caller can refuse the length.
        let limit = u64::try_from(SOURCE_BYTES + MARK.len()).expect("a small number") + 1;
        file.take(limit).read_to_end(&mut bytes)?;
        let text = bytes.strip_prefix(MARK).unwrap_or(&bytes);
        String::from_utf8(text.to_owned()).map_err(|_| io::Error::other("not UTF-8 text"))
    };
    match read() {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("cannot be read: {error}")),
    }
}
