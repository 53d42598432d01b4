//! Tests of inspecting a store.

use super::super::firsts::claim_firsts;
use super::super::keys::{
    BodyKey, BucketKey, HourKey, HourMetric, HourSource, JournalKey, MetaKey, RejectKey, SeenKey,
};
use super::super::rows::encode_rejected;
use super::super::{Durability, Store};
use super::*;
use crate::clock::Clock;
use crate::model::envelope::{Facts, Flags};
use crate::model::event::{EventId, EventKey};
use crate::model::position::{BusTag, Position};
use crate::model::window::{Day, Second, Timestamp};

const EVENT: &str = r#"{"id":"1","type":"PushEvent","n":12345678901234567890123}"#;

async fn filled(dir: &std::path::Path) -> Store {
    let store = Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap();
    let at = Timestamp::parse("2026-11-22T05:00:01Z").unwrap();
    let filled = store.commit(move |batch| {
        for day in 1..=3 {
            for id in 1..=5 {
                let event = EventKey { id: EventId::Number(id), kind: "PushEvent".to_owned() };
                batch.claim(&SeenKey::new(Day(at.day().0 + day), &event))?;
            }
        }
        let mut flags = Flags { pr: true, ..Flags::default() };
        claim_firsts(batch, &mut flags, at, Some(7), Some(8))?;
        batch.put(&BodyKey(3), EVENT.as_bytes());
        let language = "Rust".to_owned();
        batch.add(&BucketKey { second: at.second(), language: language.clone() }, 2)?;
        batch.add(&BucketKey { second: Second(at.second().0 + 86_400), language }, 3)?;
        let (hour, origin) = (at.hour(), HourSource::Live);
        batch.add(&HourKey { hour, origin, metric: HourMetric::Merged }, 4)?;
        let mut row = Vec::new();
        Facts { received_at: at, flags, ..Facts::default() }.encode(&mut row);
        row.extend_from_slice(EVENT.as_bytes());
        batch.put(&JournalKey { tag: BusTag(5), position: Position::counted(9) }, &row);
        batch.put(&JournalKey { tag: BusTag(5), position: Position::counted(10) }, b"\xff\xff");
        batch.put(&RejectKey(1), &encode_rejected(at, "not a JSON object", b"1\x1b["));
        batch.put(&MetaKey("script.x".to_owned()), b"fn merge(window) {}\n");
        Ok(())
    });
    filled.await.unwrap();
    store
}

fn look(store: &Store, family: &str, prefix: &str, limit: usize) -> (Vec<(String, String)>, bool) {
    let looked = rows(store.reader(), family, prefix, limit).unwrap();
    let rows = looked.rows.into_iter().map(|row| (row.key, row.value.get().to_owned()));
    (rows.collect(), looked.more)
}

#[tokio::test]
async fn rows_are_shown_as_text_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let keys = |family: &str, prefix: &str, limit| {
        let (rows, more) = look(&store, family, prefix, limit);
        (rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>(), more)
    };
    assert_eq!(keys("seen", "", 2).0, ["2026-11-23/1/PushEvent", "2026-11-23/2/PushEvent"]);
    assert!(keys("seen", "", 2).1 && !keys("seen", "", 15).1);
    let last = last_rows(store.reader(), "seen", 2).unwrap();
    let last: Vec<_> =
        last.rows.into_iter().map(|row| row.key).chain([last.more.to_string()]).collect();
    assert_eq!(last, ["2026-11-25/4/PushEvent", "2026-11-25/5/PushEvent", "true"]);
    assert_eq!(keys("seen", "2026-11-24", 100).0.len(), 5);
    assert_eq!(keys("seen", "2026-11-24/3", 100).0, ["2026-11-24/3/PushEvent"]);
    assert_eq!(keys("seen", "2026-11", 100).0.len(), 15);
    assert_eq!(keys("seen", "2027", 100).0, [""; 0]);
    assert_eq!(keys("buckets", "2026-11-23", 9).0, ["2026-11-23T05:00:01Z/Rust"]);
    assert_eq!(
        keys("firsts", "", 9).0,
        ["developer_day/2026-11-22/7", "developer_year/2026/7", "repository_year/2026/8"]
    );
    assert_eq!(keys("sizes", "repository_year/2026", 9).0, ["repository_year/2026"]);
    assert_eq!(
        look(&store, "hours", "2026-11-22T05", 9).0,
        [("2026-11-22T05/live/merged".to_owned(), "4".to_owned())]
    );
    let meta = look(&store, "meta", "script.", 9).0;
    assert_eq!(meta, [("script.x".to_owned(), r#""fn merge(window) {}\n""#.to_owned())]);
    let rejects = look(&store, "rejects", "", 9).0;
    assert!(rejects[0].1.contains(r#""reason":"not a JSON object""#), "{rejects:?}");
    assert!(rejects[0].1.contains(r"1\u001b["), "{rejects:?}");
}

#[tokio::test]
async fn numbers_keep_their_digits_and_damage_is_marked() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    assert_eq!(look(&store, "bodies", "3", 9).0[0].1, EVENT);
    let (journal, _) = look(&store, "journal", "00000005-", 9);
    assert_eq!(journal.len(), 2);
    assert_eq!(journal[0].0, "00000005-bc9b");
    assert!(journal[0].1.contains(EVENT), "{journal:?}");
    assert!(journal[0].1.contains(r#""flags":["pr","devDay","devYear","repoYear"]"#));
    assert_eq!(journal[1].1, r#"{"bytes":"ffff","damaged":true}"#);
    assert_eq!(look(&store, "journal", "00000005-bcab", 9).0.len(), 1);
    assert!(look(&store, "journal", "00000006-", 9).0.is_empty());
}

#[tokio::test]
async fn all_families_are_listed_and_others_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = filled(dir.path()).await;
    let all = families(store.reader()).unwrap();
    assert_eq!(all.len(), super::families::ALL.len());
    let seen = all.iter().find(|look| look.family == "seen").unwrap();
    assert!(seen.about_rows == 15 && seen.about_bytes > 0, "{seen:?}");
    for look in &all {
        rows(store.reader(), &look.family, "", 5).unwrap();
        rows(store.reader(), &look.family, "no such key", 5).unwrap();
    }
    let error = rows(store.reader(), "sean", "", 1).unwrap_err().to_string();
    assert!(error.starts_with("unknown column family `sean`; use one of meta, "), "{error}");
}
