//! Address and secret of the ops endpoints of the appliance on a data directory, in two small
//! files there. A process that can read the secret's file may send requests.
//!
//! The configuration does not tell the address when the port is 0 or the default port is taken.
//! After a crash the file is stale, so it is used only when the store is locked by a process.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::ports::reachable;
use crate::config::Secret;
use crate::{private, secrets};

/// The name of the address file in the data directory.
pub const NAME: &str = "ops";
/// The name of the file with the secret that a POST must contain; readable by its owner only.
pub const SECRET: &str = "ops.secret";
/// Maximum number of bytes read from either file.
const BYTES: u64 = 1 << 10;

/// What a command needs to send requests to the appliance on a data directory.
#[derive(Debug, Clone)]
pub struct OpsAddress {
    /// The ops endpoints, as a URL without a path.
    pub url: String,
    /// The secret that a POST must contain.
    pub secret: Secret,
}

/// Why a running appliance cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum OpsAddressError {
    /// It does not serve ops endpoints.
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
        /// The operating system's error.
        cause: std::io::Error,
    },
}

/// Writes the address of the ops endpoints and the secret that a POST must contain. Returns the
/// secret.
pub(super) fn write(data: &Path, address: SocketAddr) -> anyhow::Result<Secret> {
    let address = reachable(address);
    // A new secret for each run: one that was copied is useless after the next start.
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

/// Removes the address file and the secret, at the start and at the end.
pub(super) fn remove(data: &Path) {
    // What cannot be removed is overwritten by the next start with an ops listener.
    let _ = std::fs::remove_file(data.join(NAME));
    let _ = std::fs::remove_file(data.join(SECRET));
}

/// Reads the address and the secret of the appliance on a data directory.
pub fn read(data: &Path) -> Result<OpsAddress, OpsAddressError> {
    let url = address(data).ok_or(OpsAddressError::None)?;
    let path = data.join(SECRET);
    let secret = text_of(&path).map_err(|cause| OpsAddressError::Secret { path, cause })?;
    Ok(OpsAddress { url, secret: Secret::new(secret) })
}

/// Reads the address of the appliance on a data directory, as a URL without a path; `None` when
/// there is none, or this process may not read it.
#[must_use]
pub fn address(data: &Path) -> Option<String> {
    text_of(&data.join(NAME)).ok().filter(|url| url.starts_with("http://"))
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
