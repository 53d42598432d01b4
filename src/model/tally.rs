//! Counts by name: a [`Tally`] is what subscribers get, and [`Buckets`] are what it is computed
//! from.
//!
//! A tally is small (hundreds of names), sorted by name, and cheap to copy, because names are
//! shared. Buckets hold one count per second and name, and return immutable snapshots of windows,
//! so that a merge can run while counting continues.

mod buckets;
mod counts;

pub use buckets::{Bucket, BucketLayout, Buckets, CountError, WindowSnapshot};
pub use counts::{NAME_BYTES, NAMES, Tally};
