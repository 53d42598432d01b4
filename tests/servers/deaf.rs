//! A way to the broker on which its messages get lost while all else is answered, as from a broker
//! that cannot read what it has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ghpulse::bus::pulsar::PulsarOptions;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::broker::shared;
use crate::flow::assert_same;
use crate::node::{Node, pull_requests};

/// Pulsar's number for a command that carries a message to a consumer.
const MESSAGE: u8 = 9;

/// A proxy that knows just enough of the protocol.
struct Way {
    url: String,
    loses: Arc<AtomicBool>,
}

impl Way {
    async fn to(broker: &str) -> Self {
        let broker: SocketAddr = broker.strip_prefix("pulsar://").unwrap().parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap();
        let loses = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&loses);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = TcpStream::connect(broker).await else { continue };
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let loses = Arc::clone(&asked);
                tokio::spawn(copy(from_client, to_server));
                tokio::spawn(async move {
                    let names = [broker.to_string().into_bytes(), here.to_string().into_bytes()];
                    let _ = pass(from_server, to_client, names, &loses).await;
                });
            }
        });
        Self { url: format!("pulsar://{here}"), loses }
    }

    fn loses_messages(&self, loses: bool) {
        self.loses.store(loses, Ordering::SeqCst);
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
    let _ = to.shutdown().await;
}

/// Passes frames on, with our name in place of the broker's where it says who has the topic.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    [broker, here]: [Vec<u8>; 2],
    loses: &AtomicBool,
) -> std::io::Result<()> {
    assert_eq!(broker.len(), here.len(), "free ports have five digits");
    loop {
        let size = from.read_u32().await?;
        let mut frame = vec![0; size as usize];
        from.read_exact(&mut frame).await?;
        // Size of the command, and its first field: which one it is.
        let is_message = frame[4..6] == [0x08, MESSAGE];
        if is_message && loses.load(Ordering::SeqCst) {
            continue;
        }
        if !is_message && let Some(at) = frame.windows(broker.len()).position(|part| part == broker)
        {
            frame[at..at + here.len()].copy_from_slice(&here);
        }
        to.write_all(&[&size.to_be_bytes()[..], &frame].concat()).await?;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_to_whom_nothing_comes_asks_anew_however_the_topic_goes_on() {
    let topic = "deaf";
    let Some(pulsar) = shared(topic).await else { return };
    let options = pulsar.broker.options(topic);
    let way = Way::to(&options.url).await;
    let dirs = [tempdir().unwrap(), tempdir().unwrap()];
    let collector = Node::collector(&dirs[0], &options).await;
    let around = PulsarOptions { url: way.url.clone(), ..options.clone() };
    let mut edge = Node::edge(&dirs[1], &around).await;
    let events = pull_requests(1, 400);
    collector.admit(&events[..50]).await;
    edge.holds(50).await;
    way.loses_messages(true);
    // The topic grows all the while, so its end is never twice the same.
    let mut admitted = 50;
    let mut pause = tokio::time::interval(Duration::from_millis(500));
    while edge.state.borrow().connected {
        collector.admit(&events[admitted..=admitted]).await;
        admitted += 1;
        pause.tick().await;
    }
    let trouble = edge.state.borrow().trouble.clone().unwrap_or_default();
    assert!(trouble.contains("nothing comes, though the topic goes on to"), "{trouble}");
    // And now it grows no more.
    edge.is_connected(true).await;
    assert!(edge.state.borrow().stuck);
    edge.is_connected(false).await;
    way.loses_messages(false);
    let here = collector.holds(admitted).await;
    assert_same(&here, &edge.holds(admitted).await);
    assert!(!edge.state.borrow().stuck && edge.state.borrow().connected);
    collector.end().await;
    edge.end().await;
}
