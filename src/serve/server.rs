//! What all connections of one server share.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::admission::Admission;
use super::api::Documents;
use super::history;
use super::operate::Operate;
use super::options::ServeOptions;
use super::socket::SocketOptions;
use super::stream;
use crate::clock::Clock;
use crate::hub::Hub;

/// Connections that were refused and are told why, in all and of one address.
const REFUSED: (usize, usize) = (128, 8);
/// Connections of an ops listener, which has a count of its own: the public cannot take them.
const OPS_CONNECTIONS: usize = 256;

pub(super) struct Server {
    pub(super) options: ServeOptions,
    pub(super) hub: Arc<Hub>,
    pub(super) operate: Arc<dyn Operate>,
    pub(super) clock: Clock,
    /// Who is in, of the public listeners.
    pub(super) public: Arc<Admission>,
    /// Who is in, of the ops listeners.
    pub(super) ops: Arc<Admission>,
    /// Connections that were refused and are told why.
    pub(super) refused: Arc<Admission>,
    /// `/openapi.json` and `/asyncapi.json`.
    pub(super) documents: Documents,
    /// Charts and latest values, which are the same for everyone.
    pub(super) shared: history::Shared,
    /// Streams that are made smaller on their way.
    pub(super) packing: Arc<Semaphore>,
    /// Every connection and every WebSocket.
    pub(super) tracker: TaskTracker,
    /// Ends everything politely.
    pub(super) soft: CancellationToken,
    /// Ends everything now.
    pub(super) hard: CancellationToken,
}

impl Server {
    pub(super) fn new(
        options: ServeOptions,
        hub: Arc<Hub>,
        operate: Arc<dyn Operate>,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> Self {
        let limits = &options.limits;
        Self {
            public: Arc::new(Admission::new(limits.connections, limits.per_address)),
            ops: Arc::new(Admission::new(OPS_CONNECTIONS, OPS_CONNECTIONS)),
            refused: Arc::new(Admission::waiting(REFUSED.0, REFUSED.1)),
            clock: hub.clock(),
            documents: Documents::default(),
            shared: history::Shared::default(),
            packing: Arc::new(Semaphore::new(stream::PACKED)),
            tracker: TaskTracker::new(),
            options,
            hub,
            operate,
            soft,
            hard,
        }
    }

    pub(super) fn socket_options(&self) -> SocketOptions {
        let limits = &self.options.limits;
        SocketOptions {
            clock: self.clock,
            message_bytes: limits.message_bytes,
            params_per_minute: limits.params_per_minute,
            write_timeout: limits.write_timeout,
            ping_every: self.options.ping_every,
            silence: self.options.silence,
            message_within: self.options.message_within,
            soft: self.soft.clone(),
        }
    }
}
