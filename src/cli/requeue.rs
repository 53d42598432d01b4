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
        Ok(output::text(&summary(&requeued)))
    })
}

fn summary(requeued: &Requeued) -> String {
    let Requeued { tried, applied, known, left_out, dead, .. } = requeued;
    let left_out = match left_out {
        0 => String::new(),
        n => format!(", {n} left out by privacy.exclude"),
    };
    format!(
        "retried {tried}: {applied} applied, {known} duplicates{left_out}, {dead} still unreadable"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn excluded_letters_are_named_when_there_are_some() {
        let none = Requeued { tried: 9, applied: 4, known: 3, dead: 2, ..Requeued::default() };
        assert_eq!(summary(&none), "retried 9: 4 applied, 3 duplicates, 2 still unreadable");
        let some = Requeued { left_out: 1, ..none };
        assert!(summary(&some).contains(", 1 left out by privacy.exclude, "), "{}", summary(&some));
    }
}
