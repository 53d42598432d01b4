//! Listeners: accepts connections, counts them, and serves TLS, HTTP/1.1 and HTTP/2.
//!
//! Uses its own accept loop around hyper, so that every connection is counted, has timeouts, sends
//! without delay (`TCP_NODELAY`), and is tracked until it ends.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::Request;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::admission::{ConnectionSlot, Rejection};
use super::peer::{Audience, Listener, Peer};
use super::tls::Stream;
use super::write_timeout::{ConnectionRequests, RequestGuard, WriteTimeoutStream};
use super::{front, http2, proxies, tls, unsent};
use crate::logging::line_limit::LineLimit;
use crate::serve::server::ServerState;

/// Pause after the system could not accept a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of a request's head.
const HEAD_BYTES: usize = 16 << 10;
/// Longest life of a rejected connection.
const REFUSED_FOR: Duration = Duration::from_secs(3);
/// Accepts connections until the server stops.
pub(crate) async fn accept(
    server: Arc<ServerState>,
    listener: Listener,
    router: Router,
    tls: Option<TlsAcceptor>,
) {
    // The reason lasts, mostly.
    let failures = LineLimit::per_minute(2);
    loop {
        let accepted = tokio::select! {
            () = server.soft.cancelled() => return,
            () = server.hard.cancelled() => return,
            accepted = listener.socket.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                failures.log(|left_out| {
                    let words = "no connection can be accepted now: is `ulimit -n` too low?";
                    tracing::warn!(%error, left_out, "{words}");
                });
                server.clock.sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let audience = listener.audience;
        let (slot, refusal) = match admit(&server, audience, address, false) {
            Ok(slot) => (slot, None),
            // The client receives the reason, and may request the health check if a slot for that
            // is free.
            Err(refusal) => {
                let Ok(slot) = admit(&server, audience, address, true) else {
                    drop(refusal.problem());
                    continue;
                };
                (slot, Some(refusal))
            }
        };
        let (slot, cut) = (Some(Arc::new(slot)), CancellationToken::new());
        let address = address.ip().to_canonical();
        let peer = Peer { address, audience, cut, refusal, _slot: slot };
        let connection = serve(Arc::clone(&server), stream, peer, router.clone(), tls.clone());
        server.tracker.spawn(connection);
    }
}

/// Takes a slot for a connection, or for a rejected connection that receives a response.
fn admit(
    server: &ServerState,
    audience: Audience,
    from: SocketAddr,
    was_refused: bool,
) -> Result<ConnectionSlot, Rejection> {
    let address = from.ip();
    let is_proxy = proxies::is_proxy(&server.options.config, address);
    let counted = (!is_proxy).then_some(address);
    match audience {
        _ if was_refused => server.refused.connection(counted),
        Audience::Ops => server.ops.connection(Some(address)),
        Audience::Public => server.public.connection(counted),
    }
}

async fn serve(
    server: Arc<ServerState>,
    stream: TcpStream,
    peer: Peer,
    router: Router,
    tls: Option<TlsAcceptor>,
) {
    // Frames are gathered before they are written, so Nagle's algorithm gains nothing.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    unsent::limit(&stream);
    let timeout = server.options.config.limits.handshake_timeout;
    let hard = server.hard.clone();
    let is_refused = peer.refusal.is_some();
    let refused_for = async {
        if is_refused {
            server.clock.sleep(REFUSED_FOR).await;
        } else {
            std::future::pending::<()>().await;
        }
    };
    let life = async {
        let stream = match tls {
            None => Stream::Left(stream),
            Some(tls) => tokio::select! {
                accepted = tls.accept(stream) => match accepted {
                    Ok(stream) => Stream::Right(Box::new(stream)),
                    Err(error) => return tracing::debug!(%error, "a TLS handshake failed"),
                },
                () = server.clock.sleep(timeout) => return,
            },
        };
        if tls::speaks_http2(&stream) {
            let patience = server.options.config.limits.write_timeout;
            let stream = WriteTimeoutStream::new(stream, patience, server.clock);
            http2::speak(&server, stream, peer, router).await;
        } else {
            speak(&server, stream, peer, router).await;
        }
    };
    tokio::select! {
        () = hard.cancelled() => {}
        () = refused_for => {}
        () = life => {}
    }
}

/// Serves a connection until it ends or becomes a WebSocket.
async fn speak(server: &Arc<ServerState>, stream: Stream, peer: Peer, router: Router) {
    let requests = ConnectionRequests::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (router, peer, answering) = (router.clone(), peer.clone(), requests.begin());
        async move {
            let response = front::answer(server, router, peer, request.map(Body::new)).await;
            Ok::<_, std::convert::Infallible>(guarded(response, answering))
        }
    });
    let limits = &server.options.config.limits;
    let stream = WriteTimeoutStream::new(stream, limits.write_timeout, server.clock).with_requests(
        limits.handshake_timeout,
        server.options.config.keep_alive,
        requests.clone(),
    );
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
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
        () = peer.cut.cancelled() => return,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// A response that counts as open until its body is sent.
fn guarded(response: Response, answering: RequestGuard) -> Response {
    response.map(|body| Body::new(GuardedBody { body, _answering: answering }))
}

struct GuardedBody {
    body: Body,
    _answering: RequestGuard,
}

impl hyper::body::Body for GuardedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
