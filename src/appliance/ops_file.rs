//! Where the ops endpoints of the appliance on a data directory are: a small file in it.
//!
//! Port 0 and a taken default port make the configuration no answer. After a crash the file is
//! stale; so it is asked only when the store's lock says that somebody is there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use anyhow::Context as _;

/// The file's name in the data directory.
pub const NAME: &str = "ops";

/// Writes where the ops endpoints are.
pub(super) fn write(data: &Path, mut address: SocketAddr) -> anyhow::Result<()> {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let path = data.join(NAME);
    let written = std::fs::write(&path, format!("http://{address}\n"));
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Removes the file, at the end.
pub(super) fn remove(data: &Path) {
    // A stale one does no harm: who finds it looks whether the store is in use first.
    let _ = std::fs::remove_file(data.join(NAME));
}

/// The address of the ops endpoints, as a URL without a path; `None` when none is written there.
#[must_use]
pub fn read(data: &Path) -> Option<String> {
    let text = std::fs::read_to_string(data.join(NAME)).ok()?;
    Some(text.trim().to_owned()).filter(|url| url.starts_with("http://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        write(dir.path(), "0.0.0.0:8602".parse().unwrap()).unwrap();
        assert_eq!(read(dir.path()).as_deref(), Some("http://127.0.0.1:8602"));
        write(dir.path(), "[::1]:9".parse().unwrap()).unwrap();
        assert_eq!(read(dir.path()).as_deref(), Some("http://[::1]:9"));
        remove(dir.path());
        remove(dir.path());
        assert_eq!(read(dir.path()), None);
    }
}
