//! `ghpulse requeue`: messages that could not be read are tried again.

use clap::Args;

use super::store_access::{self, CommandFailure, StoreArgs};
use super::{Exit, output};
use crate::appliance::Requeued;

/// Arguments of `requeue`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse inspect dead\n  ghpulse requeue\n  \
                        ghpulse requeue --data /var/lib/ghpulse --json\n\n\
                        Messages of the bus that could not be read are kept in the dead-letter log, \
                        with the reason. A newer ghpulse may be able to read them: what it can is \
                        counted and put into the journal at its own place; the rest stays. Readers \
                        who are past that place are not sent it.")]
pub(super) struct RequeueArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Tries them, in the running appliance if there is one.
pub(super) fn requeue(args: &RequeueArgs) -> Exit {
    super::with_runtime(async {
        match try_all(args).await {
            Ok(requeued) if args.json => output::json(&requeued),
            Ok(requeued) => {
                for reason in &requeued.reasons {
                    output::complain(&output::plain(reason));
                }
                let Requeued { tried, applied, known, dead, .. } = requeued;
                output::text(&format!(
                    "{tried} tried: {applied} applied, {known} were known, {dead} stay dead"
                ))
            }
            Err(failed) => store_access::complain(&failed),
        }
    })
    .unwrap_or_else(|exit| exit)
}

async fn try_all(args: &RequeueArgs) -> Result<Requeued, CommandFailure> {
    let found = store_access::find_existing(&args.store).await?;
    let requeued = found.requeue().await;
    found.close().await;
    requeued
}
