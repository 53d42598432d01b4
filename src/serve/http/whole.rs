//! Compresses complete responses: pages, JSON, CSV. Streams are compressed in `encoding`.

use std::io::Write as _;

use axum::body::{Body, HttpBody as _, to_bytes};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderValue, StatusCode, header};

/// The only supported encoding.
pub(super) const GZIP: &str = "gzip";
/// Shorter bodies are sent uncompressed: compression saves nothing.
const SHORTEST: usize = 1 << 10;
/// Longer bodies are sent uncompressed.
const LONGEST: usize = 4 << 20;
/// Longer bodies are compressed on the blocking pool.
const AT_ONCE: usize = 64 << 10;
/// Prefixes of the media types that compress well.
const KINDS: [&str; 4] = ["text/html", "text/csv", "text/plain", "application/json"];

/// Compresses a complete response if its media type and length make it worthwhile.
pub(super) async fn pack(response: Response, coding: Option<&'static str>) -> Response {
    let length = response.body().size_hint().exact().and_then(|n| usize::try_from(n).ok());
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let gains = kind.is_some_and(|kind| KINDS.iter().any(|known| kind.starts_with(known)))
        && length.is_some_and(|length| (SHORTEST..=LONGEST).contains(&length))
        && response.status() == StatusCode::OK
        && !response.headers().contains_key(header::CONTENT_ENCODING);
    let Some(coding) = coding.filter(|_| gains) else { return response };
    let (mut head, body) = response.into_parts();
    let Ok(plain) = to_bytes(body, LONGEST).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let kept = plain.clone();
    let packed = if plain.len() <= AT_ONCE {
        gzip(&plain)
    } else {
        tokio::task::spawn_blocking(move || gzip(&plain)).await.ok().flatten()
    };
    head.headers.remove(header::CONTENT_LENGTH);
    let body = match packed {
        Some(packed) => {
            head.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding));
            packed
        }
        None => kept,
    };
    Response::from_parts(head, Body::from(body))
}

fn gzip(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 3), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn answer(kind: &'static str, length: usize) -> Response {
        ([(header::CONTENT_TYPE, kind)], "a".repeat(length)).into_response()
    }

    #[tokio::test]
    async fn whole_answers_are_compressed_where_it_gains() {
        for length in [2_000, 200_000] {
            let packed = pack(answer("text/html; charset=utf-8", length), Some(GZIP)).await;
            assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
            let bytes = to_bytes(packed.into_body(), LONGEST).await.unwrap();
            assert!(bytes.len() < length / 10);
            let mut text = String::new();
            flate2::read::GzDecoder::new(&*bytes).read_to_string(&mut text).unwrap();
            assert_eq!(text, "a".repeat(length));
        }
        for (kind, length, coding) in [
            ("text/html", 100, Some(GZIP)),
            ("text/html", 2_000, None),
            ("image/png", 2_000, Some(GZIP)),
        ] {
            let plain = pack(answer(kind, length), coding).await;
            assert!(!plain.headers().contains_key(header::CONTENT_ENCODING), "{kind} {length}");
        }
    }
}
