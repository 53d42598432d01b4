//! `ghpulse check`: configuration, the files it names, the scripts, and whether each configured
//! server can be connected to.
//!
//! Of most servers only the connection is tried, and that is what is said; TiDB is logged in to,
//! and both queries are looked at there without running them. What is wrong with the configuration
//! is 78, a server that is away or does not let us 69; a script that does not hold is a warning,
//! because the appliance goes on with the last good one.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Exit, FileArgs, line_of, lines_of, output};
use crate::appliance::check_bus;
use crate::apply::history;
use crate::apply::script;
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
}

/// What came of trying one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Tried {
    server: &'static str,
    address: String,
    /// Whether it can be used, as far as was tried; `None` when nothing was.
    connected: Option<bool>,
    said: String,
}

/// Checks and prints.
pub(super) fn check(args: &CheckArgs) -> Exit {
    let loaded = super::load(&args.file, Vec::new()).and_then(with_files);
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
        Exit::Fine if away => Exit::Unavailable,
        other => other,
    }
}

fn refuse(refused: &Refused, as_json: bool) -> Exit {
    let printed = if as_json {
        output::json(&json!({
            "config": refused.file,
            "complaints": refused.complaints,
            "notices": refused.notices,
        }))
    } else {
        output::text(&lines_of(refused).join("\n"))
    };
    if printed == Exit::Fine { Exit::Config } else { printed }
}

/// Adds what is wrong with the files that the configuration names.
fn with_files(loaded: Loaded) -> Result<Loaded, Refused> {
    let config = &loaded.config;
    let tls = config.server.tls.as_ref();
    let pulsar = config.pulsar.as_ref();
    let oauth = pulsar.and_then(|pulsar| pulsar.oauth.as_ref());
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
    if complaints.is_empty() {
        return Ok(loaded);
    }
    Err(Refused { file: loaded.file, complaints, notices: loaded.notices })
}

fn about(key: &str, message: String) -> Complaint {
    Complaint { place: Place::Nowhere, key: Some(key.to_owned()), message }
}

/// What is wrong with the scripts; one line each.
fn scripts(config: &Config) -> Vec<String> {
    let path = config.scripts_dir.join("merge_latest.rhai");
    if !path.exists() {
        let path = path.display();
        return vec![format!("{path}: not there, so the native sum is used")];
    }
    script::check(&path, None).err().map(|complaint| complaint.to_string()).into_iter().collect()
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
        add("amqp", amqp.url.expose(), Deeper::No);
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
    let address = format!("{}:{}", server.host, server.port);
    let tried = match (&server.deeper, proxy(server)) {
        (_, Some(variable)) => {
            let said = format!("not tried: {variable} names a proxy on the way");
            return Tried { server: server.name, address, connected: None, said };
        }
        (Deeper::Tidb(tidb), None) => {
            let tried = history::check(tidb, history::Limits::USUAL, Clock::system()).await;
            tried.map_err(|wrong| {
                let said: Vec<String> = wrong.iter().map(ToString::to_string).collect();
                said.join("; ")
            })
        }
        (Deeper::Pulsar(pulsar, produces), None) => {
            check_bus(pulsar, *produces, Clock::system()).await
        }
        (Deeper::No, None) => connect(&server.host, server.port)
            .await
            .map(|()| "takes connections (nothing else was tried)".to_owned()),
    };
    let connected = Some(tried.is_ok());
    let said = tried.unwrap_or_else(|why| why);
    Tried { server: server.name, address, connected, said }
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
        let refused = with_files(loaded("github: {tokensFile: /nowhere/tokens}")).unwrap_err();
        let said = refused.complaints[0].to_string();
        assert!(said.starts_with("github.tokensFile: /nowhere/tokens cannot be read"), "{said}");
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
