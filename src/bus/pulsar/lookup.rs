//! Finds the broker of the topic: its partitions, and redirections from broker to broker.

use std::sync::Arc;

use pulsar::Error;
use pulsar::error::ServiceDiscoveryError;
use pulsar::message::proto;
use pulsar::proto::base_command::Type;
use pulsar::proto::command_lookup_topic_response::LookupType;
use pulsar::proto::{CommandLookupTopicResponse, ServerError};

use super::connection::{BrokerAddress, BrokerConnection, command, unexpected};
use super::diagnosis::away;
use super::error::PulsarError;
use super::frames::FrameCodec;
use super::link::PulsarLink;
use crate::config::endpoint;

/// The most redirections of a look-up, as in Pulsar's own client.
const REDIRECTS: usize = 20;
/// The longest name of a host, in bytes.
const HOST_BYTES: usize = 255;

impl PulsarLink {
    /// Finds the broker that has the topic. Fails for a partitioned topic.
    pub(super) async fn look_up(self: &Arc<Self>) -> Result<BrokerAddress, PulsarError> {
        let mut address = BrokerAddress { url: self.url.clone(), proxied: None };
        let mut connection =
            Box::pin(BrokerConnection::open(self, &address, FrameCodec::COMMANDS)).await?;
        match self.partitions(&mut connection).await.map_err(|error| self.lookup_error(&error))? {
            0 => {}
            partitions => {
                let topic = self.topic.clone();
                return Err(PulsarError::Partitioned { topic, partitions });
            }
        }
        let mut is_authoritative = false;
        for _ in 0..=REDIRECTS {
            let asked = self.ask_for_broker(&mut connection, is_authoritative).await;
            let found = asked.map_err(|error| self.lookup_error(&error))?;
            address = self.address_in(&found, address.proxied.is_some())?;
            if found.response() != LookupType::Redirect {
                return Ok(address);
            }
            is_authoritative = found.authoritative();
            connection =
                Box::pin(BrokerConnection::open(self, &address, FrameCodec::COMMANDS)).await?;
        }
        let why = format!("it was redirected more than {REDIRECTS} times");
        Err(PulsarError::Away { doing: self.looking_up(), why })
    }

    async fn partitions(&self, connection: &mut BrokerConnection) -> Result<u32, Error> {
        // A single partition has none itself, but brokers report those of the topic that it is of.
        if self.topic.contains("-partition-") {
            return Ok(0);
        }
        let ask = proto::CommandPartitionedTopicMetadata {
            topic: self.topic.clone(),
            request_id: connection.next_request(),
            ..proto::CommandPartitionedTopicMetadata::default()
        };
        let question = command(Type::PartitionedMetadata, |c| c.partition_metadata = Some(ask));
        let answer = connection.ask(question).await?;
        let Some(found) = &answer.partition_metadata_response else {
            return Err(unexpected(&answer).into());
        };
        let is_found = proto::command_partitioned_topic_metadata_response::LookupType::Success;
        found.partitions.filter(|_| found.response == Some(is_found as i32)).ok_or_else(|| {
            let kind = found.error.and_then(|kind| ServerError::try_from(kind).ok());
            ServiceDiscoveryError::Query(kind, found.message.clone()).into()
        })
    }

    async fn ask_for_broker(
        &self,
        connection: &mut BrokerConnection,
        is_authoritative: bool,
    ) -> Result<CommandLookupTopicResponse, Error> {
        let ask = proto::CommandLookupTopic {
            topic: self.topic.clone(),
            request_id: connection.next_request(),
            authoritative: Some(is_authoritative),
            ..proto::CommandLookupTopic::default()
        };
        let mut answer =
            connection.ask(command(Type::Lookup, |c| c.lookup_topic = Some(ask))).await?;
        match answer.lookup_topic_response.take() {
            Some(found) if found.response.is_none() || found.response() == LookupType::Failed => {
                let kind = found.error.and_then(|kind| ServerError::try_from(kind).ok());
                Err(ServiceDiscoveryError::Query(kind, found.message).into())
            }
            Some(found) => Ok(found),
            None => Err(unexpected(&answer).into()),
        }
    }

    /// The address in a response; `is_proxied` is whether a proxy has answered.
    fn address_in(
        &self,
        found: &CommandLookupTopicResponse,
        is_proxied: bool,
    ) -> Result<BrokerAddress, PulsarError> {
        let (kind, url) = if self.is_tls() {
            ("pulsar+ssl", &found.broker_service_url_tls)
        } else {
            ("pulsar", &found.broker_service_url)
        };
        let named = url.as_deref().and_then(endpoint);
        let named = named.filter(|(scheme, host, _)| scheme == kind && host.len() <= HOST_BYTES);
        let Some((_, host, port)) = named else {
            let why = format!("the broker names no address of the topic with {kind}://");
            return Err(PulsarError::Away { doing: self.looking_up(), why });
        };
        let at =
            if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        Ok(if is_proxied || found.proxy_through_service_url() {
            BrokerAddress { url: self.url.clone(), proxied: Some(at) }
        } else {
            BrokerAddress { url: format!("{kind}://{at}"), proxied: None }
        })
    }

    fn looking_up(&self) -> String {
        format!("looking up {} at {}", self.topic, self.url)
    }

    fn lookup_error(&self, error: &Error) -> PulsarError {
        away(self.looking_up(), error)
    }
}
