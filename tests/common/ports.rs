//! Ports for servers that start later, and restart on the same port.

use std::net::TcpListener;
use std::sync::{Mutex, PoisonError};

/// Below the ephemeral ports of the system (Linux: `net.ipv4.ip_local_port_range`, from 32768), so
/// that a test that asks for any free port never gets one of these.
const OURS: std::ops::Range<u16> = 12_000..32_000;
/// Ports of a block. A process listens on the first port of its block until it ends, so concurrent
/// processes have different blocks: a port is theirs although no server listens on it yet, or while
/// its server restarts.
const BLOCK: u16 = 200;
static CLAIMED: Mutex<Option<Block>> = Mutex::new(None);

/// The block of this process.
struct Block {
    /// Held until the process ends.
    _first: TcpListener,
    rest: std::ops::Range<u16>,
}

/// Returns a port that nothing on this machine listens on, and that was not returned before.
pub fn free_port() -> u16 {
    let mut claimed = CLAIMED.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        while let Some(port) = claimed.as_mut().and_then(|block| block.rest.next()) {
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
        let first = OURS.start + BLOCK * fastrand::u16(..(OURS.end - OURS.start) / BLOCK);
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", first)) {
            // Ports of an earlier block stay claimed: servers may still use them.
            let block = Block { _first: listener, rest: first + 1..first + BLOCK };
            std::mem::forget(claimed.replace(block));
        }
    }
}
