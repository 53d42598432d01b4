//! Where a command's work is done: in the store itself, or by the appliance that has it open.
//!
//! Requests to the appliance carry the secret that only its user and root can read. Files pass
//! through the data directory: the appliance may not be able to open files that the command can
//! open, and the reverse.

use std::fmt::Display;
use std::io::{ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::config_file::ConfigFileArgs;
use super::config_file::load;
use super::output;
use crate::appliance::exchange::ExchangeLock;
use crate::appliance::ops_file::OpsAddress;
use crate::appliance::watch::space;
use crate::appliance::{self, Requeued, exchange, ops_file};
use crate::archive::{self, ArchiveError, ArchiveTarget, Exported, Imported};
use crate::clock::Clock;
use crate::config::{Config, Flag, LogConfig};
use crate::http::{Http, HttpOptions, HttpRequest};
use crate::logging;
use crate::model::window::Hour;
use crate::private;
use crate::store::checkpoint::{self, CheckpointError, ExistingBackup};
use crate::store::disk_space;
use crate::store::inspect::{InspectError, Inspector};
use crate::store::{Reader, Store, StoreError};
use crate::supervise::Exit;
use crate::sync::{Stopping, blocking};

/// Time limit of the appliance for one file, or for an export.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// The largest response, bytes.
const ANSWER_BYTES: usize = 4 << 20;

/// The store to use.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    file: ConfigFileArgs,
    /// Directory of the store; created if missing
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Access to a store.
pub(super) enum StoreAccess {
    /// No other process has the store open.
    Here(Store, Box<Config>),
    /// An appliance has it open, and listens here.
    Ops(OpsClient),
}

/// Client of a running appliance's ops listener.
pub(super) struct OpsClient {
    address: OpsAddress,
    http: Http,
    /// The data directory, through which files pass.
    data: PathBuf,
}

/// A directory through which files pass; removed at the end.
struct Exchange {
    data: PathBuf,
    name: String,
    path: PathBuf,
    /// Held while this command lives, which the appliance sees.
    lock: ExchangeLock,
}

impl Exchange {
    /// Does the work of a command. SIGINT or SIGTERM ends the process as usual, which shells and
    /// systemd see, but the directory is removed before.
    async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        let signals = signal(SignalKind::interrupt())
            .and_then(|interrupt| Ok((interrupt, signal(SignalKind::terminate())?)));
        // Without them the system's default ends the process.
        let Ok((mut interrupt, mut terminate)) = signals else { return work.await };
        let mut work = pin!(work);
        let number = tokio::select! {
            ended = &mut work => return ended,
            _ = interrupt.recv() => signal_hook::consts::SIGINT,
            _ = terminate.recv() => signal_hook::consts::SIGTERM,
        };
        self.lock.interrupt(&self.data, &self.name);
        // Does not return, unless the system refuses it: then the work ends as it would have.
        let _ = signal_hook::low_level::emulate_default_handler(number);
        work.await
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.lock.end(&self.data, &self.name);
    }
}

/// Why a command failed.
pub(super) struct CommandFailure {
    pub(super) exit: Exit,
    pub(super) reason: String,
}

impl CommandFailure {
    pub(super) fn new(exit: Exit, reason: impl Display) -> Self {
        Self { exit, reason: reason.to_string() }
    }
}

impl From<Stopping> for CommandFailure {
    fn from(error: Stopping) -> Self {
        Self::new(Exit::Stage, error)
    }
}

impl From<ArchiveError> for CommandFailure {
    fn from(error: ArchiveError) -> Self {
        let exit = if error.is_io() { Exit::Io } else { Exit::Data };
        Self::new(exit, error)
    }
}

impl From<CheckpointError> for CommandFailure {
    fn from(error: CheckpointError) -> Self {
        let exit = match &error {
            _ if error.is_in_use() => Exit::StoreInUse,
            _ if error.is_io() => Exit::Io,
            _ => Exit::Data,
        };
        Self::new(exit, error)
    }
}

impl From<InspectError> for CommandFailure {
    fn from(error: InspectError) -> Self {
        let exit = match &error {
            InspectError::UnknownFamily { .. } => Exit::Data,
            InspectError::Store(_) => Exit::Io,
        };
        Self::new(exit, error)
    }
}

/// Runs a command about a store. Prints why it failed.
pub(super) fn run(command: impl Future<Output = Result<Exit, CommandFailure>>) -> Exit {
    let ended = super::runtime::with_runtime(command);
    let fail = |failed: CommandFailure| output::failed(failed.exit, failed.reason);
    ended.map_or_else(|exit| exit, |ended| ended.unwrap_or_else(fail))
}

/// Opens the store, or finds the process that has it open; runs a command on it, and closes it.
pub(super) async fn run_on<T>(
    config: Config,
    command: impl AsyncFnOnce(&StoreAccess) -> Result<T, CommandFailure>,
) -> Result<T, CommandFailure> {
    let data = config.data_dir.clone();
    let opened = blocking(move || (open(&config), config)).await?;
    let found = match opened {
        (Ok(store), config) => StoreAccess::Here(store, Box::new(config)),
        (Err(error @ StoreError::InUse { .. }), _) => {
            StoreAccess::Ops(OpsClient::of(&data, &error)?)
        }
        (Err(error), _) => return Err(CommandFailure::new(Exit::Io, error)),
    };
    let ended = command(&found).await;
    found.close().await;
    ended
}

/// Loads the configuration, and sets up the log as it says.
pub(super) fn configured(args: &StoreArgs) -> Result<Config, CommandFailure> {
    let dir = args.data.as_ref().map(|dir| dir.display().to_string());
    let flag = |value| Flag { name: "--data", key: "data.dir", value };
    let loaded = load(&args.file, dir.into_iter().map(flag).collect());
    let refused = |exit| CommandFailure::new(exit, "the configuration is refused");
    let config =
        loaded.map_err(|refusal| refused(super::config_file::report_all(&refusal)))?.config;
    // The log file is the appliance's: a line written by root would create it as root's.
    let log = LogConfig { file: None, ..config.log.clone() };
    logging::install(&log).map_err(|error| CommandFailure::new(Exit::Config, error))?;
    Ok(config)
}

/// The same for commands that require a store: none is created.
pub(super) fn existing(args: &StoreArgs) -> Result<Config, CommandFailure> {
    let config = configured(args)?;
    expect_store(&config.data_dir)?;
    Ok(config)
}

/// Inspects a store with `look`, which writes nothing to its directory; the appliance that has it
/// open answers `asked` instead.
pub(super) async fn inspect<T: DeserializeOwned + Send + 'static>(
    args: &StoreArgs,
    asked: Value,
    look: impl FnOnce(Reader<'_>) -> Result<T, InspectError> + Send + 'static,
) -> Result<T, CommandFailure> {
    let data = existing(args)?.data_dir;
    let dir = data.clone();
    match blocking(move || look(Inspector::open(&dir)?.reader())).await? {
        Err(InspectError::Store(error @ StoreError::InUse { .. })) => {
            OpsClient::of(&data, &error)?.ask("store", &json!({ "inspect": asked })).await
        }
        looked => Ok(looked?),
    }
}

/// Fails unless there is a store in this directory.
pub(super) fn expect_store(data: &Path) -> Result<(), CommandFailure> {
    match std::fs::symlink_metadata(data.join("db")) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let data = data.display();
            let reason = format!("there is no store in {data}: name another with --data");
            Err(CommandFailure::new(Exit::Data, reason))
        }
        Err(error) => {
            let (data, cure) = (data.display(), private::cure(&error));
            let reason = format_args!("cannot open {data}: {error}{cure}");
            Err(CommandFailure::new(Exit::Io, reason))
        }
    }
}

fn open(config: &Config) -> Result<Store, StoreError> {
    let tables = appliance::open_tables(config);
    let store = Store::open_within(&config.data_dir, config.store.sync, tables, Clock::system())?;
    hand_over(&config.data_dir);
    Ok(store)
}

/// Gives files that root created in a service's directory to the service.
fn hand_over(data: &Path) {
    if let Err(error) = private::give_to_owner(data) {
        output::to_stderr(&format!(
            "warning: not all files in {} could be given to its owner ({error}): the service may \
             not be able to open them",
            data.display()
        ));
    }
}

impl StoreAccess {
    /// Imports a file; calls `read` with the number of bytes of each step.
    pub(super) async fn import(
        &self,
        file: &Path,
        mut read: impl FnMut(u64) + Send + 'static,
    ) -> Result<Imported, CommandFailure> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        match self {
            Self::Here(store, _) => {
                Ok(archive::import(store, &file, Clock::system().now(), read).await?)
            }
            Self::Ops(asking) => {
                let exchange = asking.exchange()?;
                let imported = exchange.during(asking.import(&exchange, &file)).await?;
                let size = std::fs::metadata(&file).map_or(0, |about| about.len());
                read(size);
                Ok(imported)
            }
        }
    }

    /// Exports the hours from `from` to before `until`. Addresses are hashed as the configuration
    /// of the process that has the store open says.
    pub(super) async fn export(
        &self,
        from: Hour,
        until: Hour,
        to: ArchiveTarget,
    ) -> Result<Exported, CommandFailure> {
        match self {
            Self::Here(store, config) => {
                let store = store.clone();
                let hashes_emails = config.privacy.hash_emails.in_exports();
                let to = ArchiveTarget { hashes_emails, ..to };
                appliance::leave_out(&store, &config.privacy).map_err(ArchiveError::from)?;
                Ok(blocking(move || archive::export(&store, from, until, &to)).await??)
            }
            Self::Ops(asking) => {
                let exchange = asking.exchange()?;
                exchange.during(asking.export(&exchange, from, until, to)).await
            }
        }
    }

    /// Makes a backup.
    pub(super) async fn backup(&self, to: &Path) -> Result<ExistingBackup, CommandFailure> {
        let to = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
        match self {
            Self::Here(store, _) => {
                let store = store.clone();
                Ok(blocking(move || checkpoint::backup(&store, &to, Clock::system())).await??)
            }
            Self::Ops(asking) => {
                let exchange = asking.exchange()?;
                exchange.during(asking.backup(&exchange, &to)).await
            }
        }
    }

    /// Retries the dead-letter queue.
    pub(super) async fn requeue(&self) -> Result<Requeued, CommandFailure> {
        match self {
            Self::Here(store, config) => {
                let requeued = appliance::requeue(store, config, Clock::system()).await;
                let failed = |error| CommandFailure::new(Exit::Io, format_args!("{error:#}"));
                requeued.map_err(failed)
            }
            Self::Ops(asking) => asking.ask("store", &json!({ "requeue": {} })).await,
        }
    }

    /// Closes the store, if this process has it open.
    pub(super) async fn close(self) {
        let Self::Here(store, config) = self else { return };
        // Closing waits for background work; a panic in it has been reported by then.
        let close = move || {
            drop(store);
            hand_over(&config.data_dir);
        };
        let _ = blocking(close).await;
    }
}

impl OpsClient {
    /// The client of the appliance that has the store in `data` open.
    fn of(data: &Path, in_use: &StoreError) -> Result<Self, CommandFailure> {
        let in_use =
            |error| CommandFailure::new(Exit::StoreInUse, format_args!("{in_use}; {error}"));
        let address = ops_file::read(data).map_err(in_use)?;
        let http = Http::new(HttpOptions { timeout: PATIENCE, body_limit: ANSWER_BYTES });
        let http = http.map_err(|error| CommandFailure::new(Exit::Stage, error))?;
        Ok(Self { address, http, data: data.to_owned() })
    }

    /// Takes the lock of a new exchange directory, which is created with its first file.
    fn exchange(&self) -> Result<Exchange, CommandFailure> {
        let (data, name) = (self.data.clone(), exchange::new_name());
        let lock = ExchangeLock::create(&data, &name).map_err(|error| {
            let (data, cure) = (data.display(), private::cure(&error));
            let reason = format_args!("cannot create a lock file in {data}: {error}{cure}");
            CommandFailure::new(Exit::Io, reason)
        })?;
        Ok(Exchange { path: data.join(&name), data, name, lock })
    }

    /// The appliance may not be able to read the file, so it gets a copy.
    async fn import(&self, exchange: &Exchange, file: &Path) -> Result<Imported, CommandFailure> {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (data, copy) = (self.data.clone(), exchange.path.join(&name));
        let (from, into) = (file.to_owned(), exchange.path.clone());
        let to = copy.clone();
        blocking(move || {
            // What is beside the file is not beside the copy, whose header the appliance reads.
            archive::expect_no_lists_beside(&from)?;
            lend(&from, &data, &into, &to)
        })
        .await??;
        let asked = json!({ "import": { "from": exchange.name, "file": name } });
        match self.ask::<Imported>("recorded", &asked).await {
            Ok(imported) => {
                let simulated = archive::is_simulated(file);
                Ok(Imported { file: file.to_owned(), simulated, ..imported })
            }
            Err(CommandFailure { exit, reason }) => {
                // The appliance received the copy.
                let (copy, file) = (copy.display().to_string(), file.display().to_string());
                Err(CommandFailure::new(exit, reason.replace(&copy, &file)))
            }
        }
    }

    /// The appliance may not be able to write there, so its files are moved there.
    async fn export(
        &self,
        exchange: &Exchange,
        from: Hour,
        until: Hour,
        to: ArchiveTarget,
    ) -> Result<Exported, CommandFailure> {
        let into = &exchange.name;
        let asked = json!({ "export": { "from": from.0, "until": until.0, "into": into } });
        let exported: Exported = self.ask("recorded", &asked).await?;
        // The appliance has hashed what its configuration says.
        let to = ArchiveTarget { hashes_emails: false, ..to };
        let at = exchange.path.clone();
        Ok(blocking(move || archive::deliver(exported, &at, &to)).await??)
    }

    /// The same for a backup.
    async fn backup(
        &self,
        exchange: &Exchange,
        to: &Path,
    ) -> Result<ExistingBackup, CommandFailure> {
        checkpoint::expect_empty(to)?;
        let asked = json!({ "backup": { "into": exchange.name } });
        let made: ExistingBackup = self.ask("store", &asked).await?;
        let name = made.dir.file_name().unwrap_or_default();
        let (at, to) = (exchange.path.join(name), to.to_owned());
        Ok(blocking(move || checkpoint::deliver(&at, &to)).await??)
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        asked: &Value,
    ) -> Result<T, CommandFailure> {
        let OpsAddress { url, secret } = &self.address;
        let address = format!("{url}/{path}");
        let request = HttpRequest::post(&address, Bytes::from(asked.to_string()))
            .header("content-type", "application/json")
            .bearer(secret.expose());
        let answer = self.http.send(request).await.map_err(|error| {
            let reason = format_args!("cannot reach the running appliance: {error}");
            CommandFailure::new(Exit::Unavailable, reason)
        })?;
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|error| {
                let hint = "is it another version?";
                let what = "the running appliance gave an unexpected answer";
                CommandFailure::new(Exit::Stage, format_args!("{what} ({hint}): {error}"))
            });
        }
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason");
        let exit = match answer.status {
            422 => Exit::Data,
            507 => Exit::Io,
            _ => Exit::Stage,
        };
        Err(CommandFailure::new(exit, detail))
    }
}

/// Copies a file into an exchange directory, for the owner of the data directory. Refuses what has
/// no end, such as a device, and what the disk cannot take beside its reserve.
fn lend(from: &Path, data: &Path, into: &Path, to: &Path) -> Result<(), ArchiveError> {
    let file = private::open_file(from).map_err(ArchiveError::file("open", from))?;
    let about = file.metadata().map_err(ArchiveError::file("read", from))?;
    let room = space(data).map(|(free, all)| free.saturating_sub(disk_space::reserve(all)));
    if room.is_some_and(|room| about.len() > room) {
        return Err(ArchiveError::file("copy", from)(ErrorKind::StorageFull.into()));
    }
    let mut file = file.take(about.len());
    let give =
        || private::give_to_owner(data).map_err(ArchiveError::file("give to its owner", into));
    private::create_dir(into).map_err(ArchiveError::file("create", into))?;
    // Also before the copy: if this process is killed, the appliance can remove it.
    give()?;
    let mut copy = private::fresh(to).map_err(ArchiveError::file("create", to))?;
    std::io::copy(&mut file, &mut copy).map_err(ArchiveError::file("read", from))?;
    give()
}
