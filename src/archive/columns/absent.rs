//! Hours in columns, in a build without the feature `parquet`: every attempt fails by name.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::path::Path;

use crate::model::event::Event;

/// A file that cannot be written.
pub(in crate::archive) enum AbsentColumnFile {}

fn absent() -> io::Error {
    io::Error::other("this build cannot write Parquet: build with --features parquet")
}

impl AbsentColumnFile {
    /// Fails.
    pub(in crate::archive) fn create(_: File, _: Option<File>) -> io::Result<Self> {
        Err(absent())
    }

    /// Cannot be called.
    pub(in crate::archive) fn add(&mut self, _: &Event<'_>) -> io::Result<()> {
        match *self {}
    }

    /// Cannot be called.
    pub(in crate::archive) fn finish(self) -> io::Result<File> {
        match self {}
    }
}

/// Fails.
pub(in crate::archive) fn rows(_: &Path) -> io::Result<u64> {
    Err(absent())
}

/// Fails.
pub(in crate::archive) fn read_keys<S>(_: &Path, _: &mut HashSet<u128, S>) -> io::Result<()> {
    Err(absent())
}
