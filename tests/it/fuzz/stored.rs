//! Fuzzes bytes on disk: keys, rows, compressed files. Any bytes are decoded or rejected.

use std::io::{BufReader, Read as _, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use ghpulse::gunzip::Gunzip;
use ghpulse::model::envelope::Facts;
use ghpulse::model::ledger::SlotCounts;
use ghpulse::model::position::{BusTag, Cursor, Position};
use ghpulse::model::window::{Day, Hour, Minute, Second, Timestamp};
use ghpulse::store::gaps::GapKey;
use ghpulse::store::keys::ledger::{LedgerKey, LedgerMonthKey};
use ghpulse::store::keys::{
    AppliedKey, BodyKey, BucketKey, CursorKey, DeadKey, FirstKey, HourKey, InboxKey, JournalKey,
    Key, MetaKey, MinuteKey, OutboxKey, RejectKey, RepoKey, SeenKey, SizeKey,
};
use ghpulse::store::rows;

use super::{fuzz, outcome};

/// A decoded key encodes to the same bytes.
fn key<K: Key>(bytes: &[u8]) -> bool {
    let Some(key) = K::decode(bytes) else { return false };
    assert_eq!(key.to_bytes(), bytes, "{}", std::any::type_name::<K>());
    true
}

#[test]
fn keys() {
    let journal = JournalKey { tag: BusTag(7), position: Position::counted(9) }.to_bytes();
    let bucket = BucketKey { second: Second(5), language: "Rust".to_owned() }.to_bytes();
    let minute = MinuteKey { tag: BusTag(7), minute: Minute(3) }.to_bytes();
    let seen = SeenKey::first_of(Day(20_000)).to_bytes();
    let language = LedgerKey::Language(Day(20_000), "Rust".to_owned()).to_bytes();
    let seeds: [&[u8]; 7] = [&journal, &bucket, &minute, &seen, &language, &[0; 8], b"applied"];
    fuzz("keys", &seeds, |input| {
        let read = [
            key::<AppliedKey>(input),
            key::<BodyKey>(input),
            key::<BucketKey>(input),
            key::<CursorKey>(input),
            key::<DeadKey>(input),
            key::<FirstKey>(input),
            key::<GapKey>(input),
            key::<HourKey>(input),
            key::<InboxKey>(input),
            key::<JournalKey>(input),
            key::<LedgerKey>(input),
            key::<LedgerMonthKey>(input),
            key::<MetaKey>(input),
            key::<MinuteKey>(input),
            key::<OutboxKey>(input),
            key::<RejectKey>(input),
            key::<RepoKey>(input),
            key::<SeenKey>(input),
            key::<SizeKey>(input),
        ];
        outcome((read, input.len().min(40)))
    });
}

#[test]
fn rows_of_the_store() {
    let now = Timestamp::from_seconds(1_772_359_200);
    let cursor = Cursor { tag: BusTag(7), position: Position::counted(9) };
    let inbox = rows::encode_inbox(now, true);
    let outbox = rows::encode_outbox(3, &Facts::default());
    let refused = rows::encode_rejected(now, "why", b"text");
    let cursor_row = rows::encode_cursor(cursor);
    let seeds: [&[u8]; 5] = [&inbox, &outbox, &refused, &cursor_row, &[1; 60]];
    fuzz("rows_of_the_store", &seeds, |input| {
        let journal = JournalKey { tag: BusTag(7), position: Position::counted(9) };
        let row = rows::decode_journal(&journal, input);
        let read = (
            rows::decode_inbox(InboxKey(1), input).is_ok(),
            rows::decode_outbox(OutboxKey(1), input).is_ok(),
            row.as_ref().is_ok_and(|row| row.index().is_some()),
            rows::decode_cursor("applied", input).is_ok(),
            rows::decode_rejected(input).is_some(),
        );
        outcome((read, row.is_ok()))
    });
}

#[test]
fn ledger_rows() {
    let mut counts = SlotCounts::default();
    (0..20).for_each(|n| counts.add(n * n, u64::from(n) + 1));
    let mut row = Vec::new();
    counts.encode(&mut row);
    fuzz("ledger_rows", &[&row, &[0xff; 12], &[0, 1, 0]], |input| {
        let Some(counts) = SlotCounts::decode(input) else { return 0 };
        let mut again = Vec::new();
        counts.encode(&mut again);
        assert_eq!(SlotCounts::decode(&again), Some(counts));
        assert!(again.len() <= input.len(), "the shortest form is written");
        outcome(again.len())
    });
}

#[test]
fn facts_on_disk() {
    let mut bytes = Vec::new();
    Facts::default().encode(&mut bytes);
    fuzz("facts_on_disk", &[&bytes, &[0xff; 30]], |input| {
        let Some((facts, rest)) = Facts::decode(input) else { return 0 };
        let mut again = Vec::new();
        facts.encode(&mut again);
        assert_eq!(Facts::decode(&again).map(|(facts, _)| facts), Some(facts));
        outcome((rest.len().min(3), again.len()))
    });
}

/// Largest decompressed size of one input; decoding stops there.
const MOST: u64 = 4 << 20;

#[test]
fn zipped_files() {
    let zip = |text: &[u8]| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(text).unwrap();
        gzip.finish().unwrap()
    };
    let (one, many) = (zip(b"{\"id\":\"1\"}\n"), zip(&b"{\"id\":\"2\"}\n".repeat(3_000)));
    let both = [one.clone(), many.clone()].concat();
    fuzz("zipped_files", &[&one, &many, &both, b"no gzip"], |input| {
        let mut read = Vec::new();
        let mut gunzip = Gunzip::new(BufReader::new(input));
        let ended = gunzip.by_ref().take(MOST).read_to_end(&mut read);
        assert!(gunzip.whole() <= input.len() as u64);
        outcome((ended.is_ok(), read.len() / 100, input.starts_with(&[0x1f, 0x8b])))
    });
}

#[test]
fn hours_and_days() {
    fuzz("hours_and_days", &[&[0; 8], &[0xff; 8], &[0x7f; 8]], |input| {
        let mut bytes = [0; 8];
        bytes.iter_mut().zip(input).for_each(|(to, from)| *to = *from);
        let number = i64::from_be_bytes(bytes);
        let time = Timestamp::from_micros(number);
        assert_eq!(Timestamp::parse(&time.to_string()), Some(time));
        let day = Hour(number).day();
        outcome((time.year().0 / 100, day.0 / 10_000))
    });
}
