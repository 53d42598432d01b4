//! Compressed messages (RFC 7692), byte by byte: negotiation, sharing of compressed frames between
//! readers, and handling of compressed messages from clients.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};
use serde_json::{Value, json};

use super::events::push;
use super::frames::{CLOSE, Raw, TEXT, frame};
use super::site::Site;

const DEFLATED: u8 = TEXT | 0x40;
const FLUSHED: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// The extension header as browsers send it, and as the server responds.
const OFFER: &str = "sec-websocket-extensions: permessage-deflate; client_max_window_bits\r\n";
const AGREED: &str = "sec-websocket-extensions: \
    permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";

/// Inflates one message on its own: it must not depend on previous messages.
fn inflated(payload: &[u8]) -> String {
    let mut text = Vec::with_capacity(payload.len() * 100 + 1_000);
    let mut inflate = Decompress::new(false);
    for bytes in [payload, &FLUSHED] {
        inflate.decompress_vec(bytes, &mut text, FlushDecompress::None).unwrap();
    }
    String::from_utf8(text).unwrap()
}

fn deflated(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 1_000);
    let mut compress = Compress::new(Compression::best(), false);
    compress.compress_vec(text, &mut out, FlushCompress::Sync).unwrap();
    assert!(out.ends_with(&FLUSHED));
    out.truncate(out.len() - FLUSHED.len());
    out
}

async fn deflating(site: &Site, path: &str) -> Raw {
    let (raw, head) = Raw::open_with(site.running.public, path, OFFER, b"").await;
    assert!(head.contains(AGREED), "{head}");
    raw
}

async fn plain(site: &Site, path: &str) -> Raw {
    let (raw, head) = Raw::open_with(site.running.public, path, "", b"").await;
    assert!(!head.contains("extensions"), "{head}");
    raw
}

/// The next event's raw frame, and its text; skips other messages.
async fn event(raw: &mut Raw) -> (u8, Vec<u8>, String) {
    loop {
        let (first, payload) = raw.next().await;
        let text = match first {
            DEFLATED => inflated(&payload),
            TEXT => String::from_utf8(payload.clone()).unwrap(),
            _ => continue,
        };
        if text.contains(r#""event":{"#) {
            return (first, payload, text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_and_plain_readers_share_their_bytes() {
    let site = Site::start(&[]).await;
    for (path, params) in
        [("/stream?types=PushEvent", None), ("/sampling", Some(br#"{"samplingRate":1}"#))]
    {
        let mut readers =
            [deflating(&site, path).await, deflating(&site, path).await, plain(&site, path).await];
        for (at, raw) in readers.iter_mut().enumerate() {
            if let Some(params) = params {
                // Compressed or not, at the sender's choice.
                let sent = match at {
                    0 => frame(DEFLATED, &deflated(params)),
                    _ => frame(TEXT, params),
                };
                raw.send(&sent).await;
            }
            raw.send(&frame(0x89, b"")).await;
            while raw.next().await.0 != 0x8a {}
        }
        let first = if params.is_some() { 10 } else { 1 };
        let long = format!(r#""pad":"{}","public""#, "so it goes ".repeat(50));
        site.push(&[push(first), push(first + 1).replace(r#""public""#, &long)]);
        for number in [first, first + 1] {
            let [one, two, plain] = &mut readers;
            let (one, two, plain) = (event(one).await, event(two).await, event(plain).await);
            assert_eq!(one, two, "the same bytes");
            assert_eq!((plain.0, &plain.2), (TEXT, &one.2), "and the same text");
            assert!(plain.2.contains(&format!(r#""id":"{number}""#)), "{}", plain.2);
            let is_long = plain.1.len() >= 256;
            assert_eq!(one.0, if is_long { DEFLATED } else { TEXT }, "{}", plain.2);
            assert!(!is_long || one.1.len() < plain.1.len(), "{}", plain.2);
        }
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_query_is_read_and_a_bomb_disconnects() {
    let site = Site::start(&[("GHPULSE_SERVER_LIMITS_MESSAGEBYTES", "4096")]).await;
    let mut raw = deflating(&site, "/stream").await;
    let ack = async |raw: &mut Raw| loop {
        let (first, payload) = raw.next().await;
        let text = if first == DEFLATED { inflated(&payload).into_bytes() } else { payload };
        let message: Value = serde_json::from_slice(&text).unwrap_or_default();
        if matches!(message["type"].as_str(), Some("ack" | "error")) {
            return message;
        }
    };
    assert_eq!(ack(&mut raw).await["warnings"], json!([]));
    let query = deflated(br#"{"types":["PushEvent"],"colour":"red"}"#);
    let (head, tail) = query.split_at(10);
    raw.send(&frame(0x41, head)).await;
    raw.send(&frame(0x89, b"between")).await;
    raw.send(&frame(0x80, tail)).await;
    assert_eq!(ack(&mut raw).await["warnings"][0]["value"], "colour");
    // A message slightly over the limit gets an error; the previous query stays in force.
    let long = format!(r#"{{"types":["{}"]}}"#, "x".repeat(5_000));
    raw.send(&frame(DEFLATED, &deflated(long.as_bytes()))).await;
    let error = ack(&mut raw).await;
    assert!(error["message"].as_str().unwrap().contains("server.limits.messageBytes"), "{error}");
    // 30 MB that compress to 30 kB.
    raw.send(&frame(DEFLATED, &deflated(&vec![b' '; 30_000_000]))).await;
    assert_eq!(ack(&mut raw).await["type"], "error");
    let (first, payload) = raw.next().await;
    assert_eq!((first, &payload[..2]), (CLOSE, &1009_u16.to_be_bytes()[..]));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_compressed_message_closes_with_its_code() {
    let site = Site::start(&[]).await;
    let begun = frame(0x41, &deflated(b"{}"));
    for (what, bytes, code) in [
        ("no deflated text", frame(DEFLATED, b"\xff\xff\xff"), 1007_u16),
        ("no UTF-8", frame(DEFLATED, &deflated(b"\xff\xfe")), 1007),
        ("a message within another", [begun.clone(), frame(TEXT, b"{}")].concat(), 1002),
        ("the bit in the middle", [begun, frame(0xc0, b"{}")].concat(), 1002),
        ("a deflated ping", frame(0xc9, b"x"), 1002),
        ("another reserved bit", frame(0xe1, b"x"), 1002),
    ] {
        let mut raw = deflating(&site, "/language/latest").await;
        raw.send(&bytes).await;
        raw.expect_close(code, what).await;
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unsupported_offer_is_declined_and_the_next_examined() {
    let site = Site::start(&[]).await;
    let name = "sec-websocket-extensions: permessage-deflate";
    for (offers, agreed) in [
        (format!("{name}; server_max_window_bits=10\r\n"), false),
        (format!("{name}; server_max_window_bits=10\r\n{OFFER}"), true),
        (format!("{name}; speed=9, permessage-deflate\r\n"), true),
    ] {
        let (mut raw, head) = Raw::open_with(site.running.public, "/stream", &offers, b"").await;
        assert_eq!(head.contains(AGREED), agreed, "{offers}{head}");
        assert!(raw.next().await.1.starts_with(br#"{"type":"hello""#));
    }
    site.end().await;
}
