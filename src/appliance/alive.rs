//! The systemd watchdog (`WatchdogSec`): the process reports that it is alive only after a check.
//! A process that hangs reports nothing, and systemd restarts it, which loses nothing.
//!
//! The check covers what every client needs: the store answers a read on the blocking pool, and a
//! listener answers a request. An unavailable server or a feed without events is not a reason to
//! restart, so neither is checked.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::ports::reachable;
use crate::clock::Clock;
use crate::store::Store;
use crate::store::keys::MetaKey;

/// Number of checks in one watchdog period, so that one failure is not fatal.
const PROOFS: u32 = 3;
/// The start of a good response.
const FINE: &[u8] = b"HTTP/1.1 200 ";

/// What is checked.
#[derive(Clone)]
pub(super) struct LivenessCheck {
    pub(super) store: Store,
    /// A listener that speaks plain HTTP; `None` when all use TLS.
    pub(super) address: Option<SocketAddr>,
    /// `server.health`.
    pub(super) path: String,
}

/// Checks and reports until `stop` is cancelled; where systemd expects no reports, only waits for
/// that.
pub(super) async fn run(
    proof: LivenessCheck,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let Some(period) = sd_notify::watchdog_enabled() else {
        stop.cancelled().await;
        return Ok(());
    };
    let pause = period / PROOFS;
    tracing::debug!(?period, "systemd's watchdog is on");
    loop {
        match proof.within(pause, clock).await {
            Ok(()) => report(),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::error!(error, ?period, "liveness check failed; systemd is not notified");
            }
        }
        let Some(()) = stop.run_until_cancelled(clock.sleep(pause)).await else { return Ok(()) };
    }
}

fn report() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]) {
        tracing::warn!(%error, "systemd cannot be notified that the process is alive");
    }
}

impl LivenessCheck {
    /// Runs all checks. Fails when one fails or takes longer than `limit`.
    async fn within(&self, limit: Duration, clock: Clock) -> anyhow::Result<()> {
        tokio::select! {
            tried = self.all() => tried,
            () = clock.sleep(limit) => Err(anyhow::anyhow!("no answer within {limit:?}")),
        }
    }

    async fn all(&self) -> anyhow::Result<()> {
        // A key that does not exist is looked up in the memtable and in the filter of every level.
        let read = self.store.read(|reader| reader.get(&MetaKey("alive".to_owned())));
        read.await.context("the store cannot be read")?;
        match self.address {
            Some(address) => self.ask(address).await.context("the listener does not answer"),
            None => Ok(()),
        }
    }

    async fn ask(&self, address: SocketAddr) -> anyhow::Result<()> {
        let address = reachable(address);
        let mut stream = TcpStream::connect(address).await?;
        let path = &self.path;
        let head = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = [0; FINE.len()];
        stream.read_exact(&mut answer).await?;
        ensure!(answer == FINE, "it answered {}", answer.escape_ascii());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;
    use crate::store::Durability;

    const SOON: Duration = Duration::from_secs(20);
    const BRIEFLY: Duration = Duration::from_millis(200);

    fn proof(dir: &tempfile::TempDir, address: Option<SocketAddr>) -> LivenessCheck {
        let store = Store::open(dir.path(), Durability::EveryBatch, Clock::system()).unwrap();
        LivenessCheck { store, address, path: "/health".to_owned() }
    }

    async fn answers(text: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            // Kept open: only the bytes sent matter.
            std::future::pending::<()>().await;
        });
        address
    }

    #[tokio::test]
    async fn store_and_listener_that_answer_are_a_proof() {
        let dir = tempfile::tempdir().unwrap();
        let address = answers("HTTP/1.1 200 OK\r\n").await;
        proof(&dir, Some(address)).within(SOON, Clock::system()).await.unwrap();
    }

    #[tokio::test]
    async fn without_a_plain_listener_the_store_is_the_proof() {
        let dir = tempfile::tempdir().unwrap();
        proof(&dir, None).within(SOON, Clock::system()).await.unwrap();
    }

    #[tokio::test]
    async fn silent_or_failing_listener_is_not_alive() {
        let dir = tempfile::tempdir().unwrap();
        let silent = answers("").await;
        let mut tried = proof(&dir, Some(silent));
        let error = tried.within(BRIEFLY, Clock::system()).await.unwrap_err();
        assert!(format!("{error:#}").contains("no answer within"), "{error:#}");
        tried.address = Some(answers("HTTP/1.1 503 Service Unavailable\r\n").await);
        let error = tried.within(SOON, Clock::system()).await.unwrap_err();
        assert!(format!("{error:#}").contains("503"), "{error:#}");
    }

    #[test]
    fn listener_on_all_addresses_is_checked_by_loopback() {
        for (bound, asked) in
            [("0.0.0.0:1", "127.0.0.1:1"), ("[::]:1", "[::1]:1"), ("10.0.0.1:1", "10.0.0.1:1")]
        {
            assert_eq!(reachable(bound.parse().unwrap()), asked.parse().unwrap());
        }
    }
}
