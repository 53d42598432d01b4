//! Turns outages that arrive over the bus into gaps, at the same position on every node.

use crate::model::gap::{Gap, GapReason, Outage};
use crate::model::position::Cursor;
use crate::model::window::Timestamp;
use crate::store::{Batch, StoreError, gaps, outages};

/// Records the `upstream` gap carried by a message at `at`, between the previous message and this
/// one. A node that has applied nothing before has no reader to notify.
pub(super) fn record(
    batch: &mut Batch<'_>,
    before: Option<Cursor>,
    at: Cursor,
    outage: Outage,
    now: Timestamp,
) -> Result<(), StoreError> {
    if !outages::arrive(batch, outage)? {
        return Ok(());
    }
    let Some(before) = before.filter(|before| before.tag == at.tag) else { return Ok(()) };
    let Outage { since, until } = outage;
    tracing::warn!(%since, %until, %at, "GitHub was not read for a while, and events were missed");
    let (after, reason) = (before.position, GapReason::Upstream);
    let gap = Gap { after, until: after, count: None, reason, noticed_at: now };
    gaps::record(batch, at.tag, gap)
}
