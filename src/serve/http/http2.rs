//! HTTP/2 over TLS: many requests on one connection, for browsers, which open no more than six
//! connections of HTTP/1.1 to a host.
//!
//! An open request takes a place as a connection of its own would, so that nobody has more of them
//! by HTTP/2 than otherwise. Each is a task of its own that can be cut off without the others. What
//! a connection may make us hold is bounded by [`STREAMS`] and [`SEND_BYTES`]; resets in quick
//! succession (CVE-2023-44487) and endless headers (CVE-2024-27316) are refused by the library.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
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

use super::admission::Slot;
use super::front;
use super::peer::{Audience, Guest};
use super::write_timeout::Patient;
use crate::serve::server::Server;
use crate::sync::lock;

/// Requests of one connection that are open at once.
const STREAMS: u32 = 100;
/// The most bytes of a request's headers, unpacked.
const HEAD_BYTES: u32 = 16 << 10;
/// The most bytes of one answer that wait for the peer to take them.
const SEND_BYTES: usize = 64 << 10;
/// Bytes that a client may send ahead; requests have no body worth speaking of.
const WINDOW: u32 = 64 << 10;
/// A connection whose peer does not answer a ping in this time is gone.
const PING_WITHIN: Duration = Duration::from_secs(20);

tokio::task_local! {
    /// The request that a task answers.
    static OPEN: Arc<Open>;
}

/// An open request.
#[derive(Debug, Default)]
struct Open {
    /// Ends it alone.
    cut: CancellationToken,
    /// Its place, held until the last of the answer has left.
    place: Mutex<Option<Slot>>,
}

/// Runs each request as a task of its own.
#[derive(Clone)]
struct Requests {
    server: Arc<Server>,
    /// How many are open, and how many there were.
    open: Arc<AtomicUsize>,
    begun: Arc<AtomicUsize>,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Requests {
    fn execute(&self, request: F) {
        let (open, hard) = (Arc::new(Open::default()), self.server.hard.clone());
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        let counted = Counted(Arc::clone(&self.open));
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

/// One of the open requests.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers requests until the connection ends.
pub(crate) async fn speak(server: &Arc<Server>, stream: Patient, guest: Guest, router: Router) {
    let requests =
        Requests { server: Arc::clone(server), open: Arc::default(), begun: Arc::default() };
    let service = {
        let (server, guest) = (Arc::clone(server), guest.clone());
        service_fn(move |request: Request<Incoming>| {
            let (server, guest, router) = (Arc::clone(&server), guest.clone(), router.clone());
            async move { Ok::<_, Infallible>(respond(&server, guest, router, request).await) }
        })
    };
    let connection = http2::Builder::new(requests.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEAD_BYTES)
        .max_send_buf_size(SEND_BYTES)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(PING_WITHIN)
        .keep_alive_timeout(PING_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = guest.peer.cut.cancelled() => return,
        () = idle(server, &requests) => {
            connection.as_mut().graceful_shutdown();
            connection.await
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
    server: &Arc<Server>,
    mut guest: Guest,
    router: Router,
    request: Request<Incoming>,
) -> axum::response::Response {
    let open = OPEN.with(Arc::clone);
    guest.peer.cut = open.cut.clone();
    if guest.refusal.is_none() && guest.peer.audience == Audience::Public {
        let is_proxy = server.options.trusted_proxies.contain(guest.peer.address);
        match server.public.connection((!is_proxy).then_some(guest.peer.address)) {
            Ok(place) => {
                *lock(&open.place) = Some(place);
            }
            Err(refusal) => guest.refusal = Some(refusal),
        }
    }
    front::answer(server, router, guest.peer, request.map(Body::new), guest.refusal).await
}

/// Until no request was open for as long as a connection may be idle; until the first one for as
/// long as its head may take.
async fn idle(server: &Server, requests: &Requests) {
    server.clock.sleep(server.options.limits.handshake_timeout).await;
    loop {
        let begun = requests.begun.load(Ordering::Relaxed);
        let is_idle = || {
            requests.open.load(Ordering::Relaxed) == 0
                && requests.begun.load(Ordering::Relaxed) == begun
        };
        if begun == 0 {
            return;
        }
        let was_idle = is_idle();
        server.clock.sleep(server.options.keep_alive).await;
        if was_idle && is_idle() {
            return;
        }
    }
}
