//! Who waits until something large is encoded.

use std::sync::{Arc, Mutex, Weak};

use crate::hub::fanout::memory::{self, MemoryCharge};
use crate::hub::fanout::notifier::Notifier;
use crate::hub::lock::lock;

/// The connections that wait for one message, and on whose account it is held once it is made.
#[derive(Debug, Default)]
pub(in crate::hub) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    notifiers: Vec<Weak<Notifier>>,
    /// Until the message goes from the log.
    charge: Option<MemoryCharge>,
}

impl Waiters {
    /// Puts a connection among those who wait. Whether it is the first: then somebody has to begin.
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

    /// Makes the message, of about so many bytes, for each who waits and lives, and rings for them.
    /// Where nobody may hold more, nothing is made: they are rung for when there is room.
    pub(in crate::hub) fn serve(&self, bytes: usize, make: impl Fn(&Notifier)) {
        let notifiers = lock(&self.0).notifiers.clone();
        let living: Vec<Arc<Notifier>> = notifiers.iter().filter_map(Weak::upgrade).collect();
        let served: Vec<_> =
            living.iter().filter(|notifier| memory::has_room_for(notifier)).collect();
        if let Some(first) = served.first() {
            let charge = memory::charge(first.client(), bytes);
            lock(&self.0).charge = charge;
        }
        for notifier in &served {
            make(notifier);
        }
        // Who came meanwhile looks for itself whether it is what it waits for.
        let notifiers = std::mem::take(&mut lock(&self.0).notifiers);
        let refused = |notifier: &Arc<Notifier>| {
            living.iter().any(|one| Arc::ptr_eq(one, notifier))
                && !served.iter().any(|one| Arc::ptr_eq(one, notifier))
        };
        let rung = notifiers.iter().filter_map(Weak::upgrade).filter(|notifier| !refused(notifier));
        rung.for_each(|notifier| notifier.notify());
    }
}
