use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;

const MOST: usize = 64 << 10;
const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const MASKED: u8 = 0x80;

fn deflated(text: &[u8], level: u32) -> Vec<u8> {
    let mut compress = Compress::new(Compression::new(level), false);
    let mut out = Vec::with_capacity(text.len() * 2 + 1_000);
    compress.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
    out.truncate(out.len() - FLUSHED.len());
    out
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..126 => bytes.push(MASKED | u8::try_from(short).unwrap()),
        long => {
            bytes.push(MASKED | 0x7e);
            bytes.extend(u16::try_from(long).unwrap().to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The output when the input arrives in pieces of this size.
fn through(bytes: &[u8], size: usize) -> Result<Vec<u8>, MessageError> {
    let (early, rest) = bytes.split_at(bytes.len().min(size / 2));
    read(&mut Decompressor::new(MOST, true, early), rest, size)
}

fn read(
    decompressor: &mut Decompressor,
    rest: &[u8],
    size: usize,
) -> Result<Vec<u8>, MessageError> {
    let mut out = Vec::new();
    for piece in std::iter::once(&[][..]).chain(rest.chunks(size)) {
        decompressor.put(piece);
        loop {
            let next = decompressor.next(size)?;
            if next.is_empty() {
                break;
            }
            out.extend_from_slice(&next);
        }
    }
    Ok(out)
}

fn put_back(opcode: u8, text: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    push(&mut out, OpCode::from(opcode), text);
    out.to_vec()
}

proptest! {
    #[test]
    fn messages_in_pieces_of_any_size_come_out_as_they_were(
        messages in prop::collection::vec((
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                (any::<u8>(), 0..20_000_usize).prop_map(|(byte, times)| vec![byte; times]),
            ],
            0..10_u32,
            any::<bool>(),
            1..400_usize,
        ), 0..5),
        size in 1..500_usize,
    ) {
        let (mut sent, mut wanted) = (Vec::new(), Vec::new());
        for (text, level, is_deflated, cut) in &messages {
            if !is_deflated {
                sent.extend(frame(FIN | TEXT, text));
                wanted.extend(frame(FIN | TEXT, text));
                continue;
            }
            let payload = deflated(text, *level);
            let pieces: Vec<&[u8]> = payload.chunks(*cut).collect();
            for (at, piece) in pieces.iter().enumerate() {
                let opcode = if at == 0 { RSV1 | TEXT } else { CONTINUATION };
                let fin = if at + 1 == pieces.len() { FIN } else { 0 };
                sent.extend(frame(fin | opcode, piece));
                // A ping between the fragments is delivered before the message.
                if fin == 0 {
                    sent.extend(frame(0x89, b"here"));
                    wanted.extend(frame(0x89, b"here"));
                }
            }
            wanted.extend(put_back(TEXT, text));
        }
        prop_assert_eq!(through(&sent, size), Ok(wanted));
    }

    #[test]
    fn no_bytes_make_it_fail_otherwise_than_by_refusal(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        payload in prop::collection::vec(any::<u8>(), 0..100),
        size in 1..100_usize,
    ) {
        let _ = through(&bytes, size);
        let _ = through(&frame(FIN | RSV1 | TEXT, &payload), size);
    }
}

#[test]
fn contract_examples_are_parsed() {
    for payload in [
        &[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00][..],
        // Uncompressed, with a final block, and in two blocks (RFC 7692 §7.2.3).
        &[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00],
        &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00],
        &[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00],
    ] {
        let sent = frame(FIN | RSV1 | TEXT, payload);
        assert_eq!(through(&sent, 3), Ok(put_back(TEXT, b"Hello")), "{payload:x?}");
    }
    let empty = frame(FIN | RSV1 | BINARY, &[0x00]);
    assert_eq!(through(&empty, 9), Ok(put_back(BINARY, b"")));
}

#[test]
fn inflating_stops_at_the_message_limit() {
    let text = vec![b'x'; MOST];
    let sent = frame(FIN | RSV1 | TEXT, &deflated(&text, 9));
    assert_eq!(through(&sent, 1_000), Ok(put_back(TEXT, &text)));
    // 60 MB that compress to 60 kB, and one byte over the limit.
    for bytes in [60_000_000, MOST + 1] {
        let bomb = frame(FIN | RSV1 | TEXT, &deflated(&vec![b'x'; bytes], 9));
        assert_eq!(through(&bomb, 1_000), Err(MessageError::TooLong));
    }
    // An endless series of empty blocks also counts as a message that is too long.
    let nothing = [0x00, 0x00, 0x00, 0xff, 0xff].repeat(1_000);
    let mut sent = frame(RSV1 | TEXT, &nothing);
    for _ in 0..MOST / nothing.len() {
        sent.extend(frame(CONTINUATION, &nothing));
    }
    assert_eq!(through(&sent, 1_000), Err(MessageError::TooLong));
}

#[test]
fn truncated_deflated_message_is_rejected() {
    let query = br#"{"types":["PushEvent"]}                                "#;
    let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    for payload in [deflated(query, 6), deflated(&query.repeat(30), 1), hello.to_vec()] {
        for left in 0..payload.len() {
            let sent = frame(FIN | RSV1 | TEXT, &payload[..left]);
            assert_eq!(through(&sent, 400), Err(MessageError::Broken), "{left} bytes are left");
        }
    }
}

#[test]
fn invalid_frames_are_rejected_or_passed_to_tungstenite() {
    let hello = deflated(b"Hello", 6);
    let begun = frame(RSV1 | TEXT, &hello);
    for next in [FIN | TEXT, RSV1 | TEXT] {
        let sent = [begun.clone(), frame(next, b"x")].concat();
        assert_eq!(through(&sent, 7), Err(MessageError::Mixed));
    }
    assert_eq!(through(&frame(FIN | RSV1 | TEXT, b"\xff\xff"), 7), Err(MessageError::Broken));
    let unmasked = [FIN | RSV1 | TEXT, 2, 0xf2, 0x48].to_vec();
    for sent in [
        unmasked,
        frame(FIN | RSV1 | 0x09, b"ping"),
        frame(FIN | RSV1 | CONTINUATION, b"x"),
        frame(FIN | RSV1 | 0x20 | TEXT, b"x"),
        frame(FIN | 0x03, b"x"),
    ] {
        assert_eq!(through(&sent, 5).as_ref(), Ok(&sent));
    }
    let sent = [begun, frame(FIN | RSV1 | CONTINUATION, b"x")].concat();
    let out = through(&sent, 9).unwrap();
    assert_eq!(out, frame(FIN | RSV1 | CONTINUATION, b"x"));
}

#[test]
fn announced_length_beyond_the_limit_is_rejected() {
    let announced = |first: u8, length: u64| {
        [&[first, MASKED | 0x7f][..], &length.to_be_bytes(), &[0; 4]].concat()
    };
    for first in [FIN | TEXT, TEXT, FIN | BINARY, FIN | RSV1 | TEXT] {
        for length in [MOST as u64 + 1, u64::MAX] {
            let sent = announced(first, length);
            assert_eq!(through(&sent, 100), Err(MessageError::TooLong), "{first:x} {length}");
        }
    }
    // The lengths of a message's fragments are summed, whichever of them is the long one.
    let sent = [frame(TEXT, b"12"), announced(CONTINUATION, MOST as u64 - 1)].concat();
    assert_eq!(through(&sent, 100), Err(MessageError::TooLong));
    let sent = [frame(TEXT, b"12"), announced(CONTINUATION, MOST as u64 - 2)].concat();
    assert_eq!(through(&sent, 100), Ok(sent));
}

#[test]
fn long_messages_of_accepted_clients_are_skipped() {
    let long = vec![b'x'; MOST - 1];
    let ping = frame(FIN | 0x09, b"here");
    for (pieces, put_back) in [
        (vec![frame(FIN | TEXT, b"short")], None),
        (vec![frame(TEXT, &long), ping.clone(), frame(FIN, b"ab")], Some(CONTINUATION)),
        (vec![frame(RSV1 | TEXT, &long), ping, frame(FIN, b"ab")], Some(TEXT)),
        (vec![frame(FIN | RSV1 | TEXT, &deflated(&vec![b'x'; MOST + 1], 9))], Some(TEXT)),
    ] {
        let mut decompressor = Decompressor::new(MOST, true, b"");
        decompressor.is_strict = false;
        let out = read(&mut decompressor, &pieces.concat(), 999).unwrap();
        assert_eq!(decompressor.take_skipped(), put_back.is_some());
        let mut wanted = BytesMut::new();
        if let Some(opcode) = put_back {
            push(&mut wanted, OpCode::from(opcode), &[]);
        }
        assert!(out.ends_with(&wanted) && out.len() <= MOST + 100, "{} bytes", out.len());
        assert_eq!(decompressor.unfinished(), None);
        let next = frame(FIN | TEXT, b"next");
        assert_eq!(read(&mut decompressor, &next, 3), Ok(next));
        assert!(!decompressor.take_skipped());
    }
    let mut decompressor = Decompressor::new(MOST, false, b"");
    decompressor.is_strict = false;
    let endless = frame(TEXT, &long).into_iter().chain(frame(CONTINUATION, &long).repeat(4));
    assert_eq!(
        read(&mut decompressor, &endless.collect::<Vec<_>>(), 999),
        Err(MessageError::TooLong)
    );
}

#[test]
fn unfinished_messages_and_fragments_are_counted() {
    let mut decompressor = Decompressor::new(MOST, false, b"");
    assert_eq!(decompressor.unfinished(), None);
    let sent = [frame(TEXT, b"x"), frame(CONTINUATION, b"").repeat(700)].concat();
    read(&mut decompressor, &sent, 100).unwrap();
    assert_eq!((decompressor.unfinished(), decompressor.take_fragments()), (Some(1), 700));
    read(&mut decompressor, &frame(FIN, b""), 100).unwrap();
    assert_eq!((decompressor.unfinished(), decompressor.take_fragments()), (None, 1));
    read(&mut decompressor, &frame(FIN | TEXT, b"cut off")[..9], 100).unwrap();
    assert_eq!(decompressor.unfinished(), Some(2));
}

#[test]
fn close_frame_is_found_after_any_data() {
    let close = frame(FIN | CLOSE, b"\x03\xe8");
    let half = frame(FIN | TEXT, &[b'x'; 500]);
    for before in [
        Vec::new(),
        frame(FIN | TEXT, b"\x88\x80 no close frame"),
        [frame(RSV1 | TEXT, b"never"), frame(FIN | 0x09, b"ping")].concat(),
        frame(FIN | TEXT, &vec![b'x'; MOST - 1]).repeat(2),
    ] {
        let sent = [half.clone(), before, close.clone()].concat();
        let mut decompressor = Decompressor::new(1 << 10, true, b"");
        let (begun, rest) = sent.split_at(100);
        read(&mut decompressor, begun, 10).unwrap();
        let mut found = Vec::new();
        for byte in rest {
            decompressor.put(&[*byte]);
            found.push(decompressor.skim());
        }
        let at = found.iter().position(|found| *found).unwrap();
        assert!(at + 10 > rest.len(), "at {at} of {}", rest.len());
    }
    // A close frame that was already passed to the library is remembered.
    let mut decompressor = Decompressor::new(MOST, false, b"");
    read(&mut decompressor, &close, 4).unwrap();
    assert!(decompressor.skim());
    // Behind a header that cannot be parsed no close frame is recognised, and none is waited for.
    let mut decompressor = Decompressor::new(MOST, false, b"");
    read(&mut decompressor, &[FIN | 7, MASKED | 0x0d, 1, 2, 3, 4], 1).unwrap();
    assert!(decompressor.skim());
}
