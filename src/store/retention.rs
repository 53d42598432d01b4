//! Retention: drops expired rows, by whole days and minutes, from the front, in ranges.
//!
//! A clock alone never causes a deletion: a pass waits until a witness agrees with the machine's
//! clock ([`crate::clock::witness`]). The time of the last pass is stored, and is itself a witness.

pub mod claimed;
mod newest;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::newest::{last_received, newest_receipt, newest_received};
use super::activity::AHEAD;
use super::error::StoreError;
use super::journal::DROPPED;
use super::keys::entity::EntityKey;
use super::keys::{BucketKey, JournalKey, MinuteKey, RepoKey};
use super::last_pass::{last_pass_at, last_pass_key};
use super::ledger::fold::{self, FoldProgress};
use super::open::Store;
use super::reach::{bytes_on_disk, reach};
use super::reader::Reader;
use super::rows::MinuteRow;
use super::{activity, audit, buses, gaps, journal, periods, repos};
use crate::clock::Clock;
use crate::clock::witness::{ClockVerdict, DISAGREES, LOOK, Witness};
use crate::model::entity::ObjectId;
use crate::model::position::{BusTag, Cursor, Position};
use crate::model::window::{Minute, Second, Timestamp};
use crate::{fault, metrics};

/// How long and how much data is kept.
#[derive(Debug, Clone, Copy)]
pub struct RetentionOptions {
    /// The bus whose journal is kept. The journal of another bus is dropped once this one has taken
    /// over.
    pub tag: BusTag,
    /// How long claims of events are kept, rounded up to whole days.
    pub seen_for: Duration,
    /// How long language buckets are kept.
    pub buckets: Duration,
    /// How long events stay in the journal.
    pub journal_for: Duration,
    /// The largest size of the journal on the disk, in bytes.
    pub journal_bytes: u64,
    /// The cursor of a consumer that holds the journal back: events after it stay however old they
    /// are, within `journal_bytes`.
    pub held_by: Option<&'static str>,
}

/// Time between two passes.
const EVERY: Duration = Duration::from_secs(60);
/// Time between two measurements of the journal.
const MEASURE: Duration = Duration::from_secs(10);
/// Minutes by which events may be out of order on a bus.
const APART: i64 = 2;
/// Time between two sweeps of the first-time sets.
const SWEEP: Duration = Duration::from_secs(3_600);

/// The days that a claim checks: from the first that is kept to tomorrow, so that a clock that is
/// set back a little changes nothing.
#[must_use]
pub fn remembered_days(now: Timestamp, seen_for: Duration) -> std::ops::RangeInclusive<i32> {
    now.minus(seen_for).day().0..=now.day().0 + 1
}

/// The days under which an event received then may have been claimed, the same on every node: a
/// second message about it is received within `seen_for` of the first.
#[must_use]
pub fn claim_days(received_at: Timestamp, seen_for: Duration) -> std::ops::RangeInclusive<i32> {
    received_at.minus(seen_for).day().0..=received_at.plus(seen_for).day().0
}

/// Runs a pass every minute while the clock is trusted, until `stop` is cancelled.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn run(
    store: Store,
    options: RetentionOptions,
    witness: Arc<Witness>,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut retention = RetentionPasses::begin(store, options, witness, clock).await?;
    loop {
        retention.look().await?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = clock.sleep(LOOK) => {}
        }
    }
}

/// The state of retention between two looks at the clock.
pub struct RetentionPasses {
    store: Store,
    options: RetentionOptions,
    witness: Arc<Witness>,
    clock: Clock,
    last_pass: Option<Instant>,
    last_measured: Option<Instant>,
    last_sweep: Option<Instant>,
    /// Where the next sweep of languages begins.
    repo: RepoKey,
    folded: FoldProgress,
    /// The verdict about the clock that was logged last.
    logged: Option<&'static str>,
}

impl RetentionPasses {
    /// Begins after the last pass of an earlier process.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn begin(
        store: Store,
        options: RetentionOptions,
        witness: Arc<Witness>,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        witness.record_pass(store.read(last_pass_at).await?);
        let (last_pass, last_measured, last_sweep) = (None, None, None);
        let (repo, folded, logged) = (RepoKey(0), FoldProgress::default(), None);
        Ok(Self {
            store,
            options,
            witness,
            clock,
            last_pass,
            last_measured,
            last_sweep,
            repo,
            folded,
            logged,
        })
    }

    /// Looks at the clock, measures the journal, and runs a pass, each when it is due.
    ///
    /// # Errors
    /// When the store cannot be read or written.
    pub async fn look(&mut self) -> Result<(), StoreError> {
        let (tag, wall) = (self.options.tag, self.clock.now());
        let newest = self.store.read(move |reader| newest_receipt(reader, tag, wall)).await?;
        self.witness.record_newest(newest);
        report(self.witness.judge(), &mut self.logged);
        if self.is_due(self.last_measured, MEASURE) {
            self.last_measured = Some(self.clock.instant());
            measure(&self.store, tag, self.clock).await?;
        }
        if self.is_due(self.last_pass, EVERY)
            && let Ok(now) = self.witness.trusted_now()
        {
            self.last_pass = Some(self.clock.instant());
            self.pass(now).await?;
        }
        Ok(())
    }

    fn is_due(&self, last: Option<Instant>, every: Duration) -> bool {
        last.is_none_or(|last| self.clock.instant() - last >= every)
    }

    async fn pass(&mut self, now: Timestamp) -> Result<(), StoreError> {
        drop_due(&self.store, self.options, now).await?;
        self.witness.record_pass(Some(now));
        self.repo = repos::sweep(&self.store, self.repo, now).await?;
        self.folded = fold::fold_due(&self.store, self.folded, now).await?;
        if self.is_due(self.last_sweep, SWEEP) {
            self.last_sweep = Some(self.clock.instant());
            periods::sweep(&self.store, now).await?;
        }
        Ok(())
    }
}

/// Measures the journal, for subscribers, `/status` and the metrics.
async fn measure(store: &Store, tag: BusTag, clock: Clock) -> Result<(), StoreError> {
    let found = store.read(move |reader| reach(reader, tag)).await?;
    store.watermarks().reach.send_replace(found);
    #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53 bytes")]
    metrics::JOURNAL_BYTES.set(found.bytes as f64);
    let seconds = found.oldest.map_or(0.0, |oldest| clock.now().since(oldest).as_secs_f64());
    metrics::JOURNAL_REACH_SECONDS.set(seconds);
    Ok(())
}

/// Logs when a witness begins to contradict the clock, and when it no longer does.
fn report(verdict: ClockVerdict, logged: &mut Option<&'static str>) {
    metrics::CLOCK_OFFSET_SECONDS.set(verdict.seconds_ahead().unwrap_or(f64::NAN));
    let before = logged.replace(verdict.name());
    if before == Some(verdict.name()) {
        return;
    }
    match verdict {
        ClockVerdict::Disagrees { .. } => tracing::warn!("{verdict}"),
        _ if before == Some(DISAGREES) => tracing::info!("{verdict} again"),
        ClockVerdict::Agrees | ClockVerdict::Unconfirmed => {}
    }
}

/// Runs one pass: drops what has expired by `now`, which must come from a trusted clock.
pub async fn drop_due(
    store: &Store,
    retention: RetentionOptions,
    now: Timestamp,
) -> Result<(), StoreError> {
    let tag = retention.tag;
    let look = move |reader: Reader<'_>| {
        let cut = journal_cut(reader, tag, retention, now)?;
        let dropped = cut.as_ref().map(|cut| last_dropped(reader, tag, cut.start)).transpose()?;
        let dropped = dropped.flatten();
        let passed = dropped.map(|dropped| gaps::passed(reader, tag, dropped.position));
        let gone = (dropped, passed.transpose()?.unwrap_or_default());
        let newest = [newest_received(reader, tag, now)?, last_received(reader, tag)?];
        Ok((cut, gone, buses::unused(reader, tag)?, newest))
    };
    let (cut, (dropped, passed), unused, newest) = store.read(look).await?;
    // A node that reads old messages of a topic needs the claims of that time, also when one of
    // them has a later time. Where the last one has a wrong past, claims are only kept longer.
    let claims_now = newest.into_iter().flatten().fold(now, Timestamp::min);
    let dropped = store
        .commit(move |batch| {
            let first_day = *remembered_days(claims_now, retention.seen_for).start();
            let days = first_day..=*remembered_days(now, retention.seen_for).end();
            claimed::drop_due(batch, days, now, retention.seen_for)?;
            let entity = |period| EntityKey { period, id: ObjectId::from_bytes([0; 12]) };
            let first_period = *EntityKey::periods(claims_now).start();
            batch.delete_range(&entity(i32::MIN), &entity(first_period))?;
            let ahead = now.plus(AHEAD);
            let period_ahead = EntityKey::periods(ahead).end().saturating_add(1);
            batch.delete_range(&entity(period_ahead), &entity(i32::MAX))?;
            activity::drop_due(batch, now)?;
            audit::drop_due(batch, now)?;
            let bucket = |second| BucketKey { second, language: String::new() };
            let kept = now.minus(retention.buckets).second()..ahead.second();
            batch.delete_range(&bucket(Second(i64::MIN)), &bucket(kept.start))?;
            batch.delete_range(&bucket(kept.end), &bucket(Second(i64::MAX)))?;
            batch.forget_counters(move |key: &BucketKey| !kept.contains(&key.second));
            if let Some(Cut { start, before, also, newest }) = cut {
                let minute_key = |minute| MinuteKey { tag, minute };
                batch.delete_range(&minute_key(Minute(i64::MIN)), &minute_key(before))?;
                for minute in also {
                    batch.delete(&minute_key(minute));
                }
                let first = JournalKey { tag, position: Position::default() };
                batch.delete_range(&first, &JournalKey { tag, position: start })?;
                if let Some(dropped) = dropped {
                    gaps::forget(batch, passed, dropped.position)?;
                    batch.put_cursor(DROPPED, dropped)?;
                }
                // A clock that was once ahead must not make the journal incomplete for good.
                let from = Minute(newest.0.min(now.minute().0).saturating_add(1));
                journal::keep_complete_from(batch, tag, from)?;
            }
            journal::correct_complete_from(batch, tag, now.minute())?;
            let mut all: Vec<Cursor> = dropped.into_iter().collect();
            for bus in unused {
                all.push(bus.drop_journal(batch)?);
            }
            batch.put(&last_pass_key(), &now.micros().to_be_bytes());
            fault::point("retention.before_commit");
            Ok(all)
        })
        .await?;
    if !dropped.is_empty() {
        let moved = dropped.into_iter().map(|cursor| (cursor.tag, cursor.position));
        store.watermarks().dropped.send_modify(|known| known.extend(moved));
    }
    Ok(())
}

/// The furthest position that is dropped now or was dropped before: an event that arrived late at
/// an old position may be dropped after newer ones.
fn last_dropped(
    reader: Reader<'_>,
    tag: BusTag,
    start: Position,
) -> Result<Option<Cursor>, StoreError> {
    let last = match reader.last_before(&JournalKey { tag, position: start }) {
        // Unreadable rows are dropped with the rest.
        Err(error) if error.is_damage() => start.before(),
        last => last?.filter(|key| key.tag == tag).map(|key| key.position),
    };
    let last = last.map(|position| Cursor { tag, position });
    Ok(last.max(reader.cursor_on(DROPPED, tag)?))
}

/// The part of the journal to drop.
struct Cut {
    /// The first position that stays.
    start: Position,
    /// All minutes before this one are dropped.
    before: Minute,
    /// Later minutes that are dropped too.
    also: Vec<Minute>,
    /// The latest minute that is dropped.
    newest: Minute,
}

/// The part of the journal to drop; `None` when all of it stays.
fn journal_cut(
    reader: Reader<'_>,
    tag: BusTag,
    retention: RetentionOptions,
    now: Timestamp,
) -> Result<Option<Cut>, StoreError> {
    let mut minutes = Vec::new();
    let key = |minute| MinuteKey { tag, minute: Minute(minute) };
    reader.scan_range(key(i64::MIN)..key(i64::MAX), |key, value| {
        minutes.push((key.minute, MinuteRow::decode(&key, value)?));
        Ok(())
    })?;
    // The newest minute always stays: it is still being written.
    let Some((newest, _)) = minutes.last() else { return Ok(None) };
    let oldest = now.minus(retention.journal_for).minute().min(*newest);
    // Minutes are ordered by receipt, positions by the bus: minutes may overlap. Ages and sizes
    // are looked at by position: minutes that a wrong clock put into the future must not keep all
    // later events.
    minutes.sort_by_key(|(_, row)| row.first);
    let by_age = first_young(&minutes, oldest, now.minute());
    let held = retention.held_by.map(|name| reader.cursor_on(name, tag)).transpose()?.flatten();
    // The uncompressed size is an upper bound of the size on the disk.
    let raw: u64 = minutes.iter().map(|(_, row)| row.bytes).fold(0, u64::saturating_add);
    let kept = if raw <= retention.journal_bytes {
        minutes.len()
    } else {
        let mut bytes = 0_u64;
        let fits = |size: &&u64| {
            bytes = bytes.saturating_add(**size);
            bytes <= retention.journal_bytes
        };
        let firsts: Vec<MinuteRow> = minutes.iter().map(|(_, row)| *row).collect();
        let sizes = bytes_on_disk(reader, tag, &firsts);
        sizes.iter().rev().take_while(fits).count().max(1)
    };
    let by_bytes = minutes[minutes.len() - kept].1.first;
    let by_age = held.map_or(by_age, |held| {
        // Only whole minutes are dropped: the one that the cursor is in stays.
        let mut firsts = minutes.iter().rev().map(|(_, row)| row.first);
        let unread = firsts.find(|first| *first <= held.position);
        by_age.min(unread.unwrap_or_default())
    });
    let start = by_age.max(by_bytes);
    let (gone, stays) = minutes.split_at(minutes.partition_point(|(_, row)| row.first < start));
    if gone.is_empty() {
        return Ok(None);
    }
    let before = stays.iter().map(|(minute, _)| *minute).min().unwrap_or(oldest);
    let newest = gone.iter().map(|(minute, _)| *minute).max().unwrap_or(before);
    let also = gone.iter().map(|(minute, _)| *minute).filter(|minute| *minute >= before);
    Ok(Some(Cut { start, before, also: also.collect(), newest }))
}

/// The first position of the minutes from `oldest` on; at least the last minute stays. `minutes`
/// must be sorted by position. A minute of the future counts as the next one by position that can
/// be true: it is not of the future either, and about as late as those ahead of it, or later.
fn first_young(minutes: &[(Minute, MinuteRow)], oldest: Minute, now: Minute) -> Position {
    let is_ahead = |minute: Minute| minute.0 > now.0.saturating_add(1);
    let mut latest = Minute(i64::MIN);
    let in_order: Vec<bool> = minutes
        .iter()
        .map(|(minute, _)| {
            let is_behind = minute.0.saturating_add(APART) < latest.0;
            latest = if is_ahead(*minute) { latest } else { latest.max(*minute) };
            !is_ahead(*minute) && !is_behind
        })
        .collect();
    let mut first = minutes.last().map(|(_, row)| row.first).unwrap_or_default();
    let mut next = None;
    for ((minute, row), in_order) in minutes.iter().zip(in_order).rev() {
        if in_order {
            next = Some(*minute);
        }
        let counted = next.filter(|_| is_ahead(*minute)).unwrap_or(*minute);
        if counted >= oldest {
            first = row.first;
        }
    }
    first
}

#[cfg(test)]
mod tests;
