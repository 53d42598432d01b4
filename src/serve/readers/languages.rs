//! `/language/latest` and `/language/watch`: pull-request events by language.

use std::sync::Arc;

use axum::extract::{Request, State};

use super::ClientReader;
use super::params::{self, InvalidParams};
use crate::hub::{Frame, Hub, LanguageChanges, LatestLanguages, Notifier, ReaderBatch};
use crate::serve::http::problem::HttpResult;
use crate::serve::server::SharedServer;
use crate::serve::ws::handshake;

/// Receives the languages with the most events, once it has parameters.
#[derive(Debug)]
struct LatestReader {
    hub: Arc<Hub>,
    notifier: Arc<Notifier>,
    latest: Option<LatestLanguages>,
}

/// Receives the counts of all languages first, then changes of those in its parameters.
#[derive(Debug)]
struct WatchReader {
    changes: LanguageChanges,
    first: Option<Frame>,
}

pub(crate) async fn latest(State(server): SharedServer, request: Request) -> HttpResult {
    handshake::open(&server, request, r#"then send {"top":10}"#, |server, notifier, _| {
        let (hub, notifier) = (Arc::clone(&server.hub), Arc::clone(notifier));
        Ok(LatestReader { hub, notifier, latest: None })
    })
}

pub(crate) async fn watch(State(server): SharedServer, request: Request) -> HttpResult {
    let hint = r#"then send {"language":["Java"]}"#;
    handshake::open(&server, request, hint, |server, notifier, _| {
        let (changes, first) = server.hub.latest_values.watch_languages(notifier);
        Ok(WatchReader { changes, first: Some(first) })
    })
}

impl ClientReader for LatestReader {
    type Message = Frame;
    const NAME: &'static str = "/language/latest";
    const EXAMPLE: &'static str = r#"{"top":10}"#;

    fn ask(&mut self, text: &str) -> Result<(), InvalidParams> {
        let query = params::latest(text)?;
        self.latest = Some(self.hub.latest_values.follow_languages(query, &self.notifier));
        Ok(())
    }

    fn take(&mut self) -> ReaderBatch<Frame> {
        self.latest.as_mut().and_then(LatestLanguages::take).into()
    }
}

impl ClientReader for WatchReader {
    type Message = Frame;
    const NAME: &'static str = "/language/watch";
    const EXAMPLE: &'static str = r#"{"language":["Java"]}"#;

    fn first(&mut self) -> Option<Frame> {
        self.first.take()
    }

    fn ask(&mut self, text: &str) -> Result<(), InvalidParams> {
        self.changes.ask(params::watch(text)?);
        Ok(())
    }

    fn take(&mut self) -> ReaderBatch<Frame> {
        self.changes.take().into()
    }
}
