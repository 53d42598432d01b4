//! The bus at brokers that refuse to move a subscription, and the rule for gaps.

use pulsar::message::proto;
use pulsar::proto::base_command::Type;
use pulsar::proto::{BaseCommand, MessageIdData};
use tokio::sync::mpsc;

use super::super::connection::command;
use super::super::link::tests::configured;
use super::super::producer::tests::{broker, encoded};
use super::super::progress::position_of;
use super::super::session::tests::entry;
use super::super::topic::tag_of;
use super::*;
use crate::bus::Content;
use crate::store::{APPLIED, Durability};

#[test]
fn position_beyond_the_next_shows_a_gap() {
    let at = |ledger, entry, index| Position { ledger, entry, index };
    let applied = at(7, 3, 2);
    for is_new in [false, true] {
        for known in [at(7, 3, 2), at(7, 3, 0), at(7, 1, 0), at(5, 9, 0), at(7, 3, 3)] {
            assert!(!is_gap(applied, known, None, is_new), "{known:?}");
        }
        assert!(!is_gap(applied, at(7, 4, 0), None, is_new));
        assert!(is_gap(applied, at(7, 5, 0), None, is_new));
        assert!(is_gap(applied, at(9, 1, 0), None, is_new));
        assert_eq!(is_gap(applied, at(9, 0, 0), None, is_new), is_new);
        assert_eq!(is_gap(applied, at(9, 0, 0), Some((7, 3)), is_new), is_new);
        assert!(is_gap(applied, at(9, 0, 0), Some((7, 4)), is_new));
    }
}

/// What a broker answers to a consumer's commands, with a topic of the entries 1:3 to 1:5. It
/// answers a request to move the subscription with `to_seek`.
fn consumed(said: &BaseCommand, to_seek: &[u8]) -> Option<Vec<u8>> {
    if said.subscribe.is_some() {
        let success = proto::CommandSuccess::default();
        return Some(encoded(command(Type::Success, |c| c.success = Some(success))));
    }
    if said.get_last_message_id.is_some() {
        let id = MessageIdData { ledger_id: 1, entry_id: 5, ..MessageIdData::default() };
        let found = proto::CommandGetLastMessageIdResponse {
            last_message_id: id,
            ..proto::CommandGetLastMessageIdResponse::default()
        };
        let kind = Type::GetLastMessageIdResponse;
        return Some(encoded(command(kind, |c| c.get_last_message_id_response = Some(found))));
    }
    if said.flow.is_some() {
        return Some((3..6).flat_map(|number| encoded(entry((1, number), 10))).collect());
    }
    said.seek.as_ref().map(|_| to_seek.to_vec())
}

#[tokio::test]
async fn subscription_that_cannot_be_moved_back_is_read_from_where_it_is() {
    let close = proto::CommandCloseConsumer::default();
    let close = command(Type::CloseConsumer, |c| c.close_consumer = Some(close));
    let error = proto::CommandError { message: "cannot seek".into(), ..Default::default() };
    let error = command(Type::Error, |c| c.error = Some(error));
    let refused = [encoded(close), encoded(error)].concat();
    for to_seek in [refused, Vec::new()] {
        let is_answered = !to_seek.is_empty();
        let (asked, mut seeks) = mpsc::unbounded_channel();
        let (url, _) = broker(move |said, _| {
            if said.seek.is_some() {
                asked.send(()).unwrap();
            }
            consumed(said, &to_seek)
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
        let tag = tag_of("events").unwrap();
        let applied = Cursor { tag, position: position_of((1, 0)) };
        store.commit(move |batch| batch.put_cursor(APPLIED, applied)).await.unwrap();
        let mut bus = PulsarBus::new(&configured(&url), store.clone(), Clock::system()).unwrap();
        bus.backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(1));
        let mut sought = 0;
        let counting = async {
            while seeks.recv().await.is_some() {
                sought += 1;
                assert!(sought <= SEEKS, "it tries again and again");
                if !is_answered {
                    tokio::time::pause();
                    tokio::time::advance(ANSWER).await;
                    tokio::time::resume();
                }
            }
        };
        let deliveries = tokio::select! {
            taken = bus.next() => taken.unwrap(),
            () = counting => panic!("the broker has ended"),
        };
        assert_eq!(sought, SEEKS, "answered: {is_answered}");
        let found: Vec<_> = deliveries.iter().map(|it| entry_of(it.position)).collect();
        assert_eq!(found, [(1, 3), (1, 4), (1, 5)]);
        assert!(deliveries.iter().all(|it| matches!(it.content, Content::Event(..))));
        assert_eq!(bus.earlier.unmoved, 0, "the next hole may be filled again");
        let gaps = gaps::behind(store.reader(), tag, Position::default(), 9).unwrap();
        let gaps: Vec<_> = gaps.iter().map(|gap| (gap.after, gap.until, gap.reason)).collect();
        let until = position_of((1, 3));
        assert_eq!(gaps, [(applied.position, until, GapReason::Retention)]);
    }
}
