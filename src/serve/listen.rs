//! From a listener to requests: accepting, counting, TLS, HTTP/1.1.
//!
//! Our own loop around the HTTP library, so that every connection is counted, has its time-outs,
//! sends without delay, and is tracked until it ends.

use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::admission::{Refusal, Slot};
use super::patient::Patient;
use super::server::Server;
use super::wire::Stream;
use super::{identity, routes};

/// How long accepting rests when the system has no more connections to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// Who is refused is told why, but at most so many at once; the others are only closed.
const REFUSED_AT_ONCE: usize = 64;

/// A bound socket and who it is for.
#[derive(Debug)]
pub struct Listener {
    /// Bound and listening.
    pub socket: TcpListener,
    /// Who it is for.
    pub audience: Audience,
}

/// Who a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everyone; limits and TLS hold.
    Public,
    /// Whoever runs the appliance: metrics and sync besides, in plain text.
    Ops,
}

/// Who a request came from.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) audience: Audience,
    /// Ends the connection at once.
    pub(super) cut: CancellationToken,
    /// The connection's place; whoever holds this holds the place.
    _slot: Option<Arc<Slot>>,
}

/// Accepts until the server stops.
pub(super) async fn accept(
    server: Arc<Server>,
    listener: Listener,
    router: Router,
    tls: Option<TlsAcceptor>,
) {
    let refused = Arc::new(AtomicUsize::new(0));
    loop {
        let accepted = tokio::select! {
            () = server.soft.cancelled() => return,
            () = server.hard.cancelled() => return,
            accepted = listener.socket.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection can be accepted now: is `ulimit -n` too low?");
                server.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = admit(&server, listener.audience, address);
        let answer = match place {
            Ok(slot) => {
                let slot = Some(Arc::new(slot));
                let address = address.ip().to_canonical();
                let cut = CancellationToken::new();
                Answer::Serve(Peer { address, audience: listener.audience, cut, _slot: slot })
            }
            Err(refusal) => {
                if refused.fetch_add(1, Ordering::Relaxed) >= REFUSED_AT_ONCE {
                    refused.fetch_sub(1, Ordering::Relaxed);
                    drop(refusal.problem());
                    continue;
                }
                Answer::Refuse { refusal, _counted: Counter(Arc::clone(&refused)) }
            }
        };
        let connection = serve(Arc::clone(&server), stream, answer, router.clone(), tls.clone());
        server.tracker.spawn(connection);
    }
}

fn admit(server: &Server, audience: Audience, from: SocketAddr) -> Result<Slot, Refusal> {
    let address = from.ip();
    match audience {
        Audience::Ops => server.ops.connection(Some(address)),
        Audience::Public => {
            let mut trusted = server.options.trusted_proxies.iter();
            let is_proxy = trusted.any(|network| network.contains(address));
            server.public.connection((!is_proxy).then_some(address))
        }
    }
}

/// What a connection's requests get.
enum Answer {
    Serve(Peer),
    Refuse { refusal: Refusal, _counted: Counter },
}

/// One of a count, until it is dropped.
struct Counter(Arc<AtomicUsize>);

impl Drop for Counter {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(
    server: Arc<Server>,
    stream: TcpStream,
    answer: Answer,
    router: Router,
    tls: Option<TlsAcceptor>,
) {
    // Frames are gathered by us, so nothing is gained by the kernel's waiting.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let timeout = server.options.limits.handshake_timeout;
    let hard = server.hard.clone();
    let life = async {
        let stream = match tls {
            None => Stream::Plain(stream),
            Some(tls) => tokio::select! {
                accepted = tls.accept(stream) => match accepted {
                    Ok(stream) => Stream::Tls(Box::new(stream)),
                    Err(error) => return tracing::debug!(%error, "a TLS handshake failed"),
                },
                () = server.clock.sleep(timeout) => return,
            },
        };
        speak(&server, stream, &answer, router).await;
    };
    tokio::select! {
        () = hard.cancelled() => {}
        () = life => {}
    }
}

/// Answers requests until the connection ends or becomes a WebSocket.
async fn speak(server: &Arc<Server>, stream: Stream, answer: &Answer, router: Router) {
    let service = service_fn(|request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let response = match answer {
                Answer::Serve(peer) => route(server, router, peer.clone(), request).await,
                Answer::Refuse { refusal, .. } => {
                    let mut response = refusal.problem().into_response();
                    let close = HeaderValue::from_static("close");
                    response.headers_mut().insert(header::CONNECTION, close);
                    response
                }
            };
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let patience = server.options.limits.write_timeout;
    let patient = Patient::new(stream, patience, server.clock);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.options.limits.handshake_timeout)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(patient), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let cut = match answer {
        Answer::Serve(peer) => peer.cut.clone(),
        Answer::Refuse { .. } => CancellationToken::new(),
    };
    let politely = async {
        tokio::select! {
            ended = connection.as_mut() => ended,
            () = server.soft.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    };
    let ended = tokio::select! {
        ended = politely => ended,
        () = cut.cancelled() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

async fn route(
    server: &Server,
    router: Router,
    peer: Peer,
    request: Request<Incoming>,
) -> Response {
    let mut request = request.map(Body::new);
    routes::strip(&mut request, server.options.base_path.as_deref());
    request.extensions_mut().insert(peer);
    let mut response = match identity::refuse_host(server, &request) {
        Some(problem) => problem.into_response(),
        None => tower::ServiceExt::oneshot(router, request).await.into_response(),
    };
    routes::secure(response.headers_mut());
    response
}
