//! Answers requests about the store of a running appliance, and implements requeue for when none
//! is running, because it needs more than the store.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::{exchange, excluded};
use crate::alerts::Alerts;
use crate::apply::numbers::NodeCounters;
use crate::apply::requeue::Requeued;
use crate::apply::stage::Apply;
use crate::archive::ArchiveError;
use crate::clock::Clock;
use crate::config::Config;
use crate::hub::{Hub, HubOptions};
use crate::serve::{OpsAnswer, OpsError, StoreRequest};
use crate::store::checkpoint::{self, CheckpointError};
use crate::store::inspect::{self, InspectError};
use crate::store::{Store, StoreError};
use crate::sync::{Stopping, blocking};
use crate::tidb::{History, QueryLimits, Setup};

/// Answers a request.
pub(super) async fn answer(apply: Apply, request: StoreRequest) -> OpsAnswer {
    let Apply { store, clock, .. } = apply.clone();
    match request {
        StoreRequest::Backup { into } => {
            let make = move || {
                let (dir, _lock) = exchange::make(store.dir(), &into)?;
                Ok::<_, OpsError>(checkpoint::backup_into(
                    &store,
                    &dir,
                    exchange::BACKUP.as_ref(),
                    clock,
                )?)
            };
            written(&blocking(make).await??)
        }
        StoreRequest::Inspect { family: None, .. } => {
            written(&blocking(move || inspect::families(store.reader())).await??)
        }
        StoreRequest::Inspect { family: Some(family), prefix, limit, last } => {
            let look = move || {
                if last {
                    inspect::last_rows(store.reader(), &family, limit)
                } else {
                    inspect::rows(store.reader(), &family, &prefix, limit)
                }
            };
            written(&blocking(look).await??)
        }
        StoreRequest::Requeue {} => written(&apply.requeue().await?),
    }
}

/// Retries the dead letters of a store that no appliance uses.
pub async fn requeue(store: &Store, config: &Config, clock: Clock) -> anyhow::Result<Requeued> {
    excluded::leave_out(store, &config.privacy)?;
    let numbers = NodeCounters::load(store, config.interval.latest_during, clock)?;
    let (history, _) = History::load(store, setup_of(config, true), Alerts::off(), clock)?;
    let apply = Apply {
        store: store.clone(),
        numbers: Arc::new(numbers),
        history,
        hub: Arc::new(Hub::new(&HubOptions::default(), clock)),
        seen_for: config.store.seen_for,
        clock,
    };
    Ok(apply.requeue().await?)
}

/// TiDB, and how often it is asked; with `on_request` only when somebody asks for it.
pub(super) fn setup_of(config: &Config, on_request: bool) -> Setup {
    let tidb = config.tidb.clone().map(|tidb| (tidb.clone(), QueryLimits::of(&tidb)));
    Setup { tidb, interval: config.interval.clone(), on_request }
}

/// An answer in its wire format.
pub(super) fn written(answer: &impl Serialize) -> OpsAnswer {
    Ok(to_raw_value(answer)?)
}

/// Makes errors failures of a request, each with whether it is one of a file or the disk.
macro_rules! failures {
    ($($error:ty: $is_io:expr;)*) => {$(
        impl From<$error> for OpsError {
            fn from(error: $error) -> Self {
                let is_io: fn(&$error) -> bool = $is_io;
                Self { is_io: is_io(&error), reason: error.to_string() }
            }
        }
    )*};
}

failures! {
    Stopping: |_| true;
    StoreError: |_| true;
    serde_json::Error: |_| true;
    ArchiveError: ArchiveError::is_io;
    CheckpointError: CheckpointError::is_io;
    InspectError: |error| matches!(error, InspectError::Store(_));
}
