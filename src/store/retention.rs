//! Retention: drops expired rows, by whole days and minutes, from the front, in ranges.
//!
//! A clock alone never causes a deletion: a pass waits until a witness agrees with the machine's
//! clock ([`crate::clock::witness`]). The time of the last pass is stored, and is itself a witness.
//! Until then the journal is only kept within its limit of bytes, which needs no clock.
//!
//! Where hours are archived, events do not expire by age before the archive has their hour, for up
//! to ten minutes: after a long stop, or a long sleep of the machine, the first pass would drop
//! what the archive is about to read.

pub mod claimed;
mod expired_journal;
mod newest;
mod options;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::expired_journal::ExpiredJournal;
use self::newest::{last_received, newest_receipt, newest_received};
pub use self::options::RetentionOptions;
use super::error::StoreError;
use super::keys::entity::EntityKey;
use super::keys::{BucketKey, RepoKey};
use super::last_pass::{CERTAINLY_AHEAD, last_pass_at, last_pass_key};
use super::ledger::fold::{self, FoldProgress};
use super::open::Store;
use super::reach::reach;
use super::reader::Reader;
use super::{activity, audit, journal, periods, repos};
use crate::clock::Clock;
use crate::clock::witness::{ClockVerdict, DISAGREES, LOOK, Witness};
use crate::model::entity::ObjectId;
use crate::model::position::{BusTag, Cursor};
use crate::model::window::{Hour, Second, Timestamp};
use crate::{fault, metrics};

/// Time between two passes.
const EVERY: Duration = Duration::from_secs(60);
/// Time between two measurements of the journal.
const MEASURE: Duration = Duration::from_secs(10);
/// Time between two sweeps of the first-time sets.
const SWEEP: Duration = Duration::from_secs(3_600);
/// How long events are kept that expire before they are archived.
const ARCHIVE_WAIT: Duration = Duration::from_secs(600);

/// The first hour that is not archived yet; `None` before the archive's first pass.
pub type ExportedUntil = Receiver<Option<Hour>>;

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

/// Runs a pass every minute while the clock is trusted, until `stop` is cancelled. `exported_until`
/// is `None` where no hours are archived.
///
/// # Errors
/// When the store cannot be read or written.
pub async fn run(
    store: Store,
    (options, exported_until): (RetentionOptions, Option<ExportedUntil>),
    witness: Arc<Witness>,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let retention = RetentionPasses::begin(store, options, witness, clock).await?;
    let mut retention = RetentionPasses { exported_until, ..retention };
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
    /// When the journal was last cut by its bytes alone.
    last_cut: Option<Instant>,
    last_measured: Option<Instant>,
    last_sweep: Option<Instant>,
    exported_until: Option<ExportedUntil>,
    /// Since when events have been kept for the archive.
    held_since: Option<Instant>,
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
        let (last_pass, last_cut, last_measured, last_sweep) = (None, None, None, None);
        let (repo, folded, logged) = (RepoKey(0), FoldProgress::default(), None);
        Ok(Self {
            store,
            options,
            witness,
            clock,
            last_pass,
            last_cut,
            last_measured,
            last_sweep,
            exported_until: None,
            held_since: None,
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
        self.witness.record_waiting(*self.store.watermarks().backlog.borrow() > 0);
        report(self.witness.judge(), &mut self.logged);
        if self.is_due(self.last_measured, MEASURE) {
            self.last_measured = Some(self.clock.instant());
            measure(&self.store, tag, self.clock).await?;
        }
        if self.is_due(self.last_pass, EVERY) {
            match self.witness.trusted_now() {
                Ok(now) => {
                    self.last_pass = Some(self.clock.instant());
                    self.pass(now).await?;
                }
                Err(_) if self.is_due(self.last_cut, EVERY) => {
                    self.last_cut = Some(self.clock.instant());
                    drop_oversized(&self.store, self.options).await?;
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn is_due(&self, last: Option<Instant>, every: Duration) -> bool {
        last.is_none_or(|last| self.clock.instant() - last >= every)
    }

    /// Whether events that have expired stay for the archive. What must go for the limit of bytes
    /// goes in any case, and a disk without space needs what expires.
    fn is_held(&mut self, now: Timestamp) -> bool {
        let Some(exported_until) = &self.exported_until else { return false };
        let expired = now.minus(self.options.journal_for).hour();
        if exported_until.borrow().is_some_and(|first| first > expired) {
            self.held_since = None;
            return false;
        }
        let held = self.clock.instant() - *self.held_since.get_or_insert(self.clock.instant());
        let disk = self.store.disk_space();
        held < ARCHIVE_WAIT && !disk.is_low() && !disk.is_full()
    }

    async fn pass(&mut self, now: Timestamp) -> Result<(), StoreError> {
        let journal_for = if self.is_held(now) { Duration::MAX } else { self.options.journal_for };
        let options = RetentionOptions { journal_for, ..self.options };
        drop_due(&self.store, options, now).await?;
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
        let newest = [newest_received(reader, tag, now)?, last_received(reader, tag)?];
        Ok((ExpiredJournal::find(reader, &retention, Some(now))?, newest))
    };
    let (expired, newest) = store.read(look).await?;
    // A node that reads old messages of a topic needs the claims of their time, so claims are kept
    // from the older of the newest receipt and that of the last event by position. If that event's
    // time is wrong and past, claims are only kept longer.
    let claims_now = newest.into_iter().flatten().fold(now, Timestamp::min);
    let dropped = store
        .commit(move |batch| {
            let first_day = *remembered_days(claims_now, retention.seen_for).start();
            let days = first_day..=*remembered_days(now, retention.seen_for).end();
            claimed::drop_due(batch, days, now, retention.seen_for)?;
            let entity = |period| EntityKey { period, id: ObjectId::from_bytes([0; 12]) };
            let first_period = *EntityKey::periods(claims_now).start();
            batch.delete_range(&entity(i32::MIN), &entity(first_period))?;
            let ahead = now.plus(CERTAINLY_AHEAD);
            let period_ahead = EntityKey::periods(ahead).end().saturating_add(1);
            batch.delete_range(&entity(period_ahead), &entity(i32::MAX))?;
            activity::drop_due(batch, now)?;
            audit::drop_due(batch, now)?;
            let bucket = |second| BucketKey { second, language: String::new() };
            let kept = now.minus(retention.buckets).second()..ahead.second();
            batch.delete_range(&bucket(Second(i64::MIN)), &bucket(kept.start))?;
            batch.delete_range(&bucket(kept.end), &bucket(Second(i64::MAX)))?;
            batch.forget_counters(move |key: &BucketKey| !kept.contains(&key.second));
            let dropped = expired.drop_rows(batch, tag)?;
            journal::correct_complete_from(batch, tag, now.minute())?;
            batch.put(&last_pass_key(), &now.micros().to_be_bytes());
            fault::point("retention.before_commit");
            Ok(dropped)
        })
        .await?;
    publish(store, dropped);
    Ok(())
}

/// Drops what the journal has beyond its limit of bytes, and journals of other buses. Needs no
/// clock: the disk stays bounded also while the machine's clock is not trusted.
async fn drop_oversized(store: &Store, retention: RetentionOptions) -> Result<(), StoreError> {
    let find = move |reader: Reader<'_>| ExpiredJournal::find(reader, &retention, None);
    let expired = store.read(find).await?;
    if expired.is_empty() {
        return Ok(());
    }
    let dropped = store.commit(move |batch| expired.drop_rows(batch, retention.tag)).await?;
    publish(store, dropped);
    Ok(())
}

/// Notifies readers of the journals of the last events that were dropped.
fn publish(store: &Store, dropped: Vec<Cursor>) {
    if !dropped.is_empty() {
        let moved = dropped.into_iter().map(|cursor| (cursor.tag, cursor.position));
        store.watermarks().dropped.send_modify(|known| known.extend(moved));
    }
}

#[cfg(test)]
mod tests;
