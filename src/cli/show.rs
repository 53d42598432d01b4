//! `ghpulse config default | reference | env`: the table of keys in three forms.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output;
use crate::config;
use crate::supervise::Exit;

/// Arguments of `config`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ghpulse config default > config.yaml")]
pub(super) struct ConfigArgs {
    #[command(subcommand)]
    form: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Prints a commented config file with every key and its default
    #[command(after_help = "Example:\n  ghpulse config default > config.yaml")]
    Default(PrintArgs),
    /// Prints every key with its accepted values and meaning, as Markdown
    #[command(after_help = "Example:\n  ghpulse config reference | less")]
    Reference(PrintArgs),
    /// Prints the environment variables and the keys that they set
    #[command(after_help = "Example:\n  GHPULSE_SERVER_PORT=8700 ghpulse check\n  \
                            ghpulse config env | grep TOKENS")]
    Env(PrintArgs),
}

#[derive(Debug, Args)]
struct PrintArgs {
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Prints one of the forms.
pub(super) fn show(args: &ConfigArgs) -> Exit {
    match &args.form {
        ConfigCommand::Default(form) if form.json => output::json(&config::defaults_json()),
        ConfigCommand::Default(_) => output::text(&config::default_file()),
        ConfigCommand::Reference(form) if form.json => output::json(&config::reference_json()),
        ConfigCommand::Reference(_) => output::text(&config::reference()),
        ConfigCommand::Env(form) if form.json => {
            let row = |(name, key): (String, &str)| json!({ "variable": name, "key": key });
            output::json(&config::variables().into_iter().map(row).collect::<Vec<Value>>())
        }
        ConfigCommand::Env(_) => {
            let names = config::variables();
            let width = names.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
            let rows = names.iter().map(|(name, key)| format!("{name:width$}  {key}\n"));
            output::text(&rows.collect::<String>())
        }
    }
}
