//! The third arrow, only with a broker: from the outbox to the topic, in order.
//!
//! A row leaves the outbox when the broker has acknowledged its message, so whatever happens in
//! between, it is sent again, and applied once. One collector of several is granted the topic;
//! the others stand by: they ask every few seconds, poll nothing, and apply what comes, so that
//! all claims are warm when one of them takes over.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::source::{EventSource, Poll, SourceError};
use crate::backoff::Backoff;
use crate::bus::outbox::{self, Entry, Spent};
use crate::bus::{BusError, Grant, Outlet};
use crate::clock::Clock;
use crate::model::event::Event;
use crate::model::message::Outgoing;
use crate::model::window::Day;
use crate::model::window::Timestamp;
use crate::store::keys::{AppliedKey, SeenKey};
use crate::store::retention::claim_days;
use crate::store::{Reader, Store, StoreError};

/// Messages that are sent together, as one entry of the topic.
const MESSAGES: usize = 500;
/// Bytes of events that are sent together. With one event of the largest size more it still stays
/// under the 5 MiB that brokers take.
const MESSAGE_BYTES: usize = 512 << 10;
/// How often a collector that stands by asks again, about.
const ASK_AGAIN: Duration = Duration::from_secs(3);
/// Rows that a collector that stands by looks at each time it asks.
const LOOKED_AT: usize = 2_000;
/// Pauses while the broker is away.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));

/// What relaying needs beside the outlet.
pub struct Relay {
    /// Whose outbox it is.
    pub store: Store,
    /// How long an event is remembered as applied.
    pub seen_for: Duration,
    /// Told whether this collector produces.
    pub grant: watch::Sender<Grant>,
    /// For pauses.
    pub clock: Clock,
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
        let mut looked_at = 0;
        loop {
            match outlet.ask().await {
                Ok(Grant::Granted) => {
                    self.tell(Grant::Granted);
                    let (error, sent) = self.forward(&mut outlet).await?;
                    if !error.is_transient() {
                        return Err(error.into());
                    }
                    if sent {
                        backoff.reset();
                    }
                    tracing::warn!(%error, "the outbox waits; asking for the topic again");
                    self.clock.sleep(backoff.next_wait()).await;
                }
                Ok(_) => {
                    self.tell(Grant::Standby);
                    backoff.reset();
                    looked_at = self.give_up_applied(looked_at).await?;
                    // Not in step with other collectors that stand by.
                    self.clock.sleep(ASK_AGAIN.mul_f64(0.75 + fastrand::f64() / 2.0)).await;
                }
                Err(error) if error.is_transient() => {
                    tracing::warn!(%error, "the outbox waits; trying again");
                    self.clock.sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn tell(&self, grant: Grant) {
        if self.grant.send_replace(grant) != grant {
            if grant == Grant::Granted {
                tracing::info!("this collector produces");
            } else {
                tracing::info!("another producer has the topic: standing by");
            }
        }
    }

    /// Sends what is in the outbox and what comes into it, until that fails: says how, and
    /// whether anything was sent before. While a batch is under way the next one is read, and the
    /// rows of the one before are given up.
    async fn forward(&self, outlet: &mut impl Outlet) -> anyhow::Result<(BusError, bool)> {
        let mut head = self.store.heads().outbox.subscribe();
        let (mut done, mut sent) = (0, false);
        let (mut ahead, mut acknowledged) = (Messages::default(), Vec::new());
        loop {
            if ahead.spent.is_empty() {
                self.give_up(std::mem::take(&mut acknowledged)).await?;
                let newest = *head.wait_for(|head| *head > done).await?;
                ahead = self.read(done + 1).await?;
                if ahead.spent.is_empty() {
                    done = newest;
                    continue;
                }
            }
            let Messages { bodies, spent } = std::mem::take(&mut ahead);
            done = spent.last().map_or(done, |last| last.entry);
            let rest = async {
                self.give_up(std::mem::take(&mut acknowledged)).await?;
                if *head.borrow() > done { self.read(done + 1).await } else { Ok(ahead) }
            };
            let (taken, rest) = tokio::join!(outlet.send(bodies), rest);
            ahead = rest?;
            if let Err(error) = taken {
                return Ok((error, sent));
            }
            sent = true;
            acknowledged = spent;
        }
    }

    async fn read(&self, from: u64) -> Result<Messages, StoreError> {
        self.store.read(move |reader| read(reader, from)).await
    }

    async fn give_up(&self, spent: Vec<Spent>) -> Result<(), StoreError> {
        if spent.is_empty() {
            return Ok(());
        }
        let rows = spent.clone();
        self.store.commit(move |batch| outbox::settle(&rows, batch)).await?;
        outbox::settled(&self.store, &spent);
        Ok(())
    }

    /// Gives up rows, of those behind `after`, whose events came back over the topic: it was sent
    /// before the topic was lost, or the other collector saw it too. Were they sent long after,
    /// nobody would remember them. Says how far it looked; 0 is from the start again.
    async fn give_up_applied(&self, after: u64) -> Result<u64, StoreError> {
        let seen_for = self.seen_for;
        let find = move |reader: Reader<'_>| {
            let entries = outbox::read(reader, after + 1, LOOKED_AT, usize::MAX)?;
            let last = entries.last().map_or(0, |entry| entry.spent.entry);
            let mut applied = Vec::new();
            for entry in entries {
                if is_applied(reader, &entry, seen_for)? {
                    applied.push(entry.spent);
                }
            }
            Ok((last, applied))
        };
        let (last, applied) = self.store.read(find).await?;
        if !applied.is_empty() {
            tracing::info!(rows = applied.len(), "the other collector produced them too");
        }
        self.give_up(applied).await?;
        Ok(last)
    }
}

/// What is sent together, and the rows that are given up for it.
#[derive(Default)]
struct Messages {
    bodies: Vec<Outgoing>,
    spent: Vec<Spent>,
}

fn read(reader: Reader<'_>, from: u64) -> Result<Messages, StoreError> {
    let entries = outbox::read(reader, from, MESSAGES, MESSAGE_BYTES)?;
    let mut messages = Messages::default();
    for Entry { envelope, outline, spent: row } in entries {
        messages.bodies.push(Outgoing::new(&envelope, &outline));
        messages.spent.push(row);
    }
    Ok(messages)
}

fn is_applied(reader: Reader<'_>, entry: &Entry, seen_for: Duration) -> Result<bool, StoreError> {
    let Ok(event) = Event::read(&entry.envelope.event) else { return Ok(false) };
    for day in claim_days(entry.envelope.facts.received_at, seen_for) {
        if reader.get(&AppliedKey(SeenKey::new(Day(day), &event.key)))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A source that is asked only while no other collector produces.
pub struct WhenGranted<S> {
    source: S,
    grant: watch::Receiver<Grant>,
}

impl<S: EventSource> WhenGranted<S> {
    /// The source, bound to what [`Relay::grant`] says. Before anybody has said anything it is
    /// asked: what it brings waits in the outbox.
    #[must_use]
    pub fn new(source: S, grant: watch::Receiver<Grant>) -> Self {
        Self { source, grant }
    }
}

impl<S: EventSource> EventSource for WhenGranted<S> {
    async fn next_poll(&mut self) -> Result<Option<Poll>, SourceError> {
        if self.grant.wait_for(|grant| *grant != Grant::Standby).await.is_err() {
            // The relay has ended, and with it the appliance.
            std::future::pending::<()>().await;
        }
        self.source.next_poll().await
    }

    fn silent_since(&mut self) -> Option<Timestamp> {
        self.source.silent_since()
    }
}
