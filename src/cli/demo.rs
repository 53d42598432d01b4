//! `ghpulse demo`: the appliance on a simulated GitHub, in a temporary directory. It listens on
//! loopback unless another address is given.

use clap::Args;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::output;
use super::run::{self, ListenArgs};
use super::simulate::WorldArgs;
use crate::appliance::{Appliance, reachable};
use crate::clock::Clock;
use crate::config::{self, Config, ConfigPath, Flag, Request, Secret};
use crate::simulate::{Options, Shape, Simulation};
use crate::supervise::{Exit, ProcessFailure, Stop};

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ghpulse demo\n  ghpulse demo --listen 0.0.0.0:8600 --rate 100\n\n\
                        It listens on 127.0.0.1, so that only this machine sees it, unless \
                        --listen or GHPULSE_SERVER_BIND names an address."
)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    listen: ListenArgs,
    #[command(flatten)]
    world: WorldArgs,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Runs the demo until a signal.
pub(super) fn demo(args: &DemoArgs) -> Exit {
    let request = Request::of_process(ConfigPath::Nothing, run::listen_flags(&args.listen));
    let config = match run::prepare(config::load(&on_loopback(request))) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let dir = match tempfile::Builder::new().prefix("ghpulse-demo-").tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            let reason = format_args!("cannot create a directory for the demo: {error}");
            return output::failed(Exit::Io, reason);
        }
    };
    run::execute(|stop| follow(args, alone(config, &dir), stop))
}

/// Sets the loopback address unless the request names one.
fn on_loopback(mut request: Request) -> Request {
    const BIND: &str = "server.bind";
    let is_named = |(name, value): &(String, String)| {
        name == "GHPULSE_SERVER_BIND" && !value.trim().is_empty()
    };
    if !request.environment.iter().any(is_named) && request.flags.iter().all(|it| it.key != BIND) {
        let value = "127.0.0.1".to_owned();
        request.flags.push(Flag { name: "--listen", key: BIND, value });
    }
    request
}

/// Removes all settings through which the demo could reach other systems: tokens, brokers,
/// databases.
fn alone(mut config: Config, dir: &TempDir) -> Config {
    config.data_dir = dir.path().join("data");
    config.github.tokens.clear();
    (config.github.tokens_file, config.github.app) = (None, None);
    config.disable.producer = false;
    (config.pulsar, config.tidb, config.amqp, config.alerts) = (None, None, None, None);
    (config.archive_dir, config.backup) = (None, None);
    config
}

async fn follow(args: &DemoArgs, mut config: Config, stop: Stop) -> Result<(), ProcessFailure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(anyhow::Error::from)?;
    let (seed, rate) = (args.world.seed, args.world.rate);
    let options = Options { seed, rate, shape: Shape::Today, ..Options::default() };
    // The simulation stops last, because the appliance polls it until its end.
    let simulation = Simulation::start(listener, options, Clock::system(), stop.hard.clone())?;
    // GraphQL requires a token, as GitHub's does; the simulated one accepts any.
    config.github.tokens = vec![Secret::new("simulated")];
    config.github.api_url = simulation.url();
    config.github.graphql_url = format!("{}/graphql", simulation.url());
    tracing::warn!("this is a demo: all events are simulated");
    let greet = |appliance: &Appliance| greet(args, appliance, &simulation.url());
    let ended = run::appliance(config, stop.clone(), greet).await;
    stop.hard.cancel();
    ended.and(simulation.wait().await.map_err(ProcessFailure::from))
}

/// Prints the address. A closed stdout does not end the demo.
fn greet(args: &DemoArgs, appliance: &Appliance, github: &str) {
    let public = reachable(appliance.public);
    let page = format!("http://{public}/");
    let started = json!({ "url": page, "simulated": true, "github": github });
    output::result(args.json, &started, || {
        format!(
            "demo on a simulated GitHub: open {page} (WebSocket: ws://{public}/sampling); \
             Ctrl-C ends it and removes its data"
        )
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demo_listens_on_loopback_by_default() {
        let bound = |flags: &[(&'static str, &str)], environment: &[(&str, &str)]| {
            let flag = |(key, value): &(&'static str, &str)| Flag {
                name: "--listen",
                key,
                value: (*value).to_owned(),
            };
            let variable = |(name, value): &(&str, &str)| ((*name).into(), (*value).into());
            let request = Request::of_variables(environment.iter().map(variable).collect());
            let request = Request { flags: flags.iter().map(flag).collect(), ..request };
            config::load(&on_loopback(request)).unwrap().config.server.listen().to_string()
        };
        assert_eq!(bound(&[], &[]), "127.0.0.1:8600");
        assert_eq!(bound(&[("server.port", "0")], &[]), "127.0.0.1:0");
        assert_eq!(bound(&[("server.bind", "0.0.0.0")], &[]), "0.0.0.0:8600");
        assert_eq!(bound(&[], &[("GHPULSE_SERVER_BIND", "::")]), "[::]:8600");
    }

    #[test]
    fn demo_ignores_outside_settings_and_removes_its_data() {
        let dir = tempfile::tempdir().unwrap();
        let name = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = Request::of_variables(vec![
            name("GHPULSE_GITHUB_TOKENS", "real"),
            name("GHPULSE_DISABLE_PRODUCER", "true"),
            name("GHPULSE_ALERTS_WEBHOOK", "https://alerts.example.org/"),
            name("GHPULSE_AMQP_URL", "amqp://queue.example.org"),
        ]);
        let config = config::load(&request).unwrap().config;
        assert_eq!(config.github.tokens, [Secret::new("real")]);
        let config = alone(config, &dir);
        assert!(config.github.tokens.is_empty() && !config.disable.producer);
        assert!(config.alerts.is_none() && config.amqp.is_none());
        assert!(config.data_dir.starts_with(dir.path()));
    }
}
