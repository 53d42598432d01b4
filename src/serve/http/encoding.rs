//! Compression of response bodies (`Accept-Encoding`). Each chunk is flushed, so a client can
//! decode every message at once.
//!
//! A compressor holds memory for each reader, so only [`COMPRESSED`] bodies are compressed at the
//! same time; further ones are sent uncompressed.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::HeaderMap;
use tokio::sync::OwnedSemaphorePermit;
use zstd::stream::write::Encoder as ZstdEncoder;

use super::negotiation;

/// Bodies that are compressed at the same time.
pub(crate) const COMPRESSED: usize = 512;
/// Supported encodings, the preferred one first.
const OURS: [&str; 2] = ["zstd", "gzip"];
/// Window of zstd as a power of two, about the bytes of memory for each reader.
const ZSTD_WINDOW: u32 = 17;
const ZSTD_LEVEL: i32 = 1;

/// The compressor of one body.
pub(super) struct Compressor {
    /// Its name in `Content-Encoding`.
    pub(super) name: &'static str,
    kind: Encoder,
    _permit: OwnedSemaphorePermit,
}

enum Encoder {
    Gzip(Box<GzEncoder<Vec<u8>>>),
    Zstd(Box<ZstdEncoder<'static, Vec<u8>>>),
}

impl Compressor {
    /// A compressor for the encoding that the client prefers; `None` when it accepts none.
    pub(super) fn new(headers: &HeaderMap, permit: OwnedSemaphorePermit) -> Option<Self> {
        let name = negotiation::encoding(headers, &OURS)?;
        let kind = match name {
            "zstd" => {
                let mut encoder = ZstdEncoder::new(Vec::new(), ZSTD_LEVEL).ok()?;
                encoder.window_log(ZSTD_WINDOW).ok()?;
                Encoder::Zstd(Box::new(encoder))
            }
            _ => Encoder::Gzip(Box::new(GzEncoder::new(Vec::new(), Compression::fast()))),
        };
        Some(Self { name, kind, _permit: permit })
    }

    /// Compresses a chunk. What is returned can be decoded up to the end of the chunk.
    pub(super) fn compress(&mut self, piece: &[u8]) -> Bytes {
        const FITS: &str = "memory takes what is written";
        match &mut self.kind {
            Encoder::Gzip(encoder) => {
                encoder.write_all(piece).and_then(|()| encoder.flush()).expect(FITS);
                std::mem::take(encoder.get_mut()).into()
            }
            Encoder::Zstd(encoder) => {
                encoder.write_all(piece).and_then(|()| encoder.flush()).expect(FITS);
                std::mem::take(encoder.get_mut()).into()
            }
        }
    }

    /// The end of the compressed body.
    pub(super) fn finish(self) -> Bytes {
        let rest = match self.kind {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
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

    fn compressor(accepted: &'static str) -> Option<Compressor> {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(accepted));
        Compressor::new(&headers, permit)
    }

    #[test]
    fn each_compressed_chunk_can_be_decoded_at_once() {
        for (accepted, name) in [("gzip, deflate, br, zstd", "zstd"), ("br, gzip;q=0.5", "gzip")] {
            let mut compressor = compressor(accepted).unwrap();
            assert_eq!(compressor.name, name);
            let (mut left, mut text) = (Vec::new(), String::new());
            for i in 0..20 {
                let piece = format!("{{\"type\":\"event\",\"n\":{i}}}\n");
                text.push_str(&piece);
                left.extend_from_slice(&compressor.compress(piece.as_bytes()));
                let mut read = vec![0; text.len()];
                match name {
                    "zstd" => zstd::Decoder::new(&left[..]).unwrap().read_exact(&mut read).unwrap(),
                    _ => flate2::read::GzDecoder::new(&left[..]).read_exact(&mut read).unwrap(),
                }
                assert_eq!(read, text.as_bytes());
            }
            left.extend_from_slice(&compressor.finish());
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
    fn unaccepted_encodings_are_not_used() {
        for accepted in ["", "identity", "br", "gzip;q=0, zstd;q=0.0", "gzip;q=x"] {
            assert!(compressor(accepted).is_none(), "{accepted}");
        }
    }
}
