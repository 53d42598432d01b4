//! Markers: entries of the topic that a broker writes for itself and never delivers. Their numbers
//! are missing, and no events are.

use std::collections::BTreeSet;

use bytes::BytesMut;
use ghpulse::bus::ProducerGrant;
use ghpulse::bus::pulsar::tag_of;
use ghpulse::model::message::AFTER;
use ghpulse::model::position::{Cursor, Position};
use pulsar::message::{Codec, Message, Payload, proto};
use pulsar::proto::base_command::Type;
use pulsar::proto::{BaseCommand, KeyValue, MessageIdData};
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::codec::{Decoder as _, Encoder as _};

use super::broker::shared;
use super::flow::is_acknowledged;
use super::formats::peers;
use super::missing::gaps_of;
use super::node::{Node, pull_request};

/// The kind of a marker with which brokers ask other clusters for a snapshot of their
/// subscriptions.
const SNAPSHOT_REQUEST: i32 = 10;

/// A producer that can write markers, as no client library does.
struct MarkerProducer {
    stream: TcpStream,
    received: BytesMut,
    sequence: u64,
}

impl MarkerProducer {
    async fn to(url: &str, topic: &str) -> Self {
        let address = url.strip_prefix("pulsar://").unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let mut producer = Self { stream, received: BytesMut::new(), sequence: 0 };
        let connect = proto::CommandConnect {
            client_version: "test".to_owned(),
            protocol_version: Some(12),
            ..proto::CommandConnect::default()
        };
        let connect = command(Type::Connect, |c| c.connect = Some(connect));
        producer.ask(connect, None).await.connected.unwrap();
        let lookup = proto::CommandLookupTopic {
            topic: topic.to_owned(),
            request_id: 1,
            ..proto::CommandLookupTopic::default()
        };
        let lookup = command(Type::Lookup, |c| c.lookup_topic = Some(lookup));
        producer.ask(lookup, None).await.lookup_topic_response.unwrap();
        let asked = proto::CommandProducer {
            topic: topic.to_owned(),
            producer_id: 1,
            request_id: 2,
            ..proto::CommandProducer::default()
        };
        let asked = command(Type::Producer, |c| c.producer = Some(asked));
        producer.ask(asked, None).await.producer_success.unwrap();
        producer
    }

    /// Sends an entry; returns its position.
    async fn send(
        &mut self,
        marker_type: Option<i32>,
        after: Option<Cursor>,
        data: Vec<u8>,
    ) -> Position {
        let sequence_id = self.sequence;
        self.sequence += 1;
        let properties =
            after.map(|after| KeyValue { key: AFTER.to_owned(), value: after.to_string() });
        let metadata = proto::MessageMetadata {
            producer_name: "markers".to_owned(),
            sequence_id,
            publish_time: 1_772_359_200_000,
            properties: properties.into_iter().collect(),
            marker_type,
            ..proto::MessageMetadata::default()
        };
        let send =
            proto::CommandSend { producer_id: 1, sequence_id, ..proto::CommandSend::default() };
        let send = command(Type::Send, |c| c.send = Some(send));
        let receipt = self.ask(send, Some(Payload { metadata, data })).await.send_receipt.unwrap();
        let MessageIdData { ledger_id, entry_id, .. } = receipt.message_id.unwrap();
        Position { ledger: ledger_id, entry: entry_id, index: 0 }
    }

    async fn ask(&mut self, command: BaseCommand, payload: Option<Payload>) -> BaseCommand {
        let mut frame = BytesMut::new();
        Codec.encode(Message { command, payload }, &mut frame).unwrap();
        self.stream.write_all(&frame).await.unwrap();
        loop {
            if let Some(answer) = Codec.decode(&mut self.received).unwrap() {
                return answer.command;
            }
            assert_ne!(self.stream.read_buf(&mut self.received).await.unwrap(), 0, "it closed");
        }
    }
}

fn command(kind: Type, fill: impl FnOnce(&mut BaseCommand)) -> BaseCommand {
    let mut command = BaseCommand { r#type: kind as i32, ..BaseCommand::default() };
    fill(&mut command);
    command
}

fn event(id: usize) -> Vec<u8> {
    peers(&pull_request(id, id, id, "opened", false), "{}")
}

#[tokio::test(flavor = "multi_thread")]
async fn markers_are_no_gap() {
    let topic = "markers";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let tag = tag_of(topic).unwrap();
    let dir = tempdir().unwrap();
    let edge = Node::edge(&dir, &options).await;
    let mut producer = MarkerProducer::to(&options.url, topic).await;
    let mut sent = vec![producer.send(None, None, event(1)).await];
    edge.holds(1).await;
    for id in 2..=12 {
        for _ in 0..3 {
            producer.send(Some(SNAPSHOT_REQUEST), None, Vec::new()).await;
        }
        let after = sent.last().map(|position| Cursor { tag, position: *position });
        sent.push(producer.send(None, after, event(id)).await);
        edge.holds(id).await;
    }
    let rows = edge.holds(12).await;
    let held: Vec<_> = rows.iter().map(|row| row.0.position).collect();
    assert_eq!(held, sent);
    let entries: BTreeSet<_> = sent.iter().map(|at| (at.ledger, at.entry % 4)).collect();
    assert_eq!(entries.len(), 1, "three markers before each but the first: {sent:?}");
    assert_eq!(gaps_of(&edge, topic), []);
    is_acknowledged(pulsar.broker, topic, &edge).await;
    // Only the first ones were asked for again.
    let trouble = edge.state.borrow().trouble.clone().unwrap();
    let first = format!("after {}:{} came", sent[0].ledger, sent[0].entry);
    assert!(trouble.contains(&first), "{trouble}");
    // Behind the last event is a marker alone, and a node that was started anew meets it.
    producer.send(Some(SNAPSHOT_REQUEST), None, Vec::new()).await;
    edge.end().await;
    let edge = Node::edge(&dir, &options).await;
    drop(producer);
    let other = tempdir().unwrap();
    let mut collector = Node::collector(&other, &options).await;
    collector.is(ProducerGrant::Granted).await;
    collector.admit(&[pull_request(13, 1, 1, "opened", false)]).await;
    edge.holds(13).await;
    assert_eq!(gaps_of(&edge, topic), []);
    collector.end().await;
    edge.end().await;
}
