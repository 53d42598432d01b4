//! Open files: raises the limit to the system's maximum and reserves some for the store.
//!
//! A connection takes a file, and so does each file of the store, which fails permanently when it
//! cannot open another. So connections never get the last ones, whatever the configuration allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::supervise::Misconfigured;

/// Number of files reserved: those of the store, whose number grows with the journal, and our own.
const KEPT: u64 = 2_048;

/// The fewest open files with which the appliance starts. The process and its store hold some 50
/// at once, and one more with each table of the store.
const LEAST: u64 = 256;

/// Raises the limit of open files, and refuses one that is too low for the store.
///
/// # Errors
/// When it stays below [`LEAST`].
pub(super) fn expect_enough() -> anyhow::Result<()> {
    expect_least(raised())
}

fn expect_least(files: Option<u64>) -> anyhow::Result<()> {
    let Some(files) = files.filter(|files| *files < LEAST) else { return Ok(()) };
    let refused = anyhow::anyhow!(
        "{files} open files are allowed, and the store needs {LEAST}: raise `ulimit -n` \
         (LimitNOFILE= of a systemd unit)"
    );
    Err(refused.context(Misconfigured))
}

/// Raises the limit of open files. Returns the maximum number of connections, and the limit of
/// files; `None` means no limit.
pub(super) fn room_for_connections() -> Option<(usize, u64)> {
    raised().map(|files| (connections_of(files), files))
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

/// Half of a small number, all but [`KEPT`] of a large one.
fn connections_of(files: u64) -> usize {
    let connections = files.saturating_sub(KEPT).max(files / 2);
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_keeps_its_share_of_the_files() {
        for (files, connections) in [(0, 1), (256, 128), (4_096, 2_048), (20_000, 17_952)] {
            assert_eq!(connections_of(files), connections, "{files}");
        }
    }

    #[test]
    fn too_few_files_are_refused_by_name() {
        assert!(expect_least(None).is_ok() && expect_least(Some(LEAST)).is_ok());
        let refused = format!("{:#}", expect_least(Some(100)).unwrap_err());
        assert!(refused.contains("100 open files") && refused.contains("`ulimit -n`"), "{refused}");
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let room = room_for_connections();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(current == maximum || current == room.map(|(_, files)| files));
        assert!(room.is_none_or(|(connections, files)| (connections as u64) < files));
    }
}
