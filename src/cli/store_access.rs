//! Where a command's work is done: in the store itself, or by the appliance that has it open.
//!
//! Requests to the appliance carry the secret that only its user and root can read. Files pass
//! through the data directory: the appliance may not be able to open files that the command can
//! open, and the reverse.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::config_file::ConfigFileArgs;
use super::config_file::load;
use super::exit::Exit;
use super::output;
use crate::appliance::ops_file::OpsAddress;
use crate::appliance::{self, Requeued, exchange, ops_file};
use crate::archive::{self, ArchiveError, ArchiveTarget, Exported, Imported};
use crate::clock::Clock;
use crate::config::{Config, Flag, LogConfig, StoreSync};
use crate::http::{Http, HttpOptions, HttpRequest};
use crate::logging;
use crate::model::window::Hour;
use crate::private;
use crate::store::checkpoint::{self, CheckpointError, ExistingBackup};
use crate::store::inspect::{self, InspectError, InspectedFamily, Inspection, Inspector};
use crate::store::{Durability, Store, StoreError};
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
    /// No other process has the store open; it is opened read-only.
    Look(Arc<Inspector>),
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
    name: String,
    path: PathBuf,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // The appliance's next start removes what remains.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Why a command failed.
pub(super) struct CommandFailure {
    pub(super) exit: Exit,
    pub(super) reason: String,
}

impl From<Stopping> for CommandFailure {
    fn from(error: Stopping) -> Self {
        Self { exit: Exit::Stage, reason: error.to_string() }
    }
}

impl From<ArchiveError> for CommandFailure {
    fn from(error: ArchiveError) -> Self {
        let exit = if error.is_io() { Exit::Io } else { Exit::Data };
        Self { exit, reason: error.to_string() }
    }
}

impl From<CheckpointError> for CommandFailure {
    fn from(error: CheckpointError) -> Self {
        let exit = match &error {
            _ if error.is_in_use() => Exit::StoreInUse,
            _ if error.is_io() => Exit::Io,
            _ => Exit::Data,
        };
        Self { exit, reason: error.to_string() }
    }
}

impl From<InspectError> for CommandFailure {
    fn from(error: InspectError) -> Self {
        let exit = match &error {
            InspectError::UnknownFamily { .. } => Exit::Data,
            InspectError::Store(_) => Exit::Io,
        };
        Self { exit, reason: error.to_string() }
    }
}

/// Runs a command about a store. Prints why it failed.
pub(super) fn run(command: impl Future<Output = Result<Exit, CommandFailure>>) -> Exit {
    let ended = super::runtime::with_runtime(command);
    ended.map_or_else(|exit| exit, |ended| ended.unwrap_or_else(|failed| complain(&failed)))
}

/// Runs a command on a store that was found, and closes the store.
pub(super) async fn run_on<T>(
    found: Result<StoreAccess, CommandFailure>,
    command: impl AsyncFnOnce(&StoreAccess) -> Result<T, CommandFailure>,
) -> Result<T, CommandFailure> {
    let found = found?;
    let ended = command(&found).await;
    found.close().await;
    ended
}

/// Loads the configuration, and sets up the log as it says.
pub(super) fn configured(args: &StoreArgs) -> Result<Config, CommandFailure> {
    let dir = args.data.as_ref().map(|dir| dir.display().to_string());
    let flag = |value| Flag { name: "--data", key: "data.dir", value };
    let loaded = load(&args.file, dir.into_iter().map(flag).collect());
    let refused = |exit| CommandFailure { exit, reason: "the configuration is refused".to_owned() };
    let config =
        loaded.map_err(|refusal| refused(super::config_file::complain_all(&refusal)))?.config;
    // The log file is the appliance's: a line written by root would create it as root's.
    let log = LogConfig { file: None, ..config.log.clone() };
    logging::install(&log)
        .map_err(|error| CommandFailure { exit: Exit::Config, reason: error.to_string() })?;
    Ok(config)
}

/// Loads the configuration and opens the store, or finds the process that has it open.
pub(super) async fn find(args: &StoreArgs) -> Result<StoreAccess, CommandFailure> {
    open_or_ask(configured(args)?).await
}

async fn open_or_ask(config: Config) -> Result<StoreAccess, CommandFailure> {
    let data = config.data_dir.clone();
    let opened = blocking(move || (open(&config), config)).await?;
    match opened {
        (Ok(store), config) => Ok(StoreAccess::Here(store, Box::new(config))),
        (Err(error @ StoreError::InUse { .. }), _) => elsewhere(&data, &error),
        (Err(error), _) => Err(CommandFailure { exit: Exit::Io, reason: error.to_string() }),
    }
}

/// The same for commands that require a store: none is created.
pub(super) async fn find_existing(args: &StoreArgs) -> Result<StoreAccess, CommandFailure> {
    find_existing_of(configured(args)?).await
}

/// The same with a configuration that was loaded before.
pub(super) async fn find_existing_of(config: Config) -> Result<StoreAccess, CommandFailure> {
    expect_store(&config.data_dir)?;
    open_or_ask(config).await
}

/// The same for reading only: nothing is written to the store's directory.
pub(super) async fn find_to_look(args: &StoreArgs) -> Result<StoreAccess, CommandFailure> {
    let data = configured(args)?.data_dir;
    expect_store(&data)?;
    let dir = data.clone();
    match blocking(move || Inspector::open(&dir)).await? {
        Ok(looker) => Ok(StoreAccess::Look(Arc::new(looker))),
        Err(error @ StoreError::InUse { .. }) => elsewhere(&data, &error),
        Err(error) => Err(CommandFailure { exit: Exit::Io, reason: error.to_string() }),
    }
}

fn expect_store(data: &Path) -> Result<(), CommandFailure> {
    match std::fs::symlink_metadata(data.join("db")) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let data = data.display();
            let reason = format!("there is no store in {data}: name another with --data");
            Err(CommandFailure { exit: Exit::Data, reason })
        }
        Err(error) => {
            let (data, cure) = (data.display(), private::cure(&error));
            Err(CommandFailure {
                exit: Exit::Io,
                reason: format!("cannot open {data}: {error}{cure}"),
            })
        }
    }
}

fn open(config: &Config) -> Result<Store, StoreError> {
    let sync = match config.store.sync {
        StoreSync::Batch => Durability::EveryBatch,
        StoreSync::Every(interval) => Durability::Every(interval),
    };
    let store = Store::open(&config.data_dir, sync, Clock::system())?;
    hand_over(&config.data_dir);
    Ok(store)
}

/// Gives files that root created in a service's directory to the service.
fn hand_over(data: &Path) {
    if let Err(error) = private::give_to_owner(data) {
        output::complain(&format!(
            "warning: not all files in {} could be given to its owner ({error}): the service may \
             not be able to open them",
            data.display()
        ));
    }
}

fn elsewhere(data: &Path, in_use: &StoreError) -> Result<StoreAccess, CommandFailure> {
    let address = ops_file::read(data).map_err(|error| CommandFailure {
        exit: Exit::StoreInUse,
        reason: format!("{in_use}; {error}"),
    })?;
    let http = Http::new(HttpOptions { timeout: PATIENCE, body_limit: ANSWER_BYTES });
    let http =
        http.map_err(|error| CommandFailure { exit: Exit::Stage, reason: error.to_string() })?;
    Ok(StoreAccess::Ops(OpsClient { address, http, data: data.to_owned() }))
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
            Self::Here(store, _) => Ok(archive::import(store, &file, read).await?),
            Self::Ops(asking) => {
                // What is beside the file is not beside the copy that the appliance gets.
                archive::expect_all_events(&file)?;
                let imported = asking.import(&file).await?;
                let size = std::fs::metadata(&file).map_or(0, |about| about.len());
                read(size);
                Ok(imported)
            }
            Self::Look(_) => Err(only_looking()),
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
            Self::Ops(asking) => asking.export(from, until, to).await,
            Self::Look(_) => Err(only_looking()),
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
            Self::Ops(asking) => asking.backup(&to).await,
            Self::Look(_) => Err(only_looking()),
        }
    }

    /// All column families with their sizes.
    pub(super) async fn families(&self) -> Result<Vec<InspectedFamily>, CommandFailure> {
        match self {
            Self::Here(store, _) => {
                let store = store.clone();
                let looked = blocking(move || inspect::families(store.reader())).await?;
                Ok(looked.map_err(InspectError::from)?)
            }
            Self::Look(looker) => {
                let looker = Arc::clone(looker);
                let families = blocking(move || inspect::families(looker.reader())).await?;
                Ok(families.map_err(InspectError::from)?)
            }
            Self::Ops(asking) => {
                let asked = json!({ "family": null, "prefix": "", "limit": 1 });
                asking.ask("store", &json!({ "inspect": asked })).await
            }
        }
    }

    /// Rows of a column family.
    pub(super) async fn rows(
        &self,
        family: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<Inspection, CommandFailure> {
        match self {
            Self::Here(store, _) => {
                let (store, family, prefix) = (store.clone(), family.to_owned(), prefix.to_owned());
                let look = move || inspect::rows(store.reader(), &family, &prefix, limit);
                Ok(blocking(look).await??)
            }
            Self::Look(looker) => {
                let looker = Arc::clone(looker);
                let (family, prefix) = (family.to_owned(), prefix.to_owned());
                let look = move || inspect::rows(looker.reader(), &family, &prefix, limit);
                Ok(blocking(look).await??)
            }
            Self::Ops(asking) => {
                let asked = json!({ "family": family, "prefix": prefix, "limit": limit });
                asking.ask("store", &json!({ "inspect": asked })).await
            }
        }
    }

    /// Retries the dead-letter queue.
    pub(super) async fn requeue(&self) -> Result<Requeued, CommandFailure> {
        match self {
            Self::Here(store, config) => {
                let requeued = appliance::requeue(store, config, Clock::system()).await;
                requeued.map_err(|error| CommandFailure {
                    exit: Exit::Io,
                    reason: format!("{error:#}"),
                })
            }
            Self::Ops(asking) => asking.ask("store", &json!({ "requeue": {} })).await,
            Self::Look(_) => Err(only_looking()),
        }
    }

    /// Closes the store, if this process has it open.
    pub(super) async fn close(self) {
        let data = match &self {
            Self::Here(store, _) => Some(store.dir().to_owned()),
            Self::Look(_) | Self::Ops(_) => None,
        };
        // Closing waits for background work; a panic in it has been reported by then.
        let close = move || {
            drop(self);
            if let Some(data) = data {
                hand_over(&data);
            }
        };
        let _ = blocking(close).await;
    }
}

fn only_looking() -> CommandFailure {
    CommandFailure { exit: Exit::Stage, reason: "the store was opened read-only".to_owned() }
}

impl OpsClient {
    /// A name for an exchange directory; it is created with its first file.
    fn exchange(&self) -> Exchange {
        let name = exchange::new_name();
        Exchange { path: self.data.join(&name), name }
    }

    /// The appliance may not be able to read the file, so it gets a copy.
    async fn import(&self, file: &Path) -> Result<Imported, CommandFailure> {
        let exchange = self.exchange();
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let (data, copy) = (self.data.clone(), exchange.path.join(&name));
        let (from, into) = (file.to_owned(), exchange.path.clone());
        let to = copy.clone();
        blocking(move || lend(&from, &data, &into, &to)).await??;
        let asked = json!({ "import": { "from": exchange.name, "file": name } });
        match self.ask::<Imported>("recorded", &asked).await {
            Ok(imported) => Ok(Imported { file: file.to_owned(), ..imported }),
            Err(CommandFailure { exit, reason }) => {
                // The appliance received the copy.
                let (copy, file) = (copy.display().to_string(), file.display().to_string());
                Err(CommandFailure { exit, reason: reason.replace(&copy, &file) })
            }
        }
    }

    /// The appliance may not be able to write there, so its files are moved there.
    async fn export(
        &self,
        from: Hour,
        until: Hour,
        to: ArchiveTarget,
    ) -> Result<Exported, CommandFailure> {
        let exchange = self.exchange();
        let into = &exchange.name;
        let asked = json!({ "export": { "from": from.0, "until": until.0, "into": into } });
        let exported: Exported = self.ask("recorded", &asked).await?;
        // The appliance has hashed what its configuration says.
        let to = ArchiveTarget { hashes_emails: false, ..to };
        let at = exchange.path.clone();
        Ok(blocking(move || archive::deliver(exported, &at, &to)).await??)
    }

    /// The same for a backup.
    async fn backup(&self, to: &Path) -> Result<ExistingBackup, CommandFailure> {
        checkpoint::expect_empty(to)?;
        let exchange = self.exchange();
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
        let bearer = format!("Bearer {}", secret.expose());
        let request = HttpRequest::post(&address, Bytes::from(asked.to_string()))
            .header("content-type", "application/json")
            .header("authorization", &bearer);
        let answer = self.http.send(request).await.map_err(|error| CommandFailure {
            exit: Exit::Unavailable,
            reason: format!("cannot reach the running appliance: {error}"),
        })?;
        if answer.status == 200 {
            return serde_json::from_slice(&answer.body).map_err(|error| CommandFailure {
                exit: Exit::Stage,
                reason: format!(
                    "the running appliance gave an unexpected answer (is it another \
                                 version?): {error}"
                ),
            });
        }
        let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let detail = problem["detail"].as_str().unwrap_or("no reason");
        let exit = match answer.status {
            422 => Exit::Data,
            507 => Exit::Io,
            _ => Exit::Stage,
        };
        Err(CommandFailure { exit, reason: detail.to_owned() })
    }
}

/// Copies a file into an exchange directory, for the owner of the data directory.
fn lend(from: &Path, data: &Path, into: &Path, to: &Path) -> Result<(), ArchiveError> {
    let mut file = File::open(from).map_err(ArchiveError::file("open", from))?;
    private::create_dir(into).map_err(ArchiveError::file("create", into))?;
    let mut copy = private::fresh(to).map_err(ArchiveError::file("create", to))?;
    std::io::copy(&mut file, &mut copy).map_err(ArchiveError::file("read", from))?;
    private::give_to_owner(data).map_err(ArchiveError::file("give to its owner", into))
}

/// Prints to stderr why a command failed.
fn complain(failed: &CommandFailure) -> Exit {
    output::complain(&format!("error: {}", failed.reason));
    failed.exit
}
