//! What all connections of one server share.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::serve::admin::operate::Operate;
use crate::serve::history;
use crate::serve::http::admission::Admission;
use crate::serve::http::encoding;
use crate::serve::options::ServeOptions;
use crate::serve::ws::connection::SocketOptions;

/// Connections that were refused and are told why, in all and of one address.
const REFUSED: (usize, usize) = (128, 8);
/// Connections of an ops listener, which has a count of its own: the public cannot take them.
const OPS_CONNECTIONS: usize = 256;

pub(crate) struct Server {
    pub(crate) options: ServeOptions,
    pub(crate) hub: Arc<Hub>,
    pub(crate) operate: Arc<dyn Operate>,
    pub(crate) clock: Clock,
    /// Who is in, of the public listeners.
    pub(crate) public: Arc<Admission>,
    /// Who is in, of the ops listeners.
    pub(crate) ops: Arc<Admission>,
    /// Connections that were refused and are told why.
    pub(crate) refused: Arc<Admission>,
    /// `/openapi.json`, written for the first request; nothing in it changes.
    pub(crate) openapi: OnceLock<Bytes>,
    /// `/asyncapi.json`, likewise.
    pub(crate) asyncapi: OnceLock<Bytes>,
    /// Charts and latest values, which are the same for everyone.
    pub(crate) shared: history::Shared,
    /// Streams that are made smaller on their way.
    pub(crate) packing: Arc<Semaphore>,
    /// Every connection and every WebSocket.
    pub(crate) tracker: TaskTracker,
    /// Ends everything politely.
    pub(crate) soft: CancellationToken,
    /// Ends everything now.
    pub(crate) hard: CancellationToken,
}

impl Server {
    pub(crate) fn new(
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
            openapi: OnceLock::new(),
            asyncapi: OnceLock::new(),
            shared: history::Shared::default(),
            packing: Arc::new(Semaphore::new(encoding::PACKED)),
            tracker: TaskTracker::new(),
            options,
            hub,
            operate,
            soft,
            hard,
        }
    }

    pub(crate) fn socket_options(&self) -> SocketOptions {
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
