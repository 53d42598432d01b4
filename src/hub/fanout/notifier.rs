//! Wakes a connection when there is something for it to take.
//!
//! Each connection has one notifier, whatever it waits for. Notifying twice before the connection
//! looks has the effect of notifying once: nothing is queued, the connection looks itself what is
//! there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;

/// Wakes one task. Cheap to ring, also when nobody listens.
#[derive(Debug, Default)]
pub struct Notifier {
    rung: AtomicBool,
    listener: AtomicWaker,
    client: u64,
    deflates: bool,
}

impl Notifier {
    /// For a connection of this client: those of one client share its turns, where work is done
    /// for them. Without one, all have the same.
    #[must_use]
    pub fn for_client(client: u64) -> Self {
        Self { client, ..Self::default() }
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
    pub fn client(&self) -> u64 {
        self.client
    }

    /// Says that there is something to fetch.
    pub fn notify(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            self.listener.wake();
        }
    }

    /// Ready once it was rung since the last time this was ready. For one listener.
    pub fn poll_notified(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.listener.register(cx.waker());
        if self.rung.swap(false, Ordering::AcqRel) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ringing_twice_is_heard_once() {
        let notifier = Notifier::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(notifier.poll_notified(&mut cx), Poll::Pending);
        notifier.notify();
        notifier.notify();
        assert_eq!(notifier.poll_notified(&mut cx), Poll::Ready(()));
        assert_eq!(notifier.poll_notified(&mut cx), Poll::Pending);
    }
}
