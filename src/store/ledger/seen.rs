//! How much of each day was seen: read once for days that are over.
//!
//! A day has 24 rows of coverage, two years have 17,500. Those of a day that is over do not change,
//! so its sum is kept in memory; what was imported is read each time, because an import may be of
//! any day.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use crate::model::ledger::DaySeen;
use crate::model::window::Day;
use crate::store::error::StoreError;
use crate::store::reader::Reader;
use crate::sync::lock;

/// The most days that are kept: 27 years, 24 bytes each.
const MOST_KEPT: usize = 10_000;
/// Days before today whose coverage may still change: the last minutes of a day are judged on the
/// next one.
const CHANGING: i32 = 1;

/// What was seen of days that are over. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct SeenDays(Arc<Mutex<KeptDays>>);

#[derive(Debug, Default)]
struct KeptDays {
    /// The latest day that was today.
    today: i32,
    /// Days that are over, without what was imported.
    over: BTreeMap<i32, DaySeen>,
}

impl SeenDays {
    /// As `Reader::days_seen`. Blocks.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn read(
        &self,
        reader: Reader<'_>,
        days: Range<i32>,
        today: Day,
    ) -> Result<Vec<DaySeen>, StoreError> {
        let until = days.end.min(today.0 - CHANGING);
        // Another reader may clear what is kept: the answer is made of what this one has seen.
        let (mut over, missing) = {
            let mut kept = lock(&self.0);
            if today.0 < kept.today || kept.over.len() > MOST_KEPT {
                // By a clock that was ahead, days were over that are not.
                kept.over.clear();
            }
            kept.today = today.0;
            let ours = days.start..until.max(days.start);
            let over: BTreeMap<i32, DaySeen> =
                kept.over.range(ours.clone()).map(|(day, seen)| (*day, *seen)).collect();
            let mut missing = ours.filter(|day| !over.contains_key(day));
            let first = missing.next();
            let missing = first.map(|first| first..missing.next_back().unwrap_or(first) + 1);
            (over, missing)
        };
        if let Some(missing) = missing {
            let read = reader.days_covered(missing.clone())?;
            over.extend(missing.clone().zip(read.iter().copied()));
            lock(&self.0).over.extend(missing.zip(read));
        }
        let changing = days.start.max(until)..days.end;
        let mut fresh = reader.days_covered(changing)?.into_iter();
        let hours = reader.hours_of_days(days.clone())?;
        let seen = days.zip(hours).map(|(day, hours)| {
            let known = if day < until { over.get(&day).copied() } else { fresh.next() };
            known.unwrap_or_default().with(hours)
        });
        Ok(seen.collect())
    }
}
