//! WebSocket frames, byte by byte, as other libraries may write them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::events::push;
use super::site::Site;
use crate::common::client::request;
use crate::common::running::soon;

pub(crate) const TEXT: u8 = 0x81;
pub(crate) const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A client's frame, with a mask that changes every byte.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut bytes = vec![first];
    match u16::try_from(payload.len()).expect("not that long") {
        short @ 0..126 => bytes.push(0x80 | u8::try_from(short).expect("it is short")),
        long => {
            bytes.push(0x80 | 0x7e);
            bytes.extend(long.to_be_bytes());
        }
    }
    bytes.extend(MASK);
    bytes.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

pub(crate) struct Raw(TcpStream);

impl Raw {
    /// Asserts that the next frame closes with this code and a reason.
    pub(crate) async fn expect_close(&mut self, code: u16, what: &str) {
        let (first, payload) = self.next().await;
        let said = String::from_utf8_lossy(&payload[2..]).into_owned();
        let got = u16::from_be_bytes([payload[0], payload[1]]);
        assert_eq!((first, got), (CLOSE, code), "{what}: {said}");
        assert!(!said.is_empty(), "{what}: with a reason");
    }

    /// Sends the handshake and `early` in one write, and reads the response head.
    async fn open(to: SocketAddr, path: &str, early: &[u8]) -> Self {
        Self::open_with(to, path, "", early).await.0
    }

    /// Does the same with additional header lines; also returns the response head.
    pub(crate) async fn open_with(
        to: SocketAddr,
        path: &str,
        headers: &str,
        early: &[u8],
    ) -> (Self, String) {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: {to}\r\nconnection: keep-alive, Upgrade\r\n\
             Upgrade: WebSocket\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        );
        stream.write_all(&[head.as_bytes(), early].concat()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon("an answer", stream.read_u8()).await.unwrap());
        }
        let answer = String::from_utf8(answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        // The key and its response are the example of RFC 6455.
        assert!(answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{answer}");
        (Self(stream), answer)
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame other than a ping: its first byte and its payload.
    pub(crate) async fn next(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            loop {
                let (first, payload) = self.read().await;
                if first != PING {
                    return (first, payload);
                }
            }
        };
        soon("a frame", read).await
    }

    async fn read(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.unwrap();
        let length = match self.0.read_u8().await.unwrap() {
            126 => u64::from(self.0.read_u16().await.unwrap()),
            127 => self.0.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.unwrap();
        (first, payload)
    }
}

const PARAMS: &[u8] = br#"{"samplingRate":1,"filter":["event.id"]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn params_that_come_with_the_handshake_and_in_pieces_are_read() {
    let site = Site::start(&[]).await;
    let early = [frame(TEXT, PARAMS), frame(0x89, b"here")].concat();
    let mut one = Raw::open(site.running.public, "/sampling", &early).await;
    let (first, text) = one.next().await;
    assert_eq!((first, text.starts_with(br#"{"firstMessageTag":true"#)), (TEXT, true));
    assert_eq!(one.next().await, (PONG, b"here".to_vec()));

    let mut pieces = Raw::open(site.running.public, "/sampling", b"").await;
    pieces.next().await;
    let (head, tail) = PARAMS.split_at(9);
    pieces.send(&frame(0x01, head)).await;
    pieces.send(&frame(0x89, b"between")).await;
    pieces.send(&frame(0x80, tail)).await;
    pieces.send(&frame(0x89, b"behind")).await;
    assert_eq!(pieces.next().await, (PONG, b"between".to_vec()));
    assert_eq!(pieces.next().await, (PONG, b"behind".to_vec()));
    site.push(&[push(1)]);
    for reader in [&mut one, &mut pieces] {
        assert_eq!(reader.next().await, (TEXT, br#"{"event.id":"1"}"#.to_vec()));
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_violation_closes_with_its_code() {
    let site = Site::start(&[]).await;
    let unmasked = [&[TEXT, 40][..], PARAMS].concat();
    for (what, bytes, code) in [
        ("no mask", unmasked, 1002_u16),
        ("an unknown opcode", frame(0x83, b"x"), 1002),
        ("a reserved bit", frame(0xc1, b"x"), 1002),
        ("a piece of nothing", frame(0x80, b"x"), 1002),
        ("no UTF-8", frame(TEXT, b"\xff\xfe"), 1007),
    ] {
        let mut raw = Raw::open(site.running.public, "/sampling", b"").await;
        raw.next().await;
        raw.send(&bytes).await;
        raw.expect_close(code, what).await;
    }
    let mut raw = Raw::open(site.running.public, "/language/latest", b"").await;
    raw.send(&frame(CLOSE, b"\x03\xe8bye")).await;
    let (first, payload) = raw.next().await;
    assert_eq!((first, &payload[..2]), (CLOSE, &b"\x03\xe8"[..]));
    assert_eq!(soon("the end", raw.0.read_u8()).await.ok(), None);
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_handshake_is_refused_with_a_reason() {
    let site = Site::start(&[]).await;
    let upgrade = ["upgrade: websocket", "connection: upgrade"];
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==";
    for (headers, status, word) in [
        (vec![key, "sec-websocket-version: 8"], 426, "13"),
        (vec![key], 426, "13"),
        (vec!["sec-websocket-version: 13"], 400, "Sec-WebSocket-Key"),
        (vec!["sec-websocket-version: 13", "sec-websocket-key: short"], 400, "Sec-WebSocket-Key"),
    ] {
        let all = [&upgrade[..], &headers].concat();
        // `request` also sends `connection: close`: the header may occur twice.
        let answer = request(site.running.public, "GET", "/sampling", &all).await;
        assert_eq!(answer.status, status, "{headers:?}: {answer:?}");
        assert!(answer.body.contains(word), "{headers:?}: {answer:?}");
    }
    site.end().await;
}
