//! The program: arguments in, exit code out; and its allocator.

use std::process::ExitCode;

/// Gives memory back to the system, which glibc's allocator does not: it still held what a crowd
/// had taken a minute after the crowd had left. C and C++ parts, such as RocksDB, use it too.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    ghpulse::cli::run()
}
