//! `ghpulse status`: the state of a running appliance on one screen.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde::Deserialize as _;
use serde_json::Value;

use super::args::{base_url, filled};
use super::output;
use crate::appliance::Status;
use crate::http::{self, Http, HttpOptions, HttpRequest};
use crate::supervise::Exit;

/// Timeout of the request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest response, bytes; a status has a few KiB.
const STATUS_BYTES: usize = 1 << 20;

/// Default addresses of the ops listener and of the public one.
const DEFAULT_URLS: [&str; 2] = ["http://127.0.0.1:8602", "http://127.0.0.1:8600"];

/// Most lines on a terminal: 24 without the prompt's.
const TERMINAL_ROWS: usize = 23;

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ghpulse status\n  ghpulse status --url https://host/websocket \
                        --json\n  ghpulse status > /dev/null && echo ready\n  ghpulse status --alive"
)]
pub(super) struct StatusArgs {
    /// Public or ops address of the appliance; by default 127.0.0.1:8602, whose reasons are
    /// complete, and if that does not answer, 127.0.0.1:8600
    #[arg(long, value_name = "URL", value_parser = filled)]
    url: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// Prints nothing, and succeeds if the appliance answers at all, ready or not: for health
    /// checks
    #[arg(long)]
    alive: bool,
}

/// Prints the state. Exits with 0 when the appliance is ready, otherwise with 69.
pub(super) fn status(args: &StatusArgs) -> Exit {
    super::runtime::with_runtime(ask(args)).unwrap_or_else(|exit| exit)
}

async fn ask(args: &StatusArgs) -> Exit {
    let asked = match &args.url {
        Some(url) => match base_url(url) {
            Ok(base) => fetch(base).await.map(|found| (found, String::new())),
            Err(exit) => return exit,
        },
        None => fetch_default(args.alive).await,
    };
    match asked {
        Ok(_) if args.alive => Exit::Fine,
        Ok(((json, status), asked)) => {
            let printed = if args.json {
                output::json(&json)
            } else if std::io::stdout().is_terminal() {
                let (columns, rows) = (output::columns(), TERMINAL_ROWS - asked.lines().count());
                output::text(&(status.screen_within(columns, rows) + asked.as_str()))
            } else {
                output::text(&(status.screen() + asked.as_str()))
            };
            if printed == Exit::Fine && !status.ready {
                return Exit::Unavailable;
            }
            printed
        }
        Err(reason) => {
            let cure = "start it (`systemctl start ghpulse` or `ghpulse run`; its log says why it \
                        ended), or name another address with --url";
            output::failed(Exit::Unavailable, format_args!("{reason}; {cure}"))
        }
    }
}

/// The status of an appliance at its default addresses, and a line that names the one that
/// answered, because two appliances on a machine may have one each. A health check asks the public
/// one.
async fn fetch_default(alive: bool) -> Result<((Value, Status), String), String> {
    let asked = |base: &str| format!("{:<10} {base}\n", "asked");
    let [ops, public] = DEFAULT_URLS;
    if !alive && let Ok(found) = fetch(ops).await {
        return Ok((found, asked(ops)));
    }
    Ok((fetch(public).await?, asked(public)))
}

/// The status as received, and as this version parses it.
async fn fetch(base: &str) -> Result<(Value, Status), String> {
    let options = HttpOptions { timeout: TIMEOUT, body_limit: STATUS_BYTES };
    let http = Http::new(options).map_err(|error| error.to_string())?;
    let url = format!("{base}/status?format=json");
    let shown = http::shown(base);
    let answer = http.send(HttpRequest::get(&url)).await;
    let answer = answer.map_err(|error| format!("no status from {shown}: {error}"))?;
    if answer.status != 200 {
        return Err(format!("{shown} answered {} instead of a status", answer.status));
    }
    let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let Some(json) = json.filter(|json| json["ready"].is_boolean()) else {
        return Err(format!("{shown} is not a ghpulse server"));
    };
    let status = Status::deserialize(&json).map_err(|error| {
        let version = &json["version"];
        format!("{shown} has version {version}, whose status this one cannot read: {error}")
    })?;
    Ok((json, status))
}
