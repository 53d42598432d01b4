//! Compression of WebSocket messages (permessage-deflate, RFC 7692), once for all subscribers.
//!
//! Each message is compressed without the context of earlier ones (`server_no_context_takeover`),
//! so the same bytes serve every subscriber, and a connection needs no memory between messages. A
//! message that would not become smaller is sent uncompressed, which the RFC allows for each
//! message.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress};

/// Shorter texts are not compressed, bytes.
pub(in crate::hub) const WORTH_BYTES: usize = 256;
/// The compression level: the fastest, which saves nearly as much as others for short messages.
const LEVEL: u32 = 1;
/// The first byte of an unfragmented text frame, and of a compressed one (bit RSV1).
const TEXT: u8 = 0x81;
const DEFLATED_TEXT: u8 = TEXT | 0x40;
/// The end of a flush, which is not sent; the receiver appends it (RFC 7692 §7.2.1).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// The most bytes of its buffer that a thread keeps between messages.
const KEPT_BYTES: usize = 64 << 10;

/// The state of the compressor, about 256 KiB, made once for each thread.
struct Deflater {
    compress: Compress,
    out: Vec<u8>,
}

thread_local! {
    static DEFLATER: RefCell<Deflater> = RefCell::new(Deflater {
        compress: Compress::new(Compression::new(LEVEL), false),
        out: Vec::new(),
    });
}

/// Appends the header of an unmasked frame with a payload of `length` bytes (RFC 6455 §5.2).
pub(in crate::hub) fn push_header(bytes: &mut Vec<u8>, first: u8, length: usize) {
    bytes.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(short),
        (_, Ok(medium)) => {
            bytes.push(126);
            bytes.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// Appends a text frame with the concatenation of `parts`, compressed if that is shorter.
pub(in crate::hub) fn push_text(out: &mut Vec<u8>, parts: &[&str]) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let is_done = length >= WORTH_BYTES
        && DEFLATER.with_borrow_mut(|deflater| {
            let Some(deflated) = deflater.deflate(parts, length) else { return false };
            out.reserve(deflated.len() + 10);
            push_header(out, DEFLATED_TEXT, deflated.len());
            out.extend_from_slice(deflated);
            true
        });
    if !is_done {
        out.reserve(length + 10);
        push_header(out, TEXT, length);
        for part in parts {
            out.extend_from_slice(part.as_bytes());
        }
    }
}

impl Deflater {
    /// The compressed text; `None` if it is not shorter than the text.
    fn deflate(&mut self, parts: &[&str], length: usize) -> Option<&[u8]> {
        const STATE: &str = "a stream that was just begun takes text and a flush";
        let Self { compress, out } = self;
        compress.reset();
        out.clear();
        out.shrink_to(KEPT_BYTES);
        out.reserve(length);
        for part in parts {
            let before = compress.total_in();
            compress.compress_vec(part.as_bytes(), out, FlushCompress::None).expect(STATE);
            if compress.total_in() - before < part.len() as u64 {
                return None;
            }
        }
        compress.compress_vec(&[], out, FlushCompress::Sync).expect(STATE);
        // Without spare capacity the compressor may have more output.
        let is_whole = out.len() < out.capacity();
        let deflated = out.strip_suffix(&FLUSHED).filter(|_| is_whole)?;
        (deflated.len() < length).then_some(deflated)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use flate2::{Decompress, FlushDecompress};
    use proptest::prelude::*;

    use super::*;

    /// The text of each frame, and whether the frame was compressed.
    pub(crate) fn texts(mut frames: &[u8]) -> Vec<(String, bool)> {
        let mut texts = Vec::new();
        while let [first, short, ..] = *frames {
            let (head, length) = match short {
                126 => (4, usize::from(u16::from_be_bytes(frames[2..4].try_into().unwrap()))),
                127 => {
                    let length = u64::from_be_bytes(frames[2..10].try_into().unwrap());
                    (10, usize::try_from(length).unwrap())
                }
                short => (2, usize::from(short)),
            };
            let (body, rest) = frames[head..].split_at(length);
            let text = match first {
                DEFLATED_TEXT => inflated(body),
                TEXT => body.to_vec(),
                other => panic!("neither of the two kinds: {other:x}"),
            };
            texts.push((String::from_utf8(text).unwrap(), first == DEFLATED_TEXT));
            frames = rest;
        }
        assert!(frames.is_empty());
        texts
    }

    fn inflated(body: &[u8]) -> Vec<u8> {
        let mut inflate = Decompress::new(false);
        let mut text = Vec::with_capacity(body.len() * 1_100 + 64);
        for bytes in [body, &FLUSHED] {
            inflate.decompress_vec(bytes, &mut text, FlushDecompress::None).unwrap();
        }
        assert_eq!(inflate.total_in(), (body.len() + FLUSHED.len()) as u64);
        text
    }

    fn text() -> impl Strategy<Value = String> {
        let noise = prop::collection::vec(any::<char>(), 0..2_000).prop_map(String::from_iter);
        prop_oneof![
            noise,
            "[ -~]{0,600}",
            ("[a-z\":,{}]{1,40}", 1..4_000_usize).prop_map(|(text, times)| text.repeat(times)),
        ]
    }

    proptest! {
        #[test]
        fn compressed_messages_decompress_to_their_text(
            messages in prop::collection::vec(prop::collection::vec(text(), 1..4), 1..4),
        ) {
            let mut out = Vec::new();
            for parts in &messages {
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                let before = out.len();
                push_text(&mut out, &parts);
                let length: usize = parts.iter().map(|part| part.len()).sum();
                prop_assert!(out.len() - before <= length + 10, "never longer than it is");
            }
            let read: Vec<String> = texts(&out).into_iter().map(|(text, _)| text).collect();
            prop_assert_eq!(read, messages.iter().map(|parts| parts.concat()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn short_and_incompressible_texts_are_left_alone() {
        let of = |text: &str| {
            let mut out = Vec::new();
            push_text(&mut out, &[text]);
            let [(read, is_deflated)] = texts(&out).try_into().unwrap();
            assert_eq!(read, text);
            (is_deflated, out.len())
        };
        assert_eq!(of(&"x".repeat(WORTH_BYTES - 1)), (false, WORTH_BYTES + 3));
        let (is_deflated, bytes) = of(&"x".repeat(1 << 20));
        assert!(is_deflated && bytes < 20_000, "{bytes}");
        // Random characters would become longer.
        let mut rng = fastrand::Rng::with_seed(1);
        let noise: String = (0..4_000).map(|_| rng.char('\u{4e00}'..'\u{9fff}')).collect();
        assert_eq!(of(&noise), (false, 12_004));
    }
}
