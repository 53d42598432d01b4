//! Clients that attack: garbage, half requests, broken frames, floods, readers that never read.
//!
//! They come from another address than the readers, because limits are per address.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// The address that attacks come from.
const FROM: &str = "127.0.0.2:0";
/// Longest wait for an answer.
const BRIEF: Duration = Duration::from_millis(300);
/// Connections of a crowd.
const CROWD: usize = 60;
const UPGRADE: &str = "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-extensions: permessage-deflate\r\n";
const PATHS: &[&str] = &[
    "/sampling",
    "/stream",
    "/language/watch",
    "/stream/types?window=24h",
    "/stream?since=2d&repos=*a*b*c*d*e*",
    "/stream?poll=1&latest=10000",
    "/aggregate/../../etc/passwd",
    "/%00",
    "/stream?cursor=ffffffffffffffff-ffffffffffffffff",
    "/openapi.json",
    "/metrics",
    "/",
];

/// Attacks once. Connections that it leaves open are returned.
pub(super) async fn attack(address: SocketAddr, rng: &mut fastrand::Rng) -> Vec<TcpStream> {
    match rng.u8(..6) {
        0 => send(address, &[garbage(rng, 4_000)], rng).await,
        1 => send(address, &[half_a_request(rng)], rng).await,
        2 => send(address, &[request(rng, ""), garbage(rng, 64)], rng).await,
        3 => send(address, &[request(rng, UPGRADE), frames(rng)], rng).await,
        4 => send(address, &[request(rng, UPGRADE), flood(rng)], rng).await,
        _ => crowd(address, rng).await,
    }
}

async fn connect(address: SocketAddr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.bind(FROM.parse().expect("an address")).ok()?;
    socket.connect(address).await.ok()
}

/// Sends the parts, reads a little of what is answered, and leaves; sometimes without closing.
async fn send(address: SocketAddr, parts: &[Vec<u8>], rng: &mut fastrand::Rng) -> Vec<TcpStream> {
    let Some(mut stream) = connect(address).await else { return Vec::new() };
    let mut answer = [0; 2_000];
    for part in parts {
        if stream.write_all(part).await.is_err() {
            break;
        }
        // Whatever it answers, the attack continues.
        let _ = tokio::time::timeout(BRIEF, stream.read(&mut answer)).await;
    }
    if rng.bool() { vec![stream] } else { Vec::new() }
}

/// Many readers that never read.
async fn crowd(address: SocketAddr, rng: &mut fastrand::Rng) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..rng.usize(1..CROWD) {
        let Some(mut stream) = connect(address).await else { break };
        let head = if rng.bool() { request(rng, UPGRADE) } else { request(rng, "") };
        if stream.write_all(&head).await.is_ok() {
            streams.push(stream);
        }
    }
    streams
}

fn garbage(rng: &mut fastrand::Rng, most: usize) -> Vec<u8> {
    let length = rng.usize(1..most);
    std::iter::repeat_with(|| rng.u8(..)).take(length).collect()
}

fn request(rng: &mut fastrand::Rng, headers: &str) -> Vec<u8> {
    let path = PATHS[rng.usize(..PATHS.len())];
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").into_bytes()
}

fn half_a_request(rng: &mut fastrand::Rng) -> Vec<u8> {
    let long = "x".repeat(rng.usize(..20_000));
    let mut bytes = request(rng, &format!("x-long: {long}\r\n"));
    bytes.truncate(rng.usize(1..bytes.len()));
    bytes
}

/// Frames with random headers, among them reserved bits, wrong lengths and compressed garbage.
fn frames(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..rng.usize(1..20) {
        let length = rng.u8(..126);
        bytes.extend([rng.u8(..), 0x80 | length, 0, 0, 0, 0]);
        bytes.extend(std::iter::repeat_with(|| rng.u8(..)).take(length.into()));
    }
    bytes
}

/// Thousands of pings, or one message without an end.
fn flood(rng: &mut fastrand::Rng) -> Vec<u8> {
    if rng.bool() {
        return [0x89, 0x80, 0, 0, 0, 0].repeat(rng.usize(1..3_000));
    }
    let mut bytes = vec![0x01, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    bytes.resize(14 + (64 << 10), b'x');
    bytes
}
