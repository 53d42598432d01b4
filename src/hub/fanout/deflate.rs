//! Messages made smaller once for all who take them so: permessage-deflate (RFC 7692).
//!
//! Nothing is remembered from one message to the next (`server_no_context_takeover`), so the same
//! bytes serve every reader, and no reader costs memory between messages. A message that does not
//! become smaller goes as it is, which the rule allows for each message by itself.

use std::cell::RefCell;

use flate2::{Compress, Compression, FlushCompress};

use crate::hub::fanout::frame::push_header;

/// Text shorter than this is not worth the work.
pub(in crate::hub) const WORTH_BYTES: usize = 256;
/// How hard it is tried: most of what a message of this size allows, in the shortest time.
const LEVEL: u32 = 1;
/// A frame with text that is whole, and one whose text is deflated too (the bit RSV1).
const TEXT: u8 = 0x81;
const DEFLATED_TEXT: u8 = TEXT | 0x40;
/// What a flush ends with; the other side puts it back (RFC 7692, 7.2.1).
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Room that a thread keeps between messages.
const KEPT_BYTES: usize = 64 << 10;

/// What a thread needs to deflate, made once: it is a quarter of a megabyte.
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

/// Appends a text frame made of these parts, deflated where that makes it smaller.
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
    /// `None` when it would not become smaller.
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
        // Where no room is left there may be more to come.
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

    /// The texts of frames, inflated where they are deflated, and whether they were.
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
        fn what_was_deflated_is_read_as_it_was(
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
    fn only_what_is_worth_it_is_deflated() {
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
        // Characters without any order take more than they are.
        let mut rng = fastrand::Rng::with_seed(1);
        let noise: String = (0..4_000).map(|_| rng.char('\u{4e00}'..'\u{9fff}')).collect();
        assert_eq!(of(&noise), (false, 12_004));
    }
}
