//! The repositories of the last hour with the most stars, pull requests and pushes.
//!
//! Counted exactly, by GitHub's id, in buckets of a minute. A repository takes about 100 bytes, an
//! hour of GitHub's whole feed some tens of megabytes.

use std::collections::{BTreeMap, HashMap};

use super::rolling::snapshot_of;
use crate::hub::Hub;
use crate::model::position::Cursor;
use crate::model::tally::Tally;
use crate::model::window::{Second, Window};
use crate::script::rule::Subject;

/// Length of the window in seconds.
pub(super) const WINDOW: u32 = 3_600;
/// Length of a bucket in seconds: the precision of the window's beginning.
const BUCKET: i64 = 60;
/// Number of repositories in a result.
const SHOWN: usize = 20;
/// The most repositories that one counter distinguishes.
const REPOSITORIES: usize = 200_000;
/// Seconds between two results.
pub(super) const EVERY: i64 = 5;

/// Name of each ranking, and the type of event that it counts.
const COUNTERS: [(&str, &str); 3] =
    [("stars", "WatchEvent"), ("pulls", "PullRequestEvent"), ("pushes", "PushEvent")];

/// One counter per ranking.
#[derive(Default)]
pub(super) struct Busiest([RankCounter; 3]);

#[derive(Default)]
struct RankCounter {
    /// By minute: number of events of each repository.
    buckets: BTreeMap<i64, HashMap<u64, u32, foldhash::fast::RandomState>>,
    /// Number of events of each repository in all buckets, and its latest name.
    sums: HashMap<u64, (u32, Box<str>), foldhash::fast::RandomState>,
    left_out: u64,
}

/// The names of the topics, in the order of the counters.
pub(super) fn topics() -> impl Iterator<Item = String> {
    COUNTERS.iter().map(|(name, _)| format!("busiest-{name}/1h"))
}

impl Busiest {
    pub(super) fn count(&mut self, event: &Subject<'_>) {
        let kind = event.kind();
        let of = COUNTERS.iter().position(|(_, wanted)| kind.as_deref() == Some(wanted));
        let (Some(at), Some(id)) = (of, event.number_of("repo")) else { return };
        let Some(name) = event.repository() else { return };
        self.0[at].add(event.facts().received_at.second(), id, &name);
    }

    pub(super) fn tick(&mut self, hub: &Hub, now: Second, cursor: Cursor, since: Second) {
        let window = Window::ending_with(now, WINDOW);
        for (counter, topic) in self.0.iter_mut().zip(topics()) {
            counter.expire(window.from);
            let reading = snapshot_of(window, cursor, since, counter.left_out, counter.top());
            hub.rolling.open(&topic).publish(reading);
        }
    }
}

impl RankCounter {
    fn add(&mut self, second: Second, id: u64, name: &str) {
        let is_known = self.sums.contains_key(&id);
        if !is_known && self.sums.len() >= REPOSITORIES {
            self.left_out += 1;
            return;
        }
        let (sum, known) = self.sums.entry(id).or_default();
        *sum = sum.saturating_add(1);
        if **known != *name {
            *known = name.into();
        }
        let bucket = self.buckets.entry(second.0.div_euclid(BUCKET)).or_default();
        let count = bucket.entry(id).or_default();
        *count = count.saturating_add(1);
    }

    /// Removes whole buckets before `from`.
    fn expire(&mut self, from: Second) {
        let oldest = from.0.div_euclid(BUCKET);
        while let Some(entry) = self.buckets.first_entry()
            && *entry.key() < oldest
        {
            for (id, count) in entry.remove() {
                let Some((sum, _)) = self.sums.get_mut(&id) else { continue };
                *sum = sum.saturating_sub(count);
                if *sum == 0 {
                    self.sums.remove(&id);
                }
            }
        }
    }

    fn top(&self) -> Tally {
        let mut all: Vec<(u32, &str)> = self.sums.values().map(|(n, name)| (*n, &**name)).collect();
        let most = SHOWN.min(all.len());
        let by_rank = |a: &(u32, &str), b: &(u32, &str)| b.0.cmp(&a.0).then(a.1.cmp(b.1));
        if most < all.len() {
            all.select_nth_unstable_by(most, by_rank);
            all.truncate(most);
        }
        all.into_iter().map(|(n, name)| (name, i64::from(n))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(counter: &mut RankCounter, second: i64, id: u64, name: &str) {
        counter.add(Second(second), id, name);
    }

    #[test]
    fn the_window_slides_and_a_new_name_takes_the_old_ones_place() {
        let mut counter = RankCounter::default();
        for (second, id, name) in
            [(0, 1, "a/old"), (70, 1, "a/new"), (70, 2, "b/b"), (130, 3, "c/c")]
        {
            add(&mut counter, second, id, name);
        }
        assert_eq!(counter.top(), [("a/new", 2), ("b/b", 1), ("c/c", 1)].into_iter().collect());
        counter.expire(Second(60));
        assert_eq!(counter.top().get("a/new"), 1);
        counter.expire(Second(120));
        assert_eq!(counter.top(), [("c/c", 1)].into_iter().collect());
        counter.expire(Second(1_000));
        assert!(counter.sums.is_empty() && counter.buckets.is_empty());
    }

    #[test]
    fn only_the_largest_are_named() {
        let mut counter = RankCounter::default();
        for id in 0..100 {
            for _ in 0..=id {
                add(&mut counter, 0, id, &format!("r/{id}"));
            }
        }
        let top = counter.top();
        assert_eq!(
            (top.len(), top.get("r/99"), top.get("r/80"), top.get("r/79")),
            (20, 100, 81, 0)
        );
    }
}
