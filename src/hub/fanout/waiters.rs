//! Connections that wait until a large message is encoded.

use std::sync::{Arc, Mutex, Weak};

use crate::hub::fanout::memory::{self, MemoryCharge};
use crate::hub::fanout::notifier::Notifier;
use crate::sync::lock;

/// The connections that wait for one message, and the memory account of the encoded message.
#[derive(Debug, Default)]
pub(in crate::hub) struct EncodingWaiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    notifiers: Vec<Weak<Notifier>>,
    /// Held until the message is dropped from the log.
    charge: Option<MemoryCharge>,
}

impl EncodingWaiters {
    /// Adds a connection. Returns whether it is the first: then the caller starts the encoding.
    pub(in crate::hub) fn add(&self, notifier: &Arc<Notifier>) -> bool {
        let mut waiting = lock(&self.0);
        let is_first = waiting.notifiers.is_empty();
        let is_known = waiting
            .notifiers
            .iter()
            .any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(notifier)));
        if !is_known {
            waiting.notifiers.push(Arc::downgrade(notifier));
        }
        is_first
    }

    /// Calls `make` for each connection that still waits, then notifies them. `bytes` is about the
    /// size of the message. Connections whose client may not hold more now are left out; they are
    /// notified when there is room.
    pub(in crate::hub) fn serve(&self, bytes: usize, make: impl Fn(&Notifier)) {
        let notifiers = lock(&self.0).notifiers.clone();
        let living = notifiers.iter().filter_map(Weak::upgrade);
        let (served, refused): (Vec<_>, Vec<_>) = living.partition(memory::has_room_for);
        if let Some(first) = served.first() {
            let charge = memory::charge(first.client, bytes);
            lock(&self.0).charge = charge;
        }
        for notifier in &served {
            make(notifier);
        }
        // Connections that were added meanwhile look themselves whether their message is ready.
        let notifiers = std::mem::take(&mut lock(&self.0).notifiers);
        let is_refused = |one: &Arc<Notifier>| refused.iter().any(|other| Arc::ptr_eq(other, one));
        let woken = notifiers.iter().filter_map(Weak::upgrade).filter(|one| !is_refused(one));
        woken.for_each(|notifier| notifier.notify());
    }
}
