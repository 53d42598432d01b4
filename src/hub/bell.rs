//! The bell: how a connection is told that there is something to fetch.
//!
//! One bell a connection, whatever it waits for. Ringing twice before it is heard is ringing once:
//! nothing is queued, the connection looks for itself what is there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Wakes one task. Cheap to ring, also when nobody listens.
#[derive(Debug, Default)]
pub struct Bell {
    rung: AtomicBool,
    listener: AtomicWaker,
    party: u64,
    deflates: bool,
}

impl Bell {
    /// For a connection of this client: those of one client share its turns, where work is done
    /// for them. Without one, all have the same.
    #[must_use]
    pub fn of(party: u64) -> Self {
        Self { party, ..Self::default() }
    }

    /// For one that takes messages deflated.
    #[must_use]
    pub fn deflating(self, deflates: bool) -> Self {
        Self { deflates, ..self }
    }

    /// Whether messages go deflated to it.
    #[must_use]
    pub fn deflates(&self) -> bool {
        self.deflates
    }

    /// Whose connection it is.
    #[must_use]
    pub fn party(&self) -> u64 {
        self.party
    }

    /// Says that there is something to fetch.
    pub fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.listener.wake();
        }
    }

    /// Ready once it was rung since the last time this was ready. For one listener.
    pub fn poll_rung(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.listener.register(cx.waker());
        if self.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ringing_twice_is_heard_once() {
        let bell = Bell::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(bell.poll_rung(&mut cx), Poll::Pending);
        bell.ring();
        bell.ring();
        assert_eq!(bell.poll_rung(&mut cx), Poll::Ready(()));
        assert_eq!(bell.poll_rung(&mut cx), Poll::Pending);
    }
}
