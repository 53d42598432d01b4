//! `ghpulse check`: configuration, the files it names, the scripts, and whether each configured
//! server can be connected to.
//!
//! Of most servers only the connection is tried, and that is what is said; TiDB is logged in to,
//! and the queries are looked at there without running them. What is wrong with the configuration
//! is 78, a server that is away or does not let us 69; a script that does not hold is a warning,
//! because the appliance goes on with the last good one.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Exit, FileArgs, line_of, lines_of, output};
use crate::appliance::{Unusable, check_amqp, check_bus};
use crate::apply::history;
use crate::apply::{aggregates, script};
use crate::clock::Clock;
use crate::config::{self, Complaint, Config, Loaded, Place, Refused};

/// A server that has not accepted by then is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse check\n  ghpulse check --config /etc/ghpulse.yaml \
                        --offline\n\nExit codes: 78 the configuration is wrong, 69 a server is \
                        away, 0 otherwise.")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Tries no server
    #[arg(long)]
    offline: bool,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// A server of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Server {
    name: &'static str,
    host: String,
    port: u16,
    /// What else is tried with it.
    deeper: Deeper,
}

/// How far a server is tried.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Deeper {
    /// A connection, and no more.
    No,
    /// Login and queries.
    Tidb(Box<config::Tidb>),
    /// Login and topics; whether this node produces.
    Pulsar(Box<config::Pulsar>, bool),
    /// Login and exchange; the name of this node.
    Amqp(Box<config::Amqp>, String),
}

/// What came of trying one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Tried {
    server: &'static str,
    address: String,
    /// Whether it can be used, as far as was tried; `None` when nothing was.
    connected: Option<bool>,
    said: String,
    /// Whether only another configuration helps.
    #[serde(skip)]
    misconfigured: bool,
}

/// Checks and prints.
pub(super) fn check(args: &CheckArgs) -> Exit {
    let loaded = with_files(super::load(&args.file, Vec::new()));
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(refused) => return refuse(&refused, args.json),
    };
    let scripts = scripts(&loaded.config);
    let servers = servers(&loaded.config);
    let tried = if args.offline { Ok(Vec::new()) } else { attempt(&servers) };
    let tried = match tried {
        Ok(tried) => tried,
        Err(error) => {
            output::complain(&format!("error: cannot start the runtime: {error}"));
            return Exit::Stage;
        }
    };
    let away = tried.iter().any(|one| one.connected == Some(false));
    let misconfigured = tried.iter().any(|one| one.misconfigured);
    let printed = if args.json {
        output::json(&json!({
            "config": loaded.file,
            "complaints": [],
            "notices": loaded.notices,
            "scripts": scripts,
            "servers": tried,
        }))
    } else {
        output::text(&report(&loaded, &scripts, &tried, args.offline))
    };
    match printed {
        Exit::Fine if misconfigured => Exit::Config,
        Exit::Fine if away => Exit::Unavailable,
        other => other,
    }
}

fn refuse(refused: &Refused, as_json: bool) -> Exit {
    let scripts = scripts(&refused.rest);
    let printed = if as_json {
        output::json(&json!({
            "config": refused.file,
            "complaints": refused.complaints,
            "notices": refused.notices,
            "scripts": scripts,
        }))
    } else {
        let scripts = scripts.into_iter().map(|line| format!("warning: {line}"));
        output::text(&lines_of(refused).into_iter().chain(scripts).collect::<Vec<_>>().join("\n"))
    };
    if printed == Exit::Fine { Exit::Config } else { printed }
}

/// Adds what is wrong with the files that the configuration names.
fn with_files(loaded: Result<Loaded, Refused>) -> Result<Loaded, Refused> {
    let missing = match &loaded {
        Ok(loaded) => missing_files(&loaded.config, &loaded.places),
        Err(refused) => missing_files(&refused.rest, &refused.places),
    };
    match loaded {
        Ok(loaded) if missing.is_empty() => Ok(loaded),
        Ok(Loaded { config, file, notices, places }) => {
            Err(Refused { file, complaints: missing, notices, rest: Box::new(config), places })
        }
        Err(mut refused) => {
            refused.complaints.extend(missing);
            Err(refused)
        }
    }
}

/// The files that the configuration names and that cannot be used.
fn missing_files(config: &Config, places: &config::Places) -> Vec<Complaint> {
    let tls = config.server.tls.as_ref();
    let pulsar = config.pulsar.as_ref();
    let oauth = pulsar.and_then(|pulsar| pulsar.oauth.as_ref());
    let about = |key: &str, message| Complaint {
        place: places.get(key).cloned().unwrap_or(Place::Nowhere),
        key: Some(key.to_owned()),
        message,
    };
    let named = [
        ("server.tls.cert", tls.map(|tls| &tls.cert)),
        ("server.tls.key", tls.map(|tls| &tls.key)),
        ("github.tokensFile", config.github.tokens_file.as_ref()),
        ("pulsar.keypath", oauth.map(|oauth| &oauth.key_file)),
        ("pulsar.ca", pulsar.and_then(|pulsar| pulsar.ca.as_ref())),
        ("tidb.ca", config.tidb.as_ref().and_then(|tidb| tidb.ca.as_ref())),
        ("amqp.ca", config.amqp.as_ref().and_then(|amqp| amqp.ca.as_ref())),
    ];
    let mut complaints: Vec<Complaint> = named
        .into_iter()
        .filter_map(|(key, path)| {
            let path = path?;
            let error = std::fs::File::open(path).err()?;
            Some(about(key, format!("{} cannot be read: {error}", path.display())))
        })
        .collect();
    if config.data_dir.is_file() {
        let path = config.data_dir.display();
        complaints.push(about("data.dir", format!("{path} is a file; name a directory")));
    }
    complaints
}

/// What is wrong with the scripts; one line each.
fn scripts(config: &Config) -> Vec<String> {
    // Without a directory the built-in ones are in force, and those hold.
    if script::has_no_directory(&config.scripts_dir) {
        return Vec::new();
    }
    let path = config.scripts_dir.join("merge_latest.rhai");
    let mut said = Vec::new();
    if path.exists() {
        said.extend(script::check(&path, None).err().map(|complaint| complaint.to_string()));
    } else {
        let path = path.display();
        said.push(format!("{path}: not there, so the native sum is used"));
    }
    match aggregates::files(&config.scripts_dir) {
        Ok((files, refused)) => {
            said.extend(refused.iter().map(ToString::to_string));
            let wrong = files.iter().filter_map(|(_, file)| script::check_aggregate(file).err());
            said.extend(wrong.map(|complaint| complaint.to_string()));
        }
        // Then the merge script is not there either, and that is said.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => said.push(format!("{}: {error}", config.scripts_dir.display())),
    }
    said
}

fn servers(config: &Config) -> Vec<Server> {
    let mut servers = Vec::new();
    let mut add = |name, url: &str, deeper| {
        if let Some((_, host, port)) = config::endpoint(url) {
            servers.push(Server { name, host, port, deeper });
        }
    };
    if !config.disable.producer {
        add("github", &config.github.api_url, Deeper::No);
    }
    if let Some(pulsar) = &config.pulsar {
        let deeper = Deeper::Pulsar(Box::new(pulsar.clone()), !config.disable.producer);
        add("pulsar", &pulsar.url, deeper);
    }
    if let Some(amqp) = &config.amqp {
        let deeper = Deeper::Amqp(Box::new(amqp.clone()), config.node_name.clone());
        add("amqp", amqp.url.expose(), deeper);
    }
    if let Some(tidb) = &config.tidb {
        let (host, port) = (tidb.host.clone(), tidb.port);
        let deeper = Deeper::Tidb(Box::new(tidb.clone()));
        servers.push(Server { name: "tidb", host, port, deeper });
    }
    servers
}

fn attempt(servers: &[Server]) -> std::io::Result<Vec<Tried>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // All at once: four servers that are away take no longer than one.
    Ok(runtime.block_on(futures_util::future::join_all(servers.iter().map(try_one))))
}

async fn try_one(server: &Server) -> Tried {
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
            let said = format!("not tried: {variable} names a proxy on the way");
            return Tried { server: server.name, address, connected: None, said, misconfigured };
        }
        (Deeper::Tidb(tidb), None) => {
            let tried = history::check(tidb, history::Limits::of(tidb), Clock::system()).await;
            tried.map_err(|wrong| {
                let said: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                said.join("; ")
            })
        }
        (Deeper::Pulsar(pulsar, produces), None) => {
            check_bus(pulsar, *produces, Clock::system()).await.map_err(&mut told)
        }
        (Deeper::Amqp(amqp, node), None) => {
            check_amqp(amqp, node, Clock::system()).await.map_err(&mut told)
        }
        (Deeper::No, None) => connect(&server.host, server.port)
            .await
            .map(|()| "takes connections (nothing else was tried)".to_owned()),
    };
    let connected = Some(tried.is_ok());
    let said = tried.unwrap_or_else(|why| why);
    Tried { server: server.name, address, connected, said, misconfigured }
}

/// Connects and hangs up.
async fn connect(host: &str, port: u16) -> Result<(), String> {
    let connecting = tokio::net::TcpStream::connect((host, port));
    match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(format!("cannot be connected to: {error}")),
        Err(_) => Err(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())),
    }
}

/// The variable that sends requests to GitHub through a proxy, if one does.
fn proxy(server: &Server) -> Option<&'static str> {
    let near = matches!(server.host.as_str(), "localhost" | "127.0.0.1" | "::1");
    let names = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];
    let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    if near || server.name != "github" { None } else { names.into_iter().find(set) }
}

fn report(loaded: &Loaded, scripts: &[String], tried: &[Tried], offline: bool) -> String {
    let file = match &loaded.file {
        Some(path) => path.display().to_string(),
        None => format!("none; looked for {}", config::PLACES.join(", ")),
    };
    let mut lines = vec![format!("config: {file}")];
    lines.extend(loaded.notices.iter().map(line_of));
    lines.extend(scripts.iter().map(|said| format!("warning: {said}")));
    for one in tried {
        let word = match one.connected {
            Some(true) => "ok",
            Some(false) => "error",
            None => "note",
        };
        lines.push(format!("{word}: {} at {}: {}", one.server, one.address, one.said));
    }
    if loaded.config.github.tokens.is_empty() && loaded.config.github.tokens_file.is_none() {
        let said = "note: no GitHub token: follows anonymously, within 60 requests an hour";
        lines.push(said.to_owned());
    }
    if offline {
        lines.push("note: --offline: no server was tried".to_owned());
    }
    lines.push("the configuration holds".to_owned());
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> Loaded {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let request = config::Request {
            lookup: config::Lookup::File(path),
            directory: directory.path().to_owned(),
            environment: Vec::new(),
            flags: Vec::new(),
            host: "box".to_owned(),
        };
        config::load(&request).unwrap()
    }

    #[test]
    fn each_configured_server_is_tried_at_its_own_port() {
        let text = "pulsar: {env: dev, devHost: 'pulsar://q', producer: {topic: t}}\n\
                    amqp: {url: 'amqps://u:p@rabbit/'}\ntidb: {host: db, db: x}\n";
        let found: Vec<_> = servers(&loaded(text).config)
            .into_iter()
            .map(|server| format!("{} {}:{}", server.name, server.host, server.port))
            .collect();
        let expected =
            ["github api.github.com:443", "pulsar q:6650", "amqp rabbit:5671", "tidb db:4000"];
        assert_eq!(found, expected);
        assert!(servers(&loaded("disable: {producer: true}").config).is_empty());
    }

    #[test]
    fn a_server_that_listens_is_there_and_one_that_does_not_is_away() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let host = || "127.0.0.1".to_owned();
        let server = |port| Server { name: "github", host: host(), port, deeper: Deeper::No };
        assert_eq!(attempt(&[server(port)]).unwrap()[0].connected, Some(true));
        drop(listener);
        let away = attempt(&[server(port)]).unwrap();
        assert_eq!(away[0].connected, Some(false));
        assert!(away[0].said.contains("refused"), "{}", away[0].said);
    }

    #[test]
    fn files_that_cannot_be_read_are_named_with_their_key() {
        let loaded = loaded("server: {port: 8700}\ngithub: {tokensFile: /nowhere/tokens}");
        let said = with_files(Ok(loaded)).unwrap_err().complaints[0].to_string();
        let expected = "config.yaml:2: github.tokensFile: /nowhere/tokens cannot be read";
        assert!(said.contains(expected), "{said}");
    }

    #[test]
    fn a_script_that_does_not_hold_is_a_warning_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let mut config = loaded("").config;
        config.scripts_dir = directory.path().to_owned();
        assert!(scripts(&config)[0].contains("not there"));
        let path = directory.path().join("merge_latest.rhai");
        std::fs::write(&path, "fn merge(window) {\n  totl\n}").unwrap();
        assert!(scripts(&config)[0].contains("merge_latest.rhai:2:"), "{:?}", scripts(&config));
        std::fs::write(&path, script::SHIPPED).unwrap();
        assert!(scripts(&config).is_empty());
        std::fs::write(directory.path().join("stars.rhai"), script::SHIPPED).unwrap();
        let said = scripts(&config);
        assert!(said[0].contains("stars.rhai:1:1: there is no function config"), "{said:?}");
    }

    #[test]
    fn the_report_names_file_and_warnings() {
        let loaded = loaded("server: {port: 6000}");
        let text = report(&loaded, &["x.rhai: line 1".to_owned()], &[], true);
        for part in ["config.yaml\n", "warning: ", "6000", "x.rhai: line 1", "--offline"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}
