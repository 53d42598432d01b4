//! Repositories that are chosen because people look at their totals.

use super::*;

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
        let (mut panel, mut watched) = (AuditSample::default(), AuditSample::chosen());
        let take = |panel: &mut AuditSample, watched: &mut AuditSample, event: AuditedEvent| {
            panel.observe(hash_of(event.repo_id), &event, 1);
            watched.count(hash_of(event.repo_id), &event);
        };
        // The sample has one place, which the smallest hash has.
        let sampled = (0..50).min_by_key(|repo| hash_of(*repo)).unwrap();
        let other = (0..50).find(|repo| *repo != sampled).unwrap();
        for repo in [other, sampled] {
            take(&mut panel, &mut watched, star(repo, 1_000));
        }
        let wanted = [sampled, other].map(|repo| (repo, format!("o/r{repo}")));
        if watches {
            watched.choose(wanted.to_vec(), &panel, at(1_500));
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
                let found = CountsLookup::Found(counts);
                if repo == sampled {
                    panel.answered(&asked, at(second), &found);
                } else {
                    watched.answered(&asked, at(second), &found);
                }
            }
            for repo in [sampled, other] {
                take(&mut panel, &mut watched, star(repo, second + 100));
                take(&mut panel, &mut watched, star(repo, second + 200));
            }
        }
        panel.close(at(9_300), TIMES, 1);
        watched.close(at(9_300), TIMES, 0);
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
    let mut watched = AuditSample::chosen();
    watched.choose(vec![(1, "o/r1".to_owned())], &AuditSample::default(), at(1_500));
    // Only as many as there is room for; those that are not wanted any more leave first.
    let wanted = (1_000..2_000).map(|id| (id, format!("o/r{id}"))).collect();
    watched.choose(wanted, &AuditSample::default(), at(9_400));
    assert_eq!(watched.len(), 500);
    assert!(!watched.growth().contains_key(&1));
    // A repository that GitHub does not show waits for its next turn.
    let asked = watched.due(at(9_500), HOUR, 1);
    watched.answered(&asked[0], at(9_500), &CountsLookup::Gone);
    watched.due(at(9_501), HOUR, 1_000);
    assert!(!watched.has_due(at(9_502), HOUR) && watched.has_due(at(13_200), HOUR));
    let text = serde_json::to_string(&watched).unwrap();
    let read: AuditSample = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
}
