//! `/stream` as a WebSocket: the query of the URL holds from the start, and a message with another
//! one replaces it.

use std::sync::Arc;
use std::time::Duration;

use super::params::{self, StreamParams};
use super::{NAME, bounds};
use crate::hub::{Bell, Follower, Frame, StreamForm, Taken};
use crate::metrics;
use crate::serve::feeds::Feed;
use crate::serve::params::BadParams;
use crate::serve::server::Server;

/// How often a reader hears where it is.
pub(in crate::serve) const BEAT: Duration = Duration::from_secs(15);

const CAUGHT_UP: (u16, &str) = (1000, "that is all there is now");
const INVALID: (u16, &str) = (1008, "invalid query in the URL");

/// One connection's part of the stream.
pub(super) struct StreamFeed {
    server: Arc<Server>,
    follower: Option<Follower>,
    /// What is wrong with the URL's query.
    refused: Option<BadParams>,
}

impl StreamFeed {
    pub(super) fn new(
        server: Arc<Server>,
        bell: &Arc<Bell>,
        form: StreamForm,
        asked: Result<StreamParams, BadParams>,
    ) -> Self {
        let mut follower = server.hub.follow(form, bell);
        let mut refused = None;
        match (asked, &mut follower) {
            (Ok(asked), Some(follower)) => ask(follower, asked),
            (Ok(_), None) => {}
            (Err(bad), _) => refused = Some(bad),
        }
        Self { server, follower, refused }
    }
}

pub(super) fn ask(follower: &mut Follower, asked: StreamParams) {
    let StreamParams { choice, start, once, warnings } = asked;
    follower.ask(choice, start, warnings);
    follower.only_once(once);
}

impl Feed for StreamFeed {
    const NAME: &'static str = NAME;
    const EXAMPLE: &'static str = r#"{"types":["PushEvent"]}"#;
    const BEAT: Option<Duration> = Some(BEAT);

    fn first(&mut self) -> Option<Frame> {
        let simulated = self.server.operate.simulated();
        self.follower.as_ref().map(|follower| Frame::encoded(follower.hello(simulated)))
    }

    fn has_asked(&self) -> bool {
        true
    }

    fn ask(&mut self, text: &str) -> Result<(), BadParams> {
        let asked = params::of_json(text, bounds(&self.server))?;
        if let Some(follower) = &mut self.follower {
            ask(follower, asked);
        }
        Ok(())
    }

    fn take(&mut self) -> Taken {
        let Some(follower) = &mut self.follower else { return Taken::default() };
        if let Some(bad) = self.refused.take() {
            metrics::REFUSED.add_for("invalid_params", 1);
            let error = follower.error("invalid_query", bad.field, &bad.message);
            let frames = vec![Frame::encoded(error)];
            return Taken { frames, ended: Some(INVALID), ..Taken::default() };
        }
        let portion = follower.take();
        Taken {
            frames: portion.chunks.into_iter().map(Frame::encoded).collect(),
            messages: portion.messages,
            more: portion.more,
            ended: portion.ended.then_some(CAUGHT_UP),
        }
    }

    fn complaint(&self, code: &'static str, bad: &BadParams) -> Frame {
        let code = if code == "invalid_params" { "invalid_query" } else { code };
        let error = self.follower.as_ref().map(|f| f.error(code, bad.field, &bad.message));
        error.map_or_else(Frame::ping, Frame::encoded)
    }

    fn beat(&mut self) -> Option<Frame> {
        self.follower.as_mut().map(|follower| Frame::encoded(follower.heartbeat()))
    }

    fn bye(&mut self, reason: &str, retry_after: u64) -> Option<Frame> {
        self.follower.as_mut().map(|follower| Frame::encoded(follower.bye(reason, retry_after)))
    }
}
