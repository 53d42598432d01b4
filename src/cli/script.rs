//! `ghpulse script check | bench FILE`: what a merge script returns and what it costs.

use std::fmt::Display;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::json;

use super::{Exit, output};
use crate::apply::script::{self, Complaint};

/// Arguments of `script`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ghpulse script check scripts/merge_latest.rhai")]
pub(super) struct ScriptArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Compiles a script and tries it on the built-in sample, beside the native sum
    #[command(after_help = "Example:\n  ghpulse script check scripts/merge_latest.rhai\n\n\
                            Exit codes: 0 the script holds, 65 it does not, 74 it cannot be read.")]
    Check(FileArgs),
    /// Measures a script on an hour of 20 languages, beside the native sum
    #[command(after_help = "Example:\n  ghpulse script bench scripts/merge_latest.rhai --json")]
    Bench(FileArgs),
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The script
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Tries or measures a script.
pub(super) fn script(args: &ScriptArgs) -> Exit {
    match &args.what {
        What::Check(args) => say(script::check(&args.file, None), args),
        What::Bench(args) => say(script::bench(&args.file), args),
    }
}

fn say(result: Result<impl Display + Serialize, Complaint>, args: &FileArgs) -> Exit {
    let complaint = match result {
        Ok(found) if args.json => return output::json(&found),
        Ok(found) => return output::text(&found.to_string()),
        Err(complaint) => complaint,
    };
    if args.json {
        output::json(&json!({ "complaint": complaint }));
    } else {
        output::complain(&format!("error: {complaint}"));
    }
    if std::fs::File::open(&args.file).is_err() { Exit::Io } else { Exit::Data }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_of(file: PathBuf) -> Exit {
        script(&ScriptArgs { what: What::Check(FileArgs { file, json: true }) })
    }

    #[test]
    fn a_script_holds_or_not_or_is_not_there() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.rhai");
        assert_eq!(exit_of(path.clone()), Exit::Io);
        std::fs::write(&path, "fn merge(window) { totl }").unwrap();
        assert_eq!(exit_of(path.clone()), Exit::Data);
        std::fs::write(&path, script::SHIPPED).unwrap();
        assert_eq!(exit_of(path), Exit::Fine);
    }
}
