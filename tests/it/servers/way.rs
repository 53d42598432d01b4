//! A proxy to the broker that can drop messages while all other commands pass, and that marks some
//! entries as compressed in an unsupported format.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Pulsar's number for a command that carries a message to a consumer.
const MESSAGE: u8 = 9;
/// The metadata field with the compression type, set to Snappy, which is not supported.
const SNAPPY: [u8; 2] = [8 << 3, 4];
/// The content of an entry that is spoiled in this way.
pub(crate) const SPOILED: &str = "-spoiled-";
/// The content of an entry of which a bit is wrong each time that it passes.
pub(crate) const DAMAGED: &str = "-damaged-";

/// A proxy with minimal knowledge of the protocol.
pub(crate) struct Way {
    pub(crate) url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    loses: AtomicBool,
    lost: AtomicUsize,
    /// Messages of which a bit will be wrong.
    damages: AtomicUsize,
}

impl State {
    fn damages_one(&self) -> bool {
        let less = |count: usize| count.checked_sub(1);
        self.damages.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

impl Way {
    pub(crate) async fn to(broker: &str) -> Self {
        let broker: SocketAddr = broker.strip_prefix("pulsar://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let asked = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(broker).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let state = Arc::clone(&asked);
                tokio::spawn(copy(from_client, to_server));
                tokio::spawn(async move {
                    let names = [broker.to_string().into_bytes(), here.to_string().into_bytes()];
                    let _ = pass(from_server, to_client, names, &state).await;
                });
            }
        });
        Self { url: format!("pulsar://{here}"), state }
    }

    /// Starts or stops dropping messages.
    pub(crate) fn loses_messages(&self, loses: bool) {
        self.state.loses.store(loses, Ordering::SeqCst);
    }

    /// A bit of each of the next messages is wrong.
    pub(crate) fn damages(&self, messages: usize) {
        self.state.damages.store(messages, Ordering::SeqCst);
    }

    /// Messages of which a bit will be wrong.
    pub(crate) fn still_damages(&self) -> usize {
        self.state.damages.load(Ordering::SeqCst)
    }

    /// Number of dropped entries.
    pub(crate) fn lost(&self) -> usize {
        self.state.lost.load(Ordering::SeqCst)
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// Forwards frames; replaces the broker's address by ours in the lookup of a topic's owner.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    [broker, here]: [Vec<u8>; 2],
    state: &State,
) -> std::io::Result<()> {
    assert_eq!(broker.len(), here.len(), "free ports have five digits");
    loop {
        let size = from.read_u32().await?;
        let mut frame = vec![0; size as usize];
        from.read_exact(&mut frame).await?;
        let find = |what: &[u8]| frame.windows(what.len()).position(|part| part == what);
        // The size of the command, then its first field, which is its type.
        let is_message = frame[4..6] == [0x08, MESSAGE];
        if is_message && state.loses.load(Ordering::SeqCst) {
            state.lost.fetch_add(1, Ordering::SeqCst);
            continue;
        }
        if is_message && find(SPOILED.as_bytes()).is_some() {
            frame = spoiled(&frame);
        } else if is_message && (find(DAMAGED.as_bytes()).is_some() || state.damages_one()) {
            *frame.last_mut().unwrap() ^= 1;
        } else if !is_message && let Some(at) = find(&broker) {
            frame[at..at + here.len()].copy_from_slice(&here);
        }
        let size = u32::try_from(frame.len()).unwrap();
        to.write_all(&[&size.to_be_bytes()[..], &frame].concat()).await?;
    }
}

/// Returns the message with another compression type. Layout: size and command, two magic bytes
/// that announce a checksum of the rest, the checksum, size and metadata, payload.
fn spoiled(frame: &[u8]) -> Vec<u8> {
    let size = |at: usize| u32::from_be_bytes(frame[at..at + 4].try_into().unwrap()) as usize;
    let command = 4 + size(0);
    let metadata = command + 2 + 4 + 4;
    let (metadata, payload) = frame[metadata..].split_at(size(metadata - 4));
    // If a field occurs twice, the last one applies.
    let metadata = [metadata, &SNAPPY].concat();
    let size = u32::try_from(metadata.len()).unwrap().to_be_bytes();
    let rest = [&size[..], &metadata, payload].concat();
    let sum = checksum(&rest).to_be_bytes();
    [&frame[..command + 2], &sum, &rest].concat()
}

/// CRC-32C.
fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = !0_u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = sum >> 1 ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 };
        }
    }
    !sum
}

#[test]
fn the_checksum_is_the_known_one() {
    assert_eq!(checksum(b"123456789"), 0xe306_9283);
}
