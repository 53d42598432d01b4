//! Entries within the limits and beyond them, as strangers may put them on a topic.

use std::io::Write as _;

use proptest::prelude::*;

use super::*;

/// A number as protobuf writes it, and a field of one.
fn number(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n > 0x7f {
        out.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
        n >>= 7;
    }
    out.push(u8::try_from(n).unwrap());
    out
}

fn numbered(field: u64, n: u64) -> Vec<u8> {
    [number(field << 3), number(n)].concat()
}

fn bytes(field: u64, bytes: &[u8]) -> Vec<u8> {
    [&number(field << 3 | 2), &number(bytes.len() as u64), bytes].concat()
}

fn property(field: u64, name: &str, value: &str) -> Vec<u8> {
    bytes(field, &[bytes(1, name.as_bytes()), bytes(2, value.as_bytes())].concat())
}

fn sized(part: &[u8]) -> Vec<u8> {
    [&u32::try_from(part.len()).unwrap().to_be_bytes()[..], part].concat()
}

/// An entry with those fields in its metadata beside its producer's name and time.
fn packed(fields: &[Vec<u8>], payload: &[u8]) -> PackedEntry {
    let metadata = [bytes(1, b"p"), numbered(2, 7), numbered(3, 1_771_968_826_000)];
    let metadata = [metadata.concat(), fields.concat()].concat();
    let rest = [sized(&metadata), payload.to_vec()].concat();
    let sum = crc::Crc::<u32>::new(&crc::CRC_32_ISCSI).checksum(&rest).to_be_bytes();
    PackedEntry { entry: (3, 9), content: [&[0x0e, 1][..], &sum, &rest].concat().into() }
}

/// A message of a batch.
fn part(body: &[u8], properties: &[Vec<u8>]) -> Vec<u8> {
    let metadata = [properties.concat(), numbered(3, body.len() as u64)].concat();
    [sized(&metadata), body.to_vec()].concat()
}

fn reason(packed: PackedEntry) -> String {
    let mut messages = packed.unpack();
    let reason = messages.next().unwrap().unwrap_err().reason;
    assert_eq!(messages.next(), None);
    reason
}

fn lz4(bytes: &[u8]) -> Vec<u8> {
    lz4::block::compress(bytes, None, false).unwrap()
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut packing = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packing.write_all(bytes).unwrap();
    packing.finish().unwrap()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}

#[test]
fn messages_come_alone_and_in_batches_packed_in_every_way() {
    let body = br#"{"event":{}}"#;
    let properties = [
        property(4, "received", "5"),
        property(4, "schema", "1"),
        property(4, "gap", "upstream:1:2"),
        property(4, "after", "51a70c3e-be1f4b"),
        property(4, "key", &"long".repeat(100_000)),
    ];
    let [arrived] = &packed(&properties, body).unpack().collect::<Vec<_>>()[..] else {
        panic!("one message")
    };
    let arrived = arrived.as_ref().unwrap();
    assert_eq!((arrived.entry, arrived.index, arrived.is_last), ((3, 9), 0, true));
    assert_eq!(arrived.published_at, Timestamp::from_micros(1_771_968_826_000_000));
    assert_eq!(&arrived.body[..], body);
    let properties = &arrived.properties;
    let outage = Outage::read("upstream:1:2");
    assert_eq!(properties.received.as_deref(), Some("5"));
    assert_eq!((properties.schema.as_deref(), properties.outage), (Some("1"), outage));
    assert_eq!(properties.after.map(|after| after.to_string()).as_deref(), Some("51a70c3e-be1f4b"));

    let batch =
        [part(b"one", &[property(1, "received", "5")]), part(b"", &[]), part(b"three", &[])];
    let batch = batch.concat();
    for (compression, payload) in
        [(0, batch.clone()), (1, lz4(&batch)), (2, zlib(&batch)), (3, zstd(&batch))]
    {
        let size = numbered(9, batch.len() as u64);
        let fields = [numbered(8, compression), size, numbered(11, 3)];
        let messages = packed(&fields, &payload).unpack();
        assert_eq!(messages.counted, 3);
        let read: Vec<_> = messages.map(Result::unwrap).collect();
        let bodies: Vec<_> = read.iter().map(|arrived| &arrived.body[..]).collect();
        assert_eq!(bodies, [&b"one"[..], b"", b"three"], "{compression}");
        let places: Vec<_> = read.iter().map(|a| (a.index, a.is_last)).collect();
        assert_eq!(places, [(0, false), (1, false), (2, true)]);
        assert_eq!(read[0].properties.received.as_deref(), Some("5"));
        assert_eq!(read[1].properties, MessageProperties::default());
    }
}

#[test]
fn word_about_an_earlier_message_counts_where_its_positions_mean_something() {
    let after = |fields: &[Vec<u8>]| {
        let [arrived] = &packed(fields, b"{}").unpack().collect::<Vec<_>>()[..] else {
            panic!("one message")
        };
        arrived.as_ref().unwrap().properties.after
    };
    let word = |text: &str| property(4, "after", text);
    assert!(after(&[word("51a70c3e-be1f4b")]).is_some());
    let replicated_from = bytes(5, b"west");
    assert_eq!(after(&[word("51a70c3e-be1f4b"), replicated_from.clone()]), None);
    for odd in ["", "7:3", "51a70c3e", "51a70c3e-be1f4", "51A70C3E-be1f4b", &"x".repeat(200)] {
        assert_eq!(after(&[word(odd)]), None, "{odd}");
    }
    let batch = part(b"{}", &[property(1, "after", "51a70c3e-be1f4b")]);
    let mut copied = packed(&[numbered(11, 1), replicated_from], &batch).unpack();
    assert_eq!(copied.next().unwrap().unwrap().properties.after, None);
}

/// A reader of as many zeros.
fn zeros(bytes: u64) -> impl std::io::Read {
    std::io::repeat(0).take(bytes)
}

#[test]
fn entry_that_unpacks_beyond_the_limit_is_refused() {
    const GIGABYTE: u64 = 1 << 30;
    let zstd_bomb = zstd::stream::encode_all(zeros(GIGABYTE), 1).unwrap();
    let mut zlib_bomb = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::copy(&mut zeros(GIGABYTE), &mut zlib_bomb).unwrap();
    let zlib_bomb = zlib_bomb.finish().unwrap();
    for (compression, payload) in [(2, &zlib_bomb), (3, &zstd_bomb)] {
        for claimed in [0, 1_000, 20 << 30] {
            let fields = [numbered(8, compression), numbered(9, claimed)];
            let reason = reason(packed(&fields, payload));
            assert!(reason.contains("decompresses to"), "{claimed}: {reason}");
        }
    }
    // Four bytes that claim two gigabytes, and that the library would believe.
    for claimed in [2 << 30, 30 << 20, 0] {
        let reason = reason(packed(&[numbered(8, 1), numbered(9, claimed)], &[0x10, 0, 0, 0]));
        assert!(
            reason.contains("decompresses to") || reason.contains("claim"),
            "{claimed}: {reason}"
        );
    }
    // A frame of zstd that asks for a window of two gigabytes.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 1, 0, 0];
    let reason = reason(packed(&[numbered(8, 3)], &window));
    assert!(reason.contains("cannot unpack"), "{reason}");
}

#[test]
fn long_batch_name_is_charged_once() {
    let name = bytes(1, &vec![b'n'; 1 << 20]);
    let count = 50_000;
    let fields = [name, numbered(11, count)];
    let payload = part(b"{}", &[]).repeat(usize::try_from(count).unwrap());
    let read: Vec<_> = packed(&fields, &payload).unpack().map(Result::unwrap).collect();
    assert_eq!(read.len() as u64, count);
    // All of them are parts of one buffer.
    let span = read[read.len() - 1].body.as_ptr() as usize - read[0].body.as_ptr() as usize;
    assert!(span < payload.len());
}

#[test]
fn damage_is_one_dead_letter_to_the_end_of_its_entry() {
    for (fields, payload, word) in [
        (vec![numbered(11, 2_000_000_000)], vec![], "claims 2000000000 messages"),
        (vec![numbered(11, u64::MAX)], vec![], "claims -1 messages"),
        (vec![numbered(11, 0)], vec![], "claims 0 messages"),
        (vec![numbered(11, 3)], vec![0, 0, 0, 9, 1], "ends within"),
        (vec![numbered(8, 4)], b"x".to_vec(), "Snappy"),
        (vec![numbered(8, 77)], b"x".to_vec(), "unknown compression 77"),
        (vec![numbered(8, 2), numbered(9, 5)], b"x".to_vec(), "cannot unpack"),
        (vec![vec![0xff]], vec![], "malformed metadata"),
    ] {
        let reason = reason(packed(&fields, &payload));
        assert!(reason.contains(word), "{reason}");
    }
    let mut spoiled = packed(&[], b"{}");
    let content = spoiled.content.iter().map(|byte| byte ^ u8::from(*byte == b'{'));
    spoiled.content = content.collect::<Vec<u8>>().into();
    assert!(reason(spoiled).contains("checksum"));
    // What is whole before the damage is taken.
    let payload = [part(b"one", &[]), vec![0, 0, 0, 2, 0x18, 99]].concat();
    let read: Vec<_> = packed(&[numbered(11, 5)], &payload).unpack().collect();
    assert_eq!((read.len(), read[0].is_ok()), (2, true));
    assert_eq!(read[1].as_ref().unwrap_err().index, 1);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(content in any::<Vec<u8>>(), fields in any::<Vec<u8>>()) {
        let raw = PackedEntry { entry: (0, 0), content: content.clone().into() };
        prop_assert!(raw.unpack().count() <= content.len() + 1);
        let _ = packed(&[fields], &content).unpack().take(10).count();
    }
}
