//! The sending end: the topic's only producer.
//!
//! Exclusive access elects the one collector that produces. The broker grants it, and takes it back
//! when this process dies. Messages that are sent together form one entry of the topic, and the
//! next are sent only after its receipt, which keeps the order. At the first error the producer is
//! dropped; requesting the topic again shows whether this node may continue.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pulsar::consumer::InitialPosition;
use pulsar::{Producer, ProducerOptions, TokioExecutor, producer};

use super::diagnosis::{away, is_taken};
use super::error::PulsarError;
use super::link::{OPEN, PulsarClient, PulsarLink, within};
use super::reader::{SubscribeOptions, TopicReader};
use super::session::last_id;
use super::topic::tag_of;
use crate::bus::{BusError, Outlet, ProducerAccess, ProducerGrant};
use crate::clock::Clock;
use crate::config::PulsarConfig;
use crate::metrics;
use crate::model::message::{GAP, Outgoing};
use crate::model::position::{Cursor, Position};

/// Pulsar's access mode for an exclusive producer that does not wait for another one to leave.
const EXCLUSIVE: i32 = 1;
/// Pulsar's access mode for an exclusive producer that fences off the current one.
const EXCLUSIVE_WITH_FENCING: i32 = 3;
/// Time limit for giving the topic back; closing the connection does it in any case.
const GIVEN_BACK: Duration = Duration::from_secs(5);
/// Time limit for the receipt of a batch; the client itself gives up after 30 s.
const SENT: Duration = Duration::from_secs(45);
/// More messages than are ever sent together, so that the client never splits a batch.
const BATCH: u32 = 100_000;
/// When the client sends a batch that was not flushed because sending was given up.
const LINGER: Duration = Duration::from_secs(1);

/// The topic as an outlet.
pub struct PulsarOutlet {
    link: Arc<PulsarLink>,
    session: Option<ProducerSession>,
}

struct ProducerSession {
    producer: Producer<TokioExecutor>,
    /// Keeps the connection open.
    _client: PulsarClient,
}

impl PulsarOutlet {
    /// The topic to produce to. Reads the files that the configuration names; connects at the first
    /// [`Outlet::ask`].
    pub fn new(pulsar: &PulsarConfig, clock: Clock) -> Result<Self, PulsarError> {
        let link = PulsarLink::new(pulsar, &pulsar.producer_topic, clock)?;
        Ok(Self { link: Arc::new(link), session: None })
    }

    async fn open(&self, access: ProducerAccess) -> Result<Option<ProducerSession>, PulsarError> {
        let client = Box::pin(self.link.client()).await?;
        let building = client
            .producer()
            .with_topic(&self.link.topic)
            .with_options(ProducerOptions {
                access_mode: Some(match access {
                    ProducerAccess::Free => EXCLUSIVE,
                    ProducerAccess::Fencing => EXCLUSIVE_WITH_FENCING,
                }),
                batch_size: Some(BATCH),
                batch_timeout: Some(LINGER),
                compression: Some(self.link.compression()),
                block_queue_if_full: true,
                ..ProducerOptions::default()
            })
            .build();
        match Box::pin(building).await {
            Ok(producer) => Ok(Some(ProducerSession { producer, _client: client })),
            Err(error) if is_taken(&error) => Ok(None),
            Err(error) => Err(away(self.link.producing(), &error)),
        }
    }

    /// The position of the topic's last message, by a subscription that is not durable.
    async fn last(&self) -> Result<Option<Position>, PulsarError> {
        let to = SubscribeOptions::passing("end", InitialPosition::Latest);
        let mut reader = Box::pin(TopicReader::open(&self.link, &to)).await?;
        let last = last_id(&mut reader).await?;
        Ok(last.map(|id| {
            let index = id.batch_index.and_then(|index| u32::try_from(index).ok()).unwrap_or(0);
            Position { ledger: id.ledger_id, entry: id.entry_id, index }
        }))
    }
}

impl Outlet for PulsarOutlet {
    async fn ask(&mut self, access: ProducerAccess) -> Result<ProducerGrant, BusError> {
        self.session = None;
        let opened = within(OPEN, || self.link.producing(), Box::pin(self.open(access))).await;
        self.session = opened.map_err(|error| self.link.confirmed(error))?;
        self.link.is_believed();
        Ok(if self.session.is_some() { ProducerGrant::Granted } else { ProducerGrant::Standby })
    }

    async fn end(&mut self) -> Result<Option<Cursor>, BusError> {
        let end = within(OPEN, || self.link.producing(), Box::pin(self.last())).await;
        let end = end.map_err(|error| self.link.confirmed(error))?;
        let tag = tag_of(&self.link.topic)?;
        Ok(end.map(|position| Cursor { tag, position }))
    }

    async fn give_back(&mut self) {
        let Some(mut session) = self.session.take() else { return };
        let closing = Box::pin(session.producer.close());
        if !matches!(tokio::time::timeout(GIVEN_BACK, closing).await, Ok(Ok(()))) {
            tracing::debug!("cannot close the producer; closing the connection");
        }
    }

    async fn send(&mut self, messages: Vec<Outgoing>) -> Result<(), BusError> {
        let doing = self.link.producing();
        let Some(mut session) = self.session.take() else {
            let why = "the topic was not granted, or the grant was lost".to_owned();
            return Err(PulsarError::Away { doing, why }.into());
        };
        let count = messages.len() as u64;
        // The session is put back only after success. It must not be used again when sending was
        // interrupted, also by dropping this future.
        let sent = within(SENT, || doing.clone(), Box::pin(session.send(&doing, messages))).await;
        match sent {
            Ok(()) => {
                metrics::MESSAGES_PRODUCED.add(count);
                self.session = Some(session);
                Ok(())
            }
            Err(error) => {
                metrics::BUS_LOST.add(1);
                Err(error.into())
            }
        }
    }
}

impl ProducerSession {
    async fn send(&mut self, doing: &str, messages: Vec<Outgoing>) -> Result<(), PulsarError> {
        let failed = |error| away(doing, &error);
        let mut receipts = Vec::with_capacity(messages.len());
        for message in messages {
            let sending = self.producer.send_non_blocking(library_message(message));
            receipts.push(Box::pin(sending).await.map_err(failed)?);
        }
        // The whole batch becomes one entry, and is sent now.
        self.producer.send_batch().await.map_err(failed)?;
        for receipt in receipts {
            receipt.await.map_err(failed)?;
        }
        Ok(())
    }
}

fn library_message(message: Outgoing) -> producer::Message {
    let outage = message.outage.map(|outage| (GAP, outage.property()));
    let properties = message.properties.into_iter().chain(outage);
    let properties: HashMap<_, _> =
        properties.map(|(name, value)| (name.to_owned(), value)).collect();
    producer::Message {
        payload: message.body.into_bytes(),
        properties,
        partition_key: message.key,
        ..producer::Message::default()
    }
}
