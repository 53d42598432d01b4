//! `ghpulse simulate`: runs only the simulated GitHub.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::output;
use crate::clock::Clock;
use crate::reload;
use crate::simulate::{self, Fault, Options, Shape, SimulatedApp, Simulation};
use crate::supervise::{self, Exit, Stop};

/// Arguments of `simulate`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse simulate --rate 100 --fault error-503:0.1\n  \
                        ghpulse simulate --events 2026-01-01-15.json.gz --speed 10\n  \
                        ghpulse run --github http://127.0.0.1:8601")]
pub(super) struct SimulateArgs {
    /// Address to listen on; port 0 selects a free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8601", value_parser = listen)]
    listen: SocketAddr,
    /// Replays recorded events instead of the seeded world: .ndjson or .json.gz, in this order
    #[arg(long, value_name = "FILE", num_args = 1..)]
    events: Vec<PathBuf>,
    /// Replays at X times the original pace
    #[arg(long, value_name = "X", requires = "events", value_parser = speed)]
    speed: Option<f64>,
    #[command(flatten)]
    world: WorldArgs,
    /// Format of payloads: old (whole pull requests) or today (five keys)
    #[arg(long, value_name = "SHAPE", default_value = "old")]
    shape: Shape,
    /// Faults: NAME[:SHARE][:DURATION][:token=TOKEN], such as error-503:0.1 or slow:500ms
    #[arg(long, value_name = "NAME", num_args = 1..)]
    fault: Vec<Fault>,
    /// X-Poll-Interval header, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    poll_interval: u32,
    /// Requests per hour with a token
    #[arg(long, value_name = "N", default_value_t = simulate::HIGH_LIMIT)]
    limit: u32,
    /// Requests per hour without a token
    #[arg(long, value_name = "N", default_value_t = simulate::HIGH_LIMIT)]
    anonymous_limit: u32,
    /// Id of a GitHub App that is known and installed on one account
    #[arg(long, value_name = "ID", requires = "app_key")]
    app_id: Option<String>,
    /// Private key of that app, PEM
    #[arg(long, value_name = "FILE", requires = "app_id")]
    app_key: Option<PathBuf>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Parameters of the seeded world.
#[derive(Debug, Clone, Args)]
pub(super) struct WorldArgs {
    /// Seed of all random choices, ids too: a data directory that has seen the events of a seed
    /// does not count them again (store.seenFor)
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Events per second
    #[arg(long, value_name = "N", default_value_t = simulate::DEFAULT_RATE, value_parser = rate,
        allow_negative_numbers = true)]
    pub(super) rate: f64,
}

/// Serves until a signal arrives.
pub(super) fn simulate(args: SimulateArgs) -> Exit {
    if let Err(exit) = super::config_file::install_log() {
        return exit;
    }
    super::runtime::with_runtime(begin(args)).unwrap_or_else(|exit| exit)
}

/// An address and a port, or a port on loopback.
fn listen(text: &str) -> Result<SocketAddr, String> {
    let (address, port) = text.rsplit_once(':').unwrap_or(("", text));
    let address = match address {
        "" | "localhost" => "127.0.0.1",
        address => address,
    };
    let whole = format!("{address}:{port}");
    whole.parse().map_err(|_| "give address and port, as 127.0.0.1:8601 or :8601".to_owned())
}

async fn begin(args: SimulateArgs) -> Exit {
    let listener = match TcpListener::bind(args.listen).await {
        Ok(listener) => listener,
        Err(error) => {
            let reason = format_args!("cannot listen on {}: {error}", args.listen);
            return output::failed(Exit::Io, reason);
        }
    };
    let stop = Stop::default();
    if let Err(error) = supervise::listen_to_signals(&stop) {
        return output::failed(Exit::Stage, format_args!("cannot listen to signals: {error}"));
    }
    serve(listener, args, stop.soft).await
}

async fn serve(listener: TcpListener, args: SimulateArgs, stop: CancellationToken) -> Exit {
    let as_json = args.json;
    let app = match app(&args) {
        Ok(app) => app,
        Err(error) => return output::failed(Exit::Data, error),
    };
    let options = Options { app, ..options(args) };
    let simulation = match Simulation::start(listener, options, Clock::system(), stop) {
        Ok(simulation) => simulation,
        Err(error) => {
            let io = error.chain().any(<dyn std::error::Error>::is::<std::io::Error>);
            let exit = if io { Exit::Io } else { Exit::Data };
            return output::failed(exit, format_args!("{error:#}"));
        }
    };
    let url = simulation.url();
    let said = output::result(as_json, &json!({ "url": url, "simulated": true }), || {
        format!("simulated GitHub at {url} (ghpulse run --github {url}); Ctrl-C ends it")
    });
    match simulation.wait().await {
        Ok(()) => said,
        Err(error) => output::failed(Exit::Stage, format_args!("{error:#}")),
    }
}

/// The app of the options, if any.
fn app(args: &SimulateArgs) -> Result<Option<SimulatedApp>, String> {
    let (Some(id), Some(path)) = (&args.app_id, &args.app_key) else { return Ok(None) };
    let wrong = |why: String| format!("--app-key {}: {why}", path.display());
    let key = reload::read(path).map_err(wrong)?;
    SimulatedApp::new(id, &key, &["octo-org"]).map(Some).map_err(wrong)
}

fn options(args: SimulateArgs) -> Options {
    Options {
        seed: args.world.seed,
        rate: args.world.rate,
        shape: args.shape,
        events: args.events,
        speed: args.speed,
        faults: args.fault,
        poll_interval: args.poll_interval,
        limit: args.limit,
        anonymous_limit: args.anonymous_limit,
        ..Options::default()
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let most = simulate::MAX_RATE;
    let rate = text.parse().ok().filter(|rate| (0.0..=most).contains(rate));
    rate.ok_or_else(|| format!("give a number of events a second from 0 to {most}"))
}

fn speed(text: &str) -> Result<f64, String> {
    let speed = text.parse().ok().filter(|speed: &f64| speed.is_finite() && *speed > 0.0);
    speed.ok_or_else(|| "give a number above 0, such as 1 or 10".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn parsed(words: &[&str]) -> Result<Options, String> {
        let line = Line::try_parse_from([&["simulate"], words].concat());
        line.map(|line| options(line.args)).map_err(|error| error.to_string())
    }

    #[test]
    fn arguments_become_options() {
        let found =
            parsed(&["--seed", "7", "--rate", "2.5", "--fault", "slow:1s", "stale"]).unwrap();
        assert_eq!((found.seed, found.rate.to_string()), (7, "2.5".to_owned()));
        assert_eq!((found.faults.len(), found.poll_interval), (2, 1));
        let found = parsed(&["--events", "a.ndjson", "b.json.gz", "--speed", "10"]).unwrap();
        assert_eq!((found.events.len(), found.speed), (2, Some(10.0)));
    }

    #[test]
    fn help_warns_about_a_seed_that_was_seen() {
        let help = Line::command().render_long_help().to_string();
        let help: Vec<&str> = help.split_whitespace().collect();
        assert!(help.join(" ").contains("does not count them again"), "{help:?}");
    }

    #[test]
    fn invalid_arguments_name_the_accepted_values() {
        assert!(parsed(&["--rate", "-1"]).unwrap_err().contains("from 0 to"));
        assert!(parsed(&["--speed", "0", "--events", "a"]).unwrap_err().contains("above 0"));
        assert!(parsed(&["--speed", "2"]).unwrap_err().contains("--events"));
        assert!(parsed(&["--fault", "fire"]).unwrap_err().contains("error-503"));
        assert!(parsed(&["--shape", "round"]).unwrap_err().contains("today"));
    }
}
