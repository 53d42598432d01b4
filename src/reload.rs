//! Files that may be replaced while the process runs: scripts, lists, tokens, certificates,
//! authorities, key files.
//!
//! [`follow`] is the one loop that checks them. It reads the content instead of using notifications
//! of the file system: that works for renamed files, swapped links, directories that appear later
//! and network file systems, and costs a small read of a cached page.
//!
//! [`read_good`] reads a file each time its content is needed and remembers the last valid content,
//! which stays in use while the file is missing or invalid, so a failed renewal breaks nothing.
//! `appliance::renewed` checks the same files and reports which were accepted; what it knows of the
//! content in use before its first check is what was remembered here.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::private;
use crate::sync::{blocking, lock};

/// The largest file that is read, bytes.
const FILE_BYTES: u64 = 1 << 20;

/// Checks the content of a file. An error says what is wrong without quoting the content.
pub type Check = fn(&[u8]) -> Result<(), String>;

/// The last valid content of each file by path; as many as the configuration names.
static GOOD: Mutex<Option<HashMap<PathBuf, Arc<[u8]>>>> = Mutex::new(None);

/// Calls `look` now, again after the time that it returns, and on SIGHUP, until `stop` is
/// cancelled. `look` runs on the blocking pool; its argument is whether a signal caused the call.
///
/// # Errors
/// When the signal cannot be handled, or `look` panicked.
pub async fn follow<L>(mut look: L, clock: Clock, stop: CancellationToken) -> anyhow::Result<()>
where
    L: FnMut(bool) -> Duration + Send + 'static,
{
    let mut hangups = signal(SignalKind::hangup())?;
    let mut is_asked = false;
    loop {
        let looked = blocking(move || {
            let wait = look(is_asked);
            (look, wait)
        });
        let wait;
        (look, wait) = looked.await.context("looking at files")?;
        is_asked = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangups.recv() => true,
            () = clock.sleep(wait) => false,
        };
    }
}

/// The content of a file: the current one if it is valid, else the last valid one. Fails with the
/// reason when the file was never valid in this process. Blocks while it reads a small file.
pub fn read_good(path: &Path, check: Check) -> Result<Arc<[u8]>, String> {
    match read(path).and_then(|bytes| check(&bytes).map(|()| bytes)) {
        Ok(bytes) => {
            remember(path, &bytes);
            Ok(bytes.into())
        }
        Err(why) => last_good(path).ok_or(why),
    }
}

/// Remembers content of a file that was found valid elsewhere.
pub fn remember(path: &Path, content: &[u8]) {
    lock(&GOOD).get_or_insert_default().insert(path.to_owned(), content.into());
}

/// The last valid content of a file; `None` if it was never valid in this process.
#[must_use]
pub fn last_good(path: &Path) -> Option<Arc<[u8]>> {
    lock(&GOOD).as_ref()?.get(path).cloned()
}

/// The content of a file of up to a mebibyte.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    read_within(path, FILE_BYTES)
}

/// The content of a file of up to `most` bytes. Pipes are refused: they have no content that can be
/// read again, and would be waited for.
pub fn read_within(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = private::open_unless_pipe(path)
        .map_err(|error| format!("{error}{}", private::reading_cure(&error)))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!("larger than {most} bytes"));
    }
    Ok(bytes)
}

/// Checks that a file holds at least one certificate authority in PEM form.
pub fn check_authorities(pem: &[u8]) -> Result<(), String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| format!("invalid PEM: {error}"))?;
    if found.is_empty() {
        return Err("contains no PEM certificate".to_owned());
    }
    // TLS libraries silently skip certificates that they cannot parse.
    if RootCertStore::empty().add_parsable_certificates(found).0 == 0 {
        return Err("contains no readable certificate".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8]) -> Result<(), String> {
        if bytes.starts_with(b"good") { Ok(()) } else { Err("it is not good".to_owned()) }
    }

    #[test]
    fn the_last_good_content_stays_while_a_file_is_bad_or_missing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.pem");
        let text = || read_good(&path, check).map(|bytes| String::from_utf8_lossy(&bytes).into());
        assert!(text().is_err_and(|why: String| why.contains("No such file")));
        std::fs::write(&path, "bad").unwrap();
        assert_eq!(text(), Err::<String, _>("it is not good".to_owned()));
        std::fs::write(&path, "good 1").unwrap();
        assert_eq!(text().as_deref(), Ok("good 1"));
        std::fs::write(&path, "bad").unwrap();
        assert_eq!(text().as_deref(), Ok("good 1"));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(text().as_deref(), Ok("good 1"));
        std::fs::write(&path, "good 2").unwrap();
        assert_eq!(text().as_deref(), Ok("good 2"));
    }

    #[test]
    fn pipe_is_refused_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert_eq!(read(&path).unwrap_err(), "it is a pipe, not a file");
        assert!(read_good(&path, check).is_err() && read(dir.path()).is_err());
    }

    #[test]
    fn a_file_that_is_too_large_is_not_read_to_its_end() {
        let refused = read(Path::new("/dev/zero")).unwrap_err();
        assert!(refused.contains("larger than 1048576 bytes"), "{refused}");
    }
}
