//! Loads the configuration for a command, and reports what is wrong with it.

use std::path::PathBuf;

use clap::Args;

use super::output;
use crate::config::{
    self, Config, ConfigPath, ConfigWarning, Flag, InvalidConfig, Loaded, Request,
};
use crate::logging;
use crate::supervise::Exit;

/// Where the configuration file is.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct ConfigFileArgs {
    /// Configuration file; by default the first of ./config.yaml, ./config/config.yaml,
    /// ../config/config.yaml
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

/// Loads the configuration of this process: file, environment, then these flags.
pub(super) fn load(file: &ConfigFileArgs, flags: Vec<Flag>) -> Result<Loaded, InvalidConfig> {
    config::load(&request(file, flags))
}

/// What [`load`] reads.
pub(super) fn request(file: &ConfigFileArgs, flags: Vec<Flag>) -> Request {
    let lookup = file.config.clone().map_or(ConfigPath::Places, ConfigPath::File);
    Request::of_process(lookup, flags)
}

/// Sets the log up from the environment alone, for commands without a config file.
pub(super) fn install_log() -> Result<(), Exit> {
    let loaded = config::load(&Request::of_process(ConfigPath::Nothing, Vec::new()));
    let loaded = loaded.map_err(|refused| report_all(&refused))?;
    install_log_of(&loaded.config)
}

/// Sets the log up as the configuration says.
pub(super) fn install_log_of(config: &Config) -> Result<(), Exit> {
    logging::install(&config.log).map_err(|error| {
        // An unwritable file is not an error of the configuration.
        let is_file = matches!(error, logging::LoggingError::File { .. });
        output::failed(if is_file { Exit::Io } else { Exit::Config }, error)
    })
}

/// Prints all errors of the configuration to stderr.
pub(super) fn report_all(refused: &InvalidConfig) -> Exit {
    for line in lines_of(refused) {
        output::to_stderr(&line);
    }
    output::to_stderr("not started; `ghpulse config reference` explains every key");
    Exit::Config
}

/// Warnings and errors as lines, the most severe last, where readers look first.
pub(super) fn lines_of(refused: &InvalidConfig) -> Vec<String> {
    let warnings = refused.rest.warnings.iter().map(line_of);
    let errors = refused.errors.iter().map(|error| format!("error: {error}"));
    warnings.chain(errors).collect()
}

pub(super) fn line_of(warning: &ConfigWarning) -> String {
    let level = match warning.level {
        config::Severity::Warning => "warning",
        config::Severity::Info => "note",
    };
    format!("{level}: {warning}")
}
