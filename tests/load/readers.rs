//! The readers of a fan-out case: a process with one thread and many connections, as cheap as
//! possible, because it shares the cores with the measured server.
//!
//! It prints `ready` when all readers have subscribed, reads until its own input ends, and then
//! prints its results: deliveries, their latencies in microseconds by the embedded timestamp, and
//! the number of connections that the server closed. Deflated messages are counted, but their
//! timestamps are not read.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use ghpulse::clock::Clock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// The argument that starts this program as the readers.
pub const READERS: &str = "readers-of-a-case";
/// Digits of a timestamp: microseconds since 1970; zeros are not counted.
pub const STAMP_DIGITS: usize = 16;
/// The timestamp is the first value of an event, so it is within the first bytes of a message.
const STAMP_WITHIN: usize = 192;
/// First byte of a deflated text message (RFC 7692).
const DEFLATED_TEXT: u8 = 0xc1;
/// Readers that connect at the same time.
const AT_ONCE: usize = 32;
/// Minimum free buffer space for a read.
const READ_BYTES: usize = 32 << 10;

/// Prefix of the parameters of readers that offer compression.
pub const DEFLATED: &str = "deflated ";
const OFFER: &str = "sec-websocket-extensions: permessage-deflate; client_no_context_takeover; \
    server_no_context_takeover\r\n";

/// Runs `[address, count, params]`. Parameters that begin with `/` are paths, one per line,
/// assigned in turn; others are sent to `/sampling`.
pub fn run(args: &[String]) {
    let [address, count, params] = args else { panic!("three words, not {args:?}") };
    let address: SocketAddr = address.parse().expect("an address");
    let count: usize = count.parse().expect("a number");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime.expect("a runtime starts"), read_all(address, count, params));
}

async fn read_all(address: SocketAddr, count: usize, params: &str) {
    let took = Rc::new(Mutex::new(Took::default()));
    let closed = Rc::new(AtomicU64::new(0));
    let stop = CancellationToken::new();
    let mut readers = tokio::task::JoinSet::new();
    let mut connected = 0;
    while connected < count {
        let some: Vec<_> = (connected..count.min(connected + AT_ONCE)).collect();
        let mut opening = tokio::task::JoinSet::new();
        for number in &some {
            let each: Vec<&str> = params.split('\n').collect();
            let params = each[number % each.len()].to_owned();
            opening.spawn_local(async move { subscribe(address, &params).await });
        }
        connected += some.len();
        for (stream, frames) in opening.join_all().await {
            let (took, stop) = (Rc::clone(&took), stop.clone());
            let closed = Rc::clone(&closed);
            readers.spawn_local(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = follow(stream, frames, &took) => {
                        closed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    }
    println!("ready");
    let until_end = tokio::task::spawn_blocking(|| std::io::read_to_string(std::io::stdin()));
    until_end.await.expect("no panic").expect("the input ends");
    stop.cancel();
    readers.join_all().await;
    let Took { micros: mut took, unread } =
        std::mem::take(&mut *took.lock().expect("no reader panicked"));
    took.sort_unstable();
    let at = |part: usize| took.get(took.len() * part / 100).copied().unwrap_or(0);
    let last = took.last().copied().unwrap_or(0);
    let arrived = took.len() as u64 + unread;
    println!("{arrived} {} {} {last} {}", at(50), at(99), closed.load(Ordering::Relaxed));
}

/// Latencies of deliveries, and the number of unreadable timestamps.
#[derive(Default)]
struct Took {
    micros: Vec<u32>,
    unread: u64,
}

/// Connects, sends parameters, and waits until they apply: the server answers the ping sent after
/// them once they do.
async fn subscribe(address: SocketAddr, params: &str) -> (TcpStream, Frames) {
    let (offer, params) = params.strip_prefix(DEFLATED).map_or(("", params), |rest| (OFFER, rest));
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.set_nodelay(true).expect("it is connected");
    let (path, params) = if params.starts_with('/') { (params, "") } else { ("/sampling", params) };
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: upgrade\r\n\
         upgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{offer}\r\n"
    );
    stream.write_all(request.as_bytes()).await.expect("it is open");
    let mut frames = Frames(Vec::new());
    let head = loop {
        assert!(frames.read(&mut stream).await > 0, "the server refuses a reader");
        if let Some(end) = frames.0.windows(4).position(|four| four == b"\r\n\r\n") {
            break frames.0.drain(..end + 4).collect::<Vec<u8>>();
        }
    };
    assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    // Masked with zeros, which leaves the text unchanged.
    let length = u16::try_from(params.len()).expect("params are short").to_be_bytes();
    let mut sent = Vec::new();
    if !params.is_empty() {
        sent.extend_from_slice(&[0x81, 0xfe, length[0], length[1], 0, 0, 0, 0]);
        sent.extend_from_slice(params.as_bytes());
    }
    sent.extend_from_slice(&[0x89, 0x80, 0, 0, 0, 0]);
    stream.write_all(&sent).await.expect("it is open");
    let mut answered = false;
    while !answered {
        assert!(frames.read(&mut stream).await > 0, "the server refuses params");
        frames.each(|first, _| answered |= first == 0x8a);
    }
    (stream, frames)
}

async fn follow(mut stream: TcpStream, mut frames: Frames, took: &Mutex<Took>) {
    let clock = Clock::system();
    while frames.read(&mut stream).await > 0 {
        let now = clock.now().micros();
        let mut took = took.lock().expect("no reader panicked");
        frames.each(|first, body| {
            if first == DEFLATED_TEXT {
                took.unread += 1;
            } else if let Some(at) = (first == 0x81).then(|| stamp(body)).flatten() {
                took.micros.push(u32::try_from(now - at).unwrap_or(0));
            }
        });
    }
}

/// Received bytes that do not form a complete frame yet.
struct Frames(Vec<u8>);

impl Frames {
    async fn read(&mut self, stream: &mut TcpStream) -> usize {
        self.0.reserve(READ_BYTES);
        // A reset connection has ended, like one that the server closed.
        stream.read_buf(&mut self.0).await.unwrap_or(0)
    }

    /// Passes the complete frames on: their first byte and their payload.
    fn each(&mut self, mut take: impl FnMut(u8, &[u8])) {
        let mut at = 0;
        while let Some((head, length)) = header(&self.0[at..]) {
            let Some(body) = self.0.get(at + head..at + head + length) else { break };
            take(self.0[at], body);
            at += head + length;
        }
        self.0.drain(..at);
    }
}

/// Lengths of a frame's header and payload.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        126 => Some((4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            Some((10, usize::try_from(length).ok()?))
        }
        short => Some((2, usize::from(short))),
    }
}

fn stamp(body: &[u8]) -> Option<i64> {
    let start = &body[..body.len().min(STAMP_WITHIN)];
    let digits = start.windows(STAMP_DIGITS).find(|part| part.iter().all(u8::is_ascii_digit))?;
    let stamp = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (stamp > 0).then_some(stamp)
}
