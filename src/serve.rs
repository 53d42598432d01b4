//! The server: the hub's feeds as WebSocket endpoints, and the few HTTP paths beside them.
//!
//! Door to axum, hyper and the WebSocket library. [`run`] takes bound listeners, what to serve and
//! two reasons to stop: the soft one closes every WebSocket with 1001 and waits until the last is
//! gone, the hard one drops them. Every connection is tracked, limited and timed; every refusal
//! says why and is counted.

mod admission;
mod api;
mod deflate;
mod docs;
mod endpoints;
mod feeds;
mod front;
mod goodbye;
mod handshake;
mod head;
mod http2;
mod identity;
mod inflow;
mod listen;
mod operate;
mod ops;
mod options;
mod pace;
mod page;
mod params;
mod pasted;
mod patient;
mod problem;
mod proxies;
mod public;
mod routes;
mod server;
mod sheets;
mod socket;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod topics;
mod wire;
mod wish;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use listen::{Audience, Listener};
pub use operate::{
    ArchiveAnswer, ArchiveRequest, Operate, Part, PartState, Refusal, ScriptState, Status,
    StoreAnswer, StoreRequest, SyncAnswer, is_ready,
};
pub use options::ServeOptions;
pub use proxies::Proxies;
pub use tls::Certificate;

use crate::hub::Hub;
use server::Server;

/// Reads the files of `server.tls`, so that a wrong one is known before anything begins; `None`
/// without any. To be given to [`run`] in its options, and renewed while that runs.
pub fn certificate(server: &crate::config::ServerConfig) -> anyhow::Result<Option<Certificate>> {
    server.tls.as_ref().map(Certificate::read).transpose()
}

/// Serves until `soft` and then until the last connection is gone, or until `hard`.
///
/// Fails before it serves anything: when a path is taken twice, or a certificate cannot be read.
pub async fn run(
    listeners: Vec<Listener>,
    options: ServeOptions,
    hub: Arc<Hub>,
    operate: Arc<dyn Operate>,
    soft: CancellationToken,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    let tls = match (&options.certificate, &options.tls) {
        (Some(certificate), _) => Some(certificate.acceptor()?),
        (None, Some(files)) => Some(tls::acceptor(files)?),
        (None, None) => None,
    };
    let server = Arc::new(Server::new(options, hub, operate, soft, hard));
    let router = routes::router(&server)?;
    for listener in listeners {
        let tls = tls.clone().filter(|_| listener.audience == Audience::Public);
        server.tracker.spawn(listen::accept(Arc::clone(&server), listener, router.clone(), tls));
    }
    let (soft, hard) = (server.soft.clone(), server.hard.clone());
    let everyone_gone = async {
        soft.cancelled().await;
        server.tracker.close();
        server.tracker.wait().await;
    };
    tokio::select! {
        () = everyone_gone => {}
        () = hard.cancelled() => {}
        () = server.hub.dispatch(CancellationToken::new()) => {}
    }
    Ok(())
}
