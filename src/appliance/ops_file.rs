//! Where the ops endpoints of the appliance on a data directory are, and the secret that they want:
//! two small files in it. Who may read the second may ask.
//!
//! Port 0 and a taken default port make the configuration no answer. After a crash the file is
//! stale; so it is asked only when the store's lock says that somebody is there.

use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::config::Secret;
use crate::{private, secrets};

/// The file's name in the data directory.
pub const NAME: &str = "ops";
/// The name of the file with what a POST there must bring; for its owner alone.
pub const SECRET: &str = "ops.secret";
/// The most bytes of either file that are read.
const BYTES: u64 = 1 << 10;

/// What a command needs to ask the appliance on a data directory.
#[derive(Debug, Clone)]
pub struct OpsAddress {
    /// The ops endpoints, as a URL without a path.
    pub url: String,
    /// What a POST must bring.
    pub secret: Secret,
}

/// Why an appliance that runs cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum OpsAddressError {
    /// It serves none.
    #[error("it serves no ops endpoints that could be asked")]
    None,
    /// The secret cannot be read.
    #[error(
        "{path} cannot be read ({cause}): run the command as the user of that process, or as root \
         (sudo)"
    )]
    Secret {
        /// The file.
        path: PathBuf,
        /// What the system says.
        cause: std::io::Error,
    },
}

/// Writes where the ops endpoints are, and what a POST there must bring, which is returned.
pub(super) fn write(data: &Path, mut address: SocketAddr) -> anyhow::Result<Secret> {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    // A secret of this run: one that was copied somewhere is worth nothing after the next start.
    let secret = secrets::word();
    let write = |name: &str, text: &str| {
        let path = data.join(name);
        let written = private::write_secret(&path, &format!("{text}\n"));
        written.with_context(|| format!("cannot write {}", path.display()))
    };
    write(SECRET, &secret)?;
    write(NAME, &format!("http://{address}"))?;
    Ok(Secret::new(secret))
}

/// Removes the file, at the end.
pub(super) fn remove(data: &Path) {
    // A stale one does no harm: who finds it looks whether the store is in use first.
    let _ = std::fs::remove_file(data.join(NAME));
    let _ = std::fs::remove_file(data.join(SECRET));
}

/// Where the appliance on a data directory is asked, and with what.
pub fn read(data: &Path) -> Result<OpsAddress, OpsAddressError> {
    let url = text_of(&data.join(NAME)).ok().filter(|url| url.starts_with("http://"));
    let url = url.ok_or(OpsAddressError::None)?;
    let path = data.join(SECRET);
    let secret = text_of(&path).map_err(|cause| OpsAddressError::Secret { path, cause })?;
    Ok(OpsAddress { url, secret: Secret::new(secret) })
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    private::open_plain(path)?.take(BYTES).read_to_string(&mut text)?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_its_secret_are_read_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(read(dir.path()), Err(OpsAddressError::None)));
        let secret = write(dir.path(), "0.0.0.0:8602".parse().unwrap()).unwrap();
        let found = read(dir.path()).unwrap();
        assert_eq!((found.url.as_str(), &found.secret), ("http://127.0.0.1:8602", &secret));
        let another = write(dir.path(), "[::1]:9".parse().unwrap()).unwrap();
        assert_eq!(read(dir.path()).unwrap().url, "http://[::1]:9");
        assert_ne!(another, secret, "each start has a secret of its own");
        std::fs::remove_file(dir.path().join(SECRET)).unwrap();
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("ops.secret cannot be read") && error.contains("sudo"), "{error}");
        remove(dir.path());
        remove(dir.path());
        assert!(matches!(read(dir.path()), Err(OpsAddressError::None)));
    }
}
