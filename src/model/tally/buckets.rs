//! Counts by time and name, and snapshots of windows.
//!
//! A [`WindowSnapshot`] never changes while counting continues; taking one copies one pointer per
//! bucket and no counts. Names are interned as small numbers, so that summing an hour adds columns
//! and looks up no names. A number is reused once the last bucket with its name has expired. A
//! snapshot keeps the table of names that it was taken with.
//!
//! [`Buckets::add`] returns an error for an empty name, a name over [`NAME_BYTES`], and a new name
//! when there are [`NAMES`]; such counts are not added to another name. The caller reports the
//! error and still processes the event.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::counts::{NAME_BYTES, NAMES, Tally};
use crate::model::window::{Second, Window};

/// The most buckets: two windows of a day, and some more. Beyond it the oldest is dropped.
const SECONDS: usize = 200_000;

/// The width of buckets, and their limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLayout {
    /// Seconds per bucket, at least 1. Buckets begin at multiples of it.
    pub step: u32,
    /// The longest name, in bytes.
    pub name_bytes: usize,
    /// The most names at once, up to 60,000.
    pub names: usize,
    /// The most counts, each of one name in one bucket. Beyond it the oldest bucket is dropped.
    pub cells: usize,
}

/// The layout of the language counts: one second per bucket, [`NAMES`] names.
impl Default for BucketLayout {
    fn default() -> Self {
        Self { step: 1, name_bytes: NAME_BYTES, names: NAMES, cells: usize::MAX }
    }
}

/// Why a count was not added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// The name is empty.
    #[error("an empty name is not counted")]
    Empty,
    /// The name is longer than [`BucketLayout::name_bytes`].
    #[error("a name of {0} bytes is not counted; the limit is {1}")]
    TooLong(usize, usize),
    /// There are already [`BucketLayout::names`] names.
    #[error("a new name is not counted; the limit of {0} names is reached")]
    TooMany(usize),
}

/// The number of a name in a [`Names`].
type NameId = u16;

/// The table of names. An unused number has an empty name.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    list: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, NameId, foldhash::fast::RandomState>,
}

/// The counts of one bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    at: Second,
    total: i64,
    /// Sorted by the number of the name; no count is 0.
    counts: Vec<(NameId, i64)>,
}

/// The counts of recent time, one bucket for each step that has any.
#[derive(Debug, Default)]
pub struct Buckets {
    layout: BucketLayout,
    /// The number of counts.
    cells: usize,
    /// The first second after the buckets that were dropped because of a limit.
    dropped_before: Option<Second>,
    seconds: BTreeMap<Second, Arc<Bucket>>,
    names: Arc<Names>,
    /// The number of buckets that use each name.
    uses: Vec<u32>,
    free: Vec<NameId>,
}

/// An immutable snapshot of the buckets of a window and of the window before it.
#[derive(Debug, Clone)]
pub struct WindowSnapshot(Arc<SnapshotData>);

#[derive(Debug)]
struct SnapshotData {
    window: Window,
    step: i64,
    names: Arc<Names>,
    buckets: Vec<Arc<Bucket>>,
    /// The index in `buckets` at which the window itself begins.
    split: usize,
}

impl Bucket {
    /// Its first second.
    #[must_use]
    pub fn at(&self) -> Second {
        self.at
    }

    /// The sum of its counts.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.total
    }

    /// The numbers of names and their counts, none of which is 0; see [`WindowSnapshot::name`].
    #[must_use]
    pub fn counts(&self) -> &[(u16, i64)] {
        &self.counts
    }

    /// The count of the name with this number.
    #[must_use]
    pub fn count(&self, id: u16) -> i64 {
        self.counts.binary_search_by_key(&id, |&(id, _)| id).map_or(0, |at| self.counts[at].1)
    }

    /// Adds to a count; returns whether the name is new in this bucket, and whether it is gone.
    fn add(&mut self, id: NameId, n: i64) -> (bool, bool) {
        self.total = self.total.saturating_add(n);
        match self.counts.binary_search_by_key(&id, |&(id, _)| id) {
            Err(at) => {
                self.counts.insert(at, (id, n));
                (true, false)
            }
            Ok(at) => {
                let count = &mut self.counts[at].1;
                *count = count.saturating_add(n);
                let gone = *count == 0;
                if gone {
                    self.counts.remove(at);
                }
                (false, gone)
            }
        }
    }
}

impl Buckets {
    /// Empty buckets of a layout.
    #[must_use]
    pub fn with_layout(layout: BucketLayout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Adds `n` to a name's count in the bucket of a second.
    ///
    /// # Errors
    /// When the name is not counted; nothing is added then.
    pub fn add(&mut self, second: Second, name: &str, n: i64) -> Result<(), CountError> {
        if n == 0 {
            return Ok(());
        }
        let id = self.intern(name)?;
        let second = floor(second, self.step());
        let bucket = self
            .seconds
            .entry(second)
            .or_insert_with(|| Arc::new(Bucket { at: second, total: 0, counts: Vec::new() }));
        let (new, gone) = Arc::make_mut(bucket).add(id, n);
        let empty = bucket.counts.is_empty();
        self.uses[usize::from(id)] += u32::from(new);
        self.cells += usize::from(new);
        if gone {
            self.cells -= 1;
            self.release(id);
        }
        if empty {
            self.seconds.remove(&second);
        }
        while self.seconds.len() > SECONDS || self.cells > self.layout.cells {
            let Some((&oldest, _)) = self.seconds.first_key_value() else { break };
            self.drop_oldest();
            self.dropped_before = Some(Second(oldest.0 + self.step()));
        }
        Ok(())
    }

    /// The first second from which on no bucket was dropped because of a limit; `None` when none
    /// was.
    #[must_use]
    pub fn dropped_before(&self) -> Option<Second> {
        self.dropped_before
    }

    /// The window of `seconds` seconds that ends with the bucket of a second.
    #[must_use]
    pub fn window(&self, last: Second, seconds: u32) -> Window {
        let last = floor(last, self.step()).0 + self.step() - 1;
        Window::ending_with(Second(last), seconds)
    }

    fn step(&self) -> i64 {
        i64::from(self.layout.step.max(1))
    }

    /// Drops the buckets before this second. Two windows must be kept, since a snapshot has both.
    pub fn expire(&mut self, before: Second) {
        while self.seconds.first_key_value().is_some_and(|(&second, _)| second < before) {
            self.drop_oldest();
        }
    }

    /// Drops the buckets before `before`, for windows that end before `until`. Always keeps that
    /// span of the newest buckets, so that a clock that is ahead for a moment does not empty the
    /// window.
    pub fn expire_window(&mut self, before: Second, until: Second) {
        let Some((newest, _)) = self.seconds.last_key_value() else { return };
        let span = until.0.saturating_sub(before.0);
        let least = newest.0.saturating_add(self.step()).saturating_sub(span);
        self.expire(Second(before.0.min(least)));
    }

    /// A snapshot of the window, and of the window of the same length before it.
    #[must_use]
    pub fn snapshot(&self, window: Window) -> WindowSnapshot {
        let range = |window: Window| {
            // `BTreeMap::range` panics when a range ends before it begins.
            self.seconds.range(window.from..window.until.max(window.from))
        };
        let mut buckets: Vec<_> = range(window.previous()).map(|(_, b)| Arc::clone(b)).collect();
        let split = buckets.len();
        buckets.extend(range(window).map(|(_, bucket)| Arc::clone(bucket)));
        let (step, names) = (self.step(), Arc::clone(&self.names));
        WindowSnapshot(Arc::new(SnapshotData { window, step, names, buckets, split }))
    }

    /// The number of buckets with counts.
    #[must_use]
    pub fn seconds(&self) -> usize {
        self.seconds.len()
    }

    /// The number of names.
    #[must_use]
    pub fn names(&self) -> usize {
        self.names.ids.len()
    }

    fn intern(&mut self, name: &str) -> Result<NameId, CountError> {
        if let Some(&id) = self.names.ids.get(name) {
            return Ok(id);
        }
        match name.len() {
            0 => return Err(CountError::Empty),
            long if long > self.layout.name_bytes => {
                return Err(CountError::TooLong(long, self.layout.name_bytes));
            }
            _ => {}
        }
        if self.names.ids.len() >= self.layout.names {
            return Err(CountError::TooMany(self.layout.names));
        }
        let name: Arc<str> = name.into();
        // The table is copied only when a snapshot shares it; new names are rare.
        let names = Arc::make_mut(&mut self.names);
        let id = if let Some(id) = self.free.pop() {
            names.list[usize::from(id)] = Arc::clone(&name);
            id
        } else {
            names.list.push(Arc::clone(&name));
            self.uses.push(0);
            NameId::try_from(names.list.len() - 1).expect("there are at most 60,000 numbers")
        };
        names.ids.insert(name, id);
        Ok(id)
    }

    fn release(&mut self, id: NameId) {
        let uses = &mut self.uses[usize::from(id)];
        *uses -= 1;
        if *uses == 0 {
            let names = Arc::make_mut(&mut self.names);
            let name = std::mem::take(&mut names.list[usize::from(id)]);
            names.ids.remove(&name);
            self.free.push(id);
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((_, bucket)) = self.seconds.pop_first() {
            self.cells -= bucket.counts.len();
            for &(id, _) in &bucket.counts {
                self.release(id);
            }
        }
    }
}

/// The first second of the step that contains a second.
fn floor(second: Second, step: i64) -> Second {
    Second(second.0 - second.0.rem_euclid(step))
}

impl WindowSnapshot {
    /// The first second of the bucket that contains a second, whether it has counts or not.
    #[must_use]
    pub fn bucket_of(&self, second: Second) -> Second {
        floor(second, self.0.step)
    }

    /// Its window.
    #[must_use]
    pub fn window(&self) -> Window {
        self.0.window
    }

    /// The buckets of the window, oldest first.
    #[must_use]
    pub fn buckets(&self) -> &[Arc<Bucket>] {
        &self.0.buckets[self.0.split..]
    }

    /// The buckets of the window before, oldest first.
    #[must_use]
    pub fn previous(&self) -> &[Arc<Bucket>] {
        &self.0.buckets[..self.0.split]
    }

    /// The name with this number.
    #[must_use]
    pub fn name(&self, id: u16) -> Option<&Arc<str>> {
        self.0.names.list.get(usize::from(id)).filter(|name| !name.is_empty())
    }

    /// The number of a name, if it is counted.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u16> {
        self.0.names.ids.get(name).copied()
    }

    /// The largest number of a name plus 1.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.names.list.len()
    }

    /// Whether both share one table of names, so that their numbers agree.
    #[must_use]
    pub fn same_names(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0.names, &other.0.names)
    }

    /// The sum of the window's buckets; names whose sum is not positive are left out.
    #[must_use]
    pub fn sum(&self) -> Tally {
        self.sum_of(self.buckets())
    }

    /// The same of the window before.
    #[must_use]
    pub fn sum_previous(&self) -> Tally {
        self.sum_of(self.previous())
    }

    fn sum_of(&self, buckets: &[Arc<Bucket>]) -> Tally {
        let mut columns = vec![0_i64; self.width()];
        for bucket in buckets {
            for &(id, n) in &bucket.counts {
                let column = &mut columns[usize::from(id)];
                *column = column.saturating_add(n);
            }
        }
        let counted = columns.iter().zip(&self.0.names.list).filter(|&(&n, _)| n > 0);
        counted.map(|(&n, name)| (Arc::clone(name), n)).collect()
    }
}

#[cfg(test)]
mod tests;
