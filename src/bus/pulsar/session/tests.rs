//! A session on a stream to which a broker has sent entries.

use bytes::BytesMut;
use pulsar::consumer::InitialPosition;
use pulsar::message::{Codec, Message, Payload, proto};
use pulsar::proto::BaseCommand;
use pulsar::proto::base_command::Type;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio_util::codec::Encoder as _;

use super::super::connection::BrokerConnection;
use super::super::frames::FrameCodec;
use super::super::link::PulsarLink;
use super::super::link::tests::configured;
use super::super::progress::position_of;
use super::super::reader::SubscribeOptions;
use super::*;
use crate::bus::Content;
use crate::clock::Clock;
use crate::model::message::AFTER;
use crate::model::position::{BusTag, Cursor};

/// An entry of one message: an event with that many bytes beside its own fields.
pub(in crate::bus::pulsar) fn entry((ledger_id, number): EntryId, bytes: usize) -> Message {
    let text = "x".repeat(bytes);
    let event = format!(
        r#"{{"id":"{number}","type":"WatchEvent","created_at":"2026-03-01T10:00:00Z","x":"{text}"}}"#
    );
    let message_id = MessageIdData { ledger_id, entry_id: number, ..MessageIdData::default() };
    let message = proto::CommandMessage { message_id, ..proto::CommandMessage::default() };
    let metadata = proto::MessageMetadata {
        producer_name: "p".to_owned(),
        publish_time: 1_772_359_200_000,
        ..proto::MessageMetadata::default()
    };
    let data = format!(r#"{{"event":{event},"payload":{{}}}}"#).into_bytes();
    let command = BaseCommand {
        r#type: Type::Message as i32,
        message: Some(message),
        ..BaseCommand::default()
    };
    Message { command, payload: Some(Payload { metadata, data }) }
}

/// A reader to which the broker has sent these frames, and the broker's end of its stream.
async fn served_reader(frames: &[BytesMut]) -> (TopicReader, DuplexStream) {
    let connected = BaseCommand {
        r#type: Type::Connected as i32,
        connected: Some(proto::CommandConnected::default()),
        ..BaseCommand::default()
    };
    let subscribed = BaseCommand {
        r#type: Type::Success as i32,
        success: Some(proto::CommandSuccess::default()),
        ..BaseCommand::default()
    };
    let mut sent = BytesMut::new();
    for command in [connected, subscribed] {
        Codec.encode(Message { command, payload: None }, &mut sent).unwrap();
    }
    for frame in frames {
        sent.extend_from_slice(frame);
    }
    let (ours, mut theirs) = tokio::io::duplex(sent.len() + (1 << 20));
    theirs.write_all(&sent).await.unwrap();
    let config = configured("pulsar://127.0.0.1:6650");
    let link = Arc::new(PulsarLink::new(&config, "events", Clock::system()).unwrap());
    let to = SubscribeOptions::passing("test", InitialPosition::Earliest);
    let connecting =
        BrokerConnection::log_in(Box::new(ours), (&link, None), None, FrameCodec::ENTRIES);
    let reader = TopicReader::begin(connecting.await.unwrap(), &to).await.unwrap();
    (reader, theirs)
}

/// A reader to which the broker has sent these frames; it sends nothing else.
async fn reader_with(frames: &[BytesMut]) -> TopicReader {
    let (reader, mut broker) = Box::pin(served_reader(frames)).await;
    // Otherwise the stream ends after them.
    tokio::spawn(async move { broker.read_to_end(&mut Vec::new()).await });
    reader
}

/// A session to which the broker has sent these frames, on a topic that ended there.
async fn session_with(entries: &[BytesMut], end: EntryId) -> ReaderSession {
    let reader = reader_with(entries).await;
    let now = reader.link().clock.instant();
    ReaderSession::new(reader, ResumePoint::default(), Some(end), now)
}

/// An entry as bytes.
fn encoded(at: EntryId, bytes: usize) -> BytesMut {
    let mut encoded = BytesMut::new();
    Codec.encode(entry(at, bytes), &mut encoded).unwrap();
    encoded
}

/// The numbers of deliveries in the batches of a session to which the broker has sent `entries`
/// entries of at least `bytes` bytes.
async fn batches(entries: u64, bytes: usize) -> Vec<usize> {
    let sent: Vec<_> = (0..entries).map(|number| encoded((1, number), bytes)).collect();
    let mut session = session_with(&sent, (1, entries - 1)).await;
    let (mut found, mut missing) = (Vec::new(), usize::try_from(entries).unwrap());
    while missing > 0 {
        let mut earlier = EarlierSessions::default();
        // Otherwise a batch may end because the task has read enough for its turn.
        let receiving = tokio::task::unconstrained(session.receive(&mut earlier));
        let batch = receiving.await.unwrap();
        assert!(batch.iter().all(|delivery| matches!(delivery.content, Content::Event(..))));
        missing -= batch.len();
        found.push(batch.len());
    }
    found
}

#[tokio::test]
async fn batch_ends_at_its_bytes_and_at_its_count() {
    assert_eq!(batches(10, DELIVERY_BYTES / 4).await, [4, 4, 2]);
    assert_eq!(batches(3, DELIVERY_BYTES).await, [1, 1, 1], "one at least");
    assert_eq!(batches(DELIVERIES as u64 + 100, 10).await, [DELIVERIES, 100]);
}

#[test]
fn patience_grows_up_to_a_limit() {
    let mut earlier = EarlierSessions::default();
    assert!(!earlier.is_stuck());
    let mut waits = Vec::new();
    for times in 0..40 {
        earlier.silent = times;
        waits.push(earlier.patience());
    }
    assert!(waits.windows(2).all(|pair| pair[0] <= pair[1]));
    assert_eq!(
        (waits[0], waits[1], waits[39]),
        (FIRST_PATIENCE, 2 * FIRST_PATIENCE, LONGEST_PATIENCE)
    );
    earlier.reset();
    assert!(!earlier.is_stuck());
}

#[tokio::test]
async fn entry_damaged_on_its_way_is_delivered_again_before_it_is_a_dead_letter() {
    let mut sent = [0, 1, 2].map(|number| encoded((1, number), 10));
    *sent[1].last_mut().unwrap() ^= 1;
    let mut earlier = EarlierSessions::default();
    for _ in 0..DAMAGED_SESSIONS {
        let mut session = session_with(&sent, (1, 2)).await;
        let whole = session.receive(&mut earlier).await.unwrap();
        assert!(matches!(&whole[..], [one] if matches!(one.content, Content::Event(..))));
        let error = session.receive(&mut earlier).await.unwrap_err();
        assert!(
            error.is_transient() && error.to_string().contains("1:1 arrived damaged"),
            "{error}"
        );
    }
    let mut session = session_with(&sent, (1, 2)).await;
    let all = session.receive(&mut earlier).await.unwrap();
    let [Content::Event(..), Content::DeadLetter(dead), Content::Event(..)] =
        [0, 1, 2].map(|at: usize| &all[at].content)
    else {
        panic!("{} deliveries", all.len())
    };
    assert!(dead.is_damaged && dead.body.is_none());
    assert!(dead.reason.contains("wrong checksum"), "{}", dead.reason);
}

/// The broker's response that the topic ends at this entry.
fn end_is((ledger_id, entry_id): EntryId) -> BytesMut {
    let last_message_id = MessageIdData { ledger_id, entry_id, ..MessageIdData::default() };
    let answer = proto::CommandGetLastMessageIdResponse {
        last_message_id,
        ..proto::CommandGetLastMessageIdResponse::default()
    };
    let command = BaseCommand {
        r#type: Type::GetLastMessageIdResponse as i32,
        get_last_message_id_response: Some(answer),
        ..BaseCommand::default()
    };
    let mut encoded = BytesMut::new();
    Codec.encode(Message { command, payload: None }, &mut encoded).unwrap();
    encoded
}

#[tokio::test]
async fn entry_of_another_ledger_is_held_until_the_end_proves_it() {
    for end in [(9, 0), (1, 0)] {
        let sent = [encoded((1, 0), 10), encoded((9, 0), 10), end_is(end)];
        let mut session = session_with(&sent, (1, 0)).await;
        let mut earlier = EarlierSessions::default();
        let first = session.receive(&mut earlier).await.unwrap();
        let at = |delivery: &Delivery<PulsarReceipt>| entry_of(delivery.position);
        assert_eq!(first.iter().map(at).collect::<Vec<_>>(), [(1, 0)]);
        let next = session.receive(&mut earlier).await;
        if end == (9, 0) {
            assert_eq!(next.unwrap().iter().map(at).collect::<Vec<_>>(), [(9, 0)]);
        } else {
            let error = next.unwrap_err();
            assert!(error.to_string().contains("9:0 came, but the topic ends at 1:0"), "{error}");
        }
    }
}

#[tokio::test]
async fn first_entry_of_a_ledger_is_held_until_the_next_shows_that_its_id_is_right() {
    let at = |delivery: &Delivery<PulsarReceipt>| entry_of(delivery.position);
    // While a node catches up, the topic's end proves nothing: it is far ahead.
    let end = (30, 7);
    for (first, is_right) in [((2, 0), true), ((25, 0), false)] {
        let sent = [(1, 0), (1, 1), first, (2, 1), (2, 2)].map(|at| encoded(at, 10));
        let mut session = session_with(&sent, end).await;
        let mut earlier = EarlierSessions::default();
        let mut found = Vec::new();
        let ended = loop {
            match session.receive(&mut earlier).await {
                Ok(deliveries) => found.extend(deliveries.iter().map(at)),
                Err(error) => break Some(error),
            }
            if found.len() == 5 {
                break None;
            }
        };
        if is_right {
            assert_eq!(found, [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]);
        } else {
            assert_eq!(found, [(1, 0), (1, 1)]);
            let error = ended.expect("it is read again");
            let says = "after 25:0, the first of its ledger, came 2:1";
            assert!(error.is_transient() && error.to_string().contains(says), "{error}");
        }
    }
}

#[tokio::test]
async fn first_entry_of_a_ledger_that_names_a_missing_one_ends_the_session() {
    let tag = super::super::topic::tag_of("events").unwrap();
    let other = BusTag(tag.0 ^ 1);
    for (tag, after, is_missing) in
        [(tag, (1, 1), true), (tag, (1, 0), false), (tag, (2, 0), false), (other, (1, 1), false)]
    {
        let mut first = entry((2, 0), 10);
        let position = Position { index: 3, ..position_of(after) };
        let after = Cursor { tag, position }.to_string();
        let property = proto::KeyValue { key: AFTER.to_owned(), value: after.clone() };
        first.payload.as_mut().unwrap().metadata.properties.push(property);
        let mut bytes = BytesMut::new();
        Codec.encode(first, &mut bytes).unwrap();
        let sent = [encoded((1, 0), 10), bytes, encoded((2, 1), 10)];
        let mut session = session_with(&sent, (2, 1)).await;
        let mut earlier = EarlierSessions::default();
        let mut found = Vec::new();
        let ended = loop {
            match session.receive(&mut earlier).await {
                Ok(deliveries) => found.extend(deliveries.iter().map(|it| entry_of(it.position))),
                Err(error) => break Some(error.to_string()),
            }
            if found.len() == 3 {
                break None;
            }
        };
        if is_missing {
            assert_eq!(found, [(1, 0)], "{after}");
            let error = ended.expect("it is read again");
            assert!(error.contains("after 1:0 came 2:0"), "{error}");
        } else {
            assert_eq!((found, ended), (vec![(1, 0), (2, 0), (2, 1)], None), "{after}");
        }
    }
}

#[tokio::test]
async fn subscription_is_moved_back_also_when_the_broker_closes_the_consumer_first() {
    let encode = |command: BaseCommand| {
        let mut bytes = BytesMut::new();
        Codec.encode(Message { command, payload: None }, &mut bytes).unwrap();
        bytes
    };
    let close = encode(BaseCommand {
        r#type: Type::CloseConsumer as i32,
        close_consumer: Some(proto::CommandCloseConsumer::default()),
        ..BaseCommand::default()
    });
    let done = encode(BaseCommand {
        r#type: Type::Success as i32,
        success: Some(proto::CommandSuccess::default()),
        ..BaseCommand::default()
    });
    let refused = encode(BaseCommand {
        r#type: Type::Error as i32,
        error: Some(proto::CommandError {
            message: "cannot seek".to_owned(),
            ..Default::default()
        }),
        ..BaseCommand::default()
    });
    let one = encoded((1, 0), 10);
    let mut reader = reader_with(&[one.clone(), close, done]).await;
    reader.seek((1, 0)).await.unwrap();
    // A broker that refuses keeps the subscription as it is.
    let mut reader = reader_with(&[one, refused]).await;
    let error = reader.seek((1, 0)).await.unwrap_err();
    assert!(error.to_string().contains("cannot seek"), "{error}");
    assert_eq!(reader.next().await.unwrap().unwrap().unwrap().entry, (1, 0));
}

#[tokio::test]
async fn what_was_applied_before_does_not_show_that_the_broker_delivers_again() {
    for (at, is_new) in [((1, 0), false), ((1, 1), true)] {
        let reader = reader_with(&[encoded(at, 10)]).await;
        let now = reader.link().clock.instant();
        let applied = Some(position_of((1, 0)));
        let mut session = ReaderSession::new(
            reader,
            ResumePoint { applied, ..ResumePoint::default() },
            Some((1, 9)),
            now,
        );
        let mut earlier = EarlierSessions { silent: 2, ..EarlierSessions::default() };
        assert_eq!(session.receive(&mut earlier).await.unwrap().len(), 1);
        assert_eq!(earlier.is_stuck(), !is_new);
    }
}

#[tokio::test(start_paused = true)]
async fn first_entry_of_a_ledger_is_delivered_when_the_broker_cannot_deliver_the_next() {
    let sent = [encoded((1, 0), 10), encoded((2, 0), 10)];
    let mut earlier = EarlierSessions::default();
    let at = |delivery: &Delivery<PulsarReceipt>| entry_of(delivery.position);
    for is_again in [false, true] {
        let (reader, mut broker) = served_reader(&sent).await;
        let now = reader.link().clock.instant();
        let mut session = ReaderSession::new(reader, ResumePoint::default(), Some((2, 7)), now);
        let answering = async {
            loop {
                let mut asked = [0; 64];
                if broker.read(&mut asked).await.unwrap() > 0 {
                    broker.write_all(&end_is((2, 7))).await.unwrap();
                }
            }
        };
        let reading = async {
            let first = session.receive(&mut earlier).await.unwrap();
            assert_eq!(first.iter().map(at).collect::<Vec<_>>(), [(1, 0)]);
            // What was applied before does not come again.
            earlier.silent = u32::from(is_again);
            loop {
                match session.receive(&mut earlier).await {
                    Ok(none) if none.is_empty() => {}
                    ended => break ended,
                }
            }
        };
        let ended = tokio::select! {
            ended = reading => ended,
            () = answering => unreachable!("it answers without an end"),
        };
        if is_again {
            assert_eq!(ended.unwrap().iter().map(at).collect::<Vec<_>>(), [(2, 0)]);
        } else {
            let error = ended.unwrap_err().to_string();
            assert!(error.contains("the broker delivers nothing"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_terminated_topic_is_noticed_before_a_response() {
    let reached = proto::CommandReachedEndOfTopic { consumer_id: 1 };
    let command = BaseCommand {
        r#type: Type::ReachedEndOfTopic as i32,
        reached_end_of_topic: Some(reached),
        ..BaseCommand::default()
    };
    let mut said = BytesMut::new();
    Codec.encode(Message { command, payload: None }, &mut said).unwrap();
    let mut session = session_with(&[said, end_is((1, 0))], (1, 0)).await;
    assert_eq!(end_of(&mut session.reader).await.unwrap(), Some((1, 0)));
    let mut earlier = EarlierSessions::default();
    let error = session.receive(&mut earlier).await.unwrap_err();
    assert!(matches!(error, PulsarError::Terminated { .. }), "{error}");
}
