//! The third arrow, only with a broker: from the outbox to the topic, in order.
//!
//! A row leaves the outbox when the broker has acknowledged its message, so whatever happens in
//! between, it is sent again, and applied once. One collector of several is granted the topic; the
//! others are on standby: they ask every few seconds, poll nothing, and apply what comes, so that
//! all claims are warm when one of them takes over.
//!
//! Rows of a node that is not granted the topic (a collector that comes back after another one took
//! over, an edge that was a collector) are handed over: the node fences off the producer, sends
//! them, and gives the topic back within seconds. Before a node sends anything, it applies all that
//! was produced before its grant: events that another collector produced too are dropped, and what
//! is the first of a day or year is known, so each event is on the topic once, with true flags.

mod rows;
mod when_granted;

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::rows::{OutgoingBatch, RowReader, WaitingRows, came_back, count};
pub use self::when_granted::WhenGranted;
use crate::backoff::Backoff;
use crate::bus::outbox::{self, OutboxReceipt};
use crate::bus::{BusError, BusState, Grant, Outlet, ProducerAccess};
use crate::clock::Clock;
use crate::model::position::Cursor;
use crate::store::{Store, StoreError};

/// How often a collector on standby asks again, about.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// How often one asks from which the topic was just taken: another node hands over its rows.
const ASK_BACK: Duration = Duration::from_millis(500);
/// For how long after a refusal a collector that produced is not on standby yet; longer than a
/// hand-over takes.
const GRACE: Duration = Duration::from_secs(20);
/// How long rows are sent in a hand-over; what is left then waits for the next one. It is over in
/// twice that in any case.
const HAND_OVER: Duration = Duration::from_secs(6);
/// How long the topic is kept behind the last message of a hand-over, so that the other nodes
/// have applied it before its producer goes on.
const APPLIED_ELSEWHERE: Duration = Duration::from_millis(500);
/// For how long a node that handed over rows does not ask again: the topic is its producer's, which
/// notices at its next message that it was fenced off.
const AFTER_HAND_OVER: Duration = Duration::from_secs(10);
/// How long rows of the outbox wait for those of the inbox, to be handed over with them.
const TOGETHER: Duration = Duration::from_secs(30);
/// Without any progress for so long, what is on the topic is not waited for any more.
const NO_PROGRESS: Duration = Duration::from_secs(30);
/// A topic whose end is not known has been applied when nothing came for so long.
const QUIET: Duration = Duration::from_secs(2);
/// How long the first answer of the broker may take before polling begins without it.
const FIRST_ANSWER: Duration = Duration::from_secs(5);
/// Pauses while the broker is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// What relaying needs beside the outlet.
pub struct Relay {
    /// Whose outbox it is.
    pub store: Store,
    /// Whether this node is a collector. An edge asks for the topic only to hand over rows that it
    /// has of a time when it was one.
    pub produces: bool,
    /// How long an event is remembered as applied.
    pub seen_for: Duration,
    /// Told whether this collector produces.
    pub grant: watch::Sender<Grant>,
    /// Told how many rows wait that this node may not send now.
    pub waiting: watch::Sender<u64>,
    /// How the reading end of the topic is doing.
    pub bus: watch::Receiver<BusState>,
    /// For pauses.
    pub clock: Clock,
}

/// What a node that may not produce remembers from one look at its rows to the next.
#[derive(Default)]
struct Standby {
    /// The entry up to which rows were compared with what was applied.
    looked_at: u64,
    /// Since when there are rows to be handed over.
    since: Option<Instant>,
}

/// How far a hand-over may go.
#[derive(Clone, Copy)]
enum Until {
    /// As long as the topic is granted.
    Lost,
    /// Until nothing is left, or until then.
    Empty(Instant),
}

impl Relay {
    /// Relays until `stop` is called.
    pub async fn run(self, outlet: impl Outlet, stop: CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            () = stop.cancelled() => Ok(()),
            ended = self.relay(outlet) => ended,
        }
    }

    async fn relay(&self, mut outlet: impl Outlet) -> anyhow::Result<()> {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let (mut standby, mut refused) = (Standby::default(), None);
        loop {
            if !self.produces {
                self.wait_for_rows().await?;
            }
            let began = self.clock.instant();
            match self.turn(&mut outlet, &mut standby, &mut refused).await? {
                Ok(pause) => {
                    backoff.reset();
                    self.clock.sleep(pause).await;
                }
                Err(error) if error.is_transient() => {
                    if *self.grant.borrow() == Grant::Unasked {
                        self.report(Grant::Unanswered);
                    }
                    self.report_waiting().await?;
                    tracing::warn!(%error, "cannot send the outbox; retrying");
                    if self.clock.instant().duration_since(began) > PAUSES.1 {
                        backoff.reset();
                    }
                    self.clock.sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Asks once, and does what the answer allows, for as long as it does; how long to wait then.
    async fn turn(
        &self,
        outlet: &mut impl Outlet,
        standby: &mut Standby,
        refused: &mut Option<Instant>,
    ) -> anyhow::Result<Result<Duration, BusError>> {
        if self.produces {
            match self.ask(outlet).await {
                Ok(Grant::Granted) => {
                    *refused = None;
                    *standby = Standby::default();
                    self.report(Grant::Granted);
                    self.waiting.send_replace(0);
                    return self.send(outlet, Until::Lost).await;
                }
                Ok(_) => {}
                Err(error) => return Ok(Err(error)),
            }
            let now = self.clock.instant();
            let since = *refused.get_or_insert(now);
            if *self.grant.borrow() == Grant::Granted && now.duration_since(since) < GRACE {
                return Ok(Ok(ASK_BACK));
            }
            self.report(Grant::Standby);
        }
        self.give_up_applied(standby).await?;
        let waiting = self.report_waiting().await?;
        if self.may_hand_over(waiting, standby) {
            standby.since = None;
            if let Err(error) = self.hand_over(outlet, waiting).await? {
                return Ok(Err(error));
            }
            self.report_waiting().await?;
            return Ok(Ok(AFTER_HAND_OVER));
        }
        // Not in step with other collectors on standby.
        Ok(Ok(ASK_AGAIN.mul_f64(0.75 + fastrand::f64() / 2.0)))
    }

    /// Asks for the topic as a collector does. While the first answer does not come, polling
    /// begins.
    async fn ask(&self, outlet: &mut impl Outlet) -> Result<Grant, BusError> {
        let asking = outlet.ask(ProducerAccess::Free);
        tokio::pin!(asking);
        if *self.grant.borrow() == Grant::Unasked {
            tokio::select! {
                biased;
                answer = &mut asking => return answer,
                () = self.clock.sleep(FIRST_ANSWER) => self.report(Grant::Unanswered),
            }
        }
        asking.await
    }

    fn report(&self, grant: Grant) {
        if self.grant.send_replace(grant) != grant {
            match grant {
                Grant::Granted => tracing::info!("this collector produces"),
                Grant::Standby => {
                    tracing::info!("another producer has the topic: on standby");
                }
                Grant::Unanswered => tracing::info!("polling while the broker does not answer"),
                Grant::Unasked => {}
            }
        }
    }

    async fn report_waiting(&self) -> Result<WaitingRows, StoreError> {
        let waiting = self.store.read(count).await?;
        self.waiting.send_if_modified(|told| {
            let rows = waiting.inbox + waiting.outbox;
            std::mem::replace(told, rows) != rows
        });
        Ok(waiting)
    }

    /// Until anything lies between admission and the topic.
    async fn wait_for_rows(&self) -> anyhow::Result<()> {
        let mut backlog = self.store.watermarks().backlog.subscribe();
        if *backlog.borrow() == 0 {
            self.waiting.send_replace(0);
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
        // All rows were compared with what was applied, and that is nearly all there is: the topic
        // is not kept from its producer to read a backlog.
        let is_compared = standby.looked_at == 0;
        let has_applied = {
            let bus = self.bus.borrow();
            bus.connected && bus.behind.is_none()
        };
        let is_whole = waiting.inbox == 0 || now.duration_since(since) >= TOGETHER;
        is_compared && has_applied && is_whole
    }

    /// Takes the topic from its producer, sends what is in the outbox, and gives it back.
    async fn hand_over(
        &self,
        outlet: &mut impl Outlet,
        waiting: WaitingRows,
    ) -> anyhow::Result<Result<(), BusError>> {
        match outlet.ask(ProducerAccess::Fencing).await {
            Ok(Grant::Granted) => {}
            Ok(_) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        }
        tracing::info!(rows = waiting.outbox, "taking the topic to hand over rows");
        let until = Until::Empty(self.clock.instant() + HAND_OVER);
        let sent = tokio::select! {
            sent = self.send(outlet, until) => sent?.map(|_| ()),
            // Nothing is lost: what was sent comes back, and its rows are given up then.
            () = self.clock.sleep(2 * HAND_OVER) => Ok(()),
        };
        if sent.is_ok() {
            self.clock.sleep(APPLIED_ELSEWHERE).await;
        }
        outlet.give_back().await;
        Ok(sent)
    }

    /// Applies what the topic has, then sends the outbox; ends with an error when the topic is
    /// lost.
    async fn send(
        &self,
        outlet: &mut impl Outlet,
        until: Until,
    ) -> anyhow::Result<Result<Duration, BusError>> {
        let end = match outlet.end().await {
            Ok(end) => end,
            Err(error) => return Ok(Err(error)),
        };
        self.catch_up(end).await?;
        Ok(self.forward(outlet, until).await?.map(|()| Duration::ZERO))
    }

    /// Waits until this store has applied the topic up to its end.
    async fn catch_up(&self, end: Option<Cursor>) -> anyhow::Result<()> {
        let mut applied = self.store.watermarks().applied.subscribe();
        loop {
            applied.borrow_and_update();
            let reached = self.store.read(|reader| reader.applied()).await?;
            let is_there = end.zip(reached).is_some_and(|(end, reached)| {
                end.tag == reached.tag && end.position <= reached.position
            });
            if is_there {
                return Ok(());
            }
            let patience = if end.is_some() { NO_PROGRESS } else { QUIET };
            tokio::select! {
                moved = applied.changed() => moved?,
                () = self.clock.sleep(patience) => {
                    if let Some(end) = end {
                        tracing::warn!(%end, "the topic is not applied to its end; sending anyway");
                    }
                    return Ok(());
                }
            }
        }
    }

    /// Sends what is in the outbox and what comes into it, until that fails, or as far as `until`
    /// says. While a batch is under way the next one is read, and the rows of the one before are
    /// given up.
    async fn forward(
        &self,
        outlet: &mut impl Outlet,
        until: Until,
    ) -> anyhow::Result<Result<(), BusError>> {
        let mut head = self.store.watermarks().outbox.subscribe();
        let mut row_reader = RowReader { seen_for: self.seen_for, ..RowReader::default() };
        let mut done = 0;
        let (mut ahead, mut acknowledged) = (OutgoingBatch::default(), Vec::new());
        loop {
            if ahead.spent.is_empty() {
                self.give_up(std::mem::take(&mut acknowledged)).await?;
                if matches!(until, Until::Empty(_)) && *head.borrow() <= done {
                    return Ok(Ok(()));
                }
                let newest = *head.wait_for(|head| *head > done).await?;
                (ahead, row_reader) = self.read(done + 1, row_reader).await?;
                if ahead.spent.is_empty() {
                    done = newest;
                    continue;
                }
            }
            if matches!(until, Until::Empty(end) if self.clock.instant() >= end) {
                self.give_up(acknowledged).await?;
                return Ok(Ok(()));
            }
            let OutgoingBatch { bodies, spent } = std::mem::take(&mut ahead);
            done = spent.last().map_or(done, |last| last.entry);
            let rest = async {
                self.give_up(std::mem::take(&mut acknowledged)).await?;
                if *head.borrow() > done {
                    self.read(done + 1, row_reader).await
                } else {
                    Ok((ahead, row_reader))
                }
            };
            let sending =
                async { if bodies.is_empty() { Ok(()) } else { outlet.send(bodies).await } };
            let (taken, rest) = tokio::join!(sending, rest);
            (ahead, row_reader) = rest?;
            if let Err(error) = taken {
                return Ok(Err(error));
            }
            acknowledged = spent;
        }
    }

    async fn read(
        &self,
        from: u64,
        mut row_reader: RowReader,
    ) -> Result<(OutgoingBatch, RowReader), StoreError> {
        let read = self.store.read(move |reader| Ok((row_reader.read(reader, from)?, row_reader)));
        read.await
    }

    async fn give_up(&self, spent: Vec<OutboxReceipt>) -> Result<(), StoreError> {
        if spent.is_empty() {
            return Ok(());
        }
        let rows = spent.clone();
        self.store.commit(move |batch| outbox::settle(&rows, batch)).await?;
        outbox::settled(&self.store, &spent);
        Ok(())
    }

    /// Gives up rows whose events came back over the topic: it was sent before the topic was lost,
    /// or the other collector saw it too. Were they sent long after, nobody would remember them.
    async fn give_up_applied(&self, standby: &mut Standby) -> Result<(), StoreError> {
        let (after, seen_for) = (standby.looked_at, self.seen_for);
        let found = self.store.read(move |reader| came_back(reader, after, seen_for)).await?;
        let (last, applied) = found;
        if !applied.is_empty() {
            tracing::info!(rows = applied.len(), "another collector produced them too");
        }
        // From the start again, once all were looked at.
        let is_end = last >= *self.store.watermarks().outbox.borrow();
        standby.looked_at = if is_end { 0 } else { last };
        self.give_up(applied).await
    }
}
