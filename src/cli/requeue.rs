//! `ghpulse requeue`: retries messages of the dead-letter log.

use clap::Args;

use super::output;
use super::store_access::{self, StoreAccess, StoreArgs};
use crate::appliance::Requeued;
use crate::supervise::Exit;

/// Arguments of `requeue`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ghpulse inspect dead\n  ghpulse requeue\n  \
                        ghpulse requeue --data /var/lib/ghpulse --json\n\n\
                        Messages of the bus that cannot be parsed are kept in the dead-letter log \
                        with the reason. A newer ghpulse may parse them: such a message is counted \
                        and enters the journal at its own position; the others stay. Subscribers \
                        past that position do not receive it.")]
pub(super) struct RequeueArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Retries them, in the running appliance if there is one.
pub(super) fn requeue(args: &RequeueArgs) -> Exit {
    store_access::run(async {
        let config = store_access::existing(&args.store)?;
        let requeued = store_access::run_on(config, StoreAccess::requeue).await?;
        if args.json {
            return Ok(output::json(&requeued));
        }
        for reason in &requeued.reasons {
            output::to_stderr(&output::plain(reason));
        }
        let Requeued { tried, applied, known, dead, .. } = requeued;
        Ok(output::text(&format!(
            "retried {tried}: {applied} applied, {known} duplicates, {dead} still unreadable"
        )))
    })
}
