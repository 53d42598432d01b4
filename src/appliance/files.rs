//! Open files: raises the limit to the system's maximum and reserves some for the store.
//!
//! A connection takes a file, and so does each file of the store, which fails permanently when it
//! cannot open another. So connections never get the last ones, whatever the configuration allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Number of files reserved: those of the store, whose number grows with the journal, and our own.
const KEPT: u64 = 2_048;

/// Raises the limit of open files. Returns the maximum number of connections, and the limit of
/// files; `None` means no limit.
pub(super) fn room_for_connections() -> Option<(usize, u64)> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let files = match (current, maximum) {
        (None, _) => return None,
        (Some(soft), hard) if hard.is_none_or(|hard| hard > soft) => {
            match setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
                Ok(()) => hard?,
                // Not permitted, or more than the kernel's own limit.
                Err(_) => soft,
            }
        }
        (Some(soft), _) => soft,
    };
    Some((connections_of(files), files))
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
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let room = room_for_connections();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert!(current == maximum || current == room.map(|(_, files)| files));
        assert!(room.is_none_or(|(connections, files)| (connections as u64) < files));
    }
}
