//! `ghpulse demo`: the appliance on the simulated GitHub, in a directory that is gone afterwards.

use clap::Args;
use serde_json::json;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::run::{self, ListenArgs};
use super::simulate::WorldArgs;
use super::{Exit, output};
use crate::appliance::Appliance;
use crate::clock::Clock;
use crate::config::{self, Config, Lookup, Request, Secret};
use crate::simulate::{Options, Shape, Simulation};
use crate::supervise::{ProcessFailure, Stop};

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ghpulse demo --listen 127.0.0.1:8600 --rate 100")]
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
    let request = Request::of_process(Lookup::Nothing, run::listen_flags(&args.listen));
    let config = match run::prepare(config::load(&request)) {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    let dir = match tempfile::Builder::new().prefix("ghpulse-demo-").tempdir() {
        Ok(dir) => dir,
        Err(error) => {
            output::complain(&format!("error: no directory for the demo can be made: {error}"));
            return Exit::Io;
        }
    };
    run::execute(|stop| follow(args, alone(config, &dir), stop))
}

/// Nothing of the demo may reach anybody: no real token, no broker, no database.
fn alone(mut config: Config, dir: &TempDir) -> Config {
    config.data_dir = dir.path().join("data");
    config.github.tokens.clear();
    config.github.tokens_file = None;
    config.disable.producer = false;
    (config.pulsar, config.tidb, config.amqp, config.alerts) = (None, None, None, None);
    (config.archive_dir, config.backup) = (None, None);
    config
}

async fn follow(args: &DemoArgs, mut config: Config, stop: Stop) -> Result<(), ProcessFailure> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(anyhow::Error::from)?;
    let (seed, rate) = (args.world.seed, args.world.rate);
    let options = Options { seed, rate, shape: Shape::Today, ..Options::default() };
    // The simulation goes last: it is what the appliance follows to its end.
    let simulation = Simulation::start(listener, options, Clock::system(), stop.hard.clone())?;
    // GraphQL answers nobody without a token, as GitHub's; the simulated one takes any.
    config.github.tokens = vec![Secret::new("simulated")];
    config.github.api_url = simulation.url();
    config.github.graphql_url = format!("{}/graphql", simulation.url());
    tracing::warn!("this is a demo: all events are simulated");
    let greet = |appliance: &Appliance| greet(args, appliance, &simulation.url());
    let ended = run::appliance(config, stop.clone(), greet).await;
    stop.hard.cancel();
    ended.and(simulation.wait().await.map_err(ProcessFailure::from))
}

/// Says where to look; that nobody reads it is no reason to end.
fn greet(args: &DemoArgs, appliance: &Appliance, github: &str) {
    let mut public = appliance.public;
    if public.ip().is_unspecified() {
        public.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let page = format!("http://{public}/");
    let _ = if args.json {
        output::json(&json!({ "url": page, "simulated": true, "github": github }))
    } else {
        output::text(&format!(
            "demo on a simulated GitHub: open {page} (WebSocket: ws://{public}/sampling); \
             Ctrl-C ends it and removes its data"
        ))
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_demo_reaches_nobody_and_keeps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let name = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = Request {
            lookup: Lookup::Nothing,
            directory: ".".into(),
            environment: vec![
                name("GHPULSE_GITHUB_TOKENS", "real"),
                name("GHPULSE_DISABLE_PRODUCER", "true"),
                name("GHPULSE_ALERTS_WEBHOOK", "https://alerts.example.org/"),
                name("GHPULSE_AMQP_URL", "amqp://queue.example.org"),
            ],
            flags: Vec::new(),
            host: "box".to_owned(),
        };
        let config = config::load(&request).unwrap().config;
        assert_eq!(config.github.tokens, [Secret::new("real")]);
        let config = alone(config, &dir);
        assert!(config.github.tokens.is_empty() && !config.disable.producer);
        assert!(config.alerts.is_none() && config.amqp.is_none());
        assert!(config.data_dir.starts_with(dir.path()));
    }
}
