//! Ports for servers that are started later, and again on the same one.

use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that a system gives out by itself (Linux: `net.ipv4.ip_local_port_range`, from 32768
/// on), so that no test that asks for any port is given it meanwhile.
const OURS: std::ops::Range<u16> = 12_000..32_000;
/// Another run beside this one begins elsewhere.
static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| AtomicU16::new(fastrand::u16(OURS)));

/// A port of this machine that nobody listens on and that nobody else here was given.
pub fn free_port() -> u16 {
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = OURS.start + port % (OURS.end - OURS.start);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
