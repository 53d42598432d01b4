//! Wakes a connection when there is something for it to take.
//!
//! Each connection has one notifier, whatever it waits for. Notifying twice before the connection
//! looks has the effect of notifying once: nothing is queued, the connection looks itself what is
//! there.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};

use futures_util::task::AtomicWaker;

use crate::sync::lock;

/// Wakes the task of one connection. Notifying is cheap, also when no task listens.
#[derive(Debug, Default)]
pub struct Notifier {
    is_notified: AtomicBool,
    is_woken: AtomicBool,
    listener: AtomicWaker,
    /// The client of the connection. All connections of a client share its turns in the queues of
    /// work and its memory account. The default is one common client.
    pub(in crate::hub) client: u64,
    /// Bytes of messages that are encoded for this connection until it takes them: they are charged
    /// to its client, and taking them needs no more memory.
    pub(in crate::hub) encoded_bytes: AtomicUsize,
    /// Whether the connection takes deflated messages.
    pub(in crate::hub) deflates: bool,
}

impl Notifier {
    /// A notifier for a connection of this client, which takes deflated messages or not.
    #[must_use]
    pub fn new(client: u64, deflates: bool) -> Self {
        Self { client, deflates, ..Self::default() }
    }

    /// Wakes the connection: there is something to take.
    pub fn notify(&self) {
        if !self.is_notified.swap(true, Ordering::AcqRel) {
            self.listener.wake();
        }
    }

    /// Ready if [`Self::notify`] was called since this was ready last. For one listening task.
    pub fn poll_notified(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.listen(cx);
        if self.take_notified() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Lets this task be woken; to be called in each poll, before anything is taken.
    pub fn listen(&self, cx: &Context<'_>) {
        self.listener.register(cx.waker());
    }

    /// Whether [`Self::notify`] was called since this was true last.
    pub fn take_notified(&self) -> bool {
        self.is_notified.swap(false, Ordering::AcqRel)
    }

    /// Whether this was woken as a [`Waker`](std::task::Waker) since this was true last.
    pub fn take_woken(&self) -> bool {
        self.is_woken.load(Ordering::Acquire) && self.is_woken.swap(false, Ordering::AcqRel)
    }
}

/// As a waker, it wakes the same task for anything but messages. A task that polls its socket and
/// its timers with this waker sees which of them to poll, and leaves them alone when it is only
/// notified of messages: touching their memory costs as much as the rest of a delivery.
impl Wake for Notifier {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.is_woken.store(true, Ordering::Release);
        self.listener.wake();
    }
}

/// Connections that are notified together.
#[derive(Debug, Default)]
pub(in crate::hub) struct NotifierList(Mutex<Listed>);

#[derive(Debug, Default)]
struct Listed {
    next: u64,
    notifiers: BTreeMap<u64, Arc<Notifier>>,
}

impl NotifierList {
    /// Adds a connection; the number is for [`Self::remove`].
    pub(in crate::hub) fn add(&self, notifier: &Arc<Notifier>) -> u64 {
        let mut listed = lock(&self.0);
        let number = listed.next;
        listed.next += 1;
        listed.notifiers.insert(number, Arc::clone(notifier));
        number
    }

    pub(in crate::hub) fn remove(&self, number: u64) {
        lock(&self.0).notifiers.remove(&number);
    }

    pub(in crate::hub) fn notify(&self) {
        lock(&self.0).notifiers.values().for_each(|notifier| notifier.notify());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notifying_twice_wakes_once() {
        let notifier = Notifier::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert_eq!(notifier.poll_notified(&mut cx), Poll::Pending);
        notifier.notify();
        notifier.notify();
        assert_eq!(notifier.poll_notified(&mut cx), Poll::Ready(()));
        assert_eq!(notifier.poll_notified(&mut cx), Poll::Pending);
    }

    #[test]
    fn waking_and_notifying_differ() {
        let notifier = Arc::new(Notifier::default());
        let task = Arc::new(WakeCount::default());
        let waker = std::task::Waker::from(Arc::clone(&task));
        notifier.listen(&Context::from_waker(&waker));
        std::task::Waker::from(Arc::clone(&notifier)).wake();
        assert_eq!(task.0.load(Ordering::Relaxed), 1);
        assert!(!notifier.take_notified());
        assert_eq!([(); 2].map(|()| notifier.take_woken()), [true, false]);
        notifier.listen(&Context::from_waker(&waker));
        notifier.notify();
        assert_eq!(task.0.load(Ordering::Relaxed), 2);
        assert!(!notifier.take_woken());
        assert_eq!([(); 2].map(|()| notifier.take_notified()), [true, false]);
    }

    #[derive(Default)]
    struct WakeCount(std::sync::atomic::AtomicUsize);

    impl Wake for WakeCount {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}
