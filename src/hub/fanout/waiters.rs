//! Connections that wait until a large message is encoded.

use std::sync::atomic::Ordering;
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
    /// Held until that connection takes the message or ends, or the message is dropped.
    charge: Option<EncodingCharge>,
}

/// The charge of an encoded message to the first connection that waited for it.
#[derive(Debug)]
struct EncodingCharge {
    notifier: Arc<Notifier>,
    bytes: usize,
    _charge: MemoryCharge,
}

impl EncodingCharge {
    fn new(notifier: &Arc<Notifier>, bytes: usize) -> Option<Self> {
        let charge = memory::charge(notifier.client, bytes)?;
        notifier.encoded_bytes.fetch_add(bytes, Ordering::Relaxed);
        Some(Self { notifier: Arc::clone(notifier), bytes, _charge: charge })
    }
}

impl Drop for EncodingCharge {
    fn drop(&mut self) {
        self.notifier.encoded_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl EncodingWaiters {
    /// Adds a connection. Returns whether it is the first: then the caller starts the encoding.
    pub(in crate::hub) fn add(&self, notifier: &Arc<Notifier>) -> bool {
        let mut waiting = lock(&self.0);
        let is_first = waiting.notifiers.is_empty();
        if !waiting.notifiers.iter().any(|other| is_same(other, notifier)) {
            waiting.notifiers.push(Arc::downgrade(notifier));
        }
        is_first
    }

    /// Removes a connection that has taken the message or ends, and ends its charge. If others have
    /// not taken it, it stays in the log, whose size is limited.
    pub(in crate::hub) fn release(&self, notifier: &Arc<Notifier>) {
        let is_its = |charge: &mut EncodingCharge| Arc::ptr_eq(&charge.notifier, notifier);
        let released = {
            let mut waiting = lock(&self.0);
            waiting.notifiers.retain(|other| !is_same(other, notifier));
            waiting.charge.take_if(is_its)
        };
        // Not under the lock: it may notify connections that wait for room.
        drop(released);
    }

    /// Calls `make` for each connection that still waits, then notifies them. `bytes` is about the
    /// size of the message. Connections whose client may not hold more now are left out; they are
    /// notified when there is room.
    pub(in crate::hub) fn serve(&self, bytes: usize, make: impl Fn(&Notifier)) {
        let notifiers = lock(&self.0).notifiers.clone();
        let living = notifiers.iter().filter_map(Weak::upgrade);
        let (served, refused): (Vec<_>, Vec<_>) = living.partition(memory::has_room_for);
        let replaced = {
            let mut waiting = lock(&self.0);
            // One that ended meanwhile would never take the message.
            let waits = |one: &&Arc<Notifier>| waiting.notifiers.iter().any(|n| is_same(n, one));
            let first = served.iter().find(waits);
            let charge = first.and_then(|first| EncodingCharge::new(first, bytes));
            // Where nobody is served, who was charged before has not taken it yet.
            charge.and_then(|charge| waiting.charge.replace(charge))
        };
        drop(replaced);
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

fn is_same(one: &Weak<Notifier>, other: &Arc<Notifier>) -> bool {
    std::ptr::eq(one.as_ptr(), Arc::as_ptr(other))
}
