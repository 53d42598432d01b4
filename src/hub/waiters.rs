//! Who waits until something large is encoded.

use std::sync::{Arc, Mutex, Weak};

use super::bell::Bell;
use super::lock;
use super::memory::{self, Charge};

/// The connections that wait for one message, and on whose account it is held once it is made.
#[derive(Debug, Default)]
pub(super) struct Waiters(Mutex<Waiting>);

#[derive(Debug, Default)]
struct Waiting {
    bells: Vec<Weak<Bell>>,
    /// Until the message goes from the log.
    charge: Option<Charge>,
}

impl Waiters {
    /// Puts a connection among those who wait. Whether it is the first: then somebody has to begin.
    pub(super) fn add(&self, bell: &Arc<Bell>) -> bool {
        let mut waiting = lock(&self.0);
        let is_first = waiting.bells.is_empty();
        let is_known =
            waiting.bells.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(bell)));
        if !is_known {
            waiting.bells.push(Arc::downgrade(bell));
        }
        is_first
    }

    /// Makes the message, of about so many bytes, for each who waits and lives, and rings for them.
    /// Where nobody may hold more, nothing is made: they are rung for when there is room.
    pub(super) fn serve(&self, bytes: usize, make: impl Fn(&Bell)) {
        let bells = lock(&self.0).bells.clone();
        let living: Vec<Arc<Bell>> = bells.iter().filter_map(Weak::upgrade).collect();
        let served: Vec<_> = living.iter().filter(|bell| memory::has_room_for(bell)).collect();
        if let Some(first) = served.first() {
            let charge = memory::charge(first.party(), bytes);
            lock(&self.0).charge = charge;
        }
        for bell in &served {
            make(bell);
        }
        // Who came meanwhile looks for itself whether it is what it waits for.
        let bells = std::mem::take(&mut lock(&self.0).bells);
        let refused = |bell: &Arc<Bell>| {
            living.iter().any(|one| Arc::ptr_eq(one, bell))
                && !served.iter().any(|one| Arc::ptr_eq(one, bell))
        };
        let rung = bells.iter().filter_map(Weak::upgrade).filter(|bell| !refused(bell));
        rung.for_each(|bell| bell.ring());
    }
}
