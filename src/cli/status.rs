//! `ghpulse status`: the state of a running appliance on one screen.

use std::io::IsTerminal as _;
use std::time::Duration;

use clap::Args;
use serde::Deserialize as _;
use serde_json::Value;

use super::appliance_address::{self, ApplianceAddress, ApplianceArgs};
use super::output;
use crate::appliance::Status;
use crate::http::{self, Http, HttpOptions, HttpRequest};
use crate::supervise::Exit;

/// Timeout of the request.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Largest response, bytes; a status has a few KiB.
const STATUS_BYTES: usize = 1 << 20;

/// Most lines on a terminal: 24 without the prompt's.
const TERMINAL_ROWS: usize = 23;

/// Arguments of `status`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse status\n  ghpulse status --data /var/lib/ghpulse\n  \
                        ghpulse status --url https://host/websocket --json\n  \
                        ghpulse status > /dev/null && echo ready\n  ghpulse status --alive")]
pub(super) struct StatusArgs {
    #[command(flatten)]
    appliance: ApplianceArgs,
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
    let found = appliance_address::find(&args.appliance);
    let ended = found.and_then(|address| super::runtime::with_runtime(ask(args, address)));
    ended.unwrap_or_else(|exit| exit)
}

async fn ask(args: &StatusArgs, address: ApplianceAddress) -> Exit {
    match fetch_from(address, args.alive).await {
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
                        ended), or name another with --data, --config or --url";
            output::failed(Exit::Unavailable, format_args!("{reason}; {cure}"))
        }
    }
}

/// The status of the appliance, and a line with the address that answered unless `--url` named it:
/// there may be several appliances on a machine. Of two configured addresses the ops listener's is
/// asked first, whose reasons are complete; by a health check the public one.
async fn fetch_from(
    address: ApplianceAddress,
    is_health_check: bool,
) -> Result<((Value, Status), String), String> {
    let (first, second) = match address {
        ApplianceAddress::Named(url) => return Ok((fetch(&url).await?, String::new())),
        ApplianceAddress::Running(url) => (Some(url), None),
        ApplianceAddress::Configured { ops, public } if is_health_check => (public, ops),
        ApplianceAddress::Configured { ops, public } => (ops, public),
    };
    let mut failed = "the configuration names no port that can be asked".to_owned();
    for url in first.into_iter().chain(second) {
        match fetch(&url).await {
            Ok(found) => return Ok((found, format!("{:<10} {url}\n", "asked"))),
            Err(reason) => failed = reason,
        }
    }
    Err(failed)
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
