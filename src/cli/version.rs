//! `ghpulse version`.

use clap::Args;
use serde_json::json;

use super::output;
use crate::supervise::Exit;

/// The text of `--version` after the name.
pub(super) const LINE: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (commit ",
    env!("BUILT_COMMIT"),
    ", RocksDB ",
    env!("BUILT_ROCKSDB"),
    ")"
);

/// Arguments of `version`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  ghpulse version --json")]
pub(super) struct VersionArgs {
    /// Prints JSON
    #[arg(long)]
    json: bool,
}

/// Prints version, commit and the version of RocksDB.
pub(super) fn version(args: &VersionArgs) -> Exit {
    let parts = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("BUILT_COMMIT"),
        "rocksdb": env!("BUILT_ROCKSDB"),
    });
    output::result(args.json, &parts, || format!("ghpulse {LINE}"))
}
