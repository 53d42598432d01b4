//! Counts by second and language, and windows of them.
//!
//! Promises: a [`WindowSnapshot`] never changes, however counting goes on; taking one copies a
//! pointer a second and no count. Names are interned to small numbers, so that summing an hour is
//! an addition of columns and no look-up of names; a number is free again when the last second
//! that counts its name has expired. A snapshot keeps the table of names it was taken with.
//!
//! What cannot be counted under its own name is not counted under another: [`Buckets::add`]
//! refuses an empty name, one over [`NAME_BYTES`] and the one past [`NAMES`], and says so. The
//! caller reports it; the event itself goes its way.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{NAME_BYTES, NAMES, Tally};
use crate::model::window::{Second, Window};

/// The most buckets that are held, two windows of a day and some; past it the oldest goes.
const SECONDS: usize = 200_000;

/// How wide buckets are, and how much they hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BucketLayout {
    /// Seconds of a bucket, at least 1. A bucket begins at a multiple of it.
    pub step: u32,
    /// The longest name that is counted, in bytes.
    pub name_bytes: usize,
    /// The most names that are counted at once, at most 60,000.
    pub names: usize,
    /// The most counts that are held, a count being that of a name in a bucket; past it the oldest
    /// bucket goes.
    pub cells: usize,
}

impl BucketLayout {
    /// What the languages of a window are counted in: seconds, [`NAMES`] names.
    pub const USUAL: Self =
        Self { step: 1, name_bytes: NAME_BYTES, names: NAMES, cells: usize::MAX };
}

impl Default for BucketLayout {
    fn default() -> Self {
        Self::USUAL
    }
}

/// Why a count was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// There is nothing to count under.
    #[error("an empty name is not counted")]
    Empty,
    /// Longer than [`BucketLayout::name_bytes`].
    #[error("a name of {0} bytes is not counted, {1} are allowed")]
    TooLong(usize, usize),
    /// A new name while [`BucketLayout::names`] are counted.
    #[error("a new name is not counted while {0} others are")]
    TooMany(usize),
}

/// The number of a name in a [`Names`].
type NameId = u16;

/// The table of names. A free number has an empty name.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    list: Vec<Arc<str>>,
    ids: HashMap<Arc<str>, NameId, foldhash::fast::RandomState>,
}

/// The counts of one second.
#[derive(Debug, Clone)]
pub struct Bucket {
    at: Second,
    total: i64,
    /// By number of the name; never 0.
    counts: Vec<(NameId, i64)>,
}

/// The counts of the last seconds, one bucket for each step that has any.
#[derive(Debug, Default)]
pub struct Buckets {
    shape: BucketLayout,
    /// Counts that are held.
    cells: usize,
    /// The first second behind what was dropped for want of room.
    dropped_before: Option<Second>,
    seconds: BTreeMap<Second, Arc<Bucket>>,
    names: Arc<Names>,
    /// How many buckets count the name of this number.
    uses: Vec<u32>,
    free: Vec<NameId>,
}

/// The buckets of a window and of the one before it, as they were at one moment.
#[derive(Debug, Clone)]
pub struct WindowSnapshot(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    window: Window,
    step: i64,
    names: Arc<Names>,
    buckets: Vec<Arc<Bucket>>,
    /// Where in `buckets` the window itself begins.
    split: usize,
}

impl Bucket {
    /// The second it counts; the first of them when it counts several.
    #[must_use]
    pub fn at(&self) -> Second {
        self.at
    }

    /// The sum of its counts.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.total
    }

    /// Numbers of names and their counts, which are never 0; [`WindowSnapshot::name`] reads them.
    #[must_use]
    pub fn counts(&self) -> &[(u16, i64)] {
        &self.counts
    }

    /// The count of the name of this number.
    #[must_use]
    pub fn count(&self, id: u16) -> i64 {
        self.counts.binary_search_by_key(&id, |&(id, _)| id).map_or(0, |at| self.counts[at].1)
    }

    /// Adds, and says whether the name is `(new, gone)` in this bucket.
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
    /// One without counts, of [`BucketLayout::USUAL`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One without counts.
    #[must_use]
    pub fn shaped(shape: BucketLayout) -> Self {
        Self { shape, ..Self::default() }
    }

    /// Adds `n` to a name's count in a second.
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
        while self.seconds.len() > SECONDS || self.cells > self.shape.cells {
            let Some((&oldest, _)) = self.seconds.first_key_value() else { break };
            self.drop_oldest();
            self.dropped_before = Some(Second(oldest.0 + self.step()));
        }
        Ok(())
    }

    /// The first second from which on nothing was dropped for want of room; `None` when nothing
    /// ever was.
    #[must_use]
    pub fn dropped_before(&self) -> Option<Second> {
        self.dropped_before
    }

    /// The window of `seconds` seconds that ends with the bucket this second lies in.
    #[must_use]
    pub fn window(&self, last: Second, seconds: u32) -> Window {
        let last = floor(last, self.step()).0 + self.step() - 1;
        Window::ending_with(Second(last), seconds)
    }

    fn step(&self) -> i64 {
        i64::from(self.shape.step.max(1))
    }

    /// Forgets the seconds before this one. Keep two windows: a snapshot has the one before too.
    pub fn expire(&mut self, before: Second) {
        while self.seconds.first_key_value().is_some_and(|(&second, _)| second < before) {
            self.drop_oldest();
        }
    }

    /// Forgets what lies before `before`, which belongs to windows that end before `until`; but of
    /// the newest seconds that are counted always as many as that: a clock that is ahead for a
    /// moment must not empty the window.
    pub fn expire_window(&mut self, before: Second, until: Second) {
        let Some((newest, _)) = self.seconds.last_key_value() else { return };
        let span = until.0.saturating_sub(before.0);
        let least = newest.0.saturating_add(self.step()).saturating_sub(span);
        self.expire(Second(before.0.min(least)));
    }

    /// The window, and the window of the same length before it, as they are now.
    #[must_use]
    pub fn snapshot(&self, window: Window) -> WindowSnapshot {
        let range = |window: Window| {
            // A range that ends before it begins would panic.
            self.seconds.range(window.from..window.until.max(window.from))
        };
        let mut buckets: Vec<_> = range(window.previous()).map(|(_, b)| Arc::clone(b)).collect();
        let split = buckets.len();
        buckets.extend(range(window).map(|(_, bucket)| Arc::clone(bucket)));
        let (step, names) = (self.step(), Arc::clone(&self.names));
        WindowSnapshot(Arc::new(Taken { window, step, names, buckets, split }))
    }

    /// How many buckets have counts.
    #[must_use]
    pub fn seconds(&self) -> usize {
        self.seconds.len()
    }

    /// How many different names are counted.
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
            long if long > self.shape.name_bytes => {
                return Err(CountError::TooLong(long, self.shape.name_bytes));
            }
            _ => {}
        }
        if self.names.ids.len() >= self.shape.names {
            return Err(CountError::TooMany(self.shape.names));
        }
        let name: Arc<str> = name.into();
        // Copied only when a snapshot still holds the table: new names are rare.
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

/// The first second of the step that this one lies in.
fn floor(second: Second, step: i64) -> Second {
    Second(second.0 - second.0.rem_euclid(step))
}

impl WindowSnapshot {
    /// The first second of the bucket that this one lies in, whether it has counts or not.
    #[must_use]
    pub fn bucket_of(&self, second: Second) -> Second {
        floor(second, self.0.step)
    }

    /// Which seconds it is about.
    #[must_use]
    pub fn window(&self) -> Window {
        self.0.window
    }

    /// The seconds of the window that have counts, oldest first.
    #[must_use]
    pub fn buckets(&self) -> &[Arc<Bucket>] {
        &self.0.buckets[self.0.split..]
    }

    /// The seconds of the window before that have counts, oldest first.
    #[must_use]
    pub fn previous(&self) -> &[Arc<Bucket>] {
        &self.0.buckets[..self.0.split]
    }

    /// The name of a number that a bucket of this snapshot has.
    #[must_use]
    pub fn name(&self, id: u16) -> Option<&Arc<str>> {
        self.0.names.list.get(usize::from(id)).filter(|name| !name.is_empty())
    }

    /// The number of a name, if anything is counted under it.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<u16> {
        self.0.names.ids.get(name).copied()
    }

    /// One more than the largest number of a name.
    #[must_use]
    pub fn width(&self) -> usize {
        self.0.names.list.len()
    }

    /// Whether both were taken with the same table of names, so that their numbers agree.
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
