//! Ranks repositories by what was counted in a window.
//!
//! A ranking reads the rows of all days of its window once, merged by repository, and keeps the
//! first [`MOST_RANKED`] for each figure, in all and for each language. Nothing is kept per
//! repository, so its memory does not grow with their number. The rows of 30 days of GitHub take
//! it seconds, so it is computed in the background and the answers are shared.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use rocksdb::DBRawIterator;

use super::merged::merged;
use crate::model::ledger::{
    DayHours, DaySeen, DaySlot, MOST_RANKED, RankedBy, RankedRepo, RankedWindow, SlotCounts,
    TopRepos,
};
use crate::model::window::{Day, Timestamp};
use crate::store::database::Snapshot;
use crate::store::error::StoreError;
use crate::store::families::Family;
use crate::store::keys::{Key as _, RepoKey};
use crate::store::reader::Reader;
use crate::store::repos::RepoRow;

/// Languages with lists of their own.
const LANGUAGES: usize = 1_000;
/// Rows that are stepped over before the index of languages is sought in.
const STEPS: usize = 8;

/// The first repositories of a window, by figure and language.
#[derive(Debug, Clone)]
pub struct Ranking {
    from: Timestamp,
    computed_at: Timestamp,
    seen: DaySeen,
    all: RankedLists,
    /// By language in lower case.
    by_language: HashMap<String, RankedLists>,
}

/// Whether the repository of a name is left out of rankings.
pub type IsLeftOut<'a> = &'a dyn Fn(&str) -> bool;

/// One list for each [`RankedBy`].
type RankedLists = [Vec<RankedId>; 4];

/// A repository of a list, and its figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct RankedId {
    repo: u64,
    count: u64,
}

impl Ranking {
    /// Computes the ranking of the window that ends with the hour of `now`, without the
    /// repositories that `is_left_out` names. A first day that was filled from a database is taken
    /// whole, though the window begins within it. Blocks, for seconds when there are millions of
    /// rows.
    pub fn compute(
        reader: Reader<'_>,
        window: RankedWindow,
        now: Timestamp,
        is_left_out: Option<IsLeftOut<'_>>,
    ) -> Result<Self, StoreError> {
        let until = now.hour().0 + 1;
        let first = until - window.hours();
        let from = Timestamp::from_seconds(first.saturating_mul(3_600));
        let days = from.day().0..now.day().0 + 1;
        let day_hours = days.clone().map(|day| reader.ledger_hours(Day(day)));
        let day_hours: Vec<DayHours> = day_hours.collect::<Result<_, _>>()?;
        let first_hour = u8::try_from(first.rem_euclid(24)).unwrap_or(0);
        let snapshot = reader.snapshot();
        let mut languages = LanguageRows::new(&snapshot);
        let (mut all, mut by_language) = (OpenLists::default(), HashMap::new());
        merged(&snapshot, days.clone(), 0, |repo, rows| {
            let mut figures = [0_u64; 4];
            for (at, value) in rows {
                let first = if *at == 0 { first_hour } else { 0 };
                add_figures(&mut figures, value, day_hours[*at], first);
            }
            if figures == [0; 4] {
                return Ok(true);
            }
            let mut candidate = RankCandidate { reader, rule: is_left_out, repo, known: None };
            all.offer(&mut candidate, figures)?;
            if let Some(language) = languages.of(repo)? {
                let is_full = by_language.len() >= LANGUAGES;
                let folded = language.to_lowercase();
                if !is_full || by_language.contains_key(&folded) {
                    by_language
                        .entry(folded)
                        .or_insert_with(OpenLists::default)
                        .offer(&mut candidate, figures)?;
                }
            }
            Ok(true)
        })?;
        let seen = DaySeen::mean(reader.days_seen(days)?);
        let by_language = by_language.into_iter().map(|(name, lists)| (name, lists.close()));
        Ok(Self {
            from,
            computed_at: now,
            seen,
            all: all.close(),
            by_language: by_language.collect(),
        })
    }

    /// Whether no repository has a figure in the window.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.all.iter().all(Vec::is_empty)
    }

    /// The first `most` repositories by a figure, of all or of one language, with their current
    /// names.
    pub fn top(
        &self,
        reader: Reader<'_>,
        by: RankedBy,
        language: Option<&str>,
        most: usize,
    ) -> Result<TopRepos, StoreError> {
        let lists = match language {
            None => Some(&self.all),
            Some(language) => self.by_language.get(&language.to_lowercase()),
        };
        let ids = lists.map_or(&[][..], |lists| &lists[by as usize]);
        let repo = |ranked: &RankedId| {
            Ok(RankedRepo {
                id: ranked.repo,
                name: reader.name_of_repo(ranked.repo)?,
                language: reader.language_of_repo(ranked.repo)?,
                count: ranked.count,
                stated: None,
                seen: None,
            })
        };
        let repos = ids.iter().take(most).map(repo).collect::<Result<_, StoreError>>()?;
        let Self { from, computed_at, seen, .. } = *self;
        Ok(TopRepos { from, computed_at, seen, repos })
    }
}

/// Adds the figures of a day's row, from an hour of the day on; of a day that was filled from a
/// database all, because its hours are not known. Rows that cannot be read add nothing.
fn add_figures(figures: &mut [u64; 4], value: &[u8], hours: DayHours, first: u8) {
    let first = if hours.are_filled() { 0 } else { first };
    let _ = SlotCounts::visit(value, |slot, n| {
        let slot = DaySlot::of_number(slot);
        let Some(slot) = slot.filter(|slot| slot.hour >= first && hours.counts(*slot)) else {
            return;
        };
        if let Some(at) = RankedBy::ALL.iter().position(|by| by.metric() == slot.metric) {
            figures[at] = figures[at].saturating_add(n);
        }
    });
}

/// Lists that are being filled. The last of each is on top of its heap.
#[derive(Debug, Default)]
struct OpenLists([BinaryHeap<LastFirst>; 4]);

/// A count and a repository. Greater are smaller counts, and of equal counts larger ids.
type LastFirst = Reverse<(u64, Reverse<u64>)>;

impl OpenLists {
    /// Enters a repository into the lists that it belongs to, unless it is left out.
    fn offer(
        &mut self,
        candidate: &mut RankCandidate<'_>,
        figures: [u64; 4],
    ) -> Result<(), StoreError> {
        for (heap, figure) in self.0.iter_mut().zip(figures) {
            let entry = Reverse((figure, Reverse(candidate.repo)));
            let is_full = heap.len() >= MOST_RANKED;
            let enters = figure > 0 && (!is_full || heap.peek().is_some_and(|last| entry < *last));
            if !enters || candidate.is_left_out()? {
                continue;
            }
            if is_full {
                heap.pop();
            }
            heap.push(entry);
        }
        Ok(())
    }

    fn close(self) -> RankedLists {
        self.0.map(|heap| {
            let sorted = heap.into_sorted_vec().into_iter();
            sorted.map(|Reverse((count, Reverse(repo)))| RankedId { repo, count }).collect()
        })
    }
}

/// A repository that a list may take. Its name is read when one would take it, once.
struct RankCandidate<'a> {
    reader: Reader<'a>,
    rule: Option<IsLeftOut<'a>>,
    repo: u64,
    known: Option<bool>,
}

impl RankCandidate<'_> {
    fn is_left_out(&mut self) -> Result<bool, StoreError> {
        let Some(is_left_out) = self.rule else { return Ok(false) };
        if let Some(known) = self.known {
            return Ok(known);
        }
        let name = self.reader.name_of_repo(self.repo)?;
        Ok(*self.known.insert(name.is_some_and(|name| is_left_out(&name))))
    }
}

/// The languages of repositories, read in ascending order of their ids.
struct LanguageRows<'s> {
    snapshot: &'s Snapshot<'s>,
    rows: DBRawIterator<'s>,
}

impl<'s> LanguageRows<'s> {
    fn new(snapshot: &'s Snapshot<'s>) -> Self {
        let mut rows = snapshot.rows(Family::Repos);
        rows.seek_to_first();
        Self { snapshot, rows }
    }

    /// The language of a repository; ids must ascend.
    fn of(&mut self, repo: u64) -> Result<Option<String>, StoreError> {
        let key = RepoKey(repo).to_bytes();
        for _ in 0..STEPS {
            match self.rows.key() {
                Some(at) if at < key.as_slice() => self.rows.next(),
                _ => break,
            }
        }
        if self.rows.key().is_some_and(|at| at < key.as_slice()) {
            self.rows.seek(&key);
        }
        let Some((at, value)) = self.rows.item() else {
            self.rows.status().map_err(|error| self.snapshot.error(&error))?;
            return Ok(None);
        };
        if at != key.as_slice() {
            return Ok(None);
        }
        Ok(RepoRow::decode(&RepoKey(repo), value)?.language)
    }
}
