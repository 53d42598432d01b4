//! The last stage: counts each delivery and appends it to the journal, once.
//!
//! The position identifies what was already applied; the claim of (type, id) identifies what was
//! applied under another position. One batch holds the claim, the counters, the journal's row, the
//! cursor, and whatever the bus has to change with it. Readers are notified after that. So an
//! event is in all of the numbers and in the journal, or in none.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::claims::{
    claim_entities, claim_id, claim_seen, keep_dead_letter, record_damaged, record_outage,
};
use super::numbers::NodeCounters;
use super::prepared::Prepared;
use crate::bus::{Bus, Content, DeadLetter, Delivery, FactsFrom};
use crate::clock::Clock;
use crate::hub::{Hub, TailEvent};
use crate::logging::line_limit::LineLimit;
use crate::model::counts::{MOST_LINES, counted_lines};
use crate::model::gap::{Gap, GapReason, Outage};
use crate::model::json;
use crate::model::kinds::column;
use crate::model::ledger::LedgerMetric;
use crate::model::position::{BusTag, Cursor};
use crate::model::privacy::Privacy;
use crate::model::window::{Day, Timestamp};
use crate::store::activity::BatchActivity;
use crate::store::journal::{self, DROPPED};
use crate::store::keys::{
    AppliedKey, BucketKey, HourKey, HourMetric, HourSource, JournalKey, MinuteKey, SeenKey,
};
use crate::store::ledger::counting::{LedgerCounting, LedgerEvent};
use crate::store::retention::claim_days;
use crate::store::rows::{MinuteRow, push_journal};
use crate::store::{APPLIED, Batch, Store, StoreError, gaps, outages};
use crate::sync::blocking;
use crate::tidb::History;
use crate::{fault, metrics};

/// Pause before the bus is read again after a failure.
const BUS_PAUSE: Duration = Duration::from_secs(1);
/// Lines that say that the bus fails.
static FAILING: LineLimit = LineLimit::per_minute(2);
/// Lines about pull requests with more lines than there can be.
static IMPOSSIBLE: LineLimit = LineLimit::per_minute(10);

/// The inputs of the apply stage, besides the bus.
#[derive(Clone)]
pub struct Apply {
    /// The store.
    pub store: Store,
    /// The numbers kept in memory.
    pub numbers: Arc<NodeCounters>,
    /// The numbers imported from a history.
    pub history: History,
    /// The hub that notifies readers.
    pub hub: Arc<Hub>,
    /// How long an event is remembered as applied.
    pub seen_for: Duration,
    /// The source of the current time.
    pub clock: Clock,
}

/// A delivery, with the outage before it.
struct ArrivedDelivery {
    cursor: Cursor,
    outage: Option<Outage>,
    read: Result<Prepared, Box<DeadLetter>>,
}

/// The result of applying an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// It is counted and kept.
    Fresh,
    /// It was applied before.
    Duplicate,
    /// `privacy.exclude` leaves it out: it is neither counted nor kept, only known by its id.
    LeftOut,
}

/// The result of a batch.
struct AppliedBatch {
    fresh: Vec<Prepared>,
    /// Number of deliveries that were duplicates.
    duplicates: u64,
    /// Deliveries that are left out.
    left_out: u64,
    /// Number of deliveries written to the dead-letter queue.
    dead: u64,
}

impl Apply {
    /// Applies the deliveries of the bus until `stop` is cancelled.
    pub async fn run<B: Bus>(self, mut bus: B, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            // While the disk is full, messages stay on the broker; events that this node has
            // admitted are on the disk already.
            let is_remote = bus.tag() != self.store.bus_tag();
            let next = async {
                if is_remote {
                    self.store.disk_space().wait().await;
                }
                bus.next().await
            };
            let delivered = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                delivered = next => delivered,
            };
            match delivered {
                Ok(deliveries) => {
                    let receipts = self.apply::<B>(bus.tag(), deliveries).await?;
                    bus.acknowledge(receipts).await?;
                }
                Err(error) if error.is_transient() => {
                    FAILING.log(|left_out| {
                        tracing::warn!(%error, left_out, "the bus fails; trying again");
                    });
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = self.clock.sleep(BUS_PAUSE) => {}
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Applies deliveries and notifies readers. Returns the receipts.
    async fn apply<B: Bus>(
        &self,
        tag: BusTag,
        deliveries: Vec<Delivery<B::Receipt>>,
    ) -> Result<Vec<B::Receipt>, StoreError> {
        let began = self.clock.instant();
        let privacy = Arc::clone(self.store.privacy());
        let rules = privacy.changes();
        let prepared = blocking(move || prepare(tag, deliveries, &privacy));
        let (prepared, receipts) = prepared.await?;
        let (now, seen_for) = (self.clock.now(), self.seen_for);
        let own = self.store.bus_tag();
        let history = self.history.clone();
        let committed = self.store.commit(move |batch| {
            let applied = apply_new(batch, prepared, (tag, own), now, seen_for)?;
            history.count(batch, applied.fresh.iter().map(|e| (&e.envelope.facts, e.happened_at)));
            B::settle(&receipts, batch)?;
            fault::point("apply.before_commit");
            Ok((applied, receipts))
        });
        let (AppliedBatch { fresh, duplicates, left_out, dead }, receipts) = committed.await?;
        fault::point("apply.after_commit");
        self.store.watermarks().applied.send_modify(|commits| *commits = commits.wrapping_add(1));
        metrics::EVENTS_APPLIED.add(fresh.len() as u64);
        metrics::EVENTS_REDELIVERED.add(duplicates);
        metrics::EVENTS_LEFT_OUT.add(left_out);
        metrics::MESSAGES_DEAD.add(dead);
        let (new, took) = (fresh.len(), began.elapsed());
        tracing::debug!(new, duplicates, left_out, dead, ?took, "batch applied");
        self.numbers.add(fresh.iter().map(|event| (&event.envelope.facts, event.happened_at)));
        let events = fresh.into_iter();
        let events = events.map(|e| TailEvent::with_index(e.cursor, e.envelope, e.index));
        self.hub.append(events.collect());
        if self.store.privacy().changes() != rules {
            // They were prepared under the old rules.
            self.hub.leave_out(self.store.privacy());
        }
        Ok(receipts)
    }
}

fn prepare<R>(
    tag: BusTag,
    deliveries: Vec<Delivery<R>>,
    privacy: &Privacy,
) -> (Vec<ArrivedDelivery>, Vec<R>) {
    let mut prepared = Vec::with_capacity(deliveries.len());
    let mut receipts = Vec::with_capacity(deliveries.len());
    for delivery in deliveries {
        receipts.push(delivery.receipt);
        let cursor = Cursor { tag, position: delivery.position };
        let read = match delivery.content {
            Content::Event(envelope, summary, facts_from) => {
                Ok(Prepared::new(cursor, envelope, summary, facts_from).under(privacy))
            }
            Content::DeadLetter(dead) => Err(Box::new(dead)),
        };
        prepared.push(ArrivedDelivery { cursor, outage: delivery.outage, read });
    }
    (prepared, receipts)
}

/// Adds the deliveries that were not applied before to the batch and returns them.
fn apply_new(
    batch: &mut Batch<'_>,
    prepared: Vec<ArrivedDelivery>,
    (tag, own): (BusTag, BusTag),
    now: Timestamp,
    seen_for: Duration,
) -> Result<AppliedBatch, StoreError> {
    let stored = batch.cursor_on(APPLIED, tag)?;
    let mut applied = stored;
    let fresh = Vec::with_capacity(prepared.len());
    let mut counted = AppliedBatch { fresh, duplicates: 0, left_out: 0, dead: 0 };
    let mut totals = BatchTotals::default();
    let mut polled = None;
    let (mut known_outages, mut new_outages) = (outages::arrived(batch)?, Vec::new());
    for ArrivedDelivery { cursor, outage, read: event } in prepared {
        if applied.is_some_and(|last| last.tag == cursor.tag && cursor.position <= last.position) {
            counted.duplicates += 1;
            continue;
        }
        if applied == stored {
            let received_at = event.as_ref().map_or(now, |event| event.received_at);
            begin_journal(batch, (cursor, received_at), stored, own, now)?;
        }
        // The relay may send a message twice, and both copies may be in this batch.
        if let Some(outage) = outage
            && !known_outages.contains(&outage)
        {
            record_outage(batch, applied, cursor, outage, now)?;
            known_outages.push(outage);
            new_outages.push(outage);
        }
        let before = applied.replace(cursor);
        let mut event = match event {
            Ok(event) => event,
            Err(dead) => {
                keep_dead_letter(batch, now, cursor, &dead)?;
                if dead.is_damaged {
                    record_damaged(batch, before, cursor, now)?;
                }
                counted.dead += 1;
                continue;
            }
        };
        if event.facts_from != FactsFrom::Here {
            polled = polled.max(Some(event.received_at.min(now)));
        }
        match apply_once(batch, &mut event, &mut totals, seen_for)? {
            Applied::Fresh => counted.fresh.push(event),
            Applied::Duplicate => counted.duplicates += 1,
            Applied::LeftOut => counted.left_out += 1,
        }
    }
    totals.write(batch)?;
    if !new_outages.is_empty() {
        outages::arrive(batch, &new_outages)?;
    }
    if let Some(at) = polled {
        outages::keep_polled_elsewhere(batch, at)?;
    }
    if let Some(last) = applied.filter(|_| applied != stored) {
        batch.put_cursor(APPLIED, last)?;
    }
    Ok(counted)
}

/// Begins the journal when a delivery is the first of this bus, or the first since another bus was
/// in use. The embedded log did not receive the events that went over another bus meanwhile, so
/// they are missing in it; a topic keeps what its subscribers have not read.
fn begin_journal(
    batch: &mut Batch<'_>,
    (cursor, received_at): (Cursor, Timestamp),
    stored: Option<Cursor>,
    own: BusTag,
    now: Timestamp,
) -> Result<(), StoreError> {
    if batch.cursor(APPLIED)?.is_some_and(|last| last.tag == cursor.tag) {
        return Ok(());
    }
    journal::begin_at(batch, cursor.tag, received_at.minute());
    let Some(Cursor { position: after, .. }) = stored.filter(|_| cursor.tag == own) else {
        return Ok(());
    };
    let (until, reason) = (after, GapReason::BusChanged);
    let gap = Gap { after, until, count: None, reason, noticed_at: now };
    gaps::record(batch, own, gap)
}

/// Claims an event, counts it and appends it to the journal, unless it is left out. An event whose
/// position lies in a dropped part of the journal gets no row there.
pub(super) fn apply_once(
    batch: &mut Batch<'_>,
    event: &mut Prepared,
    totals: &mut BatchTotals,
    seen_for: Duration,
) -> Result<Applied, StoreError> {
    // The day of receipt is part of the message, so every node stores the claim under the same
    // day.
    let days = claim_days(event.received_at, seen_for);
    let key_on = |day| AppliedKey(SeenKey::new(Day(day), &event.key));
    if !batch.claim_within(days.clone(), event.received_at.day().0, key_on)? {
        return Ok(Applied::Duplicate);
    }
    if event.is_left_out {
        claim_id(batch, event, days)?;
        return Ok(Applied::LeftOut);
    }
    claim_seen(batch, event, days)?;
    event.envelope.facts.inserted = claim_entities(batch, event)?;
    count_numbers(batch, event)?;
    totals.counting.count(event.received_at, event.happened_at, column(&event.key.kind));
    count_in_ledger(batch, event, &mut totals.ledger);
    if totals.is_dropped(batch, event.cursor)? {
        return Ok(Applied::Fresh);
    }
    let row = &mut totals.row;
    row.clear();
    push_journal(row, &event.index, &event.envelope.facts, &event.envelope.event);
    batch.put(&JournalKey { tag: event.cursor.tag, position: event.cursor.position }, row);
    totals.add(batch, event)?;
    Ok(Applied::Fresh)
}

fn count_numbers(batch: &mut Batch<'_>, event: &Prepared) -> Result<(), StoreError> {
    let facts = &event.envelope.facts;
    if !facts.flags.pr {
        return Ok(());
    }
    if let Some(language) = facts.counted_language() {
        let second = event.received_at.second();
        batch.add(&BucketKey { second, language: language.to_owned() }, 1)?;
    }
    let lines = |n: Option<u64>| if facts.flags.merge { counted_lines(n) } else { 0 };
    if [facts.additions, facts.deletions].into_iter().any(|n| lines(n) == MOST_LINES) {
        let (id, most) = (&event.key.id, MOST_LINES);
        IMPOSSIBLE.log(|left_out| {
            let words = "more lines than a pull request can have: counted as the most";
            tracing::warn!(?id, most, left_out, "{words}");
        });
    }
    let counts = [
        (HourMetric::PullRequests, 1),
        (HourMetric::Opened, i64::from(facts.flags.open)),
        (HourMetric::Merged, i64::from(facts.flags.merge)),
        (HourMetric::Closed, i64::from(facts.flags.close)),
        (HourMetric::Additions, lines(facts.additions)),
        (HourMetric::Deletions, lines(facts.deletions)),
    ];
    let hour = event.happened_at.hour();
    for (metric, n) in counts.into_iter().filter(|(_, n)| *n > 0) {
        batch.add(&HourKey { hour, origin: HourSource::Live, metric }, n)?;
    }
    Ok(())
}

/// Counts an event of a repository in the ledger, if it is of a type that it counts.
fn count_in_ledger(batch: &Batch<'_>, event: &Prepared, ledger: &mut LedgerCounting) {
    let Some(repo) = event.repo_id else { return };
    let facts = &event.envelope.facts;
    let action = || {
        let [payload] = json::pick(&event.envelope.event, ["payload"]);
        let [action] = json::pick(payload?, ["action"]);
        json::text(action?)
    };
    if let Some(metric) = LedgerMetric::of(&event.key.kind, facts.flags, action) {
        let (name, language) = (event.index.names()[0], facts.counted_language());
        let (created_at, received_at) = (event.happened_at, event.received_at);
        let counted = LedgerEvent { repo, name, created_at, received_at, metric, language };
        ledger.count(batch, counted);
    }
}

/// What the events of a batch add up to, before it is written.
#[derive(Default)]
pub(super) struct BatchTotals {
    /// The minutes of the journal that have new events.
    minutes: Vec<(MinuteKey, MinuteRow)>,
    /// The row of the last event in the journal, a buffer for the next.
    row: Vec<u8>,
    /// Events by minute and hour, whether or not they are kept in the journal.
    counting: BatchActivity,
    /// Events by repository and day.
    ledger: LedgerCounting,
    /// Whether events may have positions in a dropped part of the journal: readers already
    /// received a gap for it, so nothing may be added there.
    has_old_positions: bool,
}

impl BatchTotals {
    /// For a batch whose events may have positions in a dropped part of the journal, of any bus.
    pub(super) fn of_old_positions() -> Self {
        Self { has_old_positions: true, ..Self::default() }
    }

    fn is_dropped(&self, batch: &mut Batch<'_>, cursor: Cursor) -> Result<bool, StoreError> {
        if !self.has_old_positions {
            return Ok(false);
        }
        let dropped = batch.cursor_on(DROPPED, cursor.tag)?;
        Ok(dropped.is_some_and(|dropped| cursor.position <= dropped.position))
    }

    /// Adds the last row of the journal to the minute of its event.
    fn add(&mut self, batch: &mut Batch<'_>, event: &Prepared) -> Result<(), StoreError> {
        let key = MinuteKey { tag: event.cursor.tag, minute: event.received_at.minute() };
        let position = event.cursor.position;
        let at = if let Some(at) = self.minutes.iter().position(|(known, _)| *known == key) {
            at
        } else {
            let stored = batch.get_as(&key, MinuteRow::decode)?;
            let row = stored.unwrap_or(MinuteRow { first: position, bytes: 0 });
            self.minutes.push((key, row));
            self.minutes.len() - 1
        };
        let row = &mut self.minutes[at].1;
        row.first = row.first.min(position);
        row.bytes = row.bytes.saturating_add(self.row.len() as u64);
        Ok(())
    }

    /// Writes the totals.
    pub(super) fn write(self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        for (key, row) in self.minutes {
            batch.put(&key, &row.encode());
        }
        self.ledger.write(batch)?;
        self.counting.write(batch)
    }
}

#[cfg(test)]
mod tests;
