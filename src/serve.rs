//! The server: streams and counts over WebSocket and HTTP, pages, and endpoints for operators.
//!
//! Adapter of axum, hyper and tungstenite. [`run`] takes bound listeners and two tokens: `soft`
//! closes every WebSocket with 1001 and waits until the last connection is gone, `hard` drops them.
//! Every connection is tracked, limited and has time-outs; every rejection is counted and names its
//! reason.

mod admin;
mod api;
mod archive;
mod history;
mod http;
mod ledger;
mod options;
mod pages;
mod readers;
mod scripts;
mod server;
#[cfg(test)]
mod tests;
mod timer;
mod ws;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use admin::operate::{
    ArchiveRequest, ChartSpan, CompletenessByHour, LanguageCounts, Operate, OpsAnswer, OpsError,
    ScriptState, StoreReading, StoreRequest, SyncAnswer, TopQuery,
};
pub use admin::report::{
    BackupReport, BusReport, ClientReport, ClockReport, DiskReport, JournalReport, MemoryReport,
    Status, is_ready,
};
pub use http::peer::{Audience, Listener};
pub use http::tls::Certificate;
pub use options::ServeOptions;

use crate::hub::Hub;
use server::ServerState;

/// Reads the files of `server.tls` before anything starts; `None` when none are configured. Pass it
/// to [`run`] in its options; it can be renewed while the server runs.
pub fn certificate(server: &crate::config::ServerConfig) -> anyhow::Result<Option<Certificate>> {
    server.tls.as_ref().map(Certificate::read).transpose()
}

/// Serves until `soft` is cancelled and the last connection is gone, or until `hard` is cancelled.
///
/// Fails before it serves anything when two endpoints have the same path.
pub async fn run(
    listeners: Vec<Listener>,
    options: ServeOptions,
    hub: Arc<Hub>,
    operate: Arc<dyn Operate>,
    soft: CancellationToken,
    hard: CancellationToken,
) -> anyhow::Result<()> {
    let tls = options.certificate.as_ref().map(Certificate::acceptor).transpose()?;
    let server = Arc::new(ServerState::new(options, hub, operate, soft, hard));
    let routed = listeners.into_iter().map(|listener| {
        let router = http::routes::router(&server, listener.audience)?;
        Ok((listener, router))
    });
    for (listener, router) in routed.collect::<anyhow::Result<Vec<_>>>()? {
        let tls = tls.clone().filter(|_| listener.audience == Audience::Public);
        server.tracker.spawn(http::listen::accept(Arc::clone(&server), listener, router, tls));
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
