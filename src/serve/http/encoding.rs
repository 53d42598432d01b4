//! The stream made smaller on its way, where the reader takes that: each piece leaves at once, so
//! nothing is held back for the sake of size.
//!
//! Packing remembers what went before, which costs memory for each reader; so only so many readers
//! are packed for at once, and the others get what they would get without asking.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::negotiation;

/// Readers that are packed for at once.
pub(crate) const PACKED: usize = 512;
/// The encodings that there are, the better first.
const OURS: [&str; 2] = ["zstd", "gzip"];
/// How far back zstd looks, as a power of two: bytes of memory for each reader, about.
const ZSTD_WINDOW: u32 = 17;
const ZSTD_LEVEL: i32 = 1;

/// One reader's packing.
pub(super) struct Packer {
    kind: Kind,
    _permit: OwnedSemaphorePermit,
}

enum Kind {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zstd(Box<ZstdEncoder<'static, Vec<u8>>>),
}

impl Packer {
    /// Of the kind that the reader likes best of ours; `None` when it takes none of them.
    pub(super) fn new(headers: &HeaderMap, permit: OwnedSemaphorePermit) -> Option<Self> {
        let kind = match negotiation::encoding(headers, &OURS)? {
            "zstd" => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(ZSTD_WINDOW).ok()?;
                Kind::Zstd(Box::new(encoder))
            }
            _ => Kind::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::fast()))),
        };
        Some(Self { kind, _permit: permit })
    }

    /// As `Content-Encoding` has it.
    pub(super) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Gzip(_) => "gzip",
            Kind::Zstd(_) => "zstd",
        }
    }

    /// A piece, packed; all of it can be read from what has left then.
    pub(super) fn pack(&mut self, piece: &[u8]) -> Bytes {
        const FITS: &str = "memory takes what is written";
        match &mut self.kind {
            Kind::Gzip(encoder) => {
                encoder.write_all(piece).and_then(|()| encoder.flush()).expect(FITS);
                std::mem::take(encoder.get_mut()).into()
            }
            Kind::Zstd(encoder) => {
                encoder.write_all(piece).and_then(|()| encoder.flush()).expect(FITS);
                std::mem::take(encoder.get_mut()).into()
            }
        }
    }

    /// What belongs behind the last piece.
    pub(super) fn finish(self) -> Bytes {
        let rest = match self.kind {
            Kind::Gzip(encoder) => encoder.finish(),
            Kind::Zstd(encoder) => encoder.finish(),
        };
        rest.expect("memory takes what is written").into()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::sync::Arc;

    use http::{HeaderValue, header};
    use tokio::sync::Semaphore;

    use super::*;

    fn packer(accepted: &'static str) -> Option<Packer> {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
        Packer::new(&headers, permit)
    }

    #[test]
    fn each_piece_can_be_read_when_it_has_left() {
        for (accepted, name) in [("gzip, deflate, br, zstd", "zstd"), ("br, gzip;q=0.5", "gzip")] {
            let mut packer = packer(accepted).unwrap();
            assert_eq!(packer.name(), name);
            let (mut left, mut text) = (Vec::new(), String::new());
            for i in 0..20 {
                let piece = format!("{{\"type\":\"event\",\"n\":{i}}}\n");
                text.push_str(&piece);
                left.extend_from_slice(&packer.pack(piece.as_bytes()));
                let mut read = vec![0; text.len()];
                match name {
                    "zstd" => zstd::Decoder::new(&left[..]).unwrap().read_exact(&mut read).unwrap(),
                    _ => flate2::read::GzDecoder::new(&left[..]).read_exact(&mut read).unwrap(),
                }
                assert_eq!(read, text.as_bytes());
            }
            left.extend_from_slice(&packer.finish());
            let mut whole = Vec::new();
            if name == "zstd" {
                whole = zstd::decode_all(&left[..]).unwrap();
            } else {
                flate2::read::GzDecoder::new(&left[..]).read_to_end(&mut whole).unwrap();
            }
            assert_eq!(whole, text.as_bytes());
            assert!(left.len() < text.len());
        }
    }

    #[test]
    fn what_is_not_taken_is_not_done() {
        for accepted in ["", "identity", "br", "gzip;q=0, zstd;q=0.0", "gzip;q=x"] {
            assert!(packer(accepted).is_none(), "{accepted}");
        }
    }
}
