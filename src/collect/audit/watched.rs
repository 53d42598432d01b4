//! Repositories whose totals people look at: the first of the rankings, and those on lists.
//!
//! They were chosen because much happens in them, so they are apart from the random sample: nothing
//! of them enters a share. Those that are in the sample as well are only there.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::panel::{AuditSample, AuditTimes, DueRepo};
use super::sighting::AuditedEvent;
use crate::github::graphql::CountsLookup;
use crate::model::audit::RepoGrowth;
use crate::model::window::Timestamp;

/// The most watched repositories: five queries for all.
const MOST_WATCHED: usize = 500;

/// The watched repositories, with looks and intervals as those of the sample.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct WatchedRepos(AuditSample);

impl Default for WatchedRepos {
    /// None, and no event brings one in.
    fn default() -> Self {
        Self(AuditSample::chosen())
    }
}

impl WatchedRepos {
    /// Watches these repositories (id and name), those first in the list first. Others stay while
    /// there is room for them.
    pub(super) fn watch(
        &mut self,
        wanted: Vec<(u64, String)>,
        sample: &AuditSample,
        now: Timestamp,
    ) {
        self.0.choose(wanted, (sample, MOST_WATCHED), now);
    }

    /// Takes an event.
    pub(super) fn observe(&mut self, hash: u64, event: &AuditedEvent) {
        self.0.count(hash, event);
    }

    /// Whether any repository is due.
    pub(super) fn has_due(&self, now: Timestamp, every: Duration) -> bool {
        self.0.has_due(now, every)
    }

    /// Up to `most` repositories to look at, as [`AuditSample::due`].
    pub(super) fn due(&mut self, now: Timestamp, every: Duration, most: usize) -> Vec<DueRepo> {
        self.0.due(now, every, most)
    }

    /// Takes GitHub's answer about a repository. One that GitHub does not show begins anew. One
    /// without an answer is asked for again at its next turn.
    pub(super) fn answered(&mut self, repo: &DueRepo, at: Timestamp, found: CountsLookup) {
        match found {
            CountsLookup::Counts(counts) if counts.repo_id == repo.id => {
                self.0.answered(repo, at, found);
            }
            CountsLookup::Counts(_) | CountsLookup::Gone => {
                self.0.begin_again(repo.hash);
            }
            CountsLookup::Unanswered => {}
        }
    }

    /// Marks a repository as due whose totals were not answered.
    pub(super) fn unanswered(&mut self, hash: u64) {
        self.0.unanswered(hash);
    }

    /// After a start with an earlier clock: removes what lies in the future.
    pub(super) fn forget_future(&mut self, now: Timestamp) {
        self.0.forget_future(now);
    }

    /// Begins all intervals anew, as [`AuditSample::restart`].
    pub(super) fn restart(&mut self) {
        self.0.restart();
    }

    /// Closes intervals, as [`AuditSample::close`].
    pub(super) fn close(&mut self, now: Timestamp, times: AuditTimes) {
        self.0.close(now, times, 0);
    }

    /// Removes repositories by name, as [`AuditSample::leave_out`].
    pub(super) fn leave_out(&mut self, is_left_out: impl Fn(&str) -> bool) {
        self.0.leave_out(is_left_out);
    }

    /// Number of watched repositories.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }

    /// What GitHub last stated of each, and how much of its stars and forks was seen.
    pub(super) fn growth(&self) -> HashMap<u64, RepoGrowth> {
        self.0.growth()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::audit::panel::hash_of;
    use crate::github::graphql::RepositoryCounts;
    use crate::model::audit::AuditedKind;

    const HOUR: Duration = Duration::from_secs(3_600);
    const TIMES: AuditTimes = AuditTimes { every: HOUR, wait: HOUR };

    #[test]
    fn watched_repositories_have_their_growth_and_enter_no_share() {
        let at = Timestamp::from_seconds;
        let star = |repo_id, second| AuditedEvent {
            repo_id,
            repo: format!("o/r{repo_id}"),
            created_at: at(second),
            raises: Some(AuditedKind::Stars),
            number: None,
        };
        let run = |watches: bool| {
            let (mut panel, mut watched) = (AuditSample::default(), WatchedRepos::default());
            let take =
                |panel: &mut AuditSample, watched: &mut WatchedRepos, event: AuditedEvent| {
                    panel.observe(hash_of(event.repo_id), &event, 1);
                    watched.observe(hash_of(event.repo_id), &event);
                };
            // The sample has one place, which the smallest hash has.
            let sampled = (0..50).min_by_key(|repo| hash_of(*repo)).unwrap();
            let other = (0..50).find(|repo| *repo != sampled).unwrap();
            for repo in [other, sampled] {
                take(&mut panel, &mut watched, star(repo, 1_000));
            }
            let wanted = [sampled, other].map(|repo| (repo, format!("o/r{repo}")));
            if watches {
                watched.watch(wanted.to_vec(), &panel, at(1_500));
                assert_eq!(watched.len(), 1, "what is in the sample is only there");
            }
            let due = watched.due(at(10_000), HOUR, 10);
            for (second, stars) in [(2_000, 10), (5_600, 14)] {
                for repo in [sampled, other] {
                    let (forks, releases, pull_requests, issues) = (0, 0, 0, 0);
                    let counts = RepositoryCounts {
                        repo_id: repo,
                        stars,
                        forks,
                        releases,
                        pull_requests,
                        issues,
                    };
                    let hash = hash_of(repo);
                    let asked = DueRepo { hash, id: repo, name: format!("o/r{repo}") };
                    let found = CountsLookup::Counts(counts);
                    if repo == sampled {
                        panel.answered(&asked, at(second), found);
                    } else {
                        watched.answered(&asked, at(second), found);
                    }
                }
                for repo in [sampled, other] {
                    take(&mut panel, &mut watched, star(repo, second + 100));
                    take(&mut panel, &mut watched, star(repo, second + 200));
                }
            }
            panel.close(at(9_300), TIMES, 1);
            watched.close(at(9_300), TIMES);
            (panel.share(AuditedKind::Stars), watched, due, other)
        };
        let (share, watched, due, other) = run(true);
        assert_eq!((share.seen, share.grown, share.repositories), (2, 4, 1));
        assert_eq!(share, run(false).0, "the same as without");
        assert_eq!((due.len(), due[0].id), (1, other));
        let growth = watched.growth()[&other];
        assert_eq!((growth.stars, growth.seen), (14, Some(0.5)));
    }

    #[test]
    fn watched_repositories_are_bounded_and_asked_for_in_turn() {
        let at = Timestamp::from_seconds;
        let mut watched = WatchedRepos::default();
        watched.watch(vec![(1, "o/r1".to_owned())], &AuditSample::default(), at(1_500));
        // Only as many as there is room for; those that are not wanted any more leave first.
        let wanted = (1_000..2_000).map(|id| (id, format!("o/r{id}"))).collect();
        watched.watch(wanted, &AuditSample::default(), at(9_400));
        assert_eq!(watched.len(), 500);
        assert!(!watched.growth().contains_key(&1));
        // A repository that GitHub does not show waits for its next turn.
        let asked = watched.due(at(9_500), HOUR, 1);
        watched.answered(&asked[0], at(9_500), CountsLookup::Gone);
        watched.due(at(9_501), HOUR, 1_000);
        assert!(!watched.has_due(at(9_502), HOUR) && watched.has_due(at(13_200), HOUR));
        let text = serde_json::to_string(&watched).unwrap();
        let read: WatchedRepos = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }
}
