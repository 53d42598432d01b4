//! `ghpulse script check | bench FILE`: a script's results and cost. A script with a `config` is an
//! aggregate, any other a merge script. `ghpulse script init DIR` writes the built-in scripts for
//! editing.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::args::{base_url, filled};
use super::output;
use crate::http::{self, Http, HttpOptions, HttpRequest};
use crate::model::tally::WindowSnapshot;
use crate::model::window::Timestamp;
use crate::private;
use crate::script::{self, LiveWindow, ScriptDiagnostic};
use crate::simulate::{Shape, World};
use crate::supervise::Exit;

/// Arguments of `script`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ghpulse script check scripts/merge_latest.rhai")]
pub(super) struct ScriptArgs {
    #[command(subcommand)]
    what: ScriptCommand,
}

#[derive(Debug, Subcommand)]
enum ScriptCommand {
    /// Compiles a merge script or an aggregate, and runs it on the built-in sample
    #[command(after_help = "Examples:\n  ghpulse script check scripts/merge_latest.rhai\n  \
                            ghpulse script check scripts/stars.rhai\n  \
                            ghpulse script check my.rhai --url http://127.0.0.1:8602\n\n\
                            Exit codes: 0 the script is valid, 65 it is not, 69 the appliance is \
                            not there, 74 it cannot be read.")]
    Check(ScriptCheckArgs),
    /// Measures a script on an hour of 20 languages, compared with the native sum
    #[command(after_help = "Example:\n  ghpulse script bench scripts/merge_latest.rhai --json")]
    Bench(ScriptFileArgs),
    /// Writes the built-in scripts into a directory for editing; existing files are kept
    #[command(after_help = "Examples:\n  ghpulse script init\n  \
                            ghpulse script init /etc/ghpulse/scripts\n\n\
                            Exit codes: 0 all are there, 74 one cannot be written.")]
    Init(ScriptInitArgs),
}

#[derive(Debug, Args)]
struct ScriptInitArgs {
    /// The directory, `scripts.dir` of the configuration; created if missing
    #[arg(value_name = "DIR", default_value = "scripts")]
    dir: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ScriptFileArgs {
    /// The script
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ScriptCheckArgs {
    #[command(flatten)]
    file: ScriptFileArgs,
    /// The ops address of a running appliance, to run a merge script on its live window too
    #[arg(long, value_name = "URL", value_parser = filled)]
    url: Option<String>,
}

/// Simulated events of each format on which an aggregate's paths are tried.
const EACH: usize = 1_000;
/// Time limit for a response, and its largest size.
const TIMEOUT: Duration = Duration::from_secs(10);
const WINDOW_BYTES: usize = 64 << 20;

/// Checks or measures a script.
pub(super) fn script(args: &ScriptArgs) -> Exit {
    match &args.what {
        ScriptCommand::Check(args) => {
            let live = match args.url.as_deref().map(live).transpose() {
                Ok(live) => live,
                Err(exit) => return exit,
            };
            checked(&args.file, live.as_ref())
        }
        ScriptCommand::Bench(args) => say(script::bench(&args.file), args),
        ScriptCommand::Init(args) => init(args),
    }
}

fn init(args: &ScriptInitArgs) -> Exit {
    let (written, kept) = match script::write_out(&args.dir) {
        Ok(found) => found,
        Err(error) => {
            let dir = args.dir.display();
            let reason = format_args!("cannot write the scripts to {dir}: {error}");
            return output::failed(Exit::Io, reason);
        }
    };
    if args.json {
        return output::json(&json!({ "written": written, "kept": kept }));
    }
    let line = |what: &str, path: &PathBuf| format!("{what} {}\n", path.display());
    let lines = written.iter().map(|path| line("wrote", path));
    let lines = lines.chain(kept.iter().map(|path| line("kept ", path)));
    output::text(&lines.collect::<String>())
}

/// Checks a script, and an aggregate's paths with simulated events.
fn checked(args: &ScriptFileArgs, live: Option<&WindowSnapshot>) -> Exit {
    let checked = match script::check(None, &args.file, live) {
        Ok(checked) => checked,
        Err(diagnostic) => return say(Err::<String, _>(diagnostic), args),
    };
    let warning = misspelt(&args.file);
    if args.json {
        let mut json = json!(checked);
        json["warning"] = json!(warning);
        return output::json(&json);
    }
    let printed = output::text(&checked.to_string());
    if let Some(warning) = warning {
        output::to_stderr(&format!("warning: {warning}"));
    }
    printed
}

/// A warning about an aggregate whose paths no simulated event has.
pub(super) fn misspelt(file: &Path) -> Option<String> {
    let missing = script::missing_paths(file, simulated_events());
    (!missing.is_empty()).then(|| {
        format!(
            "{}: it has counted none of {} simulated events: none of them has `{}`; check its \
             spelling",
            file.display(),
            simulated_events().len(),
            missing.join("`, `")
        )
    })
}

/// Events of both of GitHub's formats, always the same.
fn simulated_events() -> &'static [Arc<str>] {
    static EVENTS: OnceLock<Vec<Arc<str>>> = OnceLock::new();
    EVENTS.get_or_init(|| {
        let mut worlds = [Shape::Old, Shape::Today].map(|shape| World::new(1, shape));
        let at = Timestamp::from_seconds(1_767_225_599);
        worlds.iter_mut().flat_map(|world| (0..EACH).map(move |_| world.next_event(at))).collect()
    })
}

/// The live window of the appliance at that address.
fn live(url: &str) -> Result<WindowSnapshot, Exit> {
    let base = base_url(url)?;
    let fetched = super::runtime::with_runtime(async {
        let http = Http::new(HttpOptions { timeout: TIMEOUT, body_limit: WINDOW_BYTES });
        let http = http.map_err(|error| error.to_string())?;
        let answer = http.send(HttpRequest::get(&format!("{base}/window"))).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status != 200 {
            return Err(format!("it answered {}; is that its ops address?", answer.status));
        }
        serde_json::from_slice(&answer.body).map_err(|_| "the answer is not a window".to_owned())
    })?;
    let window: Result<LiveWindow, String> = fetched;
    window.map(|window| window.snapshot()).map_err(|reason| {
        let shown = http::shown(base);
        let reason = format_args!(
            "no live window from {shown}: {reason}; give the ops address (ops.listen), such as \
             http://127.0.0.1:8602"
        );
        output::failed(Exit::Unavailable, reason)
    })
}

fn say(result: Result<impl Display + Serialize, ScriptDiagnostic>, args: &ScriptFileArgs) -> Exit {
    let diagnostic = match result {
        Ok(found) => return output::result(args.json, &found, || found.to_string()),
        Err(diagnostic) => diagnostic,
    };
    if args.json {
        output::json(&json!({ "complaint": diagnostic }));
    } else {
        output::to_stderr(&format!("error: {diagnostic}"));
    }
    if private::open_file(&args.file).is_err() { Exit::Io } else { Exit::Data }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_writes_scripts_that_pass_the_check() {
        let directory = tempfile::tempdir().unwrap();
        let dir = directory.path().join("scripts");
        let init = || {
            let dir = dir.clone();
            script(&ScriptArgs { what: ScriptCommand::Init(ScriptInitArgs { dir, json: true }) })
        };
        assert_eq!([init(), init()], [Exit::Fine, Exit::Fine]);
        assert_eq!(exit_of(dir.join("stars.rhai")), Exit::Fine);
        assert_eq!(exit_of(dir.join("merge_latest.rhai")), Exit::Fine);
    }

    fn exit_of(file: PathBuf) -> Exit {
        let file = ScriptFileArgs { file, json: true };
        script(&ScriptArgs { what: ScriptCommand::Check(ScriptCheckArgs { file, url: None }) })
    }

    #[test]
    fn misspelt_path_is_reported() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.rhai");
        let script = |config: &str| {
            let merge = "fn merge(window) { Tally() }";
            std::fs::write(&path, format!("fn config() {{ #{{ {config} }} }}\n{merge}")).unwrap();
            misspelt(&path)
        };
        let said = script("by: \"event.repo.nmae\"").unwrap();
        assert!(said.contains("counted none of 2000") && said.contains("`event.repo.nmae`"));
        assert_eq!(script("by: \"event.repo.name\""), None);
        assert_eq!(script("by: \"payload.language\""), None);
        assert_eq!(script("by: \"key\", where: #{ \"event.repo.name\": \"a/b\" }"), None);
        let said = script("by: \"key\", where: #{ \"event.typ\": \"PushEvent\" }").unwrap();
        assert!(said.contains("`event.typ`"), "{said}");
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts");
        for file in std::fs::read_dir(shipped).unwrap() {
            assert_eq!(misspelt(&file.unwrap().path()), None);
        }
    }

    #[test]
    fn script_check_exits_by_validity_and_existence() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.rhai");
        assert_eq!(exit_of(path.clone()), Exit::Io);
        std::fs::write(&path, "fn merge(window) { totl }").unwrap();
        assert_eq!(exit_of(path.clone()), Exit::Data);
        std::fs::write(&path, script::SHIPPED).unwrap();
        assert_eq!(exit_of(path), Exit::Fine);
    }
}
