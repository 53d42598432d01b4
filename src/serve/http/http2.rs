//! HTTP/2 over TLS. Browsers open at most six HTTP/1.1 connections to a host, and one of HTTP/2
//! with many requests.
//!
//! An open request takes a connection slot, so HTTP/2 gives no client more requests than HTTP/1.1.
//! Each runs as its own task, which ends without the others when the client does not take its
//! response. [`STREAMS`] and [`SEND_BYTES`] bound the memory of a connection; hyper rejects rapid
//! resets (CVE-2023-44487) and endless headers (CVE-2024-27316).

use std::convert::Infallible;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;

use super::admission::ConnectionSlot;
use super::front;
use super::peer::{Audience, Peer};
use super::progress;
use super::proxies::is_proxy;
use super::write_timeout::{ConnectionRequests, WriteTimeoutStream};
use crate::clock::Clock;
use crate::serve::server::ServerState;
use crate::sync::lock;

/// Open requests of a connection.
const STREAMS: u32 = 100;
/// Most bytes of a request's headers, decompressed.
const HEAD_BYTES: u32 = 16 << 10;
/// Most bytes of a response that wait to be sent.
const SEND_BYTES: usize = 64 << 10;
/// Bytes that a client may send ahead; requests have small bodies or none.
const WINDOW: u32 = 64 << 10;
/// A connection without frames from its peer for this time is pinged.
const PING_AFTER: Duration = Duration::from_secs(20);
/// A connection whose peer does not answer a ping in this time is closed. The answer comes after
/// all data that was sent before the ping, about 400 KB on a full connection, so that a client at
/// 4 KB/s has time for it.
const PONG_WITHIN: Duration = Duration::from_secs(120);

tokio::task_local! {
    /// The request that a task answers.
    static OPEN: Arc<OpenRequest>;
}

#[derive(Debug, Default)]
struct OpenRequest {
    /// Ends this request alone.
    cut: CancellationToken,
    /// Its slot, held until the last byte of the response is sent.
    slot: Mutex<Option<ConnectionSlot>>,
}

/// Spawns a task for each request.
#[derive(Clone)]
struct RequestTasks {
    server: Arc<ServerState>,
    requests: ConnectionRequests,
}

/// Waits until no request was open, and none began, for this long.
async fn unused_for(requests: &ConnectionRequests, clock: Clock, time: Duration) {
    loop {
        let begun = requests.begun();
        let was_open = requests.are_open();
        clock.sleep(time).await;
        if !was_open && !requests.are_open() && requests.begun() == begun {
            return;
        }
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for RequestTasks {
    fn execute(&self, request: F) {
        let (open, hard) = (Arc::new(OpenRequest::default()), self.server.hard.clone());
        let counted = self.requests.begin();
        let cut = open.cut.clone();
        self.server.tracker.spawn(OPEN.scope(open, async move {
            tokio::select! {
                () = request => {}
                () = cut.cancelled() => {}
                () = hard.cancelled() => {}
            }
            drop(counted);
        }));
    }
}

/// Serves a connection until it ends.
pub(crate) async fn speak(
    server: &Arc<ServerState>,
    stream: WriteTimeoutStream,
    peer: Peer,
    router: Router,
) {
    let requests = ConnectionRequests::default();
    let tasks = RequestTasks { server: Arc::clone(server), requests: requests.clone() };
    let service = {
        let (server, peer) = (Arc::clone(server), peer.clone());
        service_fn(move |request: Request<Incoming>| {
            let (server, peer, router) = (Arc::clone(&server), peer.clone(), router.clone());
            async move { Ok::<_, Infallible>(respond(&server, peer, router, request).await) }
        })
    };
    let connection = http2::Builder::new(tasks)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(SEND_BYTES)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PONG_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let patience = server.options.config.limits.write_timeout;
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = peer.cut.cancelled() => return,
        () = idle(server, &requests) => {
            connection.as_mut().graceful_shutdown();
            // The client may begin requests until it knows of the shutdown. The rest of a last
            // piece may wait for room in a stream's window when its request is over already.
            tokio::select! {
                ended = connection => ended,
                () = peer.cut.cancelled() => return,
                () = unused_for(&requests, server.clock, patience) => return,
            }
        }
        () = server.soft.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP/2 connection ended early");
    }
}

async fn respond(
    server: &Arc<ServerState>,
    mut peer: Peer,
    router: Router,
    request: Request<Incoming>,
) -> axum::response::Response {
    let open = OPEN.with(Arc::clone);
    peer.cut = open.cut.clone();
    if peer.refusal.is_none() && peer.audience == Audience::Public {
        let is_proxy = is_proxy(&server.options.config, peer.address);
        match server.public.connection((!is_proxy).then_some(peer.address)) {
            Ok(slot) => *lock(&open.slot) = Some(slot),
            Err(refusal) => peer.refusal = Some(refusal),
        }
    }
    let cut = &open.cut;
    let response = front::answer(server, router, peer, request.map(Body::new)).await;
    progress::watched(server, response, cut)
}

/// Waits until no request was open for `keep_alive`, or until none began within the handshake
/// time-out.
async fn idle(server: &ServerState, requests: &ConnectionRequests) {
    server.clock.sleep(server.options.config.limits.handshake_timeout).await;
    if requests.begun() > 0 {
        unused_for(requests, server.clock, server.options.config.keep_alive).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_keeps_its_connection_until_it_is_over() {
        let (clock, requests) = (Clock::system(), ConnectionRequests::default());
        let second = Duration::from_secs(1);
        let started = clock.instant();
        let unused = tokio::spawn({
            let requests = requests.clone();
            async move { unused_for(&requests, clock, second).await }
        });
        clock.sleep(second / 2).await;
        let request = requests.begin();
        clock.sleep(second * 5).await;
        assert!(!unused.is_finished(), "a request is open");
        drop(request);
        unused.await.unwrap();
        let after = clock.instant().duration_since(started);
        assert!(after >= second * 13 / 2, "its last piece has time: {after:?}");
    }
}
