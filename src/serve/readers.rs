//! Readers: what a client of each endpoint receives, and the parameters it may send.
//!
//! A [`ClientReader`] is independent of the transport: [`crate::serve::ws::connection`] sends its
//! messages as WebSocket frames, [`crate::serve::http::body`] as a response body.

pub(crate) mod cursor_schema;
pub(crate) mod gauges;
pub(crate) mod languages;
pub(crate) mod params;
pub(crate) mod sampling;
pub(crate) mod stream;

use std::time::Duration;

use bytes::Bytes;
use schemars::JsonSchema;
use serde::Serialize;

use self::params::InvalidParams;
use crate::hub::{Frame, ReaderBatch};

/// Interval of the heartbeats of a stream.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(15);

/// Invalid parameters, by name; they change nothing.
#[derive(Serialize, JsonSchema)]
pub(crate) struct RefusedParams<'a> {
    error: ParamsError<'a>,
}

/// Which parameter is invalid, and why.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
struct ParamsError<'a> {
    /// In snake case.
    code: &'static str,
    /// The key; null when the text is not a JSON object.
    field: Option<&'static str>,
    /// What is invalid, and what is accepted.
    message: &'a str,
}

/// One client's reader of an endpoint.
pub(crate) trait ClientReader: Send + Unpin + 'static {
    /// One or more complete messages, encoded for sending.
    type Message: Into<Frame> + Into<Bytes>;
    /// The endpoint's path, as metrics and logs name it.
    const NAME: &'static str;
    /// Valid parameters, for diagnostics.
    const EXAMPLE: &'static str;
    /// Interval of [`Self::heartbeat`]; `None` without one.
    const HEARTBEAT: Option<Duration> = None;

    /// The first message, which requires no parameters.
    fn first(&mut self) -> Option<Self::Message> {
        None
    }

    /// Applies the parameters of a WebSocket message. Invalid parameters change nothing.
    fn ask(&mut self, text: &str) -> Result<(), InvalidParams>;

    /// Whether the reader has valid parameters from the start.
    fn has_asked(&self) -> bool {
        false
    }

    /// Returns the messages available now, up to a limit. Never waits.
    fn take(&mut self) -> ReaderBatch<Self::Message>;

    /// Whether binary messages are returned to the client, as only the echo of the tests does.
    #[cfg(test)]
    fn echoes(&mut self, _bytes: &[u8]) -> bool {
        false
    }

    /// The message that reports invalid parameters.
    fn diagnostic(&self, code: &'static str, bad: &InvalidParams) -> Frame {
        let error = ParamsError { code, field: bad.field, message: &bad.message };
        Frame::json(&RefusedParams { error })
    }

    /// Refuses parameters on a connection that stays open. Returns the message that reports it,
    /// unless it comes with the next messages.
    fn refuse(&mut self, bad: &InvalidParams) -> Option<Frame> {
        Some(self.diagnostic("invalid_params", bad))
    }

    /// The message that is due after [`Self::HEARTBEAT`].
    fn heartbeat(&mut self) -> Option<Self::Message> {
        None
    }

    /// The last message before the server stops; the client reconnects after `retry_after`
    /// milliseconds.
    fn bye(&mut self, _reason: &str, _retry_after: u64) -> Option<Self::Message> {
        None
    }
}
