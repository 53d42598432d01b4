//! A proxy to the appliance that can be paused: data then waits, and neither side is notified.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Largest chunk that is forwarded at once.
const CHUNK: usize = 16 << 10;

/// Forwards connections to one address, except while it is paused.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    held: watch::Sender<bool>,
}

impl Relay {
    pub(crate) async fn start(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (held, is_held) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(to).await else { continue };
                let (near_read, near_write) = near.into_split();
                let (far_read, far_write) = far.into_split();
                tokio::spawn(pass(near_read, far_write, is_held.clone()));
                tokio::spawn(pass(far_read, near_write, is_held.clone()));
            }
        });
        Self { address, held }
    }

    /// Pauses or resumes forwarding.
    pub(crate) fn hold(&self, is_held: bool) {
        self.held.send_replace(is_held);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut held: watch::Receiver<bool>,
) {
    let mut chunk = vec![0; CHUNK];
    while let Ok(count @ 1..) = from.read(&mut chunk).await {
        if held.wait_for(|held| !held).await.is_err()
            || to.write_all(&chunk[..count]).await.is_err()
        {
            return;
        }
    }
}
