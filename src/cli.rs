//! The command line: parses arguments, runs a command, returns an exit code. The only user of clap.
//!
//! Each command is one function in a file of its own. Results go to stdout, everything else to
//! stderr; `--json` makes results machine-readable. Nothing here ends the process: the exit code is
//! returned to `main`.

mod appliance_address;
mod args;
mod backup;
mod check;
mod config_file;
mod demo;
mod documents;
mod export;
mod import;
mod inspect;
mod output;
mod requeue;
mod restore;
mod run;
mod runtime;
mod script;
mod show;
mod simulate;
mod status;
mod store_access;
mod tail;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::supervise::Exit;

/// Follows GitHub's public events, counts them exactly, and streams them to browsers, programs and
/// brokers.
#[derive(Debug, Parser)]
#[command(
    name = "ghpulse",
    version = version::LINE,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  ghpulse demo\n  ghpulse run\n  ghpulse check\n\n\
                  Exit codes: 0 success, 64 usage, 65 bad input data, 69 a server is away,\n\
                  70 a stage failed, 74 input or output, 75 the store is in use, 78 configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command: those of `run`.
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the appliance (the default without a command)
    Run(run::RunArgs),
    /// Runs the appliance on a simulated GitHub, and leaves nothing behind
    Demo(demo::DemoArgs),
    /// Checks the configuration, scripts and servers, and reports all errors at once
    Check(check::CheckArgs),
    /// Prints the default configuration, its reference, or the environment names
    Config(show::ConfigArgs),
    /// Checks or benchmarks a script
    Script(script::ScriptArgs),
    /// Serves a simulated GitHub: three pages of events, limits, faults on request
    Simulate(simulate::SimulateArgs),
    /// Imports hours of GH Archive; their counts replace those of the live feed
    Import(import::ImportArgs),
    /// Exports hours of the journal in GH Archive's format
    Export(export::ExportArgs),
    /// Copies a store, even while an appliance runs on it
    Backup(backup::BackupArgs),
    /// Restores a store from a backup
    Restore(restore::RestoreArgs),
    /// Lists a store's column families, or rows of one
    Inspect(inspect::InspectArgs),
    /// Retries messages of the dead-letter log
    Requeue(requeue::RequeueArgs),
    /// Prints the stream in a terminal, one line per event
    Tail(tail::TailArgs),
    /// Shows the status of a running appliance: parts, completeness, lag, clients, disk
    Status(status::StatusArgs),
    /// Writes the files that a package installs: man pages, completions, the manual, monitoring
    #[command(hide = true)]
    Documents(documents::DocumentsArgs),
    /// Prints version, commit and the version of RocksDB
    Version(version::VersionArgs),
}

/// Parses the process's arguments and runs the command. Returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli).into(),
        Err(error) => {
            // Help and version go to stdout; a closed pipe is not a failure then.
            let asked = !error.use_stderr();
            let _ = error.print();
            if asked { Exit::Fine.into() } else { Exit::Usage.into() }
        }
    }
}

fn dispatch(cli: Cli) -> Exit {
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::demo(&args),
        Command::Check(args) => check::check(&args),
        Command::Config(args) => show::show(&args),
        Command::Script(args) => script::script(&args),
        Command::Simulate(args) => simulate::simulate(args),
        Command::Import(args) => import::import(&args),
        Command::Export(args) => export::export(&args),
        Command::Backup(args) => backup::backup(&args),
        Command::Restore(args) => restore::restore(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::Requeue(args) => requeue::requeue(&args),
        Command::Tail(args) => tail::tail(&args),
        Command::Status(args) => status::status(&args),
        Command::Documents(args) => documents::documents(&args, &Cli::command()),
        Command::Version(args) => version::version(&args),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn expect_examples(command: &mut clap::Command) {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Example"), "{} has no example", command.get_name());
        for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
            expect_examples(below);
        }
    }

    #[test]
    fn the_command_line_is_sound_and_each_command_has_an_example() {
        let mut cli = Cli::command();
        cli.build();
        cli.clone().debug_assert();
        expect_examples(&mut cli);
    }

    /// Every subcommand, with the words of its command line.
    fn commands(above: &[String], command: &clap::Command) -> Vec<(Vec<String>, clap::Command)> {
        let mut all = vec![(above.to_vec(), command.clone())];
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            let words = [above, &[below.get_name().to_owned()]].concat();
            all.extend(commands(&words, below));
        }
        all
    }

    #[test]
    fn empty_values_are_refused_by_name() {
        let mut cli = Cli::command();
        cli.build();
        let mut tried = 0;
        for (words, command) in commands(&["ghpulse".to_owned()], &cli) {
            for option in command.get_arguments().filter(|it| it.get_action().takes_values()) {
                let name = option.get_long().map(|name| format!("--{name}"));
                let value = option.get_value_names().unwrap_or_default()[0].to_string();
                let shown = name.clone().unwrap_or(value).to_lowercase();
                for empty in ["", " "] {
                    let line = words.iter().cloned().chain(name.clone()).chain([empty.to_owned()]);
                    let line: Vec<String> = line.collect();
                    let refused = Cli::try_parse_from(&line).err();
                    // A file may be called " ".
                    let is_path = option.get_value_parser().type_id()
                        == clap::value_parser!(PathBuf).type_id();
                    if empty == " " && is_path {
                        continue;
                    }
                    let said = refused.unwrap_or_else(|| panic!("{line:?} was accepted"));
                    let said = said.to_string().to_lowercase();
                    assert!(said.contains(&shown), "{line:?}: {said}");
                    tried += 1;
                }
            }
        }
        assert!(tried > 50, "{tried}");
    }

    #[test]
    fn usage_errors_differ_from_help() {
        for wrong in [vec!["ghpulse", "fly"], vec!["ghpulse", "check", "--offlin"]] {
            assert!(Cli::try_parse_from(wrong).unwrap_err().use_stderr());
        }
        for asked in [vec!["ghpulse", "--help"], vec!["ghpulse", "--version"]] {
            assert!(!Cli::try_parse_from(asked).unwrap_err().use_stderr());
        }
    }
}
