//! Answers requests about the store of a running appliance, and implements requeue for when none
//! is running, because it needs more than the store.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::to_raw_value;

use super::{exchange, excluded};
use crate::alerts::Alerts;
use crate::apply::aggregate::Apply;
use crate::apply::numbers::NodeCounters;
use crate::apply::requeue::Requeued;
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
pub(super) async fn answer(apply: Apply, request: StoreRequest, clock: Clock) -> OpsAnswer {
    let store = apply.store.clone();
    match request {
        StoreRequest::Backup { into } => {
            let make = move || {
                let to = exchange::make(store.dir(), &into)?.join(exchange::BACKUP);
                checkpoint::backup(&store, &to, clock).map_err(|error| of_copy(&error))
            };
            blocking(make).await?.and_then(|made| written(&made))
        }
        StoreRequest::Inspect { family: None, .. } => {
            let looked = blocking(move || inspect::families(store.reader())).await?;
            looked.map_err(|error| of_store(&error)).and_then(|families| written(&families))
        }
        StoreRequest::Inspect { family: Some(family), prefix, limit } => {
            let look = move || inspect::rows(store.reader(), &family, &prefix, limit);
            blocking(look).await?.map_err(|error| of_look(&error)).and_then(|rows| written(&rows))
        }
        StoreRequest::Requeue {} => {
            let requeued = apply.requeue().await;
            requeued.map_err(|error| of_store(&error)).and_then(|requeued| written(&requeued))
        }
    }
}

/// Retries the dead letters of a store that no appliance uses.
pub async fn requeue(store: &Store, config: &Config, clock: Clock) -> anyhow::Result<Requeued> {
    excluded::leave_out(store, &config.privacy)?;
    let numbers = NodeCounters::load(store, config.interval.latest_during, clock)?;
    let tidb = config.tidb.clone().map(|tidb| (tidb.clone(), QueryLimits::of(&tidb)));
    let setup = Setup { tidb, interval: config.interval.clone(), on_request: true };
    let (history, _) = History::load(store, setup, Alerts::off(), clock)?;
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

impl From<Stopping> for OpsError {
    fn from(error: Stopping) -> Self {
        Self { is_io: true, reason: error.to_string() }
    }
}

/// An answer in its wire format.
pub(super) fn written(answer: &impl Serialize) -> OpsAnswer {
    to_raw_value(answer).map_err(|error| OpsError { is_io: true, reason: error.to_string() })
}

fn of_copy(error: &CheckpointError) -> OpsError {
    OpsError { is_io: error.is_io(), reason: error.to_string() }
}

fn of_look(error: &InspectError) -> OpsError {
    let is_io = matches!(error, InspectError::Store(_));
    OpsError { is_io, reason: error.to_string() }
}

fn of_store(error: &StoreError) -> OpsError {
    OpsError { is_io: true, reason: error.to_string() }
}
