//! Tells the binary what it was built from: its commit, and RocksDB's version from the lock file.
//!
//! Not named GHPULSE_…: `cargo run` hands these on to the program, which refuses such names.
//! Both may be absent (a source archive has no git), and then `ghpulse version` says "unknown".

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=GHPULSE_COMMIT");
    println!("cargo::rerun-if-changed=Cargo.lock");
    println!("cargo::rerun-if-changed=src/build.rs");
    // The log of HEAD moves with every commit, also in a linked working tree.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"])
        && std::path::Path::new(&log).exists()
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let given = std::env::var("GHPULSE_COMMIT").ok().filter(|commit| !commit.is_empty());
    let commit = given.or_else(|| git(&["rev-parse", "--short=12", "HEAD"]));
    println!("cargo::rustc-env=BUILT_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=BUILT_ROCKSDB={}", rocksdb().as_deref().unwrap_or("unknown"));
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// The bindings' version is `0.19.0+11.8.1`: what stands behind the plus is RocksDB's own.
fn rocksdb() -> Option<String> {
    let lock = std::fs::read_to_string("Cargo.lock").ok()?;
    let (_, after) = lock.split_once("name = \"librocksdb-sys\"\nversion = \"")?;
    let (version, _) = after.split_once('"')?;
    Some(version.split_once('+')?.1.to_owned())
}
