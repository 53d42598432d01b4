//! `ghpulse script check` and `bench`: a script's results and cost, compared with the native sum,
//! without an appliance.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::diagnostic::ScriptDiagnostic;
use super::run::{self, Compiled, ScriptKind};
use super::usage::Usage;
use super::{host, sample};
use crate::clock::Stopwatch;
use crate::model::envelope::Facts;
use crate::model::json;
use crate::model::script_report::RuleReport;
use crate::model::tally::{Tally, WindowSnapshot};
use crate::script::rule::{AggregateRule, Subject};

/// Number of measured runs of a benchmark.
const RUNS: usize = 50;
/// Number of unmeasured runs before it.
const WARM_UP: usize = 5;
/// The most names that the text shows.
const SHOWN: usize = 10;

/// A script's result for a window.
#[derive(Debug, Clone, Serialize)]
pub struct TrialRun {
    /// What the script returned.
    pub result: Tally,
    /// The native sum of the same window.
    pub native: Tally,
    /// Duration of the run in microseconds.
    pub micros: u64,
}

/// A script that passes all checks.
#[derive(Debug, Clone, Serialize)]
pub struct Checked {
    /// The file, as it was given.
    pub file: Arc<str>,
    /// Hash of its text, 16 hexadecimal digits.
    pub hash: String,
    /// The rule of an aggregate; `None` for the merge script.
    pub config: Option<RuleReport>,
    /// On the built-in hour of 20 languages.
    pub sample: TrialRun,
    /// On the given window, if any.
    pub live: Option<TrialRun>,
}

/// Durations of several runs in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    /// The shortest.
    pub min_micros: u64,
    /// The median.
    pub median_micros: u64,
}

/// Cost of a script.
#[derive(Debug, Clone, Serialize)]
pub struct Benched {
    /// The file, as it was given.
    pub file: Arc<str>,
    /// Hash of its text, 16 hexadecimal digits.
    pub hash: String,
    /// Seconds in the window.
    pub seconds: u32,
    /// Languages in each second.
    pub languages: usize,
    /// Number of measured runs.
    pub runs: usize,
    /// The script, including its thread.
    pub script: Cost,
    /// The native sum of the same window.
    pub native: Cost,
}

/// Compiles a script of this kind, or of either, and runs it on the built-in sample, and on a live
/// window if one is given.
pub fn check(
    kind: Option<ScriptKind>,
    path: &Path,
    live: Option<&WindowSnapshot>,
) -> Result<Checked, ScriptDiagnostic> {
    let script = &load(kind, path, live)?;
    Ok(Checked {
        file: path.to_string_lossy().into(),
        hash: script.fingerprint(),
        config: script.rule().map(AggregateRule::report),
        sample: attempt(script, &script.sample())?,
        live: live.map(|live| attempt(script, live)).transpose()?,
    })
}

/// The paths of an aggregate's rule that none of these events has: probably misspelt. Empty for a
/// merge script, and for an invalid one. Paths of the payload always exist.
#[must_use]
pub fn missing_paths(path: &Path, events: &[Arc<str>]) -> Vec<String> {
    let Ok(script) = load(None, path, None) else { return Vec::new() };
    let Some(rule) = script.rule() else { return Vec::new() };
    let facts = Facts {
        enriched: true,
        language: Some("Rust".to_owned()),
        additions: Some(1),
        deletions: Some(1),
        ..Facts::default()
    };
    let mut usage = Usage::new(rule);
    for event in events {
        let event = Subject::new(&facts, event);
        usage.meet(rule, &event, rule.name(&event).is_some());
    }
    usage.missing(rule)
}

/// Runs a script 50 times on 3,600 seconds of 20 languages.
pub fn bench(path: &Path) -> Result<Benched, ScriptDiagnostic> {
    let script = load(None, path, None)?;
    let window = script.sample();
    Ok(Benched {
        file: path.to_string_lossy().into(),
        hash: script.fingerprint(),
        seconds: sample::SECONDS,
        languages: sample::LANGUAGES,
        runs: RUNS,
        script: cost(|| script.run(&window).map(|_| ()))?,
        native: cost(|| {
            std::hint::black_box(window.sum());
            Ok(())
        })?,
    })
}

/// Compiles and tries a file. Without a kind, a script with a `config` is an aggregate.
fn load(
    kind: Option<ScriptKind>,
    path: &Path,
    live: Option<&WindowSnapshot>,
) -> Result<Compiled, ScriptDiagnostic> {
    let file: Arc<str> = path.to_string_lossy().into();
    let text = host::read(path).and_then(|text| text.ok_or_else(|| host::NO_FILE.to_owned()));
    let text = text.map_err(|reason| ScriptDiagnostic::new(&file, None, reason))?;
    let kind = kind.unwrap_or_else(|| run::kind_of(&text));
    run::prepare(kind, &text, &file, |_| live.cloned())
}

fn attempt(script: &Compiled, window: &WindowSnapshot) -> Result<TrialRun, ScriptDiagnostic> {
    let watch = Stopwatch::start();
    let result = script.run(window)?;
    Ok(TrialRun { result, native: window.sum(), micros: micros(watch.elapsed()) })
}

fn cost(mut work: impl FnMut() -> Result<(), ScriptDiagnostic>) -> Result<Cost, ScriptDiagnostic> {
    let mut times = Vec::with_capacity(RUNS);
    for run in 0..WARM_UP + RUNS {
        let watch = Stopwatch::start();
        work()?;
        if run >= WARM_UP {
            times.push(micros(watch.elapsed()));
        }
    }
    times.sort_unstable();
    Ok(Cost { min_micros: times[0], median_micros: times[RUNS / 2] })
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// A duration for people.
struct Millis(u64);

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} ms", self.0 / 1_000, self.0 % 1_000)
    }
}

impl TrialRun {
    fn write(&self, f: &mut fmt::Formatter<'_>, what: &str) -> fmt::Result {
        let (took, names) = (Millis(self.micros), self.result.len());
        writeln!(f, "{what}: {names} names in {took} (native sum: {} names)", self.native.len())?;
        let mut ranked: Vec<_> = self.result.iter().collect();
        ranked.sort_by_key(|&(_, n)| std::cmp::Reverse(n));
        for (name, n) in ranked.iter().take(SHOWN) {
            writeln!(f, "  {n:>10}  {name}  (native sum {})", self.native.get(name))?;
        }
        match names.saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(f, "  and {more} more"),
        }
    }
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: good ({})", self.file, self.hash)?;
        if let Some(config) = &self.config {
            writeln!(f, "counts: {}", json::encoded(config))?;
        }
        self.sample.write(f, "sample")?;
        self.live.as_ref().map_or(Ok(()), |live| live.write(f, "live"))
    }
}

impl fmt::Display for Benched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, seconds, languages, runs, .. } = self;
        writeln!(f, "{file}: {seconds} seconds of {languages} languages, {runs} runs")?;
        for (what, cost) in [("script", self.script), ("native sum", self.native)] {
            let (min, median) = (Millis(cost.min_micros), Millis(cost.median_micros));
            writeln!(f, "  {what:<10}  min {min}, median {median}")?;
        }
        Ok(())
    }
}
