//! The command line: words to a command, a command to an exit code. Door to clap.
//!
//! Each command is one function in a file of its own here. Results go to stdout, everything else
//! to stderr; `--json` makes results readable for programs. Nothing in here ends the process: the
//! exit code goes up to `main`.

mod backup;
mod check;
mod demo;
mod documents;
mod export;
mod import;
mod inspect;
mod output;
mod requeue;
mod restore;
mod run;
mod script;
mod show;
mod simulate;
mod status;
mod store_access;
mod tail;
mod version;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, ConfigWarning, Flag, InvalidConfig, Loaded, Lookup, Request};
use crate::logging;

/// How a command ended; the numbers are part of the contract (sysexits).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// As asked for.
    Fine = 0,
    /// The command line is wrong.
    Usage = 64,
    /// Data that was given is wrong.
    Data = 65,
    /// A server that is needed is not there.
    Unavailable = 69,
    /// A stage failed.
    Stage = 70,
    /// Reading or writing failed.
    Io = 74,
    /// Another process has the store.
    StoreInUse = 75,
    /// The configuration is wrong.
    Config = 78,
}

impl Exit {
    /// The end of that number; one that is not in the contract is a failed stage.
    fn of(code: u8) -> Self {
        [Self::Unavailable, Self::Stage, Self::Io, Self::StoreInUse, Self::Config]
            .into_iter()
            .find(|exit| *exit as u8 == code)
            .unwrap_or(Self::Stage)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Follows GitHub's public events, counts them exactly, and streams them to browsers, programs and
/// brokers.
#[derive(Debug, Parser)]
#[command(
    name = "ghpulse",
    version = version::LINE,
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  ghpulse demo\n  ghpulse run\n  ghpulse check\n\n\
                  Exit codes: 0 as asked for, 64 usage, 65 bad input data, 69 a server is away,\n\
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
    /// Runs the appliance (what happens without a command, too)
    Run(run::RunArgs),
    /// Runs the appliance on a simulated GitHub, and leaves nothing behind
    Demo(demo::DemoArgs),
    /// Reads configuration and scripts, tries the servers, and says all that is wrong at once
    Check(check::CheckArgs),
    /// Prints the default configuration, its reference, or the environment names
    Config(show::ConfigArgs),
    /// Tries or measures a merge script
    Script(script::ScriptArgs),
    /// Serves a simulated GitHub: three pages of events, limits, faults on request
    Simulate(simulate::SimulateArgs),
    /// Takes hours of GH Archive in: their counts replace those that were seen live
    Import(import::ImportArgs),
    /// Writes hours of the journal out, as GH Archive would
    Export(export::ExportArgs),
    /// Copies a store, also while an appliance runs on it
    Backup(backup::BackupArgs),
    /// Makes a store from a backup
    Restore(restore::RestoreArgs),
    /// Looks into a store: its families, or rows of one
    Inspect(inspect::InspectArgs),
    /// Tries messages of the dead-letter log again
    Requeue(requeue::RequeueArgs),
    /// Shows the stream in a terminal, a line an event
    Tail(tail::TailArgs),
    /// Shows how a running appliance is: parts, completeness, lag, clients, disk
    Status(status::StatusArgs),
    /// Writes what a package installs: man pages, completions, the manual, monitoring
    #[command(hide = true)]
    Documents(documents::DocumentsArgs),
    /// Prints version, commit and the version of RocksDB
    Version(version::VersionArgs),
}

/// Where the configuration file is.
#[derive(Debug, Clone, Default, Args)]
struct ConfigFileArgs {
    /// Configuration file; without it the first of ./config.yaml, ./config/config.yaml,
    /// ../config/config.yaml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Reads the process's arguments, does what they ask, and says how it ended.
#[must_use]
pub fn run() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli).into(),
        Err(error) => {
            // Help and version were asked for and go to stdout; a closed pipe is no failure then.
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
        Command::Documents(args) => documents::documents(&args),
        Command::Version(args) => version::version(&args),
    }
}

/// Reads the value of an option that takes a name, a time, a cursor, an address. An empty one is
/// usually a variable that was not set; to take it for a missing option would do something else
/// than was asked for.
fn filled(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("it is empty; give a value, or leave the option out".to_owned());
    }
    Ok(text.to_owned())
}

/// Loads the configuration of this process: file, environment, then these flags.
fn load(file: &ConfigFileArgs, flags: Vec<Flag>) -> Result<Loaded, InvalidConfig> {
    let lookup = file.config.clone().map_or(Lookup::Places, Lookup::File);
    config::load(&Request::of_process(lookup, flags))
}

/// Waits for something on a runtime of its own.
fn with_runtime<T>(command: impl Future<Output = T>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        output::complain(&format!("error: no threads can be started: {error}"));
        Exit::Stage
    })?;
    let ended = runtime.block_on(command);
    // What still blocks after the hard stop is left to the system.
    runtime.shutdown_background();
    Ok(ended)
}

/// Sets the log up from the environment alone, for commands that read no config file.
fn install_log() -> Result<(), Exit> {
    let loaded = config::load(&Request::of_process(Lookup::Nothing, Vec::new()));
    let loaded = loaded.map_err(|refused| complain_all(&refused))?;
    logging::install(&loaded.config.log).map_err(|error| {
        output::complain(&format!("error: {error}"));
        exit_of_log(&error)
    })
}

/// A file that cannot be written is not the configuration's fault.
fn exit_of_log(error: &logging::LoggingError) -> Exit {
    match error {
        logging::LoggingError::File { .. } => Exit::Io,
        _ => Exit::Config,
    }
}

/// Says on stderr all that is wrong with the configuration.
fn complain_all(refused: &InvalidConfig) -> Exit {
    for line in lines_of(refused) {
        output::complain(&line);
    }
    output::complain("nothing was started; `ghpulse config reference` explains every key");
    Exit::Config
}

/// Notices and complaints as lines, the gravest last, where the eye is.
fn lines_of(refused: &InvalidConfig) -> Vec<String> {
    let warnings = refused.warnings.iter().map(line_of);
    let errors = refused.errors.iter().map(|error| format!("error: {error}"));
    warnings.chain(errors).collect()
}

fn line_of(warning: &ConfigWarning) -> String {
    let level = match warning.level {
        config::Severity::Warning => "warning",
        config::Severity::Info => "note",
    };
    format!("{level}: {warning}")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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

    /// Every command below, with the words that lead to it.
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
    fn usage_errors_are_told_from_help() {
        for wrong in [vec!["ghpulse", "fly"], vec!["ghpulse", "check", "--offlin"]] {
            assert!(Cli::try_parse_from(wrong).unwrap_err().use_stderr());
        }
        for asked in [vec!["ghpulse", "--help"], vec!["ghpulse", "--version"]] {
            assert!(!Cli::try_parse_from(asked).unwrap_err().use_stderr());
        }
    }
}
