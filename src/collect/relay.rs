//! The third stage, used only with a broker: publishes the outbox to the topic, in order.
//!
//! A row is deleted from the outbox once the broker has acknowledged its message. After any
//! failure it is sent again, and applied once. The topic is granted to one collector at a time.
//! The others are on standby: they ask every few seconds, do not poll, and apply what is on the
//! topic, so all their claims are warm when one of them takes over. After an outage of the broker
//! the collector that had the topic asks first, because its outbox has what was polled meanwhile.
//!
//! A node that is not granted the topic may still have rows: a collector that returns after a
//! failover, or an edge that was a collector. It hands them over: it fences off the producer,
//! sends the rows, and releases the topic within seconds. Before sending anything, a node applies
//! everything produced before its grant. Events that another collector also produced are dropped,
//! and the firsts of a day or year are known, so each event is on the topic once with correct
//! flags.

mod ask_order;
mod rows;
mod when_granted;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::ask_order::{AskOrder, reconnected};
use self::rows::{
    OutgoingBatch, RowReader, WaitingRows, count, find_applied, forget_uncarried, move_to_rejects,
};
pub use self::when_granted::WhenGranted;
pub(in crate::collect) use self::when_granted::granted;
use crate::backoff::Backoff;
use crate::bus::outbox::{self, OutboxReceipt};
use crate::bus::{BusError, BusState, Outlet, ProducerAccess, ProducerGrant};
use crate::clock::Clock;
use crate::logging::line_limit::LineLimit;
use crate::metrics;
use crate::model::position::Cursor;
use crate::store::{Database, Store, StoreError, outages};

/// Approximate interval at which a collector on standby asks for the topic.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Interval at which a collector asks that has just lost the topic to a node handing over its
/// rows.
const ASK_BACK: Duration = Duration::from_millis(500);
/// How long after a refusal a collector that was producing is not yet on standby; longer than a
/// hand-over.
const GRACE: Duration = Duration::from_secs(20);
/// How long a hand-over sends rows; the rest waits for the next one. A hand-over ends after twice
/// this time in any case.
const HAND_OVER: Duration = Duration::from_secs(6);
/// How long the topic is held after the last message of a hand-over, so that the other nodes have
/// applied it before the producer continues.
const APPLIED_ELSEWHERE: Duration = Duration::from_millis(500);
/// How long a node does not ask again after a hand-over. The topic belongs to its producer, which
/// learns with its next message that it was fenced off.
const AFTER_HAND_OVER: Duration = Duration::from_secs(10);
/// How long outbox rows wait for inbox rows, to be handed over together.
const TOGETHER: Duration = Duration::from_secs(30);
/// How long a topic counts as terminated after the broker said so: longer than a consumer takes to
/// find it out, with a reconnection.
const TERMINATED_FOR: Duration = Duration::from_secs(45);
/// Time without progress after which the relay stops waiting to apply the topic.
const NO_PROGRESS: Duration = Duration::from_secs(30);
/// A topic whose end is unknown counts as applied after this time without a message.
const QUIET: Duration = Duration::from_secs(2);
/// How long the relay waits for the broker's first response before polling starts without it.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// First and longest pause while the broker is unavailable.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Lines that say that the outbox cannot be sent.
static UNSENT: LineLimit = LineLimit::per_minute(2);
/// Lines about events that are larger than the broker accepts.
static SET_ASIDE: LineLimit = LineLimit::per_minute(10);

/// The inputs of the relay, besides the outlet.
pub struct Relay {
    /// The store that holds the outbox.
    pub store: Store,
    /// Whether this node is a collector. An edge asks for the topic only to hand over rows from a
    /// time when it was a collector.
    pub produces: bool,
    /// Receives whether this collector produces.
    pub grant: watch::Sender<ProducerGrant>,
    /// Receives the number of waiting rows that this node may not send now.
    pub waiting: watch::Sender<u64>,
    /// Receives why the outbox could not be sent last; `None` once it can.
    pub unsent: watch::Sender<Option<String>>,
    /// The state of the topic's consumer.
    pub bus: watch::Receiver<BusState>,
    /// The clock used for pauses.
    pub clock: Clock,
}

/// What a node that may not produce remembers between two looks at its rows.
#[derive(Default)]
struct Standby {
    /// The last entry whose row was compared with the applied events; 0 once all were.
    compared_to: u64,
    /// Since when there are rows to hand over.
    since: Option<Instant>,
    /// Whether another collector asks first.
    order: AskOrder,
    /// When the broker last said that the topic was terminated.
    terminated_at: Option<Instant>,
}

/// When forwarding ends.
#[derive(Clone, Copy)]
enum Until {
    /// When the topic is lost.
    Lost,
    /// When the outbox is empty, or at this time.
    Empty(Instant),
}

impl Relay {
    /// Relays until `stop` is cancelled.
    pub async fn run(self, outlet: impl Outlet, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.relay(outlet) => ended,
        }
    }

    async fn relay(&self, mut outlet: impl Outlet) -> anyhow::Result<()> {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        if self.produces {
            metrics::BUS_PRODUCING.set(0.0);
        }
        let (mut standby, mut refused) = (Standby::default(), None);
        loop {
            if !self.produces {
                self.wait_for_rows().await?;
            }
            let began = self.clock.instant();
            match self.turn(&mut outlet, &mut standby, &mut refused).await {
                Ok(pause) => {
                    backoff.reset();
                    self.clock.sleep(pause).await;
                }
                Err(error) if error.downcast_ref().is_some_and(BusError::is_transient) => {
                    let is_terminated = error.downcast_ref().is_some_and(BusError::is_terminated);
                    if is_terminated && self.produces {
                        standby.terminated_at = Some(self.clock.instant());
                        self.report(ProducerGrant::Terminated);
                    } else if *self.grant.borrow() == ProducerGrant::Unasked {
                        self.report(ProducerGrant::Unanswered);
                    }
                    self.report_waiting().await?;
                    self.unsent.send_replace(Some(error.to_string()));
                    UNSENT.log(|left_out| {
                        tracing::warn!(%error, left_out, "cannot send the outbox; retrying");
                    });
                    if self.clock.instant().duration_since(began) > PAUSES.1 {
                        backoff.reset();
                    }
                    self.clock.sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks for the topic once and acts on the answer while it holds. Returns how long to wait
    /// before asking again; fails with a [`BusError`] when the topic is lost.
    async fn turn(
        &self,
        outlet: &mut impl Outlet,
        standby: &mut Standby,
        refused: &mut Option<Instant>,
    ) -> anyhow::Result<Duration> {
        if self.produces && !self.defers_to_holder(standby) {
            if self.ask(outlet).await? == ProducerGrant::Granted {
                *refused = None;
                *standby = Standby::default();
                self.report(ProducerGrant::Granted);
                self.waiting.send_replace(0);
                metrics::BUS_PRODUCING.set(1.0);
                let sent = self.send(outlet, Until::Lost).await;
                metrics::BUS_PRODUCING.set(0.0);
                return sent.map(|()| Duration::ZERO);
            }
            let now = self.clock.instant();
            standby.order.record_answer(now);
            if !self.is_terminated(standby, now) {
                self.report_sendable();
                let since = *refused.get_or_insert(now);
                if *self.grant.borrow() == ProducerGrant::Granted
                    && now.duration_since(since) < GRACE
                {
                    return Ok(ASK_BACK);
                }
                self.report(ProducerGrant::Standby);
            }
        }
        self.delete_applied(standby).await?;
        let waiting = self.report_waiting().await?;
        if waiting == WaitingRows::default() {
            self.forget_outages().await?;
        }
        if self.may_hand_over(waiting, standby) {
            standby.since = None;
            self.hand_over(outlet, waiting).await?;
            self.report_waiting().await?;
            return Ok(AFTER_HAND_OVER);
        }
        // Jitter keeps collectors on standby from asking in step.
        Ok(ASK_AGAIN.mul_f64(0.75 + fastrand::f64() / 2.0))
    }

    /// Whether the topic that another producer is said to have was terminated. A broker says that
    /// of a terminated topic, too, and the consumer knows it a while after its producer. Where the
    /// topic was made anew, neither says it any more.
    fn is_terminated(&self, standby: &mut Standby, now: Instant) -> bool {
        let (connected, terminated) = {
            let bus = self.bus.borrow();
            (bus.connected, bus.terminated)
        };
        if terminated {
            standby.terminated_at = Some(now);
        }
        let is_recent = |at| now.duration_since(at) < TERMINATED_FOR || !connected;
        let is_terminated = standby.terminated_at.is_some_and(is_recent);
        if is_terminated {
            self.report(ProducerGrant::Terminated);
        } else {
            standby.terminated_at = None;
        }
        is_terminated
    }

    /// Whether this collector is on standby and does not ask now. A terminated topic has no holder.
    fn defers_to_holder(&self, standby: &mut Standby) -> bool {
        let bus = self.bus.borrow();
        *self.grant.borrow() == ProducerGrant::Standby
            && !bus.terminated
            && standby.order.defers(&bus, self.clock.instant())
    }

    /// Asks for the topic as a collector. Polling starts if the first answer is late. A request
    /// that was sent before the connection was lost is sent again.
    async fn ask(&self, outlet: &mut impl Outlet) -> Result<ProducerGrant, BusError> {
        loop {
            let asking = outlet.ask(ProducerAccess::Free);
            let reconnected = reconnected(self.bus.clone(), self.clock);
            tokio::pin!(asking, reconnected);
            if *self.grant.borrow() == ProducerGrant::Unasked {
                tokio::select! {
                    biased;
                    answer = &mut asking => return answer,
                    () = self.clock.sleep(FIRST_ANSWER) => self.report(ProducerGrant::Unanswered),
                }
            }
            tokio::select! {
                biased;
                answer = &mut asking => return answer,
                () = reconnected => {}
            }
        }
    }

    fn report(&self, grant: ProducerGrant) {
        if self.grant.send_replace(grant) != grant {
            match grant {
                ProducerGrant::Granted => tracing::info!("this collector produces"),
                ProducerGrant::Standby => {
                    tracing::info!("another producer has the topic: on standby");
                }
                ProducerGrant::Unanswered => {
                    tracing::info!("polling while the broker does not answer");
                }
                ProducerGrant::Terminated => {
                    tracing::warn!("the topic was terminated: polling, and events wait");
                }
                ProducerGrant::Unasked => {}
            }
        }
    }

    /// Reports that events were sent, or that there are none to be sent from here.
    fn report_sendable(&self) {
        self.unsent.send_if_modified(|unsent| unsent.take().is_some());
    }

    async fn report_waiting(&self) -> Result<WaitingRows, StoreError> {
        let waiting = self.store.read(count).await?;
        self.waiting.send_if_modified(|reported| {
            let rows = waiting.inbox + waiting.outbox;
            std::mem::replace(reported, rows) != rows
        });
        Ok(waiting)
    }

    /// Waits until there is a row between admission and the topic.
    async fn wait_for_rows(&self) -> anyhow::Result<()> {
        let mut backlog = self.store.watermarks().backlog.subscribe();
        if *backlog.borrow() == 0 {
            self.waiting.send_replace(0);
            self.report_sendable();
            backlog.wait_for(|bytes| *bytes > 0).await?;
        }
        Ok(())
    }

    fn may_hand_over(&self, waiting: WaitingRows, standby: &mut Standby) -> bool {
        if waiting.outbox == 0 {
            standby.since = None;
            return false;
        }
        let now = self.clock.instant();
        let since = *standby.since.get_or_insert(now);
        // The topic is taken from its producer only when all rows were compared and nearly
        // everything on the topic is applied, so that it is not held while a backlog is read.
        let is_compared = standby.compared_to == 0;
        let has_applied = {
            let bus = self.bus.borrow();
            bus.connected && bus.behind.is_none()
        };
        let is_whole = waiting.inbox == 0 || now.duration_since(since) >= TOGETHER;
        is_compared && has_applied && is_whole
    }

    /// Takes the topic from its producer, sends the outbox, and releases the topic.
    async fn hand_over(
        &self,
        outlet: &mut impl Outlet,
        waiting: WaitingRows,
    ) -> anyhow::Result<()> {
        if outlet.ask(ProducerAccess::Fencing).await? != ProducerGrant::Granted {
            return Ok(());
        }
        tracing::info!(rows = waiting.outbox, "taking the topic to hand over rows");
        let until = Until::Empty(self.clock.instant() + HAND_OVER);
        let sent = tokio::select! {
            sent = self.send(outlet, until) => sent,
            // Nothing is lost: the messages that were sent come back, and their rows are deleted
            // then.
            () = self.clock.sleep(2 * HAND_OVER) => Ok(()),
        };
        if sent.is_ok() {
            self.clock.sleep(APPLIED_ELSEWHERE).await;
        }
        outlet.give_back().await;
        sent
    }

    /// Applies what is on the topic, then sends the outbox. Fails when the topic is lost.
    async fn send(&self, outlet: &mut impl Outlet, until: Until) -> anyhow::Result<()> {
        loop {
            let end = outlet.end().await?;
            self.catch_up(end).await?;
            let (tag, applied) = (outlet.tag(), self.store.read(Database::applied).await?);
            // The end is unknown after the broker has begun a ledger.
            let before = end.max(applied.filter(|applied| applied.tag == tag));
            match self.forward(outlet, until, before).await {
                // It was set aside. Those behind it are read again: one of them may now be the
                // first of its developer or repository.
                Err(error) if error.downcast_ref().is_some_and(is_too_large) => {}
                ended => return ended,
            }
        }
    }

    /// Waits until this store has applied the topic up to its end.
    async fn catch_up(&self, end: Option<Cursor>) -> anyhow::Result<()> {
        let mut applied = self.store.watermarks().applied.subscribe();
        loop {
            applied.borrow_and_update();
            let reached = self.store.read(Database::applied).await?;
            let is_there = end.zip(reached).is_some_and(|(end, reached)| {
                end.tag == reached.tag && end.position <= reached.position
            });
            if is_there {
                return Ok(());
            }
            let longest = if end.is_some() { NO_PROGRESS } else { QUIET };
            tokio::select! {
                moved = applied.changed() => moved?,
                () = self.clock.sleep(longest) => {
                    if let Some(end) = end {
                        tracing::warn!(%end, "the topic is not applied to its end; sending anyway");
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Sends the outbox and new rows as they arrive, until sending fails or until the end given by
    /// `until`. While a batch is in flight, the next one is read and the rows of the previous one
    /// are deleted. Each batch names the newest message that is known to precede it.
    async fn forward(
        &self,
        outlet: &mut impl Outlet,
        until: Until,
        mut last_sent: Option<Cursor>,
    ) -> anyhow::Result<()> {
        let mut head = self.store.watermarks().outbox.subscribe();
        let mut row_reader = RowReader::default();
        let mut done = 0;
        let (mut next, mut to_delete) = (OutgoingBatch::default(), Vec::new());
        loop {
            if next.spent.is_empty() {
                self.delete_rows(std::mem::take(&mut to_delete)).await?;
                if matches!(until, Until::Empty(_)) && *head.borrow() <= done {
                    return Ok(());
                }
                if *head.borrow() <= done {
                    self.report_sendable();
                }
                let newest = async { head.wait_for(|head| *head > done).await.map(|head| *head) };
                let newest = tokio::select! {
                    biased;
                    newest = newest => newest?,
                    error = outlet.lost() => return Err(error.into()),
                };
                (next, row_reader) = self.read(done + 1, row_reader).await?;
                if next.spent.is_empty() {
                    done = newest;
                    continue;
                }
            }
            if matches!(until, Until::Empty(end) if self.clock.instant() >= end) {
                self.delete_rows(to_delete).await?;
                return Ok(());
            }
            let OutgoingBatch { mut messages, sources, spent, left_out } =
                std::mem::take(&mut next);
            if let Some(first) = messages.first_mut() {
                first.after = last_sent;
            }
            done = spent.last().map_or(done, |last| last.entry);
            let rest = async {
                self.delete_rows(std::mem::take(&mut to_delete)).await?;
                if *head.borrow() > done {
                    self.read(done + 1, row_reader).await
                } else {
                    Ok((next, row_reader))
                }
            };
            let sending =
                async { if messages.is_empty() { Ok(None) } else { outlet.send(messages).await } };
            let (sent, rest) = tokio::join!(sending, rest);
            (next, row_reader) = rest?;
            last_sent = match sent {
                Ok(stored) => stored.or(last_sent),
                Err(error) => {
                    if let Some(row) = error.too_large().and_then(|index| sources.get(index)) {
                        self.set_aside(*row, error.to_string()).await?;
                    }
                    return Err(error.into());
                }
            };
            self.report_sendable();
            metrics::EVENTS_LEFT_OUT.add(left_out);
            to_delete = spent;
        }
    }

    async fn read(
        &self,
        from: u64,
        mut row_reader: RowReader,
    ) -> Result<(OutgoingBatch, RowReader), StoreError> {
        let today = self.clock.now().day();
        let read = move |reader: &Database| Ok((row_reader.read(reader, from, today)?, row_reader));
        self.store.read(read).await
    }

    /// Moves an event that the broker does not accept to the reject log, so that those behind it
    /// are sent.
    async fn set_aside(&self, row: OutboxReceipt, reason: String) -> Result<(), StoreError> {
        let now = self.clock.now();
        SET_ASIDE.log(|left_out| {
            let words = "an event is left out of the topic: `ghpulse inspect rejects` shows its \
                         beginning";
            tracing::error!(reason, left_out, "{words}");
        });
        self.store.commit(move |batch| move_to_rejects(batch, row, (now, &reason))).await?;
        outbox::settled(&self.store, &[row]);
        metrics::EVENTS_REJECTED.add(1);
        Ok(())
    }

    /// Deletes rows that the topic has now.
    async fn delete_rows(&self, spent: Vec<OutboxReceipt>) -> Result<(), StoreError> {
        if spent.is_empty() {
            return Ok(());
        }
        let rows = spent.clone();
        self.store.commit(move |batch| outbox::settle(&rows, batch)).await?;
        outbox::settled(&self.store, &spent);
        Ok(())
    }

    /// Forgets outages of this node that no message is left to carry, while another one produces:
    /// it has read GitHub, and judges what it has missed itself.
    async fn forget_outages(&self) -> Result<(), StoreError> {
        let is_standby = *self.grant.borrow() == ProducerGrant::Standby;
        if (is_standby || !self.produces) && self.store.read(outages::has_polling_outage).await? {
            self.store.commit(forget_uncarried).await?;
        }
        Ok(())
    }

    /// Deletes rows whose events came back over the topic: they were sent before the topic was
    /// lost, or another collector saw them too. If they were sent much later, they would no longer
    /// be remembered as duplicates.
    async fn delete_applied(&self, standby: &mut Standby) -> Result<(), StoreError> {
        let (after, today) = (standby.compared_to, self.clock.now().day());
        let found = self.store.read(move |reader| find_applied(reader, after, today)).await?;
        let (last, applied) = found;
        if !applied.is_empty() {
            tracing::info!(rows = applied.len(), "another collector produced them too");
        }
        // Starts again from the beginning once all rows were compared.
        let is_end = last >= *self.store.watermarks().outbox.borrow();
        standby.compared_to = if is_end { 0 } else { last };
        self.delete_rows(applied).await
    }
}

/// Whether an event is larger than the broker accepts.
fn is_too_large(error: &BusError) -> bool {
    error.too_large().is_some()
}
