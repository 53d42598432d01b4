//! Loads the configuration: written layers -> checked -> typed.
//!
//! [`load`] lays the config file, the environment (`GHPULSE_*`) and the flags over the defaults,
//! checks everything before a port is bound, and returns either a complete [`Config`] or all errors
//! at once, each with its location and key. Everything is generated from one row per key (`keys`):
//! the fields of [`Config`] and their documentation, the parser, the defaults, `config default`,
//! `config reference` and `config env`. A config file of the peer loads unchanged: keys match
//! without regard to case and keep its units; sections without a counterpart here cause one warning
//! each. Errors, warnings and debug output never contain a secret.
//!
//! Only [`Request::of_process`] reads the process environment, so that tests can pass any.

mod check;
mod diagnostic;
mod endpoint;
mod impossible;
mod joined;
mod keys;
mod layers;
mod nearest;
mod peer;
mod raw;
mod reference;
mod secret;
mod sections;
mod table;
mod tokens;
mod typed;
mod units;
mod value;
mod values;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

pub use self::endpoint::endpoint;
pub use diagnostic::{ConfigError, ConfigWarning, Severity, ValueOrigin};
pub use reference::{default_file, defaults_json, reference, reference_json, variables};
pub use secret::Secret;
pub use sections::{
    AlertsConfig, AuditConfig, BackupConfig, Config, DisableConfig, EnrichConfig, GitHubAppConfig,
    GitHubConfig, IntervalConfig, ListsConfig, LogConfig, PrivacyConfig, ServerConfig,
    ServerLimits, StoreConfig, TidbConfig, TlsConfig,
};
pub use table::{ConfigKey, KEYS, OTHER_VARIABLES, PREFIX, ValueKind};
pub use tokens::{TokenLines, read_tokens};
pub use typed::{
    AlertFormat, AmqpConfig, Compression, Durability, HashEmails, HourFormat, LogFormat, Network,
    OAuthConfig, PulsarConfig,
};
pub use units::{BareUnit, duration, moment, show_bytes, show_duration};

use crate::private;

/// Where a config file is searched without `--config`, in this order, relative to the working
/// directory.
pub const PLACES: &[&str] = &["config.yaml", "config/config.yaml", "../config/config.yaml"];

/// The largest config file, bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// The config file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfigPath {
    /// This file; it must exist.
    File(PathBuf),
    /// The first of [`PLACES`] that exists, or none.
    Places,
    /// None.
    Nothing,
}

/// A command line flag that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its name with dashes, for errors.
    pub name: &'static str,
    /// The key that it sets; must be in the table.
    pub key: &'static str,
    /// The value as written.
    pub value: String,
}

/// The inputs of a configuration.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which file.
    pub lookup: ConfigPath,
    /// Directory for relative paths of the search.
    pub directory: PathBuf,
    /// All environment variables; those without the prefix are ignored.
    pub environment: Vec<(String, String)>,
    /// Flags, in order.
    pub flags: Vec<Flag>,
    /// Host name, for `node.name`.
    pub host: String,
}

impl Request {
    /// Only these environment variables, on a host called `ghpulse`.
    #[must_use]
    pub fn of_variables(environment: Vec<(String, String)>) -> Self {
        let (lookup, directory, host) = (ConfigPath::Nothing, ".".into(), "ghpulse".to_owned());
        Self { lookup, directory, environment, flags: Vec::new(), host }
    }

    /// The inputs of this process.
    #[must_use]
    pub fn of_process(lookup: ConfigPath, flags: Vec<Flag>) -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect();
        let of_variables = Self::of_variables(environment);
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = match host.trim() {
            "" => of_variables.host,
            name => name.to_owned(),
        };
        Self { lookup, flags, host, ..of_variables }
    }
}

/// A valid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// Warnings for the log.
    pub warnings: Vec<ConfigWarning>,
    /// Where each key was written; without keys that have their default.
    pub places: ValueOrigins,
}

/// Where keys were written, by key.
pub type ValueOrigins = BTreeMap<&'static str, ValueOrigin>;

/// An invalid configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct InvalidConfig {
    /// All errors; at least one.
    pub errors: Vec<ConfigError>,
    /// The configuration with defaults in place of invalid values: to look for more errors, not to
    /// run.
    pub rest: Box<Loaded>,
}

/// Loads a configuration from defaults, file, environment and flags; later ones win.
pub fn load(request: &Request) -> Result<Loaded, InvalidConfig> {
    let mut layers = layers::Layers::default();
    let file = locate(request);
    if let Some(path) = &file {
        match read(&request.directory, path) {
            Ok(text) => layers.file(path, &text),
            Err(message) => {
                let place = ValueOrigin::File { file: path.clone(), line: None };
                layers.errors.push(ConfigError::whole(place, message));
            }
        }
    }
    layers.environment(&request.environment);
    for flag in &request.flags {
        layers.flag(flag.name, flag.key, &flag.value);
    }
    let mut values = values::Values::new(layers);
    let config = check::build(&mut values, &request.host);
    let layers::Layers { given, errors, warnings, .. } = values.end();
    let places = given.into_iter().map(|(key, given)| (key, given.place)).collect();
    let loaded = Loaded { config, file, warnings, places };
    if errors.is_empty() { Ok(loaded) } else { Err(InvalidConfig { errors, rest: loaded.into() }) }
}

/// The configuration without a file, variables or flags.
#[must_use]
pub fn defaults() -> Config {
    let loaded = load(&Request::of_variables(Vec::new()));
    loaded.expect("a test loads the defaults").config
}

fn locate(request: &Request) -> Option<PathBuf> {
    match &request.lookup {
        ConfigPath::File(path) => Some(path.clone()),
        ConfigPath::Places => {
            let mut places = PLACES.iter().map(PathBuf::from);
            places.find(|place| request.directory.join(place).exists())
        }
        ConfigPath::Nothing => None,
    }
}

fn read(directory: &Path, path: &Path) -> Result<String, String> {
    let path = directory.join(path);
    let unreadable =
        |error: std::io::Error| format!("cannot be read: {error}{}", private::reading_cure(&error));
    let too_large = || format!("larger than {}, the limit", show_bytes(LARGEST_FILE));
    let about = std::fs::metadata(&path).map_err(unreadable)?;
    if about.is_dir() {
        return Err("is a directory; name a file in it".to_owned());
    }
    if about.len() > LARGEST_FILE {
        return Err(too_large());
    }
    // A device has no length, and may have no end.
    let file = std::fs::File::open(&path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(too_large());
    }
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text; save it as UTF-8".to_owned())
}

#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod tests;
