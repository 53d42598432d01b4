//! The runtime of a command.

use super::output;
use crate::supervise::Exit;

/// Runs a future on a new runtime.
pub(super) fn with_runtime<T>(command: impl Future<Output = T>) -> Result<T, Exit> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| {
        output::failed(Exit::Stage, format_args!("cannot start threads: {error}"))
    })?;
    let ended = runtime.block_on(command);
    // Threads that still block after the shutdown timeout are left to the system.
    runtime.shutdown_background();
    Ok(ended)
}
