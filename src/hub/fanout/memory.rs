//! What is held for readers, in bytes, and its limit.
//!
//! Everything that is encoded for readers is counted from its making until the last of them has
//! taken it, however many share it: frames, deflated frames, pages. Below [`ROOM_BYTES`] nobody
//! notices. Above it, clients that hold much wait until there is room again: a reader of the
//! stream reads on from its cursor then, one of `/sampling` is moved forward as any slow one. A
//! client that holds little is served up to [`LIMIT_BYTES`], so that a few cannot take everything.
//!
//! The counts are the process's own, as its memory is.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak};

use bytes::Bytes;

use crate::hub::fanout::notifier::Notifier;
use crate::hub::lock::lock;

/// Bytes held for readers above which clients that hold more than `LITTLE_BYTES` wait.
pub const ROOM_BYTES: usize = 96 << 20;
/// Bytes held for readers above which everybody waits.
pub const LIMIT_BYTES: usize = 144 << 20;
/// What a client may hold while there is little room.
const LITTLE_BYTES: usize = 1 << 20;
/// Less is not worth counting: an idle connection has more.
const COUNTED_BYTES: usize = 1 << 10;
/// A client's own part is noted from so many bytes on that it takes at once.
const CHARGED_BYTES: usize = 16 << 10;

static HELD: AtomicUsize = AtomicUsize::new(0);
static IS_WAITED_FOR: AtomicBool = AtomicBool::new(false);
static CLIENTS: LazyLock<Clients> = LazyLock::new(Clients::default);

#[derive(Debug, Default)]
struct Clients {
    /// Bytes of each client that holds many.
    bytes: Mutex<HashMap<u64, usize>>,
    /// Who waits for room.
    waiting: Mutex<Vec<Weak<Notifier>>>,
}

/// Bytes that count as long as they live.
struct Held(Vec<u8>);

/// A client's part of what is held, until it is dropped.
#[derive(Debug)]
pub struct MemoryCharge {
    client: u64,
    bytes: usize,
}

/// Bytes held for readers now.
#[must_use]
pub fn held_bytes() -> usize {
    HELD.load(Ordering::Relaxed)
}

/// Counts what was encoded, until the last who shares it lets go of it.
pub(in crate::hub) fn hold(bytes: Vec<u8>) -> Bytes {
    if bytes.len() < COUNTED_BYTES {
        return bytes.into();
    }
    HELD.fetch_add(bytes.len(), Ordering::Relaxed);
    Bytes::from_owner(Held(bytes))
}

/// Notes that a client holds this many bytes; of few nothing is noted.
pub(in crate::hub) fn charge(client: u64, bytes: usize) -> Option<MemoryCharge> {
    (bytes >= CHARGED_BYTES).then(|| {
        *lock(&CLIENTS.bytes).entry(client).or_default() += bytes;
        MemoryCharge { client, bytes }
    })
}

/// Whether something may be made or taken for this connection now. If not, its notifier rings when
/// there is room.
pub(in crate::hub) fn has_room_for(notifier: &Arc<Notifier>) -> bool {
    if has_room(held_bytes(), notifier.client()) {
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
    // Room may have been made before it was known that this one waits.
    has_room(held_bytes(), notifier.client())
}

fn has_room(held: usize, client: u64) -> bool {
    let holds_little =
        || lock(&CLIENTS.bytes).get(&client).is_none_or(|bytes| *bytes <= LITTLE_BYTES);
    held <= ROOM_BYTES || (held <= LIMIT_BYTES && holds_little())
}

/// Rings for those who wait. Whom there is no room for waits again.
fn room_was_made() {
    if !IS_WAITED_FOR.swap(false, Ordering::SeqCst) {
        return;
    }
    let waiting = std::mem::take(&mut *lock(&CLIENTS.waiting));
    waiting.iter().filter_map(Weak::upgrade).for_each(|notifier| notifier.notify());
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let before = HELD.fetch_sub(self.0.len(), Ordering::SeqCst);
        // What is let go of while there is far too much changes nothing for anybody.
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
    fn what_is_held_counts_until_the_last_lets_go() {
        // Other tests of this process hold something too, but never as much.
        const MUCH: usize = 64 << 20;
        let bytes = hold(vec![0; MUCH]);
        let shared = bytes.slice(..10);
        drop(bytes);
        assert!(held_bytes() >= MUCH);
        drop(shared);
        assert!(held_bytes() < MUCH);
    }

    #[test]
    fn a_client_that_holds_little_is_served_while_others_wait() {
        let (greedy, modest) = (u64::MAX, u64::MAX - 1);
        let charge = charge(greedy, 2 << 20).unwrap();
        assert!(has_room(ROOM_BYTES, greedy) && has_room(ROOM_BYTES, modest));
        assert!(!has_room(ROOM_BYTES + 1, greedy) && has_room(ROOM_BYTES + 1, modest));
        assert!(!has_room(LIMIT_BYTES + 1, modest));
        drop(charge);
        assert!(has_room(ROOM_BYTES + 1, greedy));
    }
}
