//! `ghpulse tail`: prints the stream, one line per event, and resumes after a lost connection.

mod follow;
mod show;

use clap::Args;

use self::follow::{TailConnection, TailEnd};
use self::show::Printer;
use super::appliance_address::{self, ApplianceAddress, ApplianceArgs};
use super::args::filled;
use super::output;
use super::runtime::with_runtime;
use crate::clock::Clock;
use crate::http;
use crate::supervise::Exit;

/// Arguments of `tail`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ghpulse tail\n  ghpulse tail --type PullRequestEvent --repo 'rust-lang/*'\n  \
                        ghpulse tail --language Rust --action opened --latest 20\n  \
                        ghpulse tail --key 'evt.*.insert' --since 15m\n  \
                        ghpulse tail --field event.repo.name,event.payload.action --json\n  \
                        ghpulse tail --url https://host/websocket --cursor 51a70c3e-be1f4b\n\n\
                        After a lost connection it reconnects and continues behind the last printed \
                        event. Notes, such as a gap, go to stderr. On a terminal a line is cut to \
                        $COLUMNS characters, 80 without it.\n\n\
                        Exit codes: 0 the limit is reached or stdout was closed, 64 the server \
                        rejects the query, 69 there is no stream."
)]
pub(super) struct TailArgs {
    #[command(flatten)]
    appliance: ApplianceArgs,
    /// Only these routing keys: patterns such as evt.push.* or 'ent.#'
    #[arg(long, value_name = "PATTERN", value_parser = filled, num_args = 1..,
          value_delimiter = ',')]
    key: Vec<String>,
    /// Only these types, such as `PushEvent`; * matches any text, a leading ! excludes
    #[arg(long = "type", value_name = "TYPE", value_parser = filled, num_args = 1..,
          value_delimiter = ',')]
    kind: Vec<String>,
    /// Only these repositories, such as 'rust-lang/*'
    #[arg(long, value_name = "REPO", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    repo: Vec<String>,
    /// Only events of these people, by login
    #[arg(long, value_name = "LOGIN", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    actor: Vec<String>,
    /// Only events of these organisations, by login
    #[arg(long, value_name = "LOGIN", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    org: Vec<String>,
    /// Only events counted under these languages
    #[arg(long, value_name = "NAME", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    language: Vec<String>,
    /// Only these actions, such as opened or closed
    #[arg(long, value_name = "ACTION", value_parser = filled, num_args = 1..,
          value_delimiter = ',')]
    action: Vec<String>,
    /// Only events on these lists of the server; a leading ! excludes
    #[arg(long, value_name = "LIST", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    list: Vec<String>,
    /// Prints only these values, sorted by path: paths that begin with event or payload
    #[arg(long, value_name = "PATH", value_parser = filled, num_args = 1.., value_delimiter = ',')]
    field: Vec<String>,
    /// Begins at a time (2026-11-22T05:00:00Z), a day, or this long ago (15m)
    #[arg(long, value_name = "TIME", value_parser = filled, conflicts_with = "cursor")]
    since: Option<String>,
    /// Begins behind this cursor
    #[arg(long, value_name = "CURSOR", value_parser = filled)]
    cursor: Option<String>,
    /// Begins with the newest N events
    #[arg(long, value_name = "N", conflicts_with_all = ["cursor", "since"],
          value_parser = clap::value_parser!(u64).range(1..=10_000))]
    latest: Option<u64>,
    /// Ends after N events
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Prints every event as the line of JSON that was received
    #[arg(long)]
    json: bool,
}

/// Prints the stream until it is stopped.
pub(super) fn tail(args: &TailArgs) -> Exit {
    let ended = base(args).and_then(|base| with_runtime(run(args, &base)));
    ended.unwrap_or_else(|exit| exit)
}

/// The address of the stream, without a path. Both listeners serve it.
fn base(args: &TailArgs) -> Result<String, Exit> {
    let found = match appliance_address::find(&args.appliance)? {
        ApplianceAddress::Named(url) | ApplianceAddress::Running(url) => Some(url),
        // A certificate is seldom for a local address.
        ApplianceAddress::Configured { ops, public } => {
            let is_plain = |url: &String| url.starts_with("http://");
            public.clone().filter(is_plain).or(ops).or(public)
        }
    };
    found.ok_or_else(|| {
        let reason = "the configuration names no port that can be asked; name one with --url";
        output::failed(Exit::Unavailable, reason)
    })
}

async fn run(args: &TailArgs, base: &str) -> Exit {
    let start = match (&args.cursor, &args.since, args.latest) {
        (Some(cursor), _, _) => Some(("cursor", cursor.clone())),
        (None, Some(since), _) => Some(("since", since.clone())),
        (None, None, latest) => latest.map(|latest| ("latest", latest.to_string())),
    };
    let mut follower = match TailConnection::new(base, query(args), start) {
        Ok(follower) => follower,
        Err(error) => return output::failed(Exit::Stage, error),
    };
    let mut show = Printer::new(args.json, args.limit, Clock::system());
    tokio::select! {
        ended = follower.run(&mut show) => match ended {
            TailEnd::Done(exit) => exit,
            TailEnd::Refused(reason) => output::failed(Exit::Usage, output::plain(&reason)),
            TailEnd::Away(reason) => {
                let (shown, reason) = (http::shown(base), output::plain(&reason));
                let cure = "start one with `ghpulse run`, or name another with --data, --config or \
                            --url";
                let reason = format_args!("no stream at {shown}: {reason}; {cure}");
                output::failed(Exit::Unavailable, reason)
            }
        },
        stopped = tokio::signal::ctrl_c() => {
            if let (Ok(()), Some(cursor)) = (stopped, follower.cursor()) {
                output::to_stderr(&format!("note: continue with --cursor {cursor}"));
            }
            Exit::Fine
        }
    }
}

/// The filters of the query.
fn query(args: &TailArgs) -> Vec<(&'static str, String)> {
    let lists = [
        ("keys", &args.key),
        ("types", &args.kind),
        ("repos", &args.repo),
        ("actors", &args.actor),
        ("orgs", &args.org),
        ("languages", &args.language),
        ("actions", &args.action),
        ("list", &args.list),
        ("fields", &args.field),
    ];
    let named = lists
        .into_iter()
        .flat_map(|(name, values)| values.iter().map(move |value| (name, value.clone())));
    named.collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: TailArgs,
    }

    #[test]
    fn filters_become_the_query() {
        let line = "tail --actor octocat --org a,b --language Rust --action opened --list x,!y \
                    --latest 5";
        let args = Line::try_parse_from(line.split(' ')).map(|line| line.args).unwrap();
        let query = query(&args);
        let expected = [
            ("actors", "octocat"),
            ("orgs", "a"),
            ("orgs", "b"),
            ("languages", "Rust"),
            ("actions", "opened"),
            ("list", "x"),
            ("list", "!y"),
        ];
        assert!(query.iter().map(|(name, value)| (*name, value.as_str())).eq(expected));
        assert_eq!(args.latest, Some(5));
        for wrong in ["tail --latest 0", "tail --latest 5 --since 1h", "tail --latest 10001"] {
            assert!(Line::try_parse_from(wrong.split(' ')).is_err(), "{wrong}");
        }
    }
}
