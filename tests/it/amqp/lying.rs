//! A broker that lies: a listener that speaks as much of AMQP 0-9-1 as a publisher needs, and sends
//! what no RabbitMQ sends. Needs no RabbitMQ.

use std::sync::Arc;

use ghpulse::amqp::probe;
use ghpulse::clock::Clock;
use ghpulse::config::{AmqpConfig, Secret};
use ghpulse::simulate::Options;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::broker::PATIENCE;
use super::node::{Node, push};
use crate::api::program::{Program, run};
use crate::common::running::GitHub;

const METHOD: u8 = 1;
const BODY: u8 = 3;

/// What it does.
#[derive(Clone)]
enum BrokerLie {
    /// Sends these bytes when a client has connected.
    Opening(Vec<u8>),
    /// Confirms a message that was not sent, on this many first connections.
    Confirm(u32),
    /// Confirms this many messages of a connection, and refuses the next.
    Refuse(u64),
}

struct LyingBroker {
    options: AmqpConfig,
    seen: watch::Receiver<SeenByBroker>,
}

#[derive(Default)]
struct SeenByBroker {
    /// The largest frame that the last client agreed to.
    frame_max: u32,
    /// Messages that were confirmed.
    confirmed: u64,
    /// When messages were refused.
    refused_at: Vec<tokio::time::Instant>,
}

impl LyingBroker {
    async fn start(lie: BrokerLie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (seen, watched) = watch::channel(SeenByBroker::default());
        let seen = Arc::new(seen);
        let options = AmqpConfig {
            url: Secret::new(format!("amqp://u:p@{at}/")),
            exchange: "ght-streams".to_owned(),
            source: None,
            ca: None,
            node: "test".to_owned(),
        };
        tokio::spawn(async move {
            let mut lie = lie;
            while let Ok((socket, _)) = listener.accept().await {
                // The client hangs up when it likes.
                tokio::spawn(serve(socket, lie.clone(), Arc::clone(&seen)));
                if let BrokerLie::Confirm(connections) = &mut lie {
                    *connections = connections.saturating_sub(1);
                }
            }
        });
        Self { options, seen: watched }
    }
}

async fn serve(
    mut socket: TcpStream,
    lie: BrokerLie,
    seen: Arc<watch::Sender<SeenByBroker>>,
) -> std::io::Result<()> {
    socket.read_exact(&mut [0; 8]).await?;
    let lies = match lie.clone() {
        BrokerLie::Opening(bytes) => {
            socket.write_all(&bytes).await?;
            // Until the client hangs up.
            return tokio::io::copy(&mut socket, &mut tokio::io::sink()).await.map(drop);
        }
        BrokerLie::Confirm(connections) => connections > 0,
        BrokerLie::Refuse(_) => false,
    };
    socket.write_all(&start(&[])).await?;
    let mut sent: u64 = 0;
    loop {
        let mut header = [0; 7];
        socket.read_exact(&mut header).await?;
        let [kind, high, low, size @ ..] = header;
        let mut payload = vec![0; u32::from_be_bytes(size) as usize];
        socket.read_exact(&mut payload).await?;
        socket.read_exact(&mut [0]).await?;
        let (class, method): (u8, u8) = match (kind, &payload[..]) {
            (METHOD, [_, class, _, method, ..]) => (*class, *method),
            (BODY, _) => {
                sent += 1;
                if let BrokerLie::Refuse(confirmed) = lie
                    && sent > confirmed
                {
                    if sent == confirmed + 1 {
                        // Channel.Close with code 406, its text, and the method: Basic.Publish.
                        let close = b"\0\x14\0\x28\x01\x96\x02no\0\x3c\0\x28";
                        seen.send_modify(|seen| seen.refused_at.push(Clock::system().instant()));
                        socket.write_all(&frame(METHOD, [high, low], close)).await?;
                    }
                    continue;
                }
                let tag = if lies { 99 } else { sent };
                let ack = [&[0, 60, 0, 80], &tag.to_be_bytes()[..], &[0]].concat();
                socket.write_all(&frame(METHOD, [high, low], &ack)).await?;
                seen.send_modify(|seen| seen.confirmed += u64::from(!lies));
                continue;
            }
            _ => continue,
        };
        let answer: &[u8] = match (class, method) {
            // Tune: any number of channels, frames without a limit, no heartbeats.
            (10, 11) => &[0, 10, 0, 30, 0, 0, 0, 0, 0, 0, 0, 0],
            (10, 31) => {
                let agreed = payload[6..10].try_into().map(u32::from_be_bytes).unwrap();
                seen.send_modify(|seen| seen.frame_max = agreed);
                continue;
            }
            (10, 40) => &[0, 10, 0, 41, 0],
            (10, 50) => &[0, 10, 0, 51],
            (20, 10) => &[0, 20, 0, 11, 0, 0, 0, 0],
            (20, 40) => &[0, 20, 0, 41],
            (40, 10) => &[0, 40, 0, 11],
            (85, 10) => &[0, 85, 0, 11],
            _ => continue,
        };
        socket.write_all(&frame(METHOD, [high, low], answer)).await?;
    }
}

fn frame(kind: u8, channel: [u8; 2], payload: &[u8]) -> Vec<u8> {
    [&[kind], &channel[..], &counted(payload), &[0xCE]].concat()
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

/// The announcement of a broker with these entries in its table.
fn start(entries: &[u8]) -> Vec<u8> {
    let texts = [counted(b"PLAIN"), counted(b"en_US")].concat();
    frame(METHOD, [0, 0], &[b"\0\x0a\0\x0a\0\x09", &counted(entries)[..], &texts].concat())
}

/// An entry that holds arrays within each other.
fn nested_arrays(levels: usize) -> Vec<u8> {
    let heads = (0..levels).rev().flat_map(|inside| {
        let bytes = u32::try_from(5 * inside + 1).unwrap().to_be_bytes();
        [&b"A"[..], &bytes].concat()
    });
    b"\x01a".iter().copied().chain(heads).chain(*b"V").collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn announcement_that_overflows_a_stack_is_an_error() {
    let large = [&[METHOD, 0, 0], &0x7fff_fff0_u32.to_be_bytes()[..]].concat();
    for (bytes, words) in [
        // In 7.5 KB, and as many levels as a frame may hold.
        (start(&nested_arrays(1_500)), "it sent a field table with more than 32 levels"),
        (start(&nested_arrays(26_000)), "it sent a field table with more than 32 levels"),
        (large, "it announced a frame of 2147483640 bytes; the limit is 131072"),
        (b"HTTP/1.1 400 Bad Request".to_vec(), "its answer is not AMQP 0-9-1"),
    ] {
        let broker = LyingBroker::start(BrokerLie::Opening(bytes)).await;
        let error = probe(&broker.options, Clock::system()).await.unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(error.is_transient(), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn message_whose_confirm_is_wrong_is_not_refused() {
    let mut broker = LyingBroker::start(BrokerLie::Confirm(2)).await;
    let options = broker.options.clone();
    let mut confirms = async |most: u64| {
        let waited = broker.seen.wait_for(|seen| seen.confirmed >= most);
        let seen = tokio::time::timeout(PATIENCE, waited).await.expect("in time").unwrap();
        assert_eq!(seen.frame_max, 128 << 10);
    };
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &options);
    node.admit(&[push(1), push(2)]).await;
    confirms(1).await;
    node.has_fed_all().await;
    assert_eq!(node.rejected().await, Vec::<String>::new());
    confirms(2).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_broker_is_logged_by_us_alone() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let broker = LyingBroker::start(BrokerLie::Opening(b"HTTP/1.1 400 Bad Request".to_vec())).await;
    let dir = tempfile::tempdir().unwrap();
    let mut command = run(&dir, &github.url);
    command.env("GHPULSE_AMQP_URL", broker.options.url.expose());
    let mut program = Program::start(command);
    for _ in 0..2 {
        let line = program.until("RabbitMQ is unavailable").await;
        assert!(line.contains("WARN") && line.contains("AMQP"), "{line}");
    }
    program.signal("-TERM").await;
    let (code, log, _) = program.end().await;
    assert!(code == Some(0) && !log.contains("lapin") && !log.contains("ERROR"), "{log}");
}

/// A connection for each refusal, and pauses between them when there are many.
#[tokio::test(flavor = "multi_thread")]
async fn many_refusals_are_followed_by_pauses() {
    for confirmed in [0, 1] {
        let mut broker = LyingBroker::start(BrokerLie::Refuse(confirmed)).await;
        let options = broker.options.clone();
        let dir = tempfile::tempdir().unwrap();
        let mut node = Node::start(dir.path(), &options);
        let events: Vec<_> = (1..=40).map(push).collect();
        node.admit(&events).await;
        let waited = broker.seen.wait_for(|seen| seen.refused_at.len() >= 14);
        let seen = tokio::time::timeout(PATIENCE, waited).await.expect("in time").unwrap();
        let at = &seen.refused_at;
        // Half of a pause is fixed: 250 ms of the shortest, after the first ten refusals.
        let pauses = at[13].duration_since(at[10]);
        assert!(pauses.as_millis() >= 750, "{pauses:?}");
        drop(seen);
        let said = node.is_connected(false).await;
        assert!(said.starts_with("RabbitMQ refused a message") && said.contains("no"), "{said}");
        node.end().await;
    }
}
