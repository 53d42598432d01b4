//! What scripts can do, what they cannot, and how errors are reported.

mod calls;
mod hosting;
mod limits;
mod metered;
mod readme;
mod waiting;

use std::sync::Arc;

use super::diagnostic::ScriptDiagnostic;
use super::meter::ScriptLimits;
use super::run::Compiled;
use crate::model::tally::{Buckets, Tally, WindowSnapshot};
use crate::model::window::{Second, Window};

/// Ten seconds up to 100, and the previous window.
pub(super) fn window(entries: &[(i64, &str, i64)]) -> WindowSnapshot {
    let mut buckets = Buckets::default();
    for &(second, name, n) in entries {
        buckets.add(Second(second), name, n).unwrap();
    }
    buckets.snapshot(Window::ending_with(Second(100), 10))
}

/// Seconds 91 and 100 of the window, and 85 of the previous one.
pub(super) fn small() -> WindowSnapshot {
    window(&[(85, "Go", 8), (91, "Go", 1), (91, "C", 4), (100, "Go", 2), (100, "Rust", 16)])
}

pub(super) fn tally(pairs: &[(&str, i64)]) -> Tally {
    pairs.iter().map(|&(name, n)| (name, n)).collect()
}

/// Runs a source on a window; time limits are wide, for busy machines.
pub(super) fn run(source: &str, window: &WindowSnapshot) -> Result<Tally, ScriptDiagnostic> {
    let wide =
        ScriptLimits { deadline: std::time::Duration::from_secs(20), ..ScriptLimits::default() };
    run_within(source, window, wide)
}

pub(super) fn run_within(
    source: &str,
    window: &WindowSnapshot,
    limits: ScriptLimits,
) -> Result<Tally, ScriptDiagnostic> {
    Compiled::new(source, "x.rhai", limits)?.run(window)
}

/// Runs the body of a `merge` on the small window.
pub(super) fn merged(body: &str) -> Result<Tally, ScriptDiagnostic> {
    run(&format!("fn merge(window) {{ {body} }}"), &small())
}

#[track_caller]
pub(super) fn diagnostic(source: &str) -> String {
    run(source, &small()).unwrap_err().to_string()
}

#[test]
fn a_complaint_is_written_as_compilers_write_them() {
    let file: Arc<str> = "scripts/merge_latest.rhai".into();
    let diagnostic = ScriptDiagnostic::new(&file, Some((12, 5)), "it is wrong");
    assert_eq!(diagnostic.to_string(), "scripts/merge_latest.rhai:12:5: it is wrong");
    let json = serde_json::to_string(&diagnostic).unwrap();
    assert_eq!(
        json,
        r#"{"file":"scripts/merge_latest.rhai","line":12,"column":5,"reason":"it is wrong"}"#
    );
    assert_eq!(
        ScriptDiagnostic::new(&file, None, "gone").to_string(),
        "scripts/merge_latest.rhai: gone"
    );
}
