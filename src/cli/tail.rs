//! `ghpulse tail`: the stream in a terminal, a line an event, resumed where it broke off.

mod follow;
mod show;

use clap::Args;

use self::follow::{TailConnection, TailEnd};
use self::show::Printer;
use super::{Exit, filled, output};
use crate::http;

/// Arguments of `tail`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ghpulse tail\n  ghpulse tail --type PullRequestEvent --repo 'rust-lang/*'\n  \
                        ghpulse tail --key 'evt.*.insert' --since 15m\n  \
                        ghpulse tail --field event.repo.name,event.payload.action --json\n  \
                        ghpulse tail --url https://host/websocket --cursor 51a70c3e-be1f4b\n\n\
                        A connection that breaks is made again, and goes on behind the last event \
                        that was shown. Notes, such as a gap, go to stderr.\n\n\
                        Exit codes: 0 the limit is reached or stdout was closed, 64 a query that \
                        the server refuses, 69 there is no stream."
)]
pub(super) struct TailArgs {
    /// Where the appliance is
    #[arg(long, value_name = "URL", value_parser = filled, default_value = "http://127.0.0.1:8600")]
    url: String,
    /// Patterns of routing keys, such as evt.push.* or 'ent.#'
    #[arg(long, value_name = "PATTERN", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    key: Vec<String>,
    /// Types, such as `PushEvent`; * stands for any text, a leading ! for all others
    #[arg(long = "type", value_name = "TYPE", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    kind: Vec<String>,
    /// Repositories, such as 'rust-lang/*'
    #[arg(long, value_name = "REPO", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    repo: Vec<String>,
    /// Shows these values alone: paths that begin with event or payload
    #[arg(long, value_name = "PATH", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    field: Vec<String>,
    /// From then on: a time (2026-11-22T05:00:00Z), a day, or how long ago (15m)
    #[arg(long, value_name = "TIME", value_parser = filled, conflicts_with = "cursor")]
    since: Option<String>,
    /// Behind this cursor
    #[arg(long, value_name = "CURSOR", value_parser = filled)]
    cursor: Option<String>,
    /// Ends after so many events
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Prints every event as the line of JSON that came
    #[arg(long)]
    json: bool,
}

/// Shows the stream until it is stopped.
pub(super) fn tail(args: &TailArgs) -> Exit {
    let base = args.url.trim_end_matches('/');
    if let Err(error) = http::check_address(base) {
        output::complain(&format!("error: --url: {error}"));
        return Exit::Usage;
    }
    super::with_runtime(run(args, base)).unwrap_or_else(|exit| exit)
}

async fn run(args: &TailArgs, base: &str) -> Exit {
    let query = query(args);
    let mut follower =
        match TailConnection::new(base, query, args.cursor.clone(), args.since.clone()) {
            Ok(follower) => follower,
            Err(error) => {
                output::complain(&format!("error: {error}"));
                return Exit::Stage;
            }
        };
    let mut show = Printer::new(args.json, args.limit);
    tokio::select! {
        ended = follower.run(&mut show) => match ended {
            TailEnd::Asked => Exit::Fine,
            TailEnd::Stdout(exit) => exit,
            TailEnd::Refused(reason) => {
                output::complain(&format!("error: {}", output::plain(&reason)));
                Exit::Usage
            }
            TailEnd::Away(reason) => {
                output::complain(&format!(
                    "error: no stream at {}: {}; start one with `ghpulse run`, or name another \
                     with --url",
                    http::shown(base),
                    output::plain(&reason)
                ));
                Exit::Unavailable
            }
        },
        stopped = tokio::signal::ctrl_c() => {
            if let (Ok(()), Some(cursor)) = (stopped, follower.cursor()) {
                output::complain(&format!("note: go on with --cursor {cursor}"));
            }
            Exit::Fine
        }
    }
}

/// What is asked for beside the place to begin.
fn query(args: &TailArgs) -> Vec<(&'static str, String)> {
    let lists = [
        ("keys", &args.key),
        ("types", &args.kind),
        ("repos", &args.repo),
        ("fields", &args.field),
    ];
    let named = lists
        .into_iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value.clone())));
    named.collect()
}
