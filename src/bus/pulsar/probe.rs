//! Tests the connection for `ghpulse check`, without changing anything on the broker.

use std::sync::Arc;
use std::time::Duration;

use pulsar::consumer::InitialPosition;

use super::error::PulsarError;
use super::link::{OPEN, PulsarLink, within};
use super::producer::{AccessMode, TopicProducer};
use super::reader::{SubscribeOptions, TopicReader};
use super::session::look_for_termination;
use crate::bus::ProducerGrant;
use crate::clock::Clock;
use crate::config::PulsarConfig;
use crate::model::window::Timestamp;

/// The result of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The topic's full name.
    pub topic: String,
    /// Whether this node could produce now; `None` when that was not tested.
    pub grant: Option<ProducerGrant>,
    /// When the oldest message of the topic was published; `None` when none arrived in time.
    pub oldest: Option<Timestamp>,
}

/// Time limit for the oldest message.
const OLDEST: Duration = Duration::from_secs(3);

/// Connects, logs in, looks up the topic, reads it by a subscription that is not durable and, with
/// `produce`, opens a producer that sends nothing. While a collector runs, the topic is taken,
/// which is not an error.
///
/// # Errors
/// When a step fails, or the probe takes longer than 30 s.
pub async fn probe(
    pulsar: &PulsarConfig,
    topic: &str,
    produce: bool,
    clock: Clock,
) -> Result<Probed, PulsarError> {
    let link = Arc::new(PulsarLink::new(pulsar, topic, clock)?);
    let doing = || format!("testing {} at {}", link.topic, link.url);
    let trying = Box::pin(async {
        let to = SubscribeOptions::passing("check", InitialPosition::Earliest);
        let mut reader = Box::pin(TopicReader::open(&link, &to)).await?;
        let first = tokio::time::timeout(OLDEST, reader.next()).await;
        let first = first.ok().and_then(Result::ok).flatten().and_then(Result::ok);
        let oldest = first.map(|message| message.published_at);
        let grant = if produce {
            // First: a broker tells only the first producer that asks.
            look_for_termination(&link).await?;
            match Box::pin(TopicProducer::open(&link, AccessMode::Shared)).await? {
                Some(producer) => {
                    // The connection's end closes it in any case.
                    let _ = producer.close().await;
                    Some(ProducerGrant::Granted)
                }
                None => Some(ProducerGrant::Standby),
            }
        } else {
            None
        };
        Ok(Probed { topic: link.topic.clone(), grant, oldest })
    });
    within(OPEN, doing, trying).await
}
