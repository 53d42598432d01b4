//! Open files: raises the limit to the system's maximum, and shares them out.
//!
//! A connection takes a file, and so does each table of the store, which fails permanently when it
//! cannot open another. So connections never get the last ones, whatever the configuration allows,
//! and where a small limit leaves too few for all tables, the store keeps fewer of them open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::config::{Config, ServerLimits, StoreConfig};
use crate::supervise::Misconfigured;

/// The fewest open files with which the appliance starts.
const LEAST: u64 = 256;
/// Files that the process and its store hold at once, without connections of clients and tables.
const OWN: u64 = 50;
/// Files besides connections of the public listeners, downloads and tables: rejected connections
/// (128), those of the ops listeners (256), to GitHub and brokers, write-ahead logs, the log. Of a
/// small limit it is a quarter, and [`LEAST_OTHERS`] or more.
const OTHERS: u64 = 512;
/// The least number of these: [`OWN`], and ten of each kind of connection.
const LEAST_OTHERS: u64 = 80;
/// The least average size of a table of the store, in bytes. `RocksDB` begins another at 64 MiB,
/// and earlier where the key ranges of other tables end.
const TABLE_BYTES: u64 = 32 << 20;
/// Tables of the store besides those of the journal and the outbox: claims and ledgers, mostly.
const OTHER_TABLES: u64 = 512;

/// How the open files are shared out; there is none without a limit of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileShares {
    /// The limit of the process.
    pub(super) files: u64,
    /// Connections of the public listeners.
    pub(super) connections: usize,
    /// The most connections of the ops listeners, and as many rejected connections that wait for a
    /// response.
    pub(super) small_share: usize,
    /// Downloads of the archive at once.
    pub(super) downloads: usize,
    /// Tables that the store may keep open; `None` where there are files for twice as many as are
    /// expected.
    pub(super) tables: Option<u32>,
}

/// Raises the limit of open files, and shares them out.
///
/// # Errors
/// When the limit stays below [`LEAST`].
pub(super) fn shares(config: &Config) -> anyhow::Result<Option<FileShares>> {
    let Some(files) = raised() else { return Ok(None) };
    expect_least(files)?;
    Ok(Some(share(files, &config.server.limits, tables_of(&config.store))))
}

/// How many tables a command may keep open that opens the store itself; `None` means all.
#[must_use]
pub fn open_tables(config: &Config) -> Option<u32> {
    raised().and_then(|files| share(files, &config.server.limits, tables_of(&config.store)).tables)
}

fn expect_least(files: u64) -> anyhow::Result<()> {
    if files >= LEAST {
        return Ok(());
    }
    let refused = anyhow::anyhow!(
        "{files} open files are allowed, and the store needs {LEAST}: raise `ulimit -n` \
         (LimitNOFILE= of a systemd unit)"
    );
    Err(refused.context(Misconfigured))
}

/// Raises the limit of open files as far as permitted; `None` means no limit.
fn raised() -> Option<u64> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    match (current, maximum) {
        (None, _) => None,
        (Some(soft), hard) if hard.is_none_or(|hard| hard > soft) => {
            match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
                Ok(()) => hard,
                // Not permitted, or more than the kernel's own limit.
                Err(_) => Some(soft),
            }
        }
        (Some(soft), _) => Some(soft),
    }
}

/// The tables that the store may have, as it is configured.
fn tables_of(store: &StoreConfig) -> u64 {
    store.journal_bytes.saturating_add(store.outbox_bytes) / TABLE_BYTES + OTHER_TABLES
}

/// Gives the store a file for each of its `tables`, up to half of what there is, and the other
/// files to connections, up to what is configured.
fn share(files: u64, limits: &ServerLimits, tables: u64) -> FileShares {
    let count = |files: u64| usize::try_from(files).unwrap_or(usize::MAX);
    let quarter = (files / 4).max(LEAST_OTHERS);
    // Rejected connections, those of the ops listeners, and downloads share it with the process.
    let small_share = count((files / 16).min((quarter - OWN) / 3));
    let downloads = limits.downloads.min(small_share);
    let others = (OTHERS + downloads as u64).min(quarter);
    let rest = files.saturating_sub(others);
    let connections = limits.connections.min(count(rest - tables.min(rest / 2)));
    let left = rest - connections as u64;
    FileShares {
        files,
        connections,
        small_share,
        downloads,
        tables: (left < 2 * tables).then(|| u32::try_from(left).unwrap_or(u32::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_store_keeps_its_share_of_the_files() {
        let config = config::defaults();
        let tables = tables_of(&config.store);
        assert_eq!(tables, 1_664, "32 GiB of journal, 4 GiB of outbox, and the rest");
        for (files, connections, open) in [
            (256, 88, Some(88)),
            (512, 192, Some(192)),
            (1_024, 384, Some(384)),
            (4_096, 1_856, Some(1_664)),
            (20_000, 10_000, None),
            (1 << 20, 10_000, None),
        ] {
            let shares = share(files, &config.server.limits, tables);
            assert_eq!((shares.connections, shares.tables), (connections, open), "{files}");
            let (refused, ops) = (shares.small_share.min(128), shares.small_share.min(256));
            assert!(ops >= 10, "{files}: a page, a command and a monitor at once");
            let all = shares.connections + refused + ops + shares.downloads;
            let open = u64::from(shares.tables.unwrap_or(1_664)) + all as u64;
            assert!(open + OWN <= files, "{files}: the rest is for the process");
        }
    }

    #[test]
    fn larger_journal_gets_more_of_the_files_than_connections_take() {
        let mut config = config::defaults();
        config.store.journal_bytes = 1 << 40;
        let tables = tables_of(&config.store);
        let of = |files, config: &Config| {
            let shares = share(files, &config.server.limits, tables);
            (shares.connections, shares.tables)
        };
        assert_eq!(of(20_000, &config), (9_712, Some(9_712)));
        assert_eq!(of(65_536, &config), (10_000, Some(54_960)));
        assert_eq!(of(1 << 20, &config), (10_000, None));
        config.server.limits.connections = 100;
        assert_eq!(of(1_024, &config), (100, Some(668)));
    }

    #[test]
    fn too_few_files_are_refused_by_name() {
        assert!(expect_least(LEAST).is_ok());
        let refused = format!("{:#}", expect_least(100).unwrap_err());
        assert!(refused.contains("100 open files") && refused.contains("`ulimit -n`"), "{refused}");
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let shares = shares(&config::defaults()).unwrap();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(current == maximum || current == shares.map(|shares| shares.files));
        assert!(shares.is_none_or(|shares| (shares.connections as u64) < shares.files));
    }
}
