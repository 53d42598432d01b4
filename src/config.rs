//! The configuration: as written -> checked -> typed.
//!
//! [`load`] lays the config file, the environment (`GHPULSE_*`) and the flags over the defaults,
//! checks all of it before a port is bound, and gives either a whole [`Config`] or every complaint
//! at once, each with its place and key. Everything is made from one row per key (`keys`): the
//! fields of [`Config`] and their documentation, the parser, the defaults, `config default`,
//! `config reference` and `config env`. A config file of the peer
//! loads unchanged: keys match without regard to case and keep its units; what has no counterpart
//! here gets one notice. No secret is ever in a complaint, a notice or a debug print.
//!
//! The process environment is read by [`Request::of_process`] alone, so tests pass what they like.

mod check;
mod diagnostic;
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
use std::path::{Path, PathBuf};

pub use diagnostic::{ConfigError, ConfigWarning, Severity, ValueOrigin};
pub use reference::{default_file, defaults_json, reference, reference_json, variables};
pub use secret::Secret;
pub use sections::{
    Config, DisableConfig, EnrichConfig, GitHubConfig, IntervalConfig, LogConfig, ServerConfig,
    ServerLimits, StoreConfig,
};
pub use table::{ConfigKey, KEYS, OTHER_VARIABLES, PREFIX, ValueKind};
pub use tokens::{TokenLines, read_tokens};
pub use typed::{
    AlertFormat, AlertsConfig, AmqpConfig, BackupConfig, Compression, LogFormat, Network,
    OAuthConfig, PulsarConfig, StoreSync, TidbConfig, TlsConfig,
};
pub use units::{Bare, duration, moment, show_bytes, show_duration};

/// Where a config file is looked for without `--config`, first found first, from the working
/// directory.
pub const PLACES: &[&str] = &["config.yaml", "config/config.yaml", "../config/config.yaml"];

/// Largest config file, bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// Which file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lookup {
    /// This one; it must be there.
    File(PathBuf),
    /// The first of [`PLACES`] that is there, or none.
    Places,
    /// None.
    Nothing,
}

/// One flag of the command line that sets a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its name with dashes, for complaints.
    pub name: &'static str,
    /// The key that it sets; must be one of the table.
    pub key: &'static str,
    /// The value as written.
    pub value: String,
}

/// Everything that a configuration is made from.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which file.
    pub lookup: Lookup,
    /// Where relative places are looked for.
    pub directory: PathBuf,
    /// All environment variables; those without our prefix are passed over.
    pub environment: Vec<(String, String)>,
    /// Flags, in order.
    pub flags: Vec<Flag>,
    /// Host name, for `node.name`.
    pub host: String,
}

impl Request {
    /// What this process was started with.
    #[must_use]
    pub fn of_process(lookup: Lookup, flags: Vec<Flag>) -> Self {
        let environment = std::env::vars_os()
            .map(|(name, value)| {
                (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
            })
            .collect();
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = match host.trim() {
            "" => "ghpulse".to_owned(),
            name => name.to_owned(),
        };
        Self { lookup, directory: PathBuf::from("."), environment, flags, host }
    }
}

/// A configuration that holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// What is worth a log line.
    pub warnings: Vec<ConfigWarning>,
    /// Where each key was written; not those that have their default.
    pub places: ValueOrigins,
}

/// Where keys were written, by their names.
pub type ValueOrigins = BTreeMap<&'static str, ValueOrigin>;

/// A configuration that does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct InvalidConfig {
    /// The file that was read.
    pub file: Option<PathBuf>,
    /// All that is wrong; at least one.
    pub errors: Vec<ConfigError>,
    /// What would be worth a log line besides.
    pub warnings: Vec<ConfigWarning>,
    /// What it would be with the defaults in place of what is wrong: to look for more, not to run.
    pub rest: Box<Config>,
    /// Where each key was written that is accepted.
    pub places: ValueOrigins,
}

/// Makes a configuration from defaults, file, environment and flags; later ones win.
pub fn load(request: &Request) -> Result<Loaded, InvalidConfig> {
    let mut layers = layers::Layers::default();
    let file = locate(request);
    if let Some(path) = &file {
        match read(&request.directory, path) {
            Ok(text) => layers.file(path, &text),
            Err(message) => {
                let place = ValueOrigin::File(path.clone(), None);
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
    if errors.is_empty() {
        return Ok(Loaded { config, file, warnings, places });
    }
    Err(InvalidConfig { file, errors, warnings, rest: Box::new(config), places })
}

/// Scheme, host and port of a configured URL; the port is the scheme's own when none is written.
#[must_use]
pub fn endpoint(url: &str) -> Option<(String, String, u16)> {
    value::endpoint(url)
}

fn locate(request: &Request) -> Option<PathBuf> {
    match &request.lookup {
        Lookup::File(path) => Some(path.clone()),
        Lookup::Places => {
            let mut places = PLACES.iter().map(PathBuf::from);
            places.find(|place| request.directory.join(place).exists())
        }
        Lookup::Nothing => None,
    }
}

fn read(directory: &Path, path: &Path) -> Result<String, String> {
    let path = directory.join(path);
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let about = std::fs::metadata(&path).map_err(unreadable)?;
    if about.is_dir() {
        return Err("cannot be read: it is a directory; name the file in it".to_owned());
    }
    if about.len() > LARGEST_FILE {
        return Err(format!("larger than {}: no configuration", show_bytes(LARGEST_FILE)));
    }
    let bytes = std::fs::read(&path).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|_| "not UTF-8 text; save it as UTF-8".to_owned())
}

#[cfg(test)]
mod peer_tests;
#[cfg(test)]
mod tests;
