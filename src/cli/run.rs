//! `ghpulse run`: runs the appliance until a signal or a failure.

use std::future::Future;
use std::path::PathBuf;

use clap::Args;

use super::args::filled;
use super::config_file::ConfigFileArgs;
use super::output;
use crate::appliance::Appliance;
use crate::clock::Clock;
use crate::config::{self, Config, Flag, InvalidConfig, Loaded, Request, Severity};
use crate::logging;
use crate::metrics;
use crate::supervise::{self, Exit, ProcessFailure, Stop};

/// Arguments of `run`.
#[derive(Debug, Args, Default)]
#[command(after_help = "Examples:\n  ghpulse run\n  \
                        GHPULSE_GITHUB_TOKENS=ghp_one,ghp_two ghpulse run --data /var/lib/ghpulse\n  \
                        ghpulse run --github http://127.0.0.1:8601\n\n\
                        Without a configuration and without tokens it follows api.github.com \
                        anonymously, at the pace GitHub allows.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Directory of the store; created if missing
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    listen: ListenArgs,
    /// URL of another GitHub: its REST API, with GraphQL at /graphql below
    #[arg(long, value_name = "URL", value_parser = filled)]
    github: Option<String>,
}

/// Where the public server listens.
#[derive(Debug, Clone, Args, Default)]
pub(super) struct ListenArgs {
    /// Address to listen on; port 0 selects a free one
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen)]
    pub(super) listen: Option<Listen>,
}

/// What `--listen` names: an address and a port, or a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listen {
    address: Option<String>,
    port: String,
}

/// What the configuration is loaded from.
pub(super) fn request(args: &RunArgs) -> Request {
    super::config_file::request(&args.file, flags(args))
}

/// Runs the appliance until it stops.
pub(super) fn run(args: &RunArgs) -> Exit {
    let request = request(args);
    match prepare(config::load(&request)) {
        Ok(config) => execute(|stop| async {
            let begun_with = config.clone();
            let report = move || report_hangup(&request, &begun_with);
            supervise::report_hangups(report).map_err(anyhow::Error::from)?;
            appliance(config, stop, |_| ()).await
        }),
        Err(exit) => exit,
    }
}

/// Logs one line about a SIGHUP: what it does, and whether the configuration, which it does not
/// renew, still is what the appliance began with.
fn report_hangup(request: &Request, begun_with: &Config) {
    const RENEWED: &str = "SIGHUP: files that can be renewed are read again";
    let shown =
        |file: Option<&PathBuf>| file.map_or("none".to_owned(), |file| file.display().to_string());
    match config::load(request) {
        Ok(loaded) if loaded.config == *begun_with => {
            let config = shown(loaded.file.as_ref());
            tracing::info!(config, "{RENEWED}; the configuration is that of the start");
        }
        Ok(loaded) => {
            let config = shown(loaded.file.as_ref());
            tracing::warn!(
                config,
                "{RENEWED}; the configuration has changed since the start: restart to use it"
            );
        }
        Err(refused) => {
            let (config, errors) = (shown(refused.rest.file.as_ref()), refused.errors.len());
            tracing::warn!(
                config,
                errors,
                "{RENEWED}; the configuration has changed since the start and is invalid, so a \
                 restart would fail: `ghpulse check` names every error"
            );
        }
    }
}

fn flags(args: &RunArgs) -> Vec<Flag> {
    let mut flags = listen_flags(&args.listen);
    let mut flag = |name, key, value: String| flags.push(Flag { name, key, value });
    if let Some(dir) = &args.data {
        flag("--data", "data.dir", dir.display().to_string());
    }
    if let Some(url) = &args.github {
        let url = url.trim_end_matches('/');
        flag("--github", "github.apiUrl", url.to_owned());
        flag("--github", "github.graphqlUrl", format!("{url}/graphql"));
    }
    flags
}

/// The keys that `--listen` sets.
pub(super) fn listen_flags(args: &ListenArgs) -> Vec<Flag> {
    let Some(Listen { address, port }) = args.listen.clone() else { return Vec::new() };
    let flag = |key, value| Flag { name: "--listen", key, value };
    let address = address.map(|address| flag("server.bind", address));
    address.into_iter().chain([flag("server.port", port)]).collect()
}

fn listen(text: &str) -> Result<Listen, String> {
    let (address, port) = text.rsplit_once(':').unwrap_or(("", text));
    let loose = address.contains(':') && !(address.starts_with('[') && address.ends_with(']'));
    if port.parse::<u16>().is_err() || loose {
        return Err("give address and port, as 127.0.0.1:8600, [::1]:8600 or :8600".to_owned());
    }
    let address = Some(address.to_owned()).filter(|address| !address.is_empty());
    Ok(Listen { address, port: port.to_owned() })
}

/// Loads the configuration and logs its warnings; or returns the exit code.
pub(super) fn prepare(loaded: Result<Loaded, InvalidConfig>) -> Result<Config, Exit> {
    let loaded = loaded.map_err(|refused| super::config_file::report_all(&refused))?;
    super::config_file::install_log_of(&loaded.config)?;
    metrics::install();
    let file = loaded.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
    tracing::info!(version = super::version::LINE, config = file, "starting");
    for warning in &loaded.warnings {
        match warning.level {
            Severity::Warning => tracing::warn!("{warning}"),
            Severity::Info => tracing::info!("{warning}"),
        }
    }
    Ok(loaded.config)
}

/// Runs a future until it ends or a signal arrives.
pub(super) fn execute<F>(work: impl FnOnce(Stop) -> F) -> Exit
where
    F: Future<Output = Result<(), ProcessFailure>>,
{
    let stop = Stop::default();
    let ended = super::runtime::with_runtime(async {
        supervise::listen_to_signals(&stop).map_err(anyhow::Error::from)?;
        work(stop.clone()).await
    });
    match ended {
        Ok(Ok(())) => {
            tracing::info!("stopped");
            Exit::Fine
        }
        Ok(Err(ProcessFailure { exit, error })) => {
            if logging::is_apart() {
                tracing::error!(error = format!("{error:#}"), exit = exit as u8, "ended");
            }
            output::failed(exit, format_args!("{error:#}"))
        }
        Err(exit) => exit,
    }
}

/// Starts the appliance, passes it to `begun`, and waits for its end.
pub(super) async fn appliance(
    config: Config,
    stop: Stop,
    begun: impl FnOnce(&Appliance),
) -> Result<(), ProcessFailure> {
    let appliance = Appliance::start(config, Clock::system(), stop.clone()).await?;
    supervise::tell_ready();
    begun(&appliance);
    appliance.end().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Request;

    fn written(text: &str) -> Vec<String> {
        let args = ListenArgs { listen: Some(listen(text).unwrap()) };
        let flags = listen_flags(&args).into_iter();
        flags.map(|flag| format!("{}={}", flag.key, flag.value)).collect()
    }

    #[test]
    fn listen_takes_an_address_and_a_port_or_a_port() {
        assert_eq!(written("127.0.0.1:0"), ["server.bind=127.0.0.1", "server.port=0"]);
        assert_eq!(written("[::1]:80"), ["server.bind=[::1]", "server.port=80"]);
        assert_eq!(written(":8600"), ["server.port=8600"]);
        assert_eq!(written("8600"), ["server.port=8600"]);
        for wrong in ["", "host", "1.2.3.4:", "::1:80", "1.2.3.4:99999"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn flags_set_the_keys_that_they_name() {
        let url = Some("http://127.0.0.1:8601/".to_owned());
        let args = RunArgs { data: Some("d".into()), github: url, ..RunArgs::default() };
        let request = Request { flags: flags(&args), ..Request::of_variables(Vec::new()) };
        let config = crate::config::load(&request).unwrap().config;
        assert_eq!(config.data_dir, PathBuf::from("d"));
        assert_eq!(config.github.api_url, "http://127.0.0.1:8601");
        assert_eq!(config.github.graphql_url, "http://127.0.0.1:8601/graphql");
    }
}
