//! `ghpulse restore DIR`: creates a store from a backup.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::output;
use super::store_access::{self, CommandFailure, StoreArgs};
use crate::clock::Clock;
use crate::config::Config;
use crate::store::checkpoint::{self, Restored};
use crate::supervise::Exit;
use crate::sync::blocking;

/// Arguments of `restore`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ghpulse restore /srv/backups/2026-11-22 --data /var/lib/ghpulse\n  \
                        ghpulse restore /srv/backups/today --json\n\n\
                        The data directory must hold no store, and no ghpulse may run on it. The \
                        backup is copied and not changed. The restored store gets an id of its \
                        own.\n\nExit codes: 65 not a backup, or the data directory is not empty, 74 a \
                        file cannot be read or written, 75 the store is in use."
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

/// Restores the backup and prints which events the store is missing and how it catches up.
pub(super) fn restore(args: &RestoreArgs) -> Exit {
    store_access::run(async {
        let (restored, config) = make(args).await?;
        Ok(output::result(args.json, &restored, || words(&restored, &config)))
    })
}

async fn make(args: &RestoreArgs) -> Result<(Restored, Config), CommandFailure> {
    let config = store_access::configured(&args.store)?;
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
            "it holds everything up to {cursor}; its newest events were received in the minute of {newest}"
        )),
        _ => line("it holds no events yet"),
    }
    if let Some(pulsar) = &config.pulsar {
        line(&format!(
            "on start it reads {} again through a new subscription, from the earliest message of \
             the topic, and skips duplicates; messages that the topic no longer holds become a gap",
            pulsar.consumer_topic
        ));
        line(&format!(
            "once the old store is gone for good, delete its subscription, which ends with {}",
            from.store_id
        ));
    } else {
        line(
            "events that GitHub has shown since then and no longer shows are missing; subscribers \
             of the stream receive a gap",
        );
    }
    if config.tidb.is_some() {
        line("TiDB is queried again on start");
    }
    out
}
