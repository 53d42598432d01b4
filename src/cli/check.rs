//! `ghpulse check`: tests the configuration, the files it names, directories and ports of this
//! machine, the scripts, and each configured server.
//!
//! Everything is tested and reported, even after an error; the last line has the totals. Tokens are
//! tested at GitHub; Pulsar, RabbitMQ and TiDB are logged in to, and TiDB's queries are parsed
//! there without running them; of other servers only the connection is tested, which the output
//! says. Exit codes: 78 an invalid configuration, 74 an unusable directory or port, 69 a server
//! that is unavailable or refuses the login. An invalid script is a warning, because the appliance
//! continues with the last good one.

mod machine;
mod report;

use std::time::Duration;

use clap::Args;

use self::report::{CheckReport, Finding, ServerCheck};
use super::config_file::ConfigFileArgs;
use super::exit::Exit;
use super::output;
use crate::appliance::{
    TriedApp, TriedToken, Unusable, check_amqp, check_app, check_app_key, check_bus,
    check_certificate, check_key_file, check_tokens,
};
use crate::clock::Clock;
use crate::config::{
    self, Config, ConfigError, InvalidConfig, Loaded, PrivacyConfig, Secret, ValueOrigin,
    ValueOrigins,
};
use crate::lists::{self, ListDiagnostic};
use crate::model::privacy::parse_excluded;
use crate::reload;
use crate::tidb;
use crate::{aggregates, script};

/// Time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse check\n  ghpulse check --config /etc/ghpulse.yaml \
                        --offline\n\nExit codes: 78 the configuration is wrong, 74 a directory \
                        or a port cannot be used, 69 a server is away, 0 otherwise.")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Contacts no server; still checks directories and ports of this machine
    #[arg(long)]
    offline: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A configured server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct ConfiguredServer {
    name: &'static str,
    host: String,
    port: u16,
    /// What else is tested.
    deeper: ServerKind,
}

/// Depth of a server's test.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ServerKind {
    /// Only a connection.
    No,
    /// Login and queries.
    Tidb(Box<config::TidbConfig>),
    /// Login and topics; whether this node produces.
    Pulsar(Box<config::PulsarConfig>, bool),
    /// Login and exchange.
    Amqp(Box<config::AmqpConfig>),
}

/// Runs all checks and prints the report.
pub(super) fn check(args: &CheckArgs) -> Exit {
    let report = match look(super::config_file::load(&args.file, Vec::new()), args.offline) {
        Ok(report) => report,
        Err(error) => {
            let reason = format_args!("cannot start the runtime: {error}");
            return output::failed(Exit::Stage, reason);
        }
    };
    let printed =
        if args.json { output::json(&report.json()) } else { output::text(&report.text()) };
    if printed == Exit::Fine { report.exit() } else { printed }
}

/// Runs all checks.
fn look(loaded: Result<Loaded, InvalidConfig>, offline: bool) -> std::io::Result<CheckReport> {
    let (loaded, mut config_errors) = match loaded {
        Ok(loaded) => (loaded, Vec::new()),
        // Uses defaults in place of invalid values, to find further errors.
        Err(InvalidConfig { errors, rest }) => (*rest, errors),
    };
    let Loaded { config, file, warnings: config_warnings, places } = loaded;
    let mut findings = machine::look(&config, &places, &config_errors);
    findings.extend(missing_scripts(&config, &places));
    findings.extend(lists(&config, &places));
    config_errors.extend(bad_files(&config, &places, offline));
    findings.extend(excluded(&config.privacy));
    if config.disable.producer && config.pulsar.is_none() {
        let said = "without pulsar it neither polls GitHub nor receives events";
        findings.push(Finding::warning("disable.producer", "true", said));
    }
    let mut tokens = config.github.tokens.clone();
    if let Some(path) = &config.github.tokens_file
        && let Some(lines) = machine::tokens_of(path)
    {
        let (found, wrong) = of_tokens_file(path, &lines, &places);
        findings.extend(found);
        config_errors.extend(wrong);
        tokens.extend(lines.tokens);
    }
    let servers = servers(&config);
    let mut tried = Vec::new();
    if !offline {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // All at once: four unavailable servers take no longer than one.
        let all = futures_util::future::join_all(servers.iter().map(try_one));
        let known = try_tokens(&config, &tokens);
        let app = try_app(&config);
        let (all, mut known, app) = runtime.block_on(async { tokio::join!(all, known, app) });
        known.extend(app);
        // An unavailable GitHub is reported once, as a server.
        let is_away = all.iter().any(|one| one.server == "github" && one.connected == Some(false));
        findings.extend(known.into_iter().map(|found| match found.exit {
            Some(Exit::Unavailable) if is_away => Finding::note(found.key, found.what, found.said),
            _ => found,
        }));
        tried = all;
    }
    let anonymous = tokens.is_empty() && config.github.app.is_none() && !config.disable.producer;
    let scripts = scripts(&config);
    let servers = tried;
    Ok(CheckReport {
        file,
        config_warnings,
        config_errors,
        scripts,
        findings,
        servers,
        anonymous,
        offline,
    })
}

/// Errors in the lines of a file of tokens.
fn of_tokens_file(
    path: &std::path::Path,
    lines: &config::TokenLines,
    places: &ValueOrigins,
) -> (Vec<Finding>, Vec<ConfigError>) {
    const KEY: &str = "github.tokensFile";
    let place = || places.get(KEY).cloned().unwrap_or(ValueOrigin::Nowhere);
    let path = path.display();
    let wrong = lines.wrong.iter().map(|(line, why)| ConfigError {
        place: place(),
        key: Some(KEY.to_owned()),
        message: format!("{path}:{line} {why}"),
    });
    let placeholder = |line: &usize| {
        Finding::warning(KEY, format!("{path}:{line}"), "a placeholder, not a token; not used")
    };
    let mut findings: Vec<Finding> = lines.placeholders.iter().map(placeholder).collect();
    if lines.tokens.is_empty() && lines.wrong.is_empty() {
        findings.push(Finding::warning(KEY, &path, "contains no token"));
    }
    (findings, wrong.collect())
}

/// Tests the tokens at GitHub, one request each.
async fn try_tokens(config: &Config, tokens: &[Secret]) -> Vec<Finding> {
    const KEY: &str = "github.tokens";
    if config.disable.producer || tokens.is_empty() {
        return Vec::new();
    }
    let tried = check_tokens(&config.github, tokens, Clock::system()).await;
    let all = tokens.len();
    let mut found: Vec<Finding> = tried
        .iter()
        .zip(1..)
        .filter_map(|(tried, n)| {
            let what = format!("token {n} of {all}");
            match tried {
                TriedToken::Accepted => Some(Finding::ok(KEY, what, "GitHub accepts it")),
                TriedToken::Refused(why) => {
                    let said = format!("GitHub refused it ({why}); replace it");
                    Some(Finding::error(KEY, what, said, Exit::Config))
                }
                TriedToken::Unclear(why) => {
                    Some(Finding::warning(KEY, what, format!("not verified: {why}")))
                }
                TriedToken::Away(_) => None,
            }
        })
        .collect();
    let away = tried.iter().find_map(|tried| match tried {
        TriedToken::Away(why) => Some(why),
        _ => None,
    });
    if let Some(why) = away {
        let said = format!("cannot be tried: {why}");
        found.push(Finding::error(KEY, format!("{all} tokens"), said, Exit::Unavailable));
    }
    if tried.len() < all {
        let said = format!("only the first {} were tried", tried.len());
        found.push(Finding::note(KEY, format!("{all} tokens"), said));
    }
    found
}

/// Tests the GitHub App: lists its installations.
async fn try_app(config: &Config) -> Option<Finding> {
    const KEY: &str = "github.app.id";
    let app = config.github.app.as_ref().filter(|_| !config.disable.producer)?;
    let what = format!("GitHub App {}", app.id);
    let found = match check_app(&config.github, Clock::system()).await? {
        TriedApp::Installed(accounts) if accounts.is_empty() => {
            let said = "is installed on no account, so it gives no token: install it, on your own \
                        account for example";
            Finding::warning(KEY, what, said)
        }
        TriedApp::Installed(accounts) => {
            Finding::ok(KEY, what, format!("is installed on {}", accounts.join(", ")))
        }
        TriedApp::Refused(why) => Finding::error(KEY, what, why, Exit::Config),
        TriedApp::Away(why) => {
            Finding::error(KEY, what, format!("cannot be tried: {why}"), Exit::Unavailable)
        }
    };
    Some(found)
}

/// Unusable files that the configuration names. The contents of Pulsar's and RabbitMQ's files are
/// checked here only when the servers are not tested.
fn bad_files(config: &Config, places: &ValueOrigins, offline: bool) -> Vec<ConfigError> {
    type Check = fn(&[u8]) -> Result<(), String>;
    let tls = config.server.tls.as_ref();
    let pulsar = config.pulsar.as_ref();
    let oauth = pulsar.and_then(|pulsar| pulsar.oauth.as_ref());
    let about = |key: &str, message| ConfigError {
        place: places.get(key).cloned().unwrap_or(ValueOrigin::Nowhere),
        key: Some(key.to_owned()),
        message,
    };
    let any: Check = |_| Ok(());
    let pem: Check = reload::check_authorities;
    let (pem_unless_tried, key_unless_tried) =
        if offline { (pem, check_key_file as Check) } else { (any, any) };
    let app = config.github.app.as_ref();
    let named: [(_, _, Check); 8] = [
        ("server.tls.cert", tls.map(|tls| &tls.cert), any),
        ("server.tls.key", tls.map(|tls| &tls.key), any),
        ("github.tokensFile", config.github.tokens_file.as_ref(), any),
        ("github.app.keyFile", app.map(|app| &app.key_file), check_app_key),
        ("pulsar.keypath", oauth.map(|oauth| &oauth.key_file), key_unless_tried),
        ("pulsar.ca", pulsar.and_then(|pulsar| pulsar.ca.as_ref()), pem_unless_tried),
        ("tidb.ca", config.tidb.as_ref().and_then(|tidb| tidb.ca.as_ref()), pem),
        ("amqp.ca", config.amqp.as_ref().and_then(|amqp| amqp.ca.as_ref()), pem_unless_tried),
    ];
    let mut config_errors: Vec<ConfigError> = named
        .into_iter()
        .filter_map(|(key, path, check)| {
            let path = path?;
            let shown = path.display();
            let message = match reload::read(path) {
                Err(why) => format!("{shown} cannot be read: {why}"),
                Ok(bytes) => format!("{shown} cannot be used: {}", check(&bytes).err()?),
            };
            Some(about(key, message))
        })
        .collect();
    if config_errors.iter().all(|one| !one.key.as_deref().is_some_and(|key| key.contains(".tls.")))
        && let Err(why) = check_certificate(&config.server)
    {
        config_errors.push(about("server.tls.cert", why));
    }
    config_errors
}

/// Names the built-in scripts that replace missing files. A configured directory that does not
/// exist may be misspelt.
fn missing_scripts(config: &Config, places: &ValueOrigins) -> Option<Finding> {
    let directory = &config.scripts_dir;
    if !directory.exists() {
        let said = "no such directory: the built-in scripts are in force; `ghpulse script init` \
                    writes them out";
        let is_named = places.contains_key("scripts.dir");
        let finding = if is_named { Finding::warning } else { Finding::note };
        return Some(finding("scripts.dir", directory.display(), said));
    }
    let path = directory.join(script::MERGE_FILE);
    let said = "no such file: the built-in script is in force";
    (!path.exists()).then(|| Finding::note("scripts.dir", path.display(), said))
}

/// Errors in the lists. A configured directory that does not exist may be misspelt.
fn lists(config: &Config, places: &ValueOrigins) -> Vec<Finding> {
    const KEY: &str = "lists.dir";
    let directory = &config.lists.dir;
    if !directory.exists() && places.contains_key(KEY) {
        return vec![Finding::note(KEY, directory.display(), "no such directory: no lists")];
    }
    let wrong = lists::check(directory);
    let place = |error: &ListDiagnostic| match error.line {
        Some(line) => format!("{}:{line}", error.file),
        None => error.file.clone(),
    };
    wrong.into_iter().map(|error| Finding::warning(KEY, place(&error), error.reason)).collect()
}

/// Errors of the file of names that are left out, which need not exist.
fn excluded(privacy: &PrivacyConfig) -> Option<Finding> {
    let path = &privacy.exclude_file;
    let read = path.exists().then(|| reload::read(path))?;
    let why = read.and_then(|text| parse_excluded(&text)).err()?;
    Some(Finding::warning("privacy.excludeFile", path.display(), why))
}

/// Errors of the scripts; one line each.
fn scripts(config: &Config) -> Vec<String> {
    let path = config.scripts_dir.join(script::MERGE_FILE);
    let mut said = Vec::new();
    if path.exists() {
        said.extend(script::check(&path, None).err().map(|error| error.to_string()));
    }
    match aggregates::files(&config.scripts_dir) {
        Ok((files, refused)) => {
            said.extend(refused.iter().map(ToString::to_string));
            let wrong = files.iter().filter_map(|(_, file)| script::check_aggregate(file).err());
            said.extend(wrong.map(|error| error.to_string()));
            said.extend(files.iter().filter_map(|(_, file)| super::script::misspelt(file)));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => said.push(format!("{}: {error}", config.scripts_dir.display())),
    }
    said
}

fn servers(config: &Config) -> Vec<ConfiguredServer> {
    let mut servers = Vec::new();
    let mut add = |name, url: &str, deeper| {
        if let Some((_, host, port)) = config::endpoint(url) {
            servers.push(ConfiguredServer { name, host, port, deeper });
        }
    };
    if !config.disable.producer {
        add("github", &config.github.api_url, ServerKind::No);
    }
    if let Some(pulsar) = &config.pulsar {
        let deeper = ServerKind::Pulsar(Box::new(pulsar.clone()), !config.disable.producer);
        add("pulsar", &pulsar.url, deeper);
    }
    if let Some(amqp) = &config.amqp {
        add("amqp", amqp.url.expose(), ServerKind::Amqp(Box::new(amqp.clone())));
    }
    if let Some(alerts) = &config.alerts {
        add("alerts", alerts.webhook.expose(), ServerKind::No);
    }
    if let Some(tidb) = &config.tidb {
        let (host, port) = (tidb.host.clone(), tidb.port);
        let deeper = ServerKind::Tidb(Box::new(tidb.clone()));
        servers.push(ConfiguredServer { name: "tidb", host, port, deeper });
    }
    servers
}

async fn try_one(server: &ConfiguredServer) -> ServerCheck {
    let (host, port) = (&server.host, server.port);
    let address =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    let mut misconfigured = false;
    let mut told = |found: Unusable| {
        misconfigured = found.is_configuration;
        found.why
    };
    let tried = match (&server.deeper, proxy(server)) {
        (_, Some(variable)) => {
            let said = format!("not tested: {variable} sets a proxy");
            return ServerCheck {
                server: server.name,
                address,
                connected: None,
                said,
                misconfigured,
            };
        }
        (ServerKind::Tidb(tidb), None) => {
            let tried = tidb::check(tidb, tidb::QueryLimits::of(tidb), Clock::system()).await;
            tried.map_err(|wrong| {
                let said: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                said.join("; ")
            })
        }
        (ServerKind::Pulsar(pulsar, produces), None) => {
            check_bus(pulsar, *produces, Clock::system()).await.map_err(&mut told)
        }
        (ServerKind::Amqp(amqp), None) => {
            check_amqp(amqp, Clock::system()).await.map_err(&mut told)
        }
        (ServerKind::No, None) => connect(&server.host, server.port)
            .await
            .map(|()| "accepts connections (nothing else was tested)".to_owned()),
    };
    let connected = Some(tried.is_ok());
    let said = tried.unwrap_or_else(|why| why);
    ServerCheck { server: server.name, address, connected, said, misconfigured }
}

/// Connects and closes the connection.
async fn connect(host: &str, port: u16) -> Result<(), String> {
    let connecting = tokio::net::TcpStream::connect((host, port));
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("cannot be connected to: {error}")),
        Err(_) => Err(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

/// The environment variable that routes requests to GitHub through a proxy, if any.
fn proxy(server: &ConfiguredServer) -> Option<&'static str> {
    let near = matches!(server.host.as_str(), "localhost" | "127.0.0.1" | "::1");
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if near || server.name != "github" { None } else { names.into_iter().find(set) }
}

#[cfg(test)]
mod tests;
