//! Trying the service without touching what it holds, for `ghpulse check`.

use std::sync::Arc;
use std::time::Duration;

use pulsar::ProducerOptions;
use pulsar::consumer::InitialPosition;

use super::link::{Link, OPEN, within};
use super::reader::{Reader, Subscription};
use super::words::{away, is_taken};
use super::{PulsarError, PulsarOptions};
use crate::bus::Grant;
use crate::clock::Clock;
use crate::model::window::Timestamp;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probed {
    /// The topic's whole name.
    pub topic: String,
    /// Whether it could be produced to now; `None` when that was not tried.
    pub grant: Option<Grant>,
    /// When the oldest message that it has was published; `None` when none came at once.
    pub oldest: Option<Timestamp>,
}

/// How long the oldest message may take.
const OLDEST: Duration = Duration::from_secs(3);

/// Connects, logs in, looks the topic up, reads it by a subscription that leaves nothing behind,
/// and, with `produce`, asks to produce (sends nothing). Beside a collector that is running it
/// finds the topic taken, which is well.
pub async fn probe(
    options: &PulsarOptions,
    produce: bool,
    clock: Clock,
) -> Result<Probed, PulsarError> {
    let link = Arc::new(Link::new(options, clock)?);
    let doing = || format!("trying {} at {}", link.topic, link.url);
    let trying = Box::pin(async {
        let name = format!("ghpulse-check-{:016x}", fastrand::u64(..));
        let to = Subscription {
            consumer: name.clone(),
            name,
            is_durable: false,
            from: InitialPosition::Earliest,
        };
        let mut reader = Box::pin(Reader::open(&link, &to)).await?;
        let first = tokio::time::timeout(OLDEST, reader.next()).await;
        let first = first.ok().and_then(Result::ok).flatten().and_then(Result::ok);
        let oldest = first.map(|message| message.published_at);
        let doing = |verb| format!("{verb} {} at {}", link.topic, link.url);
        let client = Box::pin(link.client()).await?;
        let grant = if produce {
            let shared = ProducerOptions { access_mode: Some(0), ..ProducerOptions::default() };
            let asking = client.producer().with_topic(&link.topic).with_options(shared).build();
            match Box::pin(asking).await {
                Ok(mut producer) => {
                    // What is not closed now is closed with the connection.
                    let _ = Box::pin(producer.close()).await;
                    Some(Grant::Granted)
                }
                Err(error) if is_taken(&error) => Some(Grant::Standby),
                Err(error) => return Err(away(doing("producing to"), &error)),
            }
        } else {
            None
        };
        Ok(Probed { topic: link.topic.clone(), grant, oldest })
    });
    within(OPEN, doing, trying).await
}
