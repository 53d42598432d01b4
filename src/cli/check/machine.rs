//! Requirements of this machine: writable directories, free ports, and readable files that are
//! private. Checks change nothing.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::report::Finding;
use super::runner::{self, Runner};
use crate::appliance::{DEFAULT_OPS, cannot_listen};
use crate::config::{self, Config, ConfigError, ValueOrigin, ValueOrigins};
use crate::private;
use crate::reload;
use crate::store;

/// How often a port in use is retried, and the pause: another `check` may hold it briefly.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// The most bytes of a file of tokens that are checked.
const TOKENS_BYTES: u64 = 1 << 20;

/// Runs all checks. Keys with an error are skipped: their values are not what was written.
pub(super) fn look(
    config: &Config,
    places: &ValueOrigins,
    config_errors: &[ConfigError],
) -> Vec<Finding> {
    let is_refused =
        |key: &str| config_errors.iter().any(|one| one.key.as_deref().is_some_and(|k| k == key));
    let mut found = Vec::new();
    let directories = [
        ("data.dir", Some(&config.data_dir)),
        ("archive.dir", config.archive_dir.as_ref()),
        ("backup.dir", config.backup.as_ref().map(|backup| &backup.dir)),
    ];
    for (key, dir) in directories {
        if let Some(dir) = dir.filter(|_| !is_refused(key)) {
            found.push(Finding::of_io(key, dir.display(), try_directory(dir)));
        }
    }
    if let Some(file) = config.log.file.as_ref().filter(|_| !is_refused("log.file")) {
        found.push(Finding::of_io("log.file", file.display(), try_log(file)));
    }
    let in_use = store::is_in_use(&config.data_dir);
    if !is_refused("server.port") && !is_refused("server.bind") {
        found.push(port("server.port", config.server.listen(), in_use, false));
    }
    if let Some(ops) = config.ops_listen.filter(|_| !is_refused("ops.listen")) {
        // Another port replaces a default one that is in use, as in `run`.
        let is_default = ops.to_string() == DEFAULT_OPS;
        found.push(port("ops.listen", ops, in_use, is_default));
    }
    let runner = Runner::of(&config.data_dir);
    let secrets = secret_files(config, places);
    found.extend(readable_by_others(&secrets, runner.as_ref()));
    if let Some(runner) = runner.filter(|_| private::is_root()) {
        found.extend(unreadable_by(&runner, &secrets));
    }
    found
}

/// Whether a directory is writable, or can be created. Leaves nothing behind.
fn try_directory(dir: &Path) -> Result<String, String> {
    match std::fs::metadata(dir) {
        Ok(about) if !about.is_dir() => return Err("is not a directory".to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let above = existing_above(dir);
            let made = write_in(&above);
            return made
                .map(|()| "does not exist yet and can be created".to_owned())
                .map_err(|why| format!("cannot be created in {}: {why}", above.display()));
        }
        Err(error) => return Err(format!("cannot be examined: {error}")),
    }
    write_in(dir).map_err(|why| format!("cannot be written: {why}"))?;
    // A store of another user prevents the start, whatever the directory's permissions.
    let lock = dir.join("LOCK");
    if lock.exists()
        && let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open(&lock)
    {
        let why = format!("contains a store that is not writable: {}: {error}", lock.display());
        return Err(why);
    }
    Ok("can be written".to_owned())
}

fn write_in(dir: &Path) -> Result<(), String> {
    if !dir.is_dir() {
        return Err("that is not a directory".to_owned());
    }
    let tried = tempfile::Builder::new().prefix(".ghpulse-check-").tempfile_in(dir);
    tried.map(drop).map_err(|error| plain(&error))
}

/// The system's message without the generated name of the test file.
fn plain(error: &std::io::Error) -> String {
    let text = error.get_ref().map_or_else(|| error.to_string(), ToString::to_string);
    text.split(" at path").next().unwrap_or(&text).to_owned()
}

fn existing_above(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|above| above.exists());
    match above {
        Some(above) if !above.as_os_str().is_empty() => above.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn try_log(file: &Path) -> Result<String, String> {
    if file.exists() {
        return private::append(file)
            .map(|_| "can be appended to".to_owned())
            .map_err(|error| format!("cannot be appended to: {error}"));
    }
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    if !dir.exists() {
        return Err(format!("cannot be created: directory {} does not exist", dir.display()));
    }
    let made = write_in(dir).map(|()| "can be created".to_owned());
    made.map_err(|why| format!("cannot be created in {}: {why}", dir.display()))
}

/// Whether a port is free. `in_use`: an appliance runs on the data directory and may have it.
fn port(key: &'static str, address: SocketAddr, in_use: bool, is_default: bool) -> Finding {
    let mut bound = TcpListener::bind(address);
    for _ in 1..TRIES {
        match &bound {
            Err(error) if error.kind() == ErrorKind::AddrInUse && !in_use => {
                std::thread::sleep(PAUSE);
                bound = TcpListener::bind(address);
            }
            _ => break,
        }
    }
    match bound {
        Ok(_) => Finding::ok(key, address, "is free"),
        Err(error) if error.kind() == ErrorKind::AddrInUse && in_use => {
            let said = "is in use, possibly by the appliance that runs on data.dir";
            Finding::note(key, address, said)
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_default => {
            Finding::warning(key, address, "is in use: another port will be used")
        }
        Err(error) => {
            let cure = cannot_listen(&error, address);
            Finding::io(key, address, format!("cannot listen: {error}; set {key} to {cure}"))
        }
    }
}

/// Files with secrets, by key.
fn secret_files(config: &Config, places: &ValueOrigins) -> Vec<(&'static str, PathBuf)> {
    let mut files: Vec<(&'static str, PathBuf)> = Vec::new();
    let secret = |key: &&config::ConfigKey| key.is_secret() && places.contains_key(key.path);
    let written = config::KEYS.iter().filter(secret).find_map(|key| match &places[key.path] {
        ValueOrigin::File { file, .. } => Some((key.path, file.clone())),
        _ => None,
    });
    files.extend(written);
    let oauth = config.pulsar.as_ref().and_then(|pulsar| pulsar.oauth.as_ref());
    let named = [
        ("github.tokensFile", config.github.tokens_file.clone()),
        ("github.app.keyFile", config.github.app.as_ref().map(|app| app.key_file.clone())),
        ("server.tls.key", config.server.tls.as_ref().map(|tls| tls.key.clone())),
        ("pulsar.keypath", oauth.map(|oauth| oauth.key_file.clone())),
    ];
    files.extend(named.into_iter().filter_map(|(key, path)| path.map(|path| (key, path))));
    files
}

/// Files with secrets that every user of this machine may read. `runner` is the user that runs
/// ghpulse, if that is known: the remedy must not keep it out.
fn readable_by_others(
    secrets: &[(&'static str, PathBuf)],
    runner: Option<&Runner>,
) -> Vec<Finding> {
    let open = secrets.iter().filter(|(_, path)| runner::is_readable_by_others(path));
    open.map(|(key, path)| {
        let cure = runner::how_to_hide(path, runner);
        let said = format!("readable by every user of this machine, with its secrets: {cure}");
        Finding::warning(key, path.display(), said)
    })
    .collect()
}

/// Files with secrets that the user that runs ghpulse may not read, which root does not notice.
fn unreadable_by(runner: &Runner, secrets: &[(&'static str, PathBuf)]) -> Vec<Finding> {
    let found = secrets.iter().filter_map(|(key, path)| {
        let said = format!(
            "the owner of data.dir, `{}`, may not read it and would not start: {}",
            runner.user,
            runner.how_to_allow(path)?
        );
        Some(Finding::warning(key, path.display(), said))
    });
    found.collect()
}

/// The lines of a file of tokens; `None` when it is unreadable, which is reported elsewhere.
pub(super) fn tokens_of(path: &Path) -> Option<config::TokenLines> {
    let bytes = reload::read_within(path, TOKENS_BYTES).ok()?;
    Some(config::read_tokens(&String::from_utf8(bytes).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::report::Level;
    use crate::supervise::Exit;

    #[test]
    fn a_directory_is_tried_and_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        assert_eq!(try_directory(dir.path()).as_deref(), Ok("can be written"));
        assert!(try_directory(&below).unwrap().contains("can be created"));
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert_eq!(try_directory(&file).unwrap_err(), "is not a directory");
        assert!(try_directory(&file.join("x")).is_err());
        // Not even root can create anything there.
        assert!(try_directory(Path::new("/proc/nope")).unwrap_err().contains("/proc"));
        assert!(try_log(Path::new("/proc/nope/x.log")).is_err());
        assert!(try_log(dir.path()).is_err());
        assert!(try_log(&dir.path().join("x.log")).is_ok());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_port_is_free_or_taken() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let level = |in_use, is_default| {
            let found = port("server.port", address, in_use, is_default);
            (found.level, found.exit)
        };
        assert_eq!(level(true, false), (Level::Note, None));
        assert_eq!(level(false, true), (Level::Warning, None));
        assert_eq!(level(false, false).1, Some(Exit::Io));
        drop(taken);
        assert_eq!(level(false, false), (Level::Ok, None));
        // An address reserved for documentation belongs to no machine.
        let elsewhere = port("server.bind", "192.0.2.1:0".parse().unwrap(), false, false);
        assert_eq!(elsewhere.exit, Some(Exit::Io));
    }
}
