//! State that all connections of a server share.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::hub::Hub;
use crate::serve::admin::operate::Operate;
use crate::serve::archive::directory::ArchiveIndex;
use crate::serve::archive::limits::Downloads;
use crate::serve::history::shared::SharedResponses;
use crate::serve::http::admission::Admission;
use crate::serve::http::encoding;
use crate::serve::options::ServeOptions;

/// Rejected connections that are kept open for a response, per address.
const REFUSED_PER_ADDRESS: usize = 8;

/// How a handler receives the state.
pub(crate) type SharedServer = State<Arc<ServerState>>;

pub(crate) struct ServerState {
    pub(crate) options: ServeOptions,
    pub(crate) hub: Arc<Hub>,
    pub(crate) operate: Arc<dyn Operate>,
    pub(crate) clock: Clock,
    /// Connections of the public listeners.
    pub(crate) public: Arc<Admission>,
    /// Connections of the ops listeners.
    pub(crate) ops: Arc<Admission>,
    /// Rejected connections that receive a response.
    pub(crate) refused: Arc<Admission>,
    /// `/openapi.json`, generated at the first request; it does not change.
    pub(crate) openapi: OnceLock<Bytes>,
    /// `/asyncapi.json`, likewise; the server's address is filled in at each request.
    pub(crate) asyncapi: OnceLock<String>,
    /// Charts and latest values, which are the same for all clients.
    pub(crate) shared: SharedResponses,
    /// Downloads of the archive.
    pub(crate) downloads: Downloads,
    /// The hours of the archive.
    pub(crate) archive: Arc<ArchiveIndex>,
    /// One permit per response body that is compressed.
    pub(crate) compressors: Arc<Semaphore>,
    /// Every connection and every WebSocket.
    pub(crate) tracker: TaskTracker,
    /// Closes every connection after its last message.
    pub(crate) soft: CancellationToken,
    /// Drops every connection.
    pub(crate) hard: CancellationToken,
}

impl ServerState {
    pub(crate) fn new(
        options: ServeOptions,
        hub: Arc<Hub>,
        operate: Arc<dyn Operate>,
        soft: CancellationToken,
        hard: CancellationToken,
    ) -> Self {
        let limits = &options.config.limits;
        Self {
            public: Arc::new(Admission::new(limits.connections, limits.per_address)),
            ops: Arc::new(Admission::new(options.ops_connections, options.ops_connections)),
            refused: Arc::new(Admission::waiting(options.refused, REFUSED_PER_ADDRESS)),
            clock: hub.clock,
            openapi: OnceLock::new(),
            asyncapi: OnceLock::new(),
            shared: SharedResponses::default(),
            downloads: Downloads::new(limits, hub.clock),
            archive: Arc::default(),
            compressors: Arc::new(Semaphore::new(encoding::COMPRESSED)),
            tracker: TaskTracker::new(),
            options,
            hub,
            operate,
            soft,
            hard,
        }
    }
}
