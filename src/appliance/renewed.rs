//! Files that are replaced while the appliance runs: certificates, authorities, Pulsar's key file,
//! tokens, the names that are left out, and the log file. Their content is checked every few
//! seconds and on SIGHUP.
//!
//! Valid new content is put into use. Invalid content leaves the old one in use and is reported in
//! the log and in `/readyz`. The two files of a pair may be replaced one after the other, so
//! invalid content is reported only when the next check finds it unchanged.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{excluded, tokens};
use crate::bus::pulsar::{check_key, key_path};
use crate::clock::Clock;
use crate::config::{Config, PrivacyConfig};
use crate::github::app::check_app_key;
use crate::hub::Hub;
use crate::logging;
use crate::model::window::Timestamp;
use crate::reload;
use crate::serve::Certificate;
use crate::store::Store;

/// Interval between two checks.
const EVERY: Duration = Duration::from_secs(2);

/// A file that was replaced by an unusable one, with the reason and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnusableFile {
    /// Key, path, and what is wrong.
    pub(super) words: String,
    /// When it was found.
    pub(super) since: Timestamp,
}

/// The files that are unusable now.
pub(super) type RenewalState = watch::Receiver<Vec<UnusableFile>>;

/// Puts new content of all files of a group into use; the error says what is wrong with it.
type Take = Box<dyn Fn(&[Vec<u8>]) -> Result<(), String> + Send>;

/// Files that are put into use together.
struct ReloadGroup {
    /// Their configuration keys.
    key: &'static str,
    paths: Vec<PathBuf>,
    take: Take,
    /// The content in use; empty before the files were valid for the first time.
    used: Vec<Vec<u8>>,
    /// Whether a part of the content would be valid too: then new content is put into use when the
    /// next check finds it unchanged. Such a file need not exist, which is as if it were empty.
    settles: bool,
    /// New content at the last check, if it settles.
    settling: Option<Vec<Vec<u8>>>,
    /// The last content, if it is invalid.
    bad: Option<Bad>,
    /// Keeps the content in use for the next start, if that is done.
    keeper: Option<ContentKeeper>,
}

/// Keeps content for the next start, after it was put into use: a disk that stalls does not delay
/// that. What could not be kept is tried again at each check.
struct ContentKeeper {
    keep: Take,
    /// Whether the content in use is kept.
    is_kept: bool,
    /// Whether the last attempt failed.
    has_failed: bool,
}

struct Bad {
    /// The content, if it could be read.
    content: Option<Vec<Vec<u8>>>,
    why: String,
    /// When it was reported; not at the first check.
    said: Option<Timestamp>,
}

/// All watched files.
pub(super) struct Renewed {
    groups: Vec<ReloadGroup>,
    log: Option<UnusableFile>,
    clock: Clock,
    state: watch::Sender<Vec<UnusableFile>>,
}

impl Renewed {
    /// The configured files. `certificate` is that of the public listeners.
    pub(super) fn new(config: &Config, certificate: Option<Certificate>, clock: Clock) -> Self {
        let mut groups = Vec::new();
        let mut add = |key, paths, take: Take| {
            groups.push(ReloadGroup::new(key, paths, take));
        };
        if let (Some(tls), Some(certificate)) = (&config.server.tls, certificate) {
            let take = move |files: &[Vec<u8>]| certificate.renew(&files[0], &files[1]);
            add("server.tls", vec![tls.cert.clone(), tls.key.clone()], Box::new(take));
        }
        let pulsar = config.pulsar.as_ref();
        let authorities = [
            ("pulsar.ca", pulsar.and_then(|pulsar| pulsar.ca.clone())),
            ("amqp.ca", config.amqp.as_ref().and_then(|amqp| amqp.ca.clone())),
            ("tidb.ca", config.tidb.as_ref().and_then(|tidb| tidb.ca.clone())),
        ];
        // Each connection reads them again; here they are only checked and reported.
        for (key, path) in authorities {
            if let Some(path) = path {
                add(key, vec![path], Box::new(|files| reload::check_authorities(&files[0])));
            }
        }
        if let Some(path) = &config.github.tokens_file {
            // `tokens::follow` takes them; here they are only checked and reported.
            let check = |files: &[Vec<u8>]| tokens::check(&files[0]);
            add("github.tokensFile", vec![path.clone()], Box::new(check));
        }
        if let Some(app) = &config.github.app {
            let check = |files: &[Vec<u8>]| check_app_key(&files[0]);
            add("github.app.keyFile", vec![app.key_file.clone()], Box::new(check));
        }
        if let Some(oauth) = pulsar.and_then(|pulsar| pulsar.oauth.as_ref()) {
            let path = key_path(&oauth.key_file);
            add("pulsar.keypath", vec![path], Box::new(|files| check_key(&files[0])));
        }
        Self { groups, log: None, clock, state: watch::Sender::default() }
    }

    /// Follows the file of names that are left out, of which `text` is in force.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) fn follow_exclusions(
        &mut self,
        privacy: &PrivacyConfig,
        text: &[u8],
        store: &Store,
        hub: &Arc<Hub>,
    ) -> anyhow::Result<()> {
        let keeper = ContentKeeper {
            is_kept: excluded::last_good(store)? == text,
            has_failed: false,
            keep: Box::new({
                let store = store.clone();
                move |files: &[Vec<u8>]| {
                    excluded::keep(&store, &files[0]).map_err(|error| error.to_string())
                }
            }),
        };
        let (privacy, store, hub) = (privacy.clone(), store.clone(), Arc::clone(hub));
        let paths = vec![privacy.exclude_file.clone()];
        let take = move |files: &[Vec<u8>]| {
            excluded::renew(&store, &privacy, &files[0])?;
            hub.leave_out(store.privacy());
            Ok(())
        };
        let group = ReloadGroup::new("privacy.excludeFile", paths, Box::new(take));
        let (used, keeper) = (vec![text.to_vec()], Some(keeper));
        self.groups.push(ReloadGroup { used, settles: true, keeper, ..group });
        Ok(())
    }

    /// What is wrong with the files.
    pub(super) fn state(&self) -> RenewalState {
        self.state.subscribe()
    }

    /// Watches until `stop` is cancelled.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let clock = self.clock;
        let look = move |is_asked| {
            self.look(is_asked);
            EVERY
        };
        reload::follow(look, clock, stop).await
    }

    /// Checks each file once; `at_once` reports invalid content without waiting for the next
    /// check. Blocks.
    fn look(&mut self, at_once: bool) {
        let now = self.clock.now();
        self.follow_log(now);
        for group in &mut self.groups {
            group.look(at_once, now);
            group.keep_used();
        }
        let found: Vec<UnusableFile> =
            self.groups.iter().filter_map(ReloadGroup::unusable).chain(self.log.clone()).collect();
        self.state.send_if_modified(|known| {
            let changed = *known != found;
            *known = found;
            changed
        });
    }

    fn follow_log(&mut self, now: Timestamp) {
        match logging::follow_rotation() {
            Ok(opened) => {
                if opened {
                    tracing::info!("log.file was moved; opened again");
                }
                self.log = None;
            }
            Err(error) => {
                let words = format!("{error}; lines still go to the file that was moved away");
                if self.log.is_none() {
                    tracing::error!("{words}");
                    self.log = Some(UnusableFile { words, since: now });
                }
            }
        }
    }
}

impl ReloadGroup {
    fn new(key: &'static str, paths: Vec<PathBuf>, take: Take) -> Self {
        let (used, settles, settling, bad, keeper) = Default::default();
        Self { key, paths, take, used, settles, settling, bad, keeper }
    }

    fn look(&mut self, at_once: bool, now: Timestamp) {
        if self.used.is_empty() {
            // The start may have read the files long before the first check, or a connection.
            let known = self.paths.iter().map(|path| Some(reload::last_good(path)?.to_vec()));
            self.used = known.collect::<Option<_>>().unwrap_or_default();
        }
        let read = |path: &PathBuf| {
            reload::read(path).map_err(|why| format!("{} ({why})", path.display()))
        };
        let is_absent = self.settles
            && self.used.iter().all(Vec::is_empty)
            && !self.paths.iter().any(|path| path.exists());
        let read: Result<Vec<Vec<u8>>, String> =
            if is_absent { Ok(self.used.clone()) } else { self.paths.iter().map(read).collect() };
        let settling = self.settling.take().or_else(|| self.bad.as_ref()?.content.clone());
        match read {
            Ok(content) if content == self.used => self.is_good(false),
            Ok(content) if self.settles && !at_once && settling.as_ref() != Some(&content) => {
                self.settling = Some(content);
            }
            Ok(content) => match (self.take)(&content) {
                Ok(()) => {
                    for (path, content) in self.paths.iter().zip(&content) {
                        reload::remember(path, content);
                    }
                    let is_new = !std::mem::replace(&mut self.used, content).is_empty();
                    if let Some(keeper) = &mut self.keeper {
                        keeper.is_kept = false;
                    }
                    self.is_good(is_new);
                }
                // Never valid so far: the part that needs the files reports it.
                Err(_) if self.used.is_empty() => {}
                Err(why) => {
                    let why = format!("{}: {why}", self.places());
                    self.is_bad(Some(content), why, at_once, now);
                }
            },
            Err(_) if self.used.is_empty() => {}
            Err(why) => self.is_bad(None, format!("cannot be read: {why}"), at_once, now),
        }
    }

    /// Keeps the content in use for the next start, if that is not done yet.
    fn keep_used(&mut self) {
        let Some(keeper) = self.keeper.as_mut().filter(|keeper| !keeper.is_kept) else { return };
        let kept = (keeper.keep)(&self.used);
        keeper.is_kept = kept.is_ok();
        if let Err(why) = &kept
            && !keeper.has_failed
        {
            tracing::error!(key = self.key, why, "cannot be kept for the next start; retrying");
        }
        keeper.has_failed = kept.is_err();
    }

    fn is_good(&mut self, is_new: bool) {
        let was_said = self.bad.take().is_some_and(|bad| bad.said.is_some());
        if is_new || was_said {
            tracing::info!(key = self.key, files = self.places(), "a renewed file is in use");
        }
    }

    fn is_bad(
        &mut self,
        content: Option<Vec<Vec<u8>>>,
        why: String,
        at_once: bool,
        now: Timestamp,
    ) {
        let before = self.bad.take().filter(|bad| bad.content == content);
        let is_due = at_once || before.is_some();
        let said = match before.and_then(|bad| bad.said) {
            None if is_due => {
                tracing::error!(key = self.key, why, "a renewed file is bad; the old one stays");
                Some(now)
            }
            said => said,
        };
        self.bad = Some(Bad { content, why, said });
    }

    fn unusable(&self) -> Option<UnusableFile> {
        let bad = self.bad.as_ref()?;
        let words = format!("{}: {}; the old one stays in use", self.key, bad.why);
        Some(UnusableFile { words, since: bad.said? })
    }

    fn places(&self) -> String {
        let places: Vec<String> =
            self.paths.iter().map(|path| path.display().to_string()).collect();
        places.join(", ")
    }
}

#[cfg(test)]
mod tests;
