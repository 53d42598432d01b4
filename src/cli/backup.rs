//! `ghpulse backup DIR`: a consistent copy of the store while it is in use.

use std::path::PathBuf;

use clap::Args;

use super::output;
use super::store_access::{self, StoreArgs};
use crate::supervise::Exit;

/// Arguments of `backup`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse backup /srv/backups/2026-11-22\n  \
                        ghpulse backup --data /var/lib/ghpulse --json /srv/backups/today\n\n\
                        The directory must not be there yet, or be empty; it has its name when the \
                        backup is whole. On the store's own disk it takes hardly any room at \
                        first: large files are shared. `backup.dir` in the configuration makes \
                        backups on a schedule; `ghpulse restore` makes a store of one.")]
pub(super) struct BackupArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Directory of the backup
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Makes the backup, in the running appliance if there is one.
pub(super) fn backup(args: &BackupArgs) -> Exit {
    store_access::run(async {
        let config = store_access::existing(&args.store)?;
        let made =
            store_access::run_on(config, async |found| found.backup(&args.dir).await).await?;
        Ok(output::result(args.json, &made, || {
            let (store, bytes) = (&made.note.store_id, output::bytes(made.bytes));
            let dir = made.dir.display();
            format!(
                "backup of store {store} in {dir}, {bytes}; `ghpulse restore {dir}` makes a store \
                 of it"
            )
        }))
    })
}
