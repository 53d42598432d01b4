//! Ports for servers that start later, and restart on the same port.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below the ephemeral ports of the system (Linux: `net.ipv4.ip_local_port_range`, from 32768), so
/// that a test that asks for any free port never gets one of these.
const OURS: std::ops::Range<u16> = 12_000..32_000;
/// A random start, so that concurrent test runs use different ports.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(OURS)));

/// Returns a port that nothing on this machine listens on, and that was not returned before.
pub fn free_port() -> u16 {
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = OURS.start + port % (OURS.end - OURS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
