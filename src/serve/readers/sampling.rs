//! `/sampling`: a sample of all events, whole or projected.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::ClientReader;
use super::params::{self, InvalidParams};
use crate::hub::{Frame, Hub, Notifier, ReaderBatch, SamplingSubscriber};
use crate::serve::http::problem::HttpResult;
use crate::serve::server::SharedServer;
use crate::serve::ws::handshake;

/// Receives events once it has parameters.
#[derive(Debug)]
struct SamplingReader {
    hub: Arc<Hub>,
    notifier: Arc<Notifier>,
    /// Most paths in a filter.
    paths: usize,
    subscriber: Option<SamplingSubscriber>,
}

pub(crate) async fn sampling(State(server): SharedServer, request: Request) -> HttpResult {
    handshake::open(&server, request, r#"then send {"samplingRate":1}"#, |server, notifier, _| {
        let (hub, notifier) = (Arc::clone(&server.hub), Arc::clone(notifier));
        let paths = server.options.config.limits.filter_paths;
        Ok(SamplingReader { hub, notifier, paths, subscriber: None })
    })
}

impl ClientReader for SamplingReader {
    type Message = Frame;
    const NAME: &'static str = "/sampling";
    const EXAMPLE: &'static str = r#"{"samplingRate":1}"#;

    fn first(&mut self) -> Option<Frame> {
        Some(self.hub.latest_values.first_of_sampling())
    }

    fn ask(&mut self, text: &str) -> Result<(), InvalidParams> {
        let params = params::sampling(text, self.paths)?;
        let subscriber = self.hub.subscribe(params.subscription, params.rate, &self.notifier);
        self.subscriber = Some(subscriber);
        Ok(())
    }

    fn take(&mut self) -> ReaderBatch<Frame> {
        self.subscriber.as_mut().map_or_else(|| None.into(), SamplingSubscriber::take)
    }
}
