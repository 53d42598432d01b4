//! Where a command's work is done: in the store itself, or by the appliance that has it open.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Exit, FileArgs, load, output};
use crate::appliance::{self, Requeued, ops_file};
use crate::archive::{self, ArchiveError, Exported, Imported};
use crate::clock::Clock;
use crate::config::{Config, Flag, StoreSync};
use crate::http::{Http, HttpOptions, Request};
use crate::logging;
use crate::model::window::Hour;
use crate::store::checkpoint::{self, Backup, CheckpointError};
use crate::store::inspect::{self, FamilyLook, InspectError, Looked};
use crate::store::{Store, StoreError, Sync};

/// The longest that an appliance may take for one file, or for an export.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// The largest answer that is read, bytes.
const ANSWER_BYTES: usize = 4 << 20;

/// Which store is meant.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct StoreArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Directory of the store; made when it is not there
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Where the work is done.
pub(super) enum Place {
    /// Nobody else has the store.
    Here(Store, Box<Config>),
    /// An appliance has it, and listens here.
    Ops {
        /// Its ops endpoints.
        url: String,
        /// How it is asked.
        http: Http,
    },
}

/// Why it was not done.
pub(super) struct Failed {
    pub(super) exit: Exit,
    pub(super) reason: String,
}

impl From<ArchiveError> for Failed {
    fn from(error: ArchiveError) -> Self {
        let exit = if error.is_io() { Exit::Io } else { Exit::Data };
        Self { exit, reason: error.to_string() }
    }
}

impl From<CheckpointError> for Failed {
    fn from(error: CheckpointError) -> Self {
        let exit = match &error {
            _ if error.is_in_use() => Exit::StoreInUse,
            _ if error.is_io() => Exit::Io,
            _ => Exit::Data,
        };
        Self { exit, reason: error.to_string() }
    }
}

impl From<InspectError> for Failed {
    fn from(error: InspectError) -> Self {
        let exit = match &error {
            InspectError::NoFamily { .. } => Exit::Data,
            InspectError::Store(_) => Exit::Io,
        };
        Self { exit, reason: error.to_string() }
    }
}

/// Reads the configuration, and sets up the log as it says.
pub(super) fn configured(args: &StoreArgs) -> Result<Config, Failed> {
    let dir = args.data.as_ref().map(|dir| dir.display().to_string());
    let flag = |value| Flag { name: "--data", key: "data.dir", value };
    let loaded = load(&args.file, dir.into_iter().map(flag).collect());
    let refused = |exit| Failed { exit, reason: "the configuration is refused".to_owned() };
    let config = loaded.map_err(|refusal| refused(super::complain_all(&refusal)))?.config;
    logging::install(&config.log)
        .map_err(|error| Failed { exit: Exit::Config, reason: error.to_string() })?;
    Ok(config)
}

/// Reads the configuration and opens the store, or finds who has it.
pub(super) async fn find(args: &StoreArgs) -> Result<Place, Failed> {
    open_or_ask(configured(args)?).await
}

async fn open_or_ask(config: Config) -> Result<Place, Failed> {
    let data = config.data_dir.clone();
    let opened = beside(move || (open(&config), config)).await?;
    match opened {
        (Ok(store), config) => Ok(Place::Here(store, Box::new(config))),
        (Err(error @ StoreError::InUse { .. }), _) => elsewhere(&data, &error),
        (Err(error), _) => Err(Failed { exit: Exit::Io, reason: error.to_string() }),
    }
}

/// The same where a store must be: looking for one makes none.
pub(super) async fn find_existing(args: &StoreArgs) -> Result<Place, Failed> {
    let config = configured(args)?;
    let data = &config.data_dir;
    if !data.join("db").exists() {
        let reason = format!("there is no store in {}: name another with --data", data.display());
        return Err(Failed { exit: Exit::Data, reason });
    }
    open_or_ask(config).await
}

/// Work that may block.
pub(super) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failed> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failed { exit: Exit::Stage, reason: error.to_string() })
}

fn open(config: &Config) -> Result<Store, StoreError> {
    let sync = match config.store.sync {
        StoreSync::Batch => Sync::EveryBatch,
        StoreSync::Every(interval) => Sync::Every(interval),
    };
    Store::open(&config.data_dir, sync, Clock::system())
}

fn elsewhere(data: &Path, in_use: &StoreError) -> Result<Place, Failed> {
    let Some(url) = ops_file::read(data) else {
        let reason = format!("{in_use}, and it serves no ops endpoints that could be asked");
        return Err(Failed { exit: Exit::StoreInUse, reason });
    };
    let http = Http::new(HttpOptions { timeout: PATIENCE, body_limit: ANSWER_BYTES });
    let http = http.map_err(|error| Failed { exit: Exit::Stage, reason: error.to_string() })?;
    Ok(Place::Ops { url, http })
}

impl Place {
    /// Imports a file; `read` is told of its bytes as they are dealt with.
    pub(super) async fn import(
        &self,
        file: &Path,
        mut read: impl FnMut(u64) + Send + 'static,
    ) -> Result<Imported, Failed> {
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        match self {
            Self::Here(store, _) => Ok(archive::import(store, &file, read).await?),
            Self::Ops { url, http } => {
                let opened = std::fs::metadata(&file);
                let size = opened.map_err(|source| ArchiveError::File {
                    verb: "open",
                    path: file.clone(),
                    source,
                })?;
                let imported =
                    ask(http, url, "archive", &json!({ "import": { "file": file } })).await?;
                read(size.len());
                Ok(imported)
            }
        }
    }

    /// Exports the hours from `from` to before `until`.
    pub(super) async fn export(
        &self,
        from: Hour,
        until: Hour,
        to: &Path,
    ) -> Result<Exported, Failed> {
        let to = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
        match self {
            Self::Here(store, _) => {
                let store = store.clone();
                Ok(beside(move || archive::export(&store, from, until, &to)).await??)
            }
            Self::Ops { url, http } => {
                let asked = json!({ "export": { "from": from.0, "until": until.0, "to": to } });
                ask(http, url, "archive", &asked).await
            }
        }
    }

    /// Makes a backup.
    pub(super) async fn backup(&self, to: &Path) -> Result<Backup, Failed> {
        let to = std::path::absolute(to).unwrap_or_else(|_| to.to_owned());
        match self {
            Self::Here(store, _) => {
                let store = store.clone();
                Ok(beside(move || checkpoint::backup(&store, &to, Clock::system())).await??)
            }
            Self::Ops { url, http } => {
                ask(http, url, "store", &json!({ "backup": { "to": to } })).await
            }
        }
    }

    /// All families, in figures.
    pub(super) async fn families(&self) -> Result<Vec<FamilyLook>, Failed> {
        match self {
            Self::Here(store, _) => {
                let store = store.clone();
                let looked = beside(move || inspect::families(store.reader())).await?;
                Ok(looked.map_err(InspectError::from)?)
            }
            Self::Ops { url, http } => {
                let asked = json!({ "family": null, "prefix": "", "limit": 1 });
                ask(http, url, "store", &json!({ "inspect": asked })).await
            }
        }
    }

    /// Rows of a family.
    pub(super) async fn rows(
        &self,
        family: &str,
        prefix: &str,
        limit: usize,
    ) -> Result<Looked, Failed> {
        match self {
            Self::Here(store, _) => {
                let (store, family, prefix) = (store.clone(), family.to_owned(), prefix.to_owned());
                let look = move || inspect::rows(store.reader(), &family, &prefix, limit);
                Ok(beside(look).await??)
            }
            Self::Ops { url, http } => {
                let asked = json!({ "family": family, "prefix": prefix, "limit": limit });
                ask(http, url, "store", &json!({ "inspect": asked })).await
            }
        }
    }

    /// Tries the dead letters again.
    pub(super) async fn requeue(&self) -> Result<Requeued, Failed> {
        match self {
            Self::Here(store, config) => {
                let requeued = appliance::requeue(store, config, Clock::system()).await;
                requeued.map_err(|error| Failed { exit: Exit::Io, reason: format!("{error:#}") })
            }
            Self::Ops { url, http } => ask(http, url, "store", &json!({ "requeue": {} })).await,
        }
    }

    /// Closes the store, if it is here.
    pub(super) async fn close(self) {
        // Closing waits for background work; a panic in there has been reported by then.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }
}

async fn ask<T: DeserializeOwned>(
    http: &Http,
    url: &str,
    path: &str,
    asked: &Value,
) -> Result<T, Failed> {
    let address = format!("{url}/{path}");
    let request = Request::post(&address, Bytes::from(asked.to_string()))
        .header("content-type", "application/json");
    let answer = http.send(request).await.map_err(|error| Failed {
        exit: Exit::Unavailable,
        reason: format!("the running appliance cannot be asked: {error}"),
    })?;
    if answer.status == 200 {
        return serde_json::from_slice(&answer.body).map_err(|error| Failed {
            exit: Exit::Stage,
            reason: format!("the running appliance answers otherwise than this one: {error}"),
        });
    }
    let problem: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("no reason");
    let exit = match answer.status {
        422 => Exit::Data,
        507 => Exit::Io,
        _ => Exit::Stage,
    };
    Err(Failed { exit, reason: detail.to_owned() })
}

/// Says on stderr why something was not done.
pub(super) fn complain(failed: &Failed) -> Exit {
    output::complain(&format!("error: {}", failed.reason));
    failed.exit
}
