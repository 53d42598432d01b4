//! `/sampling`: a sample of all events, whole or projected.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::ClientReader;
use super::params::{self, InvalidParams};
use crate::hub::{Frame, Notifier, ReaderBatch, SamplingSubscriber};
use crate::serve::http::problem::HttpResult;
use crate::serve::server::{ServerState, SharedServer};
use crate::serve::ws::handshake;

/// Receives events once it has parameters.
struct SamplingReader {
    server: Arc<ServerState>,
    notifier: Arc<Notifier>,
    subscriber: Option<SamplingSubscriber>,
}

pub(crate) async fn sampling(State(server): SharedServer, request: Request) -> HttpResult {
    handshake::open(&server, request, r#"then send {"samplingRate":1}"#, |server, notifier, _| {
        let (server, notifier) = (Arc::clone(server), Arc::clone(notifier));
        Ok(SamplingReader { server, notifier, subscriber: None })
    })
}

impl ClientReader for SamplingReader {
    type Message = Frame;
    const NAME: &'static str = "/sampling";
    const EXAMPLE: &'static str = r#"{"samplingRate":1}"#;

    fn first(&mut self) -> Option<Frame> {
        Some(self.server.hub.latest_values.first_of_sampling())
    }

    fn ask(&mut self, text: &str) -> Result<(), InvalidParams> {
        let ServerState { options, hub, .. } = &*self.server;
        let params = params::sampling(text, options.config.limits.filter_paths)?;
        self.subscriber = Some(hub.subscribe(params.subscription, params.rate, &self.notifier));
        Ok(())
    }

    fn take(&mut self) -> ReaderBatch<Frame> {
        self.subscriber.as_mut().map_or_else(|| None.into(), SamplingSubscriber::take)
    }
}
