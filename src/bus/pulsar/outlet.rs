//! The sending end: the topic's only producer.
//!
//! Exclusive access elects the one collector that produces. The broker grants it, and takes it back
//! when this process dies. Messages that are sent together form one entry of the topic, or several
//! where the broker accepts only smaller ones. Each entry is sent after the receipt of the one
//! before, which keeps the order. At the first error, also while nothing is sent, the producer is
//! dropped, but not for a message that is too large; requesting the topic again shows whether this
//! node may continue.

use std::sync::Arc;
use std::time::Duration;

use pulsar::consumer::InitialPosition;

use super::diagnosis::away;
use super::error::PulsarError;
use super::link::{OPEN, PulsarLink, within};
use super::producer::{AccessMode, TopicProducer, Unsent};
use super::progress::position_of;
use super::reader::{SubscribeOptions, TopicReader};
use super::session::last_id;
use crate::bus::{BusError, Outlet, ProducerAccess, ProducerGrant};
use crate::clock::Clock;
use crate::config::PulsarConfig;
use crate::metrics;
use crate::model::message::Outgoing;
use crate::model::position::{BusTag, Cursor, Position};

/// Time limit for giving the topic back; closing the connection does it in any case.
const GIVEN_BACK: Duration = Duration::from_secs(5);
/// Time limit for the receipt of an entry.
const SENT: Duration = Duration::from_secs(30);

/// The topic as an outlet.
pub struct PulsarOutlet {
    link: Arc<PulsarLink>,
    producer: Option<TopicProducer>,
}

impl PulsarOutlet {
    /// The topic to produce to. Reads the files that the configuration names; connects at the first
    /// [`Outlet::ask`].
    pub fn new(pulsar: &PulsarConfig, clock: Clock) -> Result<Self, PulsarError> {
        let link = PulsarLink::new(pulsar, &pulsar.producer_topic, clock)?;
        Ok(Self { link: Arc::new(link), producer: None })
    }

    /// The error of using the topic without the grant.
    fn ungranted(&self) -> PulsarError {
        let why = "the topic was not granted, or the grant was lost".to_owned();
        PulsarError::Away { doing: self.link.producing(), why }
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
    fn tag(&self) -> BusTag {
        self.link.tag
    }

    async fn ask(&mut self, access: ProducerAccess) -> Result<ProducerGrant, BusError> {
        self.producer = None;
        let access = match access {
            ProducerAccess::Free => AccessMode::Exclusive,
            ProducerAccess::Fencing => AccessMode::ExclusiveWithFencing,
        };
        let opening = Box::pin(TopicProducer::open(&self.link, access));
        let opened = within(OPEN, || self.link.producing(), opening).await;
        self.producer = opened.map_err(|error| self.link.confirmed(error))?;
        self.link.reset_fatal_answers();
        Ok(if self.producer.is_some() { ProducerGrant::Granted } else { ProducerGrant::Standby })
    }

    async fn end(&mut self) -> Result<Option<Cursor>, BusError> {
        let end = within(OPEN, || self.link.producing(), Box::pin(self.last())).await;
        let end = end.map_err(|error| self.link.confirmed(error))?;
        Ok(end.map(|position| Cursor { tag: self.tag(), position }))
    }

    async fn give_back(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        if !matches!(tokio::time::timeout(GIVEN_BACK, producer.close()).await, Ok(Ok(()))) {
            tracing::debug!("cannot close the producer; closing the connection");
        }
    }

    async fn lost(&mut self) -> BusError {
        let Some(producer) = &mut self.producer else { return self.ungranted().into() };
        let error = producer.ended().await;
        self.producer = None;
        metrics::BUS_LOST.add(1);
        away(self.link.producing(), &error.into()).into()
    }

    async fn send(&mut self, messages: Vec<Outgoing>) -> Result<Option<Cursor>, BusError> {
        let Some(mut producer) = self.producer.take() else {
            return Err(self.ungranted().into());
        };
        let doing = self.link.producing();
        // The producer is put back only when each batch has a receipt or was never sent. It must
        // not be used again when sending was interrupted, also by dropping this future.
        let (mut stored, mut index) = (None, 0);
        for mut batch in producer.batches(messages) {
            if stored.is_some()
                && let Some(first) = batch.first_mut()
            {
                first.after = stored;
            }
            let count = batch.len();
            let sending = async {
                producer.send(batch).await.map_err(|unsent| match unsent {
                    Unsent::TooLarge { bytes, limit } => PulsarError::TooLarge {
                        index,
                        topic: self.link.topic.clone(),
                        bytes,
                        limit,
                    },
                    Unsent::Lost(error) => away(&doing, &error.into()),
                })
            };
            match within(SENT, || doing.clone(), sending).await {
                Ok(entry) => {
                    metrics::MESSAGES_PRODUCED.add(count as u64);
                    index += count;
                    let tag = self.tag();
                    stored = entry.map(|entry| Cursor { tag, position: position_of(entry) });
                }
                Err(error) => {
                    if matches!(error, PulsarError::TooLarge { .. }) {
                        self.producer = Some(producer);
                    } else {
                        metrics::BUS_LOST.add(1);
                    }
                    return Err(error.into());
                }
            }
        }
        self.producer = Some(producer);
        Ok(stored)
    }
}

#[cfg(test)]
mod tests {
    use super::super::link::tests::configured;
    use super::super::producer::tests::broker_accepting;
    use super::*;

    /// The largest entry that the broker accepts, in bytes.
    const MOST: usize = 16 << 10;

    fn message(body: &str) -> Outgoing {
        let properties = ["a", "b", "c"].map(|name| (name, name.to_owned()));
        let body = body.to_owned();
        Outgoing { key: None, properties, outage: None, after: None, simulated: false, body }
    }

    #[tokio::test]
    async fn message_that_is_too_large_leaves_the_grant() {
        let (url, received) = broker_accepting(MOST).await;
        let mut outlet = PulsarOutlet::new(&configured(&url), Clock::system()).unwrap();
        let grant = outlet.ask(ProducerAccess::Free).await.unwrap();
        assert!(matches!(grant, ProducerGrant::Granted));
        let (small, large) = (message("{}"), message(&"x".repeat(MOST)));
        let messages = [&small, &small, &small, &large, &small, &small, &small];
        let error = outlet.send(messages.map(Clone::clone).to_vec()).await.unwrap_err();
        assert_eq!(error.too_large(), Some(3), "{error}");
        outlet.send(vec![small; 2]).await.unwrap();
        let received = received.lock().unwrap();
        let sent = received.iter().filter_map(|said| said.send.as_ref());
        let sent: Vec<_> = sent.map(|send| (send.sequence_id, send.num_messages())).collect();
        assert_eq!(sent, [(0, 3), (1, 2)], "those behind the large one are not sent");
        assert_eq!(received.iter().filter(|said| said.producer.is_some()).count(), 1);
    }
}
