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
mod runner;

use std::time::Duration;

use clap::Args;
use futures_util::future::{LocalBoxFuture, join_all};
use tokio::net::TcpStream;

use self::report::{CheckReport, Finding, ServerCheck};
use super::output;
use super::run::{self, RunArgs};
use crate::appliance::{
    AppError, TokenCheck, Unusable, check_amqp, check_app, check_app_key, check_bus,
    check_certificate, check_key_file, check_tokens,
};
use crate::clock::Clock;
use crate::config::{
    self, Config, ConfigError, InvalidConfig, Loaded, PrivacyConfig, Secret, TidbConfig,
    ValueOrigin, ValueOrigins,
};
use crate::http::HttpError;
use crate::lists::{self, ListDiagnostic};
use crate::model::privacy::parse_excluded;
use crate::reload;
use crate::supervise::Exit;
use crate::tidb;
use crate::{aggregates, script};

/// Time limit for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse check\n  ghpulse check --config /etc/ghpulse.yaml \
                        --offline\n  ghpulse check --data /srv/ghpulse --listen :8700\n\nExit codes: 78 the configuration is wrong, 74 a directory \
                        or a port cannot be used, 69 a server is away, 0 otherwise.")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    run: RunArgs,
    /// Contacts no server; still checks directories and ports of this machine
    #[arg(long)]
    offline: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A configured server.
struct ConfiguredServer<'a> {
    name: &'static str,
    host: String,
    port: u16,
    /// Its test, which says what was found or what is wrong.
    test: LocalBoxFuture<'a, Result<String, Unusable>>,
}

/// Runs all checks and prints the report.
pub(super) fn check(args: &CheckArgs) -> Exit {
    let report = match look(config::load(&run::request(&args.run)), args.offline) {
        Ok(report) => report,
        Err(error) => {
            let reason = format_args!("cannot start the runtime: {error}");
            return output::failed(Exit::Stage, reason);
        }
    };
    let printed = output::result(args.json, &report.json(), || report.text());
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
    findings.push(excluded(&config.privacy));
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
    let mut servers = Vec::new();
    if !offline {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // All at once: four unavailable servers take no longer than one.
        let all = join_all(self::servers(&config).into_iter().map(try_one));
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
        servers = all;
    }
    let anonymous = tokens.is_empty() && config.github.app.is_none() && !config.disable.producer;
    let scripts = scripts(&config);
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

/// Where a key was written.
fn place_of(places: &ValueOrigins, key: &str) -> ValueOrigin {
    places.get(key).cloned().unwrap_or(ValueOrigin::Nowhere)
}

/// Errors in the lines of a file of tokens.
fn of_tokens_file(
    path: &std::path::Path,
    lines: &config::TokenLines,
    places: &ValueOrigins,
) -> (Vec<Finding>, Vec<ConfigError>) {
    const KEY: &str = "github.tokensFile";
    let path = path.display();
    let wrong = lines.wrong.iter().map(|(line, why)| {
        ConfigError::new(place_of(places, KEY), KEY, format!("{path}:{line} {why}"))
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
    let all = tokens.len();
    let unsent = |why: &HttpError| {
        let said = format!("cannot be tried: {why}");
        Finding::error(KEY, format!("{all} tokens"), said, Exit::Unavailable)
    };
    let tried = match check_tokens(&config.github, tokens, Clock::system()).await {
        Ok(tried) => tried,
        Err(error) => return vec![unsent(&error)],
    };
    let (mut found, mut away) = (Vec::new(), None);
    for (n, tried) in (1..).zip(&tried) {
        let what = format!("token {n} of {all}");
        found.push(match tried {
            TokenCheck::Accepted => Finding::ok(KEY, what, "GitHub accepts it"),
            TokenCheck::Refused(why) => {
                let said = format!("GitHub refused it ({why}); replace it");
                Finding::error(KEY, what, said, Exit::Config)
            }
            TokenCheck::Limited => {
                let said = "not verified: its account has no request left this hour";
                Finding::warning(KEY, what, said)
            }
            TokenCheck::Unclear(status) => {
                let said =
                    format!("not verified: GitHub answers {status} to the question whose it is");
                Finding::warning(KEY, what, said)
            }
            TokenCheck::Away(error) => {
                away.get_or_insert(error);
                continue;
            }
        });
    }
    found.extend(away.map(unsent));
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
    Some(match check_app(&config.github, app, Clock::system()).await {
        Ok(installed) if installed.is_empty() => {
            let said = "is installed on no account, so it gives no token: install it, on your own \
                        account for example";
            Finding::warning(KEY, what, said)
        }
        Ok(installed) => {
            let accounts: Vec<_> = installed.into_iter().map(|one| one.account).collect();
            Finding::ok(KEY, what, format!("is installed on {}", accounts.join(", ")))
        }
        Err(error @ (AppError::Key { .. } | AppError::KeyRefused { .. })) => {
            Finding::error(KEY, what, error.to_string(), Exit::Config)
        }
        Err(error) => {
            Finding::error(KEY, what, format!("cannot be tried: {error}"), Exit::Unavailable)
        }
    })
}

/// Unusable files that the configuration names. The contents of Pulsar's and RabbitMQ's files are
/// checked here only when the servers are not tested.
fn bad_files(config: &Config, places: &ValueOrigins, offline: bool) -> Vec<ConfigError> {
    type Check = fn(&[u8]) -> Result<(), String>;
    let tls = config.server.tls.as_ref();
    let pulsar = config.pulsar.as_ref();
    let oauth = pulsar.and_then(|pulsar| pulsar.oauth.as_ref());
    let about = |key: &str, message: String| ConfigError::new(place_of(places, key), key, message);
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

/// Whom the file of names that are left out names; it need not exist.
fn excluded(privacy: &PrivacyConfig) -> Finding {
    const KEY: &str = "privacy.excludeFile";
    let path = &privacy.exclude_file;
    if !path.exists() {
        let said = "does not exist, so it leaves nobody out (if it was removed, ghpulse leaves out \
                    its last names until an empty file takes its place)";
        return Finding::note(KEY, path.display(), said);
    }
    match reload::read(path).and_then(|text| parse_excluded(&text)) {
        Ok(names) => Finding::ok(KEY, path.display(), format!("leaves out {} names", names.len())),
        Err(why) => Finding::warning(KEY, path.display(), why),
    }
}

/// Errors of the scripts; one line each.
fn scripts(config: &Config) -> Vec<String> {
    let path = config.scripts_dir.join(script::MERGE_FILE);
    let mut said = Vec::new();
    if path.exists() {
        said.extend(script::check(None, &path, None).err().map(|error| error.to_string()));
    }
    match aggregates::files(&config.scripts_dir) {
        Ok((files, refused)) => {
            said.extend(refused.iter().map(ToString::to_string));
            let kind = Some(script::ScriptKind::Aggregate);
            let wrong = files.iter().filter_map(|(_, file)| script::check(kind, file, None).err());
            said.extend(wrong.map(|error| error.to_string()));
            said.extend(files.iter().filter_map(|(_, file)| super::script::misspelt(file)));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => said.push(format!("{}: {error}", config.scripts_dir.display())),
    }
    said
}

fn servers<'a>(config: &'a Config) -> Vec<ConfiguredServer<'a>> {
    let (clock, produces) = (Clock::system(), !config.disable.producer);
    let mut servers = Vec::new();
    let mut add = |name, url: &str, test: Option<LocalBoxFuture<'a, _>>| {
        if let Some((_, host, port)) = config::endpoint(url) {
            let test = test.unwrap_or_else(|| Box::pin(connect(host.clone(), port)));
            servers.push(ConfiguredServer { name, host, port, test });
        }
    };
    if produces {
        add("github", &config.github.api_url, None);
    }
    if let Some(pulsar) = &config.pulsar {
        add("pulsar", &pulsar.url, Some(Box::pin(check_bus(pulsar, produces, clock))));
    }
    if let Some(amqp) = &config.amqp {
        add("amqp", amqp.url.expose(), Some(Box::pin(check_amqp(amqp, clock))));
    }
    if let Some(alerts) = &config.alerts {
        add("alerts", alerts.webhook.expose(), None);
    }
    if let Some(tidb) = &config.tidb {
        let test = Box::pin(check_tidb(tidb, clock));
        let (host, port) = (tidb.host.clone(), tidb.port);
        servers.push(ConfiguredServer { name: "tidb", host, port, test });
    }
    servers
}

async fn try_one(server: ConfiguredServer<'_>) -> ServerCheck {
    let ConfiguredServer { name, host, port, test } = server;
    let (connected, said, misconfigured) = match proxy(name, &host) {
        Some(variable) => (None, format!("not tested: {variable} sets a proxy"), false),
        None => match test.await {
            Ok(said) => (Some(true), said, false),
            Err(Unusable { why, is_configuration }) => (Some(false), why, is_configuration),
        },
    };
    let address =
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    ServerCheck { server: name, address, connected, said, misconfigured }
}

/// Logs in to TiDB, and has it parse the queries.
async fn check_tidb(tidb: &TidbConfig, clock: Clock) -> Result<String, Unusable> {
    tidb::check(tidb, tidb::QueryLimits::of(tidb), clock).await.map_err(|wrong| {
        let said: Vec<String> = wrong.iter().map(ToString::to_string).collect();
        Unusable { why: said.join("; "), is_configuration: false }
    })
}

/// Connects and closes the connection.
async fn connect(host: String, port: u16) -> Result<String, Unusable> {
    let connecting = TcpStream::connect((host.as_str(), port));
    let why = match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(_)) => return Ok("accepts connections (nothing else was tested)".to_owned()),
        Ok(Err(error)) => format!("cannot be connected to: {error}"),
        Err(_) => format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
    };
    Err(Unusable { why, is_configuration: false })
}

/// The environment variable that routes requests to GitHub through a proxy, if any.
fn proxy(server: &str, host: &str) -> Option<&'static str> {
    let near = matches!(host, "localhost" | "127.0.0.1" | "::1");
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if near || server != "github" { None } else { names.into_iter().find(set) }
}

#[cfg(test)]
mod tests;
