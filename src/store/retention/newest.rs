//! The newest event of a journal, as a witness of the time.

use std::time::Duration;

use crate::clock::witness::{NewestReceipt, TOLERANCE};
use crate::model::event::Event;
use crate::model::position::BusTag;
use crate::model::window::{Minute, Timestamp};
use crate::store::error::StoreError;
use crate::store::gaps;
use crate::store::keys::MinuteKey;
use crate::store::reader::Reader;

/// How long after `created_at` GitHub usually shows an event: five minutes.
const SHOWN_AFTER: Duration = Duration::from_secs(900);
/// Events among which one is searched that GitHub showed that soon.
const SEARCHED: usize = 100;
/// Events created after their receipt that show together that the clock was behind.
const CREATED_LATER: usize = 5;

/// When the newest event of a journal was received. `now` is the machine's time.
pub(super) fn newest_receipt(
    reader: Reader<'_>,
    tag: BusTag,
    now: Timestamp,
) -> Result<Option<NewestReceipt>, StoreError> {
    let Some(at) = newest_received(reader, tag, now)? else { return Ok(None) };
    let (mut is_confirmed, mut searched, mut created_later) = (false, 0, 0);
    reader.journal(tag)?.read_before(gaps::LAST, |_, row| {
        searched += 1;
        let received_at = row.facts.received_at;
        // The time is the end of a minute.
        if received_at <= at && at.since(received_at) <= 2 * TOLERANCE {
            let created_at = Event::read(row.event).ok().and_then(|event| event.created_at);
            let soon = received_at.minus(SHOWN_AFTER)..=received_at.plus(TOLERANCE);
            is_confirmed = created_at.is_some_and(|created_at| soon.contains(&created_at));
            created_later += usize::from(created_at > Some(*soon.end()));
        }
        Ok(!is_confirmed && searched < SEARCHED)
    })?;
    let is_before_created = !is_confirmed && created_later >= CREATED_LATER;
    Ok(Some(NewestReceipt { at, is_confirmed, is_before_created }))
}

/// The end of the minute in which the newest event of the journal was received: the latest minute,
/// or where that is still to come by the machine's time `now`, the last by position. Events whose
/// time of receipt is wrong must not stay the newest for good.
pub(super) fn newest_received(
    reader: Reader<'_>,
    tag: BusTag,
    now: Timestamp,
) -> Result<Option<Timestamp>, StoreError> {
    let key = |minute| MinuteKey { tag, minute: Minute(minute) };
    let latest = reader.last_before(&key(i64::MAX))?.filter(|key| key.tag == tag);
    let Some(MinuteKey { minute: mut newest, .. }) = latest else { return Ok(None) };
    if newest.0 > now.minute().0.saturating_add(1) {
        newest = last_minute(reader, tag)?.unwrap_or(newest);
    }
    Ok(Some(end_of(newest)))
}

/// The end of the minute in which the journal's last event by position was received.
pub(super) fn last_received(
    reader: Reader<'_>,
    tag: BusTag,
) -> Result<Option<Timestamp>, StoreError> {
    Ok(last_minute(reader, tag)?.map(end_of))
}

fn last_minute(reader: Reader<'_>, tag: BusTag) -> Result<Option<Minute>, StoreError> {
    let mut last = None;
    reader.journal(tag)?.each_minute(Minute(i64::MIN), |minute, row| {
        last = last.max(Some((row.first, minute)));
    })?;
    Ok(last.map(|(_, minute)| minute))
}

fn end_of(minute: Minute) -> Timestamp {
    Timestamp::from_seconds(minute.0.saturating_add(1).saturating_mul(60))
}
