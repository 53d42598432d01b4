//! `ghpulse run` and `ghpulse demo`: the appliance, on GitHub or on the simulated one.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use tokio::net::TcpListener;

use super::{Exit, FileArgs, lines_of, load, output};
use crate::appliance::Appliance;
use crate::clock::Clock;
use crate::config::{Config, Flag, Level, Loaded, Lookup, Refused, Request};
use crate::simulate::{DEFAULT_RATE, Options, Shape, Simulation};
use crate::supervise::{self, Failure, Stop};
use crate::{config, logging, metrics};

/// Arguments of `run`.
#[derive(Debug, Args, Default)]
#[command(after_help = "Examples:\n  ghpulse run\n  \
                        GHPULSE_GITHUB_TOKENS=ghp_one,ghp_two ghpulse run --data /var/lib/ghpulse\n  \
                        ghpulse run --github http://127.0.0.1:8601\n\n\
                        Without a configuration and without tokens it follows api.github.com \
                        anonymously, at the pace GitHub allows.")]
pub(super) struct RunArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Directory of the store; made when it is not there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Where to serve; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Another GitHub: REST there, GraphQL at /graphql below it
    #[arg(long, value_name = "URL")]
    github: Option<String>,
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ghpulse demo --listen 127.0.0.1:8600 --rate 100")]
pub(super) struct DemoArgs {
    /// Where to serve; port 0 takes a free one
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Decides which events the simulated GitHub makes
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Events a second that it makes
    #[arg(long, value_name = "N", default_value_t = DEFAULT_RATE)]
    rate: f64,
}

/// Runs the appliance until it is stopped.
pub(super) fn run(args: &RunArgs) -> Exit {
    let mut flags = listen_flags(args.listen);
    let mut flag = |name, key, value: String| flags.push(Flag { name, key, value });
    if let Some(dir) = &args.data {
        flag("--data", "data.dir", dir.display().to_string());
    }
    if let Some(url) = &args.github {
        let url = url.trim_end_matches('/');
        flag("--github", "github.apiUrl", url.to_owned());
        flag("--github", "github.graphqlUrl", format!("{url}/graphql"));
    }
    match prepare(load(&args.file, flags)) {
        Ok(config) => execute(|stop| appliance(config, stop)),
        Err(exit) => exit,
    }
}

/// Runs the appliance on a simulated GitHub of its own, in a directory that is removed at the end.
pub(super) fn demo(args: &DemoArgs) -> Exit {
    let request = Request::of_process(Lookup::Nothing, listen_flags(args.listen));
    let mut config = match prepare(config::load(&request)) {
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
    // Nothing of the demo may reach anybody: no real token, no broker, no database.
    config.data_dir = dir.path().join("data");
    config.github.tokens.clear();
    config.github.tokens_file = None;
    (config.pulsar, config.tidb, config.amqp, config.alerts) = (None, None, None, None);
    (config.archive_dir, config.backup) = (None, None);
    let options =
        Options { seed: args.seed, rate: args.rate, shape: Shape::Old, ..Options::default() };
    execute(|stop| async move {
        let clock = Clock::system();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(anyhow::Error::from)?;
        let simulation = Simulation::start(listener, options, clock, stop.hard.clone())?;
        config.github.api_url = simulation.url();
        config.github.graphql_url = format!("{}/graphql", simulation.url());
        tracing::warn!("this is a demo: all events are simulated");
        let ended = appliance(config, stop.clone()).await;
        stop.hard.cancel();
        ended.and(simulation.wait().await.map_err(Failure::from))
    })
}

fn listen_flags(listen: Option<SocketAddr>) -> Vec<Flag> {
    let Some(address) = listen else { return Vec::new() };
    let flag = |key, value| Flag { name: "--listen", key, value };
    vec![
        flag("server.bind", address.ip().to_string()),
        flag("server.port", address.port().to_string()),
    ]
}

/// The configuration, said in the log; or how the command ends without one.
fn prepare(loaded: Result<Loaded, Refused>) -> Result<Config, Exit> {
    let loaded = loaded.map_err(|refused| {
        for line in lines_of(&refused) {
            output::complain(&line);
        }
        Exit::Config
    })?;
    logging::install(&loaded.config.log).map_err(|error| {
        output::complain(&format!("error: {error}"));
        Exit::Config
    })?;
    metrics::install();
    let file = loaded.file.as_ref().map_or("none".to_owned(), |file| file.display().to_string());
    tracing::info!(version = super::version::LINE, config = file, "starting");
    for notice in &loaded.notices {
        match notice.level {
            Level::Warning => tracing::warn!("{notice}"),
            Level::Info => tracing::info!("{notice}"),
        }
    }
    Ok(loaded.config)
}

/// Runs something until it ends or signals end it.
fn execute<F>(work: impl FnOnce(Stop) -> F) -> Exit
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            output::complain(&format!("error: no threads can be started: {error}"));
            return Exit::Io;
        }
    };
    let stop = Stop::default();
    let ended = runtime.block_on(async {
        supervise::listen_to_signals(&stop).map_err(anyhow::Error::from)?;
        work(stop.clone()).await
    });
    // What still blocks after the hard stop is left to the system.
    runtime.shutdown_background();
    match ended {
        Ok(()) => {
            tracing::info!("stopped");
            Exit::Fine
        }
        Err(failure) => {
            output::complain(&format!("error: {:#}", failure.error));
            Exit::of(failure.code)
        }
    }
}

async fn appliance(config: Config, stop: Stop) -> Result<(), Failure> {
    let appliance = Appliance::start(config, Clock::system(), stop.clone()).await?;
    supervise::tell_ready();
    appliance.end().await
}
