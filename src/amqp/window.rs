//! What is published and not confirmed yet, oldest first, within limits.

use std::collections::VecDeque;

use super::link::Unconfirmed;
use crate::model::position::Position;

/// The most messages in it; more gain nothing.
const MESSAGES: usize = 256;
/// The most bytes of bodies; one message always fits.
const BYTES: usize = 8 << 20;

/// The window.
#[derive(Default)]
pub(super) struct Window {
    sent: VecDeque<Sent>,
    bytes: usize,
}

struct Sent {
    message: Unconfirmed,
    /// The event that is done with when this is confirmed.
    done: Option<Position>,
    bytes: usize,
}

impl Window {
    pub(super) fn is_full(&self) -> bool {
        self.sent.len() >= MESSAGES || self.bytes >= BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn push(&mut self, message: Unconfirmed, done: Option<Position>, bytes: usize) {
        self.bytes += bytes;
        self.sent.push_back(Sent { message, done, bytes });
    }

    /// An event of which nothing is published is done with when what is before it is.
    pub(super) fn pass(&mut self, position: Position) {
        if let Some(last) = self.sent.back_mut() {
            last.done = Some(position);
        }
    }

    /// The oldest, to be waited for.
    pub(super) fn pop(&mut self) -> Option<(Unconfirmed, Option<Position>)> {
        let sent = self.sent.pop_front()?;
        self.bytes -= sent.bytes;
        Some((sent.message, sent.done))
    }
}
