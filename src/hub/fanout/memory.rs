//! Bytes of encoded messages that are held for subscribers, and their limits.
//!
//! Frames, compressed frames and pages are counted from their encoding until the last connection
//! has sent them; shared bytes count once. Up to [`ROOM_BYTES`] in all, every client is served.
//! Above that, clients that hold more than an equal share of what is left, or 1 MiB, wait until
//! there is room: a subscriber of `/stream` then continues from its cursor, one of `/sampling` is
//! moved forward like any slow one. The last part, up to [`LIMIT_BYTES`], is for clients that hold
//! nothing: so clients that read nothing cannot silence those that read, however many they are.
//! An encoded message is charged to its client until the connection that waited for it takes it.
//!
//! The counts are global, because the limits concern the memory of the process.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};

use bytes::Bytes;

use crate::hub::fanout::notifier::Notifier;
use crate::sync::lock;

/// Held bytes above which clients that hold more than their share wait.
pub const ROOM_BYTES: usize = 96 << 20;
/// Held bytes above which only clients that hold nothing are served.
pub(in crate::hub) const SHARED_BYTES: usize = 120 << 20;
/// Held bytes above which every client waits.
pub const LIMIT_BYTES: usize = 144 << 20;
/// The most bytes that a client may hold above [`ROOM_BYTES`], also if its share is larger.
const LITTLE_BYTES: usize = 1 << 20;
/// Shorter messages are not counted: an idle connection costs more.
const COUNTED_BYTES: usize = 1 << 10;
/// Smaller batches are not counted to their client.
const CHARGED_BYTES: usize = 16 << 10;

static HELD: AtomicUsize = AtomicUsize::new(0);
static IS_WAITED_FOR: AtomicBool = AtomicBool::new(false);
static CLIENTS: LazyLock<Clients> = LazyLock::new(Clients::default);

#[derive(Debug, Default)]
struct Clients {
    /// Bytes by client, of those that hold any.
    bytes: Mutex<HashMap<u64, usize>>,
    /// Connections that wait for room.
    waiting: Mutex<Vec<Weak<Notifier>>>,
}

/// Bytes that are counted as long as they live.
struct CountedBytes(Vec<u8>);

/// Counts bytes to a client until it is dropped.
#[derive(Debug)]
pub struct MemoryCharge {
    client: u64,
    bytes: usize,
}

/// Bytes held for subscribers now.
#[must_use]
pub fn held_bytes() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// Counts an encoded message until the last clone is dropped.
pub(in crate::hub) fn hold(bytes: Vec<u8>) -> Bytes {
    if bytes.len() < COUNTED_BYTES {
        return bytes.into();
    }
    HELD.fetch_add(bytes.len(), Ordering::Relaxed);
    Bytes::from_owner(CountedBytes(bytes))
}

/// Counts a batch to its client; `None` for a small one.
pub(in crate::hub) fn charge(client: u64, bytes: usize) -> Option<MemoryCharge> {
    (bytes >= CHARGED_BYTES).then(|| {
        *lock(&CLIENTS.bytes).entry(client).or_default() += bytes;
        MemoryCharge { client, bytes }
    })
}

/// Whether messages may be encoded or taken for this connection now. If not, the connection is
/// notified when there is room.
pub(in crate::hub) fn has_room_for(notifier: &Arc<Notifier>) -> bool {
    if has_room(held_bytes(), notifier) {
        return true;
    }
    {
        let mut waiting = lock(&CLIENTS.waiting);
        waiting.retain(|other| other.strong_count() > 0);
        if !waiting.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(notifier))) {
            waiting.push(Arc::downgrade(notifier));
        }
        IS_WAITED_FOR.store(true, Ordering::SeqCst);
    }
    // Room may have been made before this connection was in the list.
    has_room(HELD.load(Ordering::SeqCst), notifier)
}

/// Whether there is room for a connection while this many bytes are held.
pub(in crate::hub) fn has_room(held: usize, notifier: &Notifier) -> bool {
    if held <= ROOM_BYTES || held > LIMIT_BYTES {
        return held <= ROOM_BYTES;
    }
    let clients = lock(&CLIENTS.bytes);
    let charged = clients.get(&notifier.client).copied().unwrap_or_default();
    // What is encoded for the connection itself must not keep it from taking that.
    let bytes = charged.saturating_sub(notifier.encoded_bytes.load(Ordering::Relaxed));
    let share = (SHARED_BYTES - ROOM_BYTES) / clients.len().max(1);
    bytes == 0 || (held <= SHARED_BYTES && bytes <= share.min(LITTLE_BYTES))
}

/// Notifies all connections that wait for room. Those that find none will wait again.
fn room_was_made() {
    if !IS_WAITED_FOR.swap(false, Ordering::SeqCst) {
        return;
    }
    let waiting = std::mem::take(&mut *lock(&CLIENTS.waiting));
    waiting.iter().filter_map(Weak::upgrade).for_each(|notifier| notifier.notify());
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for CountedBytes {
    fn drop(&mut self) {
        let before = HELD.fetch_sub(self.0.len(), Ordering::SeqCst);
        // Above the limit nobody is served, so nobody needs to be notified.
        if before - self.0.len() <= LIMIT_BYTES && IS_WAITED_FOR.load(Ordering::SeqCst) {
            room_was_made();
        }
    }
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        {
            let mut clients = lock(&CLIENTS.bytes);
            if let Some(bytes) = clients.get_mut(&self.client) {
                *bytes -= self.bytes;
                if *bytes == 0 {
                    clients.remove(&self.client);
                }
            }
        }
        if IS_WAITED_FOR.load(Ordering::SeqCst) {
            room_was_made();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_the_last_clone_is_dropped() {
        // Other tests of this process hold something too, but never as much.
        const MUCH: usize = 64 << 20;
        let bytes = hold(vec![0; MUCH]);
        let shared = bytes.slice(..10);
        drop(bytes);
        assert!(held_bytes() >= MUCH);
        drop(shared);
        assert!(held_bytes() < MUCH);
    }

    fn of(client: u64) -> Notifier {
        Notifier::new(client, false)
    }

    #[test]
    fn client_that_holds_little_is_served_while_others_wait() {
        let (greedy, modest) = (of(u64::MAX), of(u64::MAX - 1));
        let charge = charge(greedy.client, 2 << 20).unwrap();
        assert!(has_room(ROOM_BYTES, &greedy) && has_room(ROOM_BYTES, &modest));
        assert!(!has_room(ROOM_BYTES + 1, &greedy) && has_room(ROOM_BYTES + 1, &modest));
        assert!(has_room(LIMIT_BYTES, &modest) && !has_room(LIMIT_BYTES + 1, &modest));
        drop(charge);
        assert!(has_room(ROOM_BYTES + 1, &greedy));
    }

    #[test]
    fn many_clients_that_hold_little_leave_room_for_those_that_hold_nothing() {
        const MANY: u64 = 1_000;
        let bytes = (SHARED_BYTES - ROOM_BYTES) / 1_000;
        let (first, honest) = (of(u64::MAX - 2_000), of(u64::MAX - 2));
        let charges: Vec<_> = (0..MANY).map(|n| charge(first.client + n, bytes)).collect();
        assert!(charges.iter().all(Option::is_some));
        assert!(has_room(ROOM_BYTES, &first) && has_room(ROOM_BYTES, &honest));
        // Other tests of this process may hold something too: then a share is smaller.
        let more = charge(first.client, bytes);
        assert!(!has_room(ROOM_BYTES + 1, &first) && has_room(ROOM_BYTES + 1, &honest));
        drop(more);
        let small = charge(honest.client, CHARGED_BYTES).unwrap();
        assert!(has_room(SHARED_BYTES, &honest) && !has_room(SHARED_BYTES + 1, &honest));
        drop(small);
        assert!(has_room(SHARED_BYTES + 1, &honest));
    }
}
