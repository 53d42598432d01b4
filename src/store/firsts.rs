//! Who was seen for the first time: claimed once, by whoever sees an event first on this node.

use super::batch::Batch;
use super::error::StoreError;
use super::keys::{FirstKey, Scope, SizeKey};
use super::periods::{Period, found_key};
use crate::model::envelope::Flags;
use crate::model::window::Timestamp;

/// Claims what a pull-request event may be the first of, and sets the three flags that say so.
/// Anything else is left alone.
pub fn claim_firsts(
    batch: &mut Batch<'_>,
    flags: &mut Flags,
    happened_at: Timestamp,
    actor_id: Option<u64>,
    repo_id: Option<u64>,
) -> Result<(), StoreError> {
    if !flags.pr {
        return Ok(());
    }
    let (day, year) = (happened_at.day().0, happened_at.year().0);
    if let Some(actor) = actor_id {
        flags.dev_day = claim_first(batch, Scope::DeveloperDay, day, actor)?;
        flags.dev_year = claim_first(batch, Scope::DeveloperYear, year, actor)?;
    }
    if let Some(repo) = repo_id {
        flags.repo_year = claim_first(batch, Scope::RepositoryYear, year, repo)?;
    }
    Ok(())
}

fn claim_first(
    batch: &mut Batch<'_>,
    scope: Scope,
    period: i32,
    id: u64,
) -> Result<bool, StoreError> {
    let size = SizeKey { scope, period };
    let state = batch.period(size)?;
    if state == Period::Closed || !batch.claim(&FirstKey { scope, period, id })? {
        return Ok(false);
    }
    let is_more = match state {
        Period::Reopened(base) => batch.add(&found_key(size), 1)? > base,
        Period::Open | Period::Closed => true,
    };
    if is_more {
        batch.add(&size, 1)?;
    }
    Ok(is_more)
}
