//! The commits of a push, found in the newest commits of two histories.
//!
//! GitHub lists a history by commit date, newest first, and says how many commits it has. The push
//! is what the history of its head has and that of the commit before does not.

use std::borrow::Cow;
use std::collections::HashSet;

use crate::model::window::Timestamp;

/// A commit of a history.
#[derive(Debug, Clone)]
pub(super) struct HistoryCommit<'a> {
    /// Its hash.
    pub(super) oid: Cow<'a, str>,
    /// Its commit date.
    pub(super) at: Timestamp,
    /// The commit, JSON.
    pub(super) node: &'a str,
}

/// The beginning of a history.
#[derive(Debug, Clone)]
pub(super) struct HistoryPart<'a> {
    /// Number of commits in the whole history.
    pub(super) total: u64,
    /// The newest of them, newest first; at least one.
    pub(super) commits: Vec<HistoryCommit<'a>>,
}

/// What is known of a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PushRange {
    /// Number of commits, when it is certain.
    pub(super) size: Option<u64>,
    /// The commits that are certain, newest first: their indices in the history of the head.
    pub(super) commits: Vec<usize>,
    /// Whether these are all.
    pub(super) is_whole: bool,
}

impl HistoryPart<'_> {
    fn is_complete(&self) -> bool {
        self.total == self.commits.len() as u64
    }
}

impl PushRange {
    /// The push from `before` to `head`. Right as long as no commit is dated before its parent.
    pub(super) fn of(head: &HistoryPart<'_>, before: &HistoryPart<'_>) -> Self {
        let old: HashSet<&str> = before.commits.iter().map(|commit| &*commit.oid).collect();
        let (Some(newest), Some(first)) = (head.commits.first(), before.commits.first()) else {
            return Self { size: None, commits: Vec::new(), is_whole: false };
        };
        if old.contains(&*newest.oid) {
            return Self { size: Some(0), commits: Vec::new(), is_whole: true };
        }
        // What is newer than all that was not read of the old history is not in it.
        let read_to = before.commits.last().filter(|_| !before.is_complete()).map(|last| last.at);
        let is_certain = |commit: &HistoryCommit<'_>| read_to.is_none_or(|at| commit.at > at);
        let all = head.commits.iter().enumerate();
        let apart = all.filter(|(_, commit)| !old.contains(&*commit.oid));
        let (commits, unsure): (Vec<_>, Vec<_>) = apart.partition(|(_, commit)| is_certain(commit));
        let commits: Vec<usize> = commits.into_iter().map(|(at, _)| at).collect();
        let count = commits.len() as u64;
        let is_descendant = head.commits.iter().any(|commit| commit.oid == first.oid);
        let size = if is_descendant {
            // The new history is the old one and the push.
            head.total.checked_sub(before.total).filter(|size| *size >= count)
        } else {
            (head.is_complete() && unsure.is_empty()).then_some(count)
        };
        Self { size, commits, is_whole: size == Some(count) }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Commit `n` has these parents, with smaller numbers; dates never fall from parent to child.
    #[derive(Debug)]
    struct Dag {
        parents: Vec<Vec<usize>>,
        dates: Vec<i64>,
    }

    impl Dag {
        fn history(&self, from: usize) -> BTreeSet<usize> {
            let (mut reached, mut open) = (BTreeSet::new(), vec![from]);
            while let Some(n) = open.pop() {
                if reached.insert(n) {
                    open.extend(&self.parents[n]);
                }
            }
            reached
        }

        /// As GitHub shows it.
        fn part(&self, from: usize, most: usize) -> HistoryPart<'static> {
            let mut all: Vec<usize> = self.history(from).into_iter().collect();
            all.sort_by_key(|n| std::cmp::Reverse((self.dates[*n], *n)));
            let total = all.len() as u64;
            let commit = |n: &usize| HistoryCommit {
                oid: n.to_string().into(),
                at: Timestamp::from_seconds(self.dates[*n]),
                node: "",
            };
            HistoryPart { total, commits: all.iter().take(most).map(commit).collect() }
        }
    }

    fn dag() -> impl Strategy<Value = Dag> {
        let commit = (prop::collection::vec(any::<prop::sample::Index>(), 1..3), 0..3_i64);
        prop::collection::vec(commit, 1..40).prop_map(|drawn| {
            let (mut parents, mut dates): (Vec<Vec<usize>>, Vec<i64>) = (Vec::new(), Vec::new());
            for (of, later) in drawn {
                let n = parents.len();
                // Near the newest, as branches are.
                let near = |index: prop::sample::Index| n - 1 - index.index(n.min(5));
                let own: Vec<usize> =
                    if n == 0 { Vec::new() } else { of.into_iter().map(near).collect() };
                dates.push(own.iter().map(|parent| dates[*parent]).max().unwrap_or(0) + later);
                parents.push(own);
            }
            Dag { parents, dates }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3_000))]

        #[test]
        fn nothing_is_said_that_is_not_so(
            dag in dag(), most in 1_usize..12, head: prop::sample::Index,
            before: prop::sample::Index
        ) {
            let count = dag.parents.len();
            let (head, before) = (head.index(count), before.index(count));
            let part = dag.part(head, most);
            // With equal dates, GitHub lists the commit itself first.
            prop_assume!(part.commits[0].oid == head.to_string());
            let range = PushRange::of(&part, &dag.part(before, most));
            let truth: BTreeSet<usize> =
                dag.history(head).difference(&dag.history(before)).copied().collect();
            let number = |at: &usize| part.commits[*at].oid.parse().unwrap();
            let said: BTreeSet<usize> = range.commits.iter().map(number).collect();
            prop_assert!(said.is_subset(&truth), "{:?} {:?}", said, truth);
            if let Some(size) = range.size {
                prop_assert_eq!(size, truth.len() as u64);
            }
            if range.is_whole {
                prop_assert_eq!(said, truth);
            }
        }

        #[test]
        fn usual_push_is_known_whole(base in 1_usize..30, pushed in 1_usize..9) {
            let count = base + pushed;
            let parents = (0..count).map(|n| (n > 0).then(|| n - 1).into_iter().collect());
            let dates = (0..count).map(|n| i64::try_from(n).unwrap()).collect();
            let dag = Dag { parents: parents.collect(), dates };
            let range = PushRange::of(&dag.part(count - 1, 10), &dag.part(base - 1, 10));
            prop_assert_eq!(range.size, Some(pushed as u64));
            prop_assert_eq!((range.commits.len(), range.is_whole), (pushed, true));
        }
    }
}
