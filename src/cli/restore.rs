//! `ghpulse restore DIR`: a store of its own, made from a backup.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::place::{self, Failed, StoreArgs};
use super::{Exit, output};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::checkpoint::{self, Restored};
use crate::sync::blocking;

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ghpulse restore /srv/backups/2026-11-22 --data /var/lib/ghpulse\n  \
                        ghpulse restore /srv/backups/today --json\n\n\
                        The data directory must have no store, and no ghpulse may run on it. The \
                        backup is copied and stays as it is. The restored store has an id of its \
                        own.\n\nExit codes: 65 it is no backup, or the data directory is not empty, \
                        74 a file cannot be read or written, 75 the store is in use."
)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Directory of the backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Restores it, and says what the store lacks and how it gets it.
pub(super) fn restore(args: &RestoreArgs) -> Exit {
    super::with_runtime(async {
        match make(args).await {
            Ok((restored, _)) if args.json => output::json(&restored),
            Ok((restored, config)) => output::text(&words(&restored, &config)),
            Err(failed) => place::complain(&failed),
        }
    })
    .unwrap_or_else(|exit| exit)
}

async fn make(args: &RestoreArgs) -> Result<(Restored, Config), Failed> {
    let config = place::configured(&args.store)?;
    let (from, data) = (args.dir.clone(), config.data_dir.clone());
    let restored = blocking(move || checkpoint::restore(&from, &data, Clock::system()));
    Ok((restored.await??, config))
}

/// What was restored, and what will be read again.
fn words(restored: &Restored, config: &Config) -> String {
    let Restored { data, from, store_id, applied, newest } = restored;
    let mut out = format!(
        "restored the backup of {} into {}: store {store_id}, in place of {}\n",
        from.made_at,
        data.display(),
        from.store_id
    );
    let mut line = |text: &str| writeln!(out, "{text}").expect("a string takes all");
    match (applied, newest) {
        (Some(cursor), Some(newest)) => line(&format!(
            "it has everything up to {cursor}; its newest events were received at {newest}"
        )),
        _ => line("it has no events yet"),
    }
    if let Some(pulsar) = &config.pulsar {
        line(&format!(
            "at its start it reads {} again, by a new subscription, from the earliest message \
             that the topic has, and passes over what it has; what the topic has no more is a gap",
            pulsar.consumer_topic
        ));
        line(&format!(
            "when the old store is gone for good, delete its subscription, which ends with {}",
            from.store_id
        ));
    } else {
        line(
            "what GitHub showed since then and shows no more is not in it; readers of the stream \
             are told of the gap",
        );
    }
    if config.tidb.is_some() {
        line("TiDB is asked again at its start");
    }
    out
}
