//! Look-up and producer at brokers that answer as no broker does.

use std::sync::Mutex;

use bytes::BytesMut;
use futures_util::StreamExt as _;
use pulsar::message::Codec;
use pulsar::proto::command_lookup_topic_response::LookupType;
use pulsar::proto::command_partitioned_topic_metadata_response::LookupType as PartitionsFound;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_util::codec::{Encoder as _, FramedRead};

use super::super::connection::BrokerAddress;
use super::super::delivery;
use super::super::entry::{PackedEntry, TopicMessage};
use super::super::link::tests::configured;
use super::*;
use crate::bus::Content;
use crate::clock::Clock;
use crate::model::position::BusTag;

/// What a broker has received.
pub(in crate::bus::pulsar) type Received = Arc<Mutex<Vec<BaseCommand>>>;

pub(in crate::bus::pulsar) fn encoded(message: Message) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    Codec.encode(message, &mut bytes).unwrap();
    bytes.to_vec()
}

fn found(kind: LookupType, url: &str) -> proto::CommandLookupTopicResponse {
    proto::CommandLookupTopicResponse {
        broker_service_url: Some(url.to_owned()),
        response: Some(kind as i32),
        ..proto::CommandLookupTopicResponse::default()
    }
}

fn found_at(found: proto::CommandLookupTopicResponse) -> Vec<u8> {
    encoded(command(Type::LookupResponse, |c| c.lookup_topic_response = Some(found)))
}

fn receipt(sequence_id: u64) -> Vec<u8> {
    let receipt = proto::CommandSendReceipt {
        producer_id: PRODUCER,
        sequence_id,
        ..proto::CommandSendReceipt::default()
    };
    encoded(command(Type::SendReceipt, |c| c.send_receipt = Some(receipt)))
}

/// The answer of a good broker, which has the topic.
fn usual(said: &BaseCommand, url: &str) -> Vec<u8> {
    if said.connect.is_some() {
        let connected = proto::CommandConnected::default();
        return encoded(command(Type::Connected, |c| c.connected = Some(connected)));
    }
    if said.partition_metadata.is_some() {
        let found = proto::CommandPartitionedTopicMetadataResponse {
            partitions: Some(0),
            response: Some(PartitionsFound::Success as i32),
            ..proto::CommandPartitionedTopicMetadataResponse::default()
        };
        let kind = Type::PartitionedMetadataResponse;
        return encoded(command(kind, |c| c.partition_metadata_response = Some(found)));
    }
    if said.lookup_topic.is_some() {
        return found_at(found(LookupType::Connect, url));
    }
    if said.producer.is_some() {
        let granted = proto::CommandProducerSuccess {
            producer_name: "given".to_owned(),
            ..proto::CommandProducerSuccess::default()
        };
        let kind = Type::ProducerSuccess;
        return encoded(command(kind, |c| c.producer_success = Some(granted)));
    }
    match &said.send {
        Some(send) => receipt(send.sequence_id),
        None => Vec::new(),
    }
}

/// A broker, by its URL, and what it has received. It answers with what `answer` returns, or as
/// usual.
pub(in crate::bus::pulsar) async fn broker(
    answer: impl Fn(&BaseCommand, &str) -> Option<Vec<u8>> + Send + Sync + 'static,
) -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("pulsar://{}", listener.local_addr().unwrap());
    let received = Received::default();
    let (answer, here, seen) = (Arc::new(answer), url.clone(), Arc::clone(&received));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (answer, here, seen) = (Arc::clone(&answer), here.clone(), Arc::clone(&seen));
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                let mut commands = FramedRead::new(read, Codec);
                while let Some(Ok(message)) = commands.next().await {
                    let said = message.command;
                    let bytes = answer(&said, &here).unwrap_or_else(|| usual(&said, &here));
                    seen.lock().unwrap().push(said);
                    // The client hangs up when it likes.
                    let _ = write.write_all(&bytes).await;
                }
            });
        }
    });
    (url, received)
}

/// A broker whose `maxMessageSize` is this many bytes.
pub(in crate::bus::pulsar) async fn broker_accepting(most: usize) -> (String, Received) {
    broker(move |said, _| {
        let connected = proto::CommandConnected {
            max_message_size: i32::try_from(most).ok(),
            ..proto::CommandConnected::default()
        };
        let connected = command(Type::Connected, |c| c.connected = Some(connected));
        said.connect.as_ref().map(|_| encoded(connected))
    })
    .await
}

fn link(url: &str) -> Arc<PulsarLink> {
    Arc::new(PulsarLink::new(&configured(url), "events", Clock::system()).unwrap())
}

fn message(body: &str) -> Outgoing {
    let properties = ["a", "b", "c"].map(|name| (name, name.to_owned()));
    let (key, body) = (Some("1".to_owned()), body.to_owned());
    Outgoing { key, properties, outage: None, after: None, simulated: false, body }
}

/// Opens a producer and sends a message; returns the error, as text.
async fn error_at(url: &str) -> String {
    match TopicProducer::open(&link(url), AccessMode::Exclusive).await {
        Ok(Some(mut producer)) => {
            producer.send(vec![message("{}")]).await.expect_err("it is sent").to_string()
        }
        Ok(None) => panic!("it is taken"),
        Err(error) => {
            assert!(error.is_transient(), "{error}");
            error.to_string()
        }
    }
}

#[tokio::test]
async fn frames_are_refused_by_their_size_at_each_step() {
    let steps =
        [Type::Connect, Type::PartitionedMetadata, Type::Lookup, Type::Producer, Type::Send];
    for step in steps {
        // The size alone: the rest may never come.
        let lie = move |said: &BaseCommand, _: &str| {
            (said.r#type == step as i32).then(|| 0x7fff_fff0_u32.to_be_bytes().to_vec())
        };
        let (url, _) = broker(lie).await;
        let error = error_at(&url).await;
        let words = "the broker sends a frame of 2147483632 bytes; the limit is 1048576";
        assert!(error.contains(words), "{step:?}: {error}");
    }
}

#[tokio::test]
async fn other_answers_are_errors_at_each_step() {
    let steps = [Type::Connect, Type::PartitionedMetadata, Type::Lookup, Type::Producer];
    for step in steps {
        let lie =
            move |said: &BaseCommand, _: &str| (said.r#type == step as i32).then(|| receipt(0));
        let (url, _) = broker(lie).await;
        let error = error_at(&url).await;
        assert!(error.contains("the broker answers with SEND_RECEIPT"), "{step:?}: {error}");
    }
}

#[tokio::test]
async fn redirected_look_up_asks_the_other_broker() {
    let (there, asked) = broker(|_, _| None).await;
    let other = there.clone();
    let (here, _) = broker(move |said, _| {
        let authoritative = Some(true);
        let to = proto::CommandLookupTopicResponse {
            authoritative,
            ..found(LookupType::Redirect, &other)
        };
        said.lookup_topic.as_ref().map(|_| found_at(to))
    })
    .await;
    let address = link(&here).look_up().await.unwrap();
    assert_eq!(address, BrokerAddress { url: there, proxied: None });
    let asked = asked.lock().unwrap();
    let look_ups: Vec<_> = asked.iter().filter_map(|said| said.lookup_topic.as_ref()).collect();
    assert_eq!(look_ups.len(), 1);
    assert!(look_ups[0].authoritative());
}

#[tokio::test]
async fn redirections_without_an_end_are_given_up() {
    let again = |said: &BaseCommand, url: &str| {
        said.lookup_topic.as_ref().map(|_| found_at(found(LookupType::Redirect, url)))
    };
    let (url, received) = broker(again).await;
    let error = link(&url).look_up().await.unwrap_err().to_string();
    assert!(error.contains("redirected more than 20 times"), "{error}");
    let received = received.lock().unwrap();
    assert_eq!(received.iter().filter(|said| said.lookup_topic.is_some()).count(), REDIRECTED);
}

/// The first look-up, and one after each of 20 redirections.
const REDIRECTED: usize = 21;

#[tokio::test]
async fn broker_behind_a_proxy_is_named_in_the_login() {
    for (named, proxied) in
        [("pulsar://10.0.0.1", "10.0.0.1:6650"), ("pulsar://[fe80::1]:7000/", "[fe80::1]:7000")]
    {
        let through = move |said: &BaseCommand, _: &str| {
            let to = proto::CommandLookupTopicResponse {
                proxy_through_service_url: Some(true),
                ..found(LookupType::Connect, named)
            };
            said.lookup_topic.as_ref().map(|_| found_at(to))
        };
        let (url, received) = broker(through).await;
        let mut producer = opened(&url).await;
        producer.send(vec![message("{}")]).await.unwrap();
        let received = received.lock().unwrap();
        let logins = received.iter().filter_map(|said| said.connect.as_ref());
        let named: Vec<_> = logins.map(|login| login.proxy_to_broker_url.as_deref()).collect();
        assert_eq!(named, [None, Some(proxied)]);
    }
}

#[tokio::test]
async fn address_of_another_kind_is_refused() {
    let long = format!("pulsar://{}:6650", "a".repeat(300));
    for named in ["http://127.0.0.1:80", "pulsar+ssl://127.0.0.1:6651", "", "pulsar://", &long] {
        let named = named.to_owned();
        let lie = move |said: &BaseCommand, _: &str| {
            said.lookup_topic.as_ref().map(|_| found_at(found(LookupType::Connect, &named)))
        };
        let (url, _) = broker(lie).await;
        let error = error_at(&url).await;
        assert!(error.contains("names no address of the topic with pulsar://"), "{error}");
    }
}

async fn opened(url: &str) -> TopicProducer {
    let opened = TopicProducer::open(&link(url), AccessMode::Exclusive).await;
    opened.unwrap().expect("nobody else has the topic")
}

#[tokio::test]
async fn only_the_receipt_of_a_batch_settles_it() {
    let (url, received) = broker(|said, _| {
        let sequence = said.send.as_ref()?.sequence_id;
        // One of another batch, and the right one twice.
        Some([receipt(sequence + 7), receipt(sequence), receipt(sequence)].concat())
    })
    .await;
    let mut producer = opened(&url).await;
    for count in 1..4 {
        producer.send(vec![message("{}"); count]).await.unwrap();
    }
    let received = received.lock().unwrap();
    let sent = received.iter().filter_map(|said| said.send.as_ref());
    let sent: Vec<_> = sent.map(|send| (send.sequence_id, send.num_messages())).collect();
    assert_eq!(sent, [(0, 1), (1, 2), (2, 3)]);
}

#[tokio::test]
async fn batches_are_within_the_limit_of_the_broker() {
    const MOST: usize = 64 << 10;
    let (url, received) = broker_accepting(MOST).await;
    let mut producer = opened(&url).await;
    let (large, small) = ("x".repeat(20_000), "y".to_owned());
    let bodies = [&large, &large, &large, &large, &small, &small, &large];
    for batch in producer.batches(bodies.map(|body| message(body)).to_vec()) {
        producer.send(batch).await.unwrap();
    }
    let sent: Vec<_> = received
        .lock()
        .unwrap()
        .iter()
        .filter_map(|said| said.send.as_ref())
        .map(|send| (send.sequence_id, send.num_messages()))
        .collect();
    assert_eq!(sent, [(0, 3), (1, 4)]);
    // One that is too large by itself is named, and not sent.
    let random: String = (0..MOST).map(|_| fastrand::alphanumeric()).collect();
    let unsent = producer.send(vec![message(&random)]).await.unwrap_err();
    assert!(matches!(unsent, Unsent::TooLarge { bytes: MOST.., limit: MOST }), "{unsent}");
    assert_eq!(received.lock().unwrap().iter().filter(|said| said.send.is_some()).count(), 2);
    // The next one has its number.
    producer.send(vec![message(&small)]).await.unwrap();
    assert_eq!(received.lock().unwrap().last().unwrap().send.as_ref().unwrap().sequence_id, 2);
}

#[tokio::test]
async fn idle_producer_answers_pings_and_keeps_the_reason_of_its_end() {
    let ping = encoded(command(Type::Ping, |c| c.ping = Some(proto::CommandPing {})));
    let close = proto::CommandCloseProducer::default();
    let close = encoded(command(Type::CloseProducer, |c| c.close_producer = Some(close)));
    let (url, received) = broker(move |said, url| match Type::try_from(said.r#type) {
        Ok(Type::Producer) => Some([usual(said, url), ping.clone()].concat()),
        Ok(Type::Pong) => Some(close.clone()),
        _ => None,
    })
    .await;
    let mut producer = opened(&url).await;
    // The broker closes the producer when it has the pong.
    let error = loop {
        match producer.send(vec![message("{}")]).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("the broker closed the producer"), "{error}");
    assert!(received.lock().unwrap().iter().any(|said| said.pong.is_some()));
}

#[tokio::test]
async fn topic_of_another_producer_is_not_granted() {
    let error = |kind: ServerError| {
        let error = proto::CommandError { request_id: 1, error: kind as i32, message: "x".into() };
        encoded(command(Type::Error, |c| c.error = Some(error)))
    };
    let waiting = proto::CommandProducerSuccess {
        producer_ready: Some(false),
        ..proto::CommandProducerSuccess::default()
    };
    let waiting = encoded(command(Type::ProducerSuccess, |c| c.producer_success = Some(waiting)));
    for answer in [error(ServerError::ProducerFenced), error(ServerError::ProducerBusy), waiting] {
        let lie = move |said: &BaseCommand, _: &str| said.producer.as_ref().map(|_| answer.clone());
        let (url, _) = broker(lie).await;
        let opened = TopicProducer::open(&link(&url), AccessMode::Exclusive).await;
        assert!(opened.unwrap().is_none());
    }
}

/// Lets this time pass at once.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn idle_producer_reports_at_once_that_the_broker_closed_it() {
    let close = proto::CommandCloseProducer::default();
    let close = encoded(command(Type::CloseProducer, |c| c.close_producer = Some(close)));
    let (url, _) = broker(move |said, url| {
        said.producer.as_ref().map(|_| [usual(said, url), close.clone()].concat())
    })
    .await;
    let error = opened(&url).await.ended().await.to_string();
    assert!(error.contains("the broker closed the producer"), "{error}");
}

#[tokio::test]
async fn idle_producer_sends_pings_and_notices_a_silent_broker() {
    let (pinged, mut pings) = mpsc::unbounded_channel();
    let (url, _) = broker(move |said, url| {
        let pong = encoded(command(Type::Pong, |c| c.pong = Some(proto::CommandPong {})));
        if said.ping.is_some() {
            pinged.send(()).unwrap();
        }
        Some(if said.ping.is_some() { pong } else { usual(said, url) })
    })
    .await;
    let mut producer = opened(&url).await;
    for _ in 0..4 {
        // The receipt comes after the pong, so it has arrived, too.
        producer.send(vec![message("{}")]).await.unwrap();
        pass(PING).await;
        let pinged = tokio::time::timeout(Duration::from_secs(30), pings.recv()).await;
        pinged.expect("a ping").unwrap();
    }
    producer.send(vec![message("{}")]).await.unwrap();
    // The broker's pong to the next ping does not come in time.
    pass(SILENT).await;
    let error = producer.ended().await.to_string();
    assert!(error.contains("the broker has sent nothing for 40 s"), "{error}");
}

#[test]
fn simulated_event_is_marked_on_the_topic() {
    let message = |simulated| Outgoing { simulated, ..message(r#"{"event":{"type":"A"}}"#) };
    let payload = batch_of(vec![message(false), message(true)]).unwrap();
    let metadata = proto::MessageMetadata {
        num_messages_in_batch: Some(2),
        ..proto::MessageMetadata::default()
    };
    let mut content = BytesMut::new();
    content.put_u32(u32::try_from(metadata.encoded_len()).unwrap());
    metadata.encode(&mut content).unwrap();
    content.put_slice(&payload);
    let packed = PackedEntry { entry: (1, 2), content: content.freeze() };
    let simulated = packed.unpack().map(|message| {
        let message = TopicMessage { published_at: Clock::system().now(), ..message.unwrap() };
        match delivery::read(message, BusTag(1)).content {
            Content::Event(envelope, ..) => envelope.facts.simulated,
            Content::DeadLetter(dead) => panic!("{}", dead.reason),
        }
    });
    assert_eq!(simulated.collect::<Vec<_>>(), [false, true]);
}
