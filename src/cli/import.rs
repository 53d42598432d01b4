//! `ghpulse import FILE…`: counts the events of GH Archive's hours.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::output;
use super::store_access::{self, CommandFailure, StoreAccess, StoreArgs};
use crate::archive::{ImportOutcome, Imported};
use crate::supervise::Exit;

/// Arguments of `import`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse import 2015-01-01-*.json.gz\n  \
                        ghpulse import --data /var/lib/ghpulse --json 2026-11-21-0.json.gz\n\n\
                        The counts of an imported hour replace those that were seen live. \
                        Importing again changes nothing, and an interrupted import is finished by \
                        running it again.\n\n\
                        Exit codes: 0 all files are imported (invalid lines are named and skipped), \
                        65 a file is not an hour that is over, 74 a file cannot be read, 75 the store is in use.")]
pub(super) struct ImportArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Files named after an hour, YYYY-MM-DD-H.json.gz
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Prints one line of JSON a file; `hour` is null where the same contents were imported before
    #[arg(long)]
    json: bool,
}

/// Imports the files one after the other. A failure does not stop the rest.
pub(super) fn import(args: &ImportArgs) -> Exit {
    store_access::run(async {
        let config = store_access::configured(&args.store)?;
        store_access::run_on(config, async |found| Ok(import_all(args, found).await)).await
    })
}

async fn import_all(args: &ImportArgs, found: &StoreAccess) -> Exit {
    let bar = bar(args);
    let mut exit = Exit::Fine;
    for file in &args.files {
        bar.set_message(file.file_name().unwrap_or_default().to_string_lossy().into_owned());
        let moved = bar.clone();
        let imported = found.import(file, move |bytes| moved.inc(bytes)).await;
        let said = bar.suspend(|| match &imported {
            Ok(imported) => say(args, imported),
            Err(failed) => report_failure(args, file, failed),
        });
        let ended = imported.err().map_or(said, |failed| failed.exit);
        // The exit code is that of the first failure.
        if exit == Exit::Fine {
            exit = ended;
        }
        if ended == Exit::Unavailable {
            break;
        }
    }
    bar.finish_and_clear();
    exit
}

/// A progress bar over the bytes of all files; hidden with `--json` and when stderr is not a
/// terminal.
fn bar(args: &ImportArgs) -> ProgressBar {
    if args.json || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let sizes = args.files.iter().filter_map(|file| std::fs::metadata(file).ok());
    let bar = ProgressBar::new(sizes.map(|file| file.len()).sum());
    bar.set_draw_target(ProgressDrawTarget::stderr());
    let style = "{bar:30} {percent:>3}% {bytes}/{total_bytes} {bytes_per_sec}, {eta} left  {msg}";
    // The template is a constant; if it is invalid, use the default.
    bar.set_style(ProgressStyle::with_template(style).unwrap_or(ProgressStyle::default_bar()));
    bar
}

fn say(args: &ImportArgs, imported: &Imported) -> Exit {
    if args.json {
        return output::json(imported);
    }
    let file = imported.file.display();
    for broken in &imported.complaints {
        output::to_stderr(&format!("{file}:{}: {}", broken.line, broken.reason));
    }
    if imported.simulated {
        let words = "has simulated events; once imported, counts do not tell them apart";
        output::to_stderr(&format!("{file}: {words}"));
    }
    let hour = imported.hour.as_deref().unwrap_or("its hour");
    output::text(&match imported.state {
        ImportOutcome::Unchanged => format!("{file}: already imported, unchanged"),
        ImportOutcome::Imported => format!(
            "{file}: {} events of {hour} (UTC), {} about pull requests{}",
            imported.events,
            imported.pull_requests,
            besides(imported)
        ),
    })
}

/// What else the file holds: duplicates, events of other hours, invalid lines.
fn besides(imported: &Imported) -> String {
    let Imported { doubles, strays, broken, .. } = imported;
    let parts = [(doubles, "duplicates"), (strays, "of other hours"), (broken, "invalid")];
    let parts = parts.iter().filter(|(n, _)| **n > 0).map(|(n, what)| format!("; {n} {what}"));
    parts.collect()
}

fn report_failure(args: &ImportArgs, file: &std::path::Path, failed: &CommandFailure) -> Exit {
    if args.json {
        output::json(&json!({ "file": file, "error": failed.reason }));
        return failed.exit;
    }
    output::failed(failed.exit, &failed.reason)
}
