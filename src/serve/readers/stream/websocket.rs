//! `/stream` as a WebSocket: the query of the URL holds from the start, and a message with another
//! one replaces it.

use std::sync::Arc;
use std::time::Duration;

use super::query;
use super::query::StreamParams;
use super::{NAME, bounds};
use crate::hub::{Follower, Frame, FrameBatch, Notifier, StreamEncoding, TooManySearches};
use crate::metrics;
use crate::serve::readers::params::BadParams;
use crate::serve::readers::sampling::Feed;
use crate::serve::server::Server;

/// How often a reader hears where it is.
pub(crate) const BEAT: Duration = Duration::from_secs(15);

const CAUGHT_UP: (u16, &str) = (1000, "that is all there is now");
const INVALID: (u16, &str) = (1008, "invalid query in the URL");
const BUSY: (u16, &str) = (1013, "too many searches of your address are waiting");
/// How an error is named whose cause are other queries of the same address.
const TOO_MANY: &str = "too_many_searches";

/// One connection's part of the stream.
pub(super) struct StreamFeed {
    server: Arc<Server>,
    follower: Option<Follower>,
    /// What is wrong with the URL's query.
    refused: Option<BadParams>,
    /// Whether the query that was refused last had too many others before it.
    is_busy: bool,
}

impl StreamFeed {
    pub(super) fn new(
        server: Arc<Server>,
        notifier: &Arc<Notifier>,
        form: StreamEncoding,
        asked: Result<StreamParams, BadParams>,
    ) -> Self {
        let mut follower = server.hub.follow(form, notifier);
        let (mut refused, mut is_busy) = (None, false);
        match (asked, &mut follower) {
            (Ok(asked), Some(follower)) => {
                let too_many = ask(follower, asked).err();
                is_busy = too_many.is_some();
                refused = too_many.map(busy);
            }
            (Ok(_), None) => {}
            (Err(bad), _) => refused = Some(bad),
        }
        Self { server, follower, refused, is_busy }
    }
}

pub(super) fn ask(follower: &mut Follower, asked: StreamParams) -> Result<(), TooManySearches> {
    let StreamParams { choice, start, once, warnings } = asked;
    follower
        .try_ask(choice, start, warnings)
        .inspect_err(|_| metrics::REFUSED.add_for("searches", 1))?;
    follower.only_once(once);
    Ok(())
}

fn busy(error: TooManySearches) -> BadParams {
    BadParams { field: None, message: error.to_string() }
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
        let asked = query::of_json(text, bounds(&self.server))?;
        self.is_busy = false;
        let Some(follower) = &mut self.follower else { return Ok(()) };
        ask(follower, asked).map_err(|error| {
            self.is_busy = true;
            busy(error)
        })
    }

    fn take(&mut self) -> FrameBatch {
        let Some(follower) = &mut self.follower else { return FrameBatch::default() };
        if let Some(bad) = self.refused.take() {
            let (code, ended) = if self.is_busy {
                (TOO_MANY, BUSY)
            } else {
                metrics::REFUSED.add_for("invalid_params", 1);
                ("invalid_query", INVALID)
            };
            let error = follower.error(code, bad.field, &bad.message);
            let frames = vec![Frame::encoded(error)];
            return FrameBatch { frames, ended: Some(ended), ..FrameBatch::default() };
        }
        let portion = follower.take();
        FrameBatch {
            frames: portion.chunks.into_iter().map(Frame::encoded).collect(),
            messages: portion.messages,
            more: portion.more,
            ended: portion.ended.then_some(CAUGHT_UP),
            charge: portion.charge,
        }
    }

    fn complaint(&self, code: &'static str, bad: &BadParams) -> Frame {
        let code = match code {
            "invalid_params" if self.is_busy => TOO_MANY,
            "invalid_params" => "invalid_query",
            other => other,
        };
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
