use fastrand::Rng;

use super::*;

mod chosen;
mod trials;

const HOUR: Duration = Duration::from_secs(3_600);
const TIMES: AuditTimes = AuditTimes { every: HOUR, wait: HOUR };
const SIZE: usize = 100;

fn event(repo_id: u64, at: i64, raises: Option<AuditedKind>) -> AuditedEvent {
    let created_at = Timestamp::from_seconds(at);
    AuditedEvent { repo_id, repo: format!("o/r{repo_id}"), created_at, raises, number: None }
}

fn observe(panel: &mut AuditSample, event: &AuditedEvent) {
    panel.observe(hash_of(event.repo_id), event, SIZE);
}

fn closed(panel: &AuditSample) -> Vec<(u8, u32, i32)> {
    panel.closed.iter().map(|c| (c.2, c.3, c.4)).collect()
}

#[test]
fn event_counts_in_the_interval_it_was_created_in() {
    let mut panel = AuditSample::default();
    let star = |at| event(1, at, Some(AuditedKind::Stars));
    let hash = hash_of(1);
    let at = Timestamp::from_seconds;
    observe(&mut panel, &star(1_000));
    panel.looked(hash, at(2_000), [10, 0, 0, 0, 0]);
    observe(&mut panel, &star(2_500));
    panel.looked(hash, at(5_600), [13, 0, 0, 0, 0]);
    observe(&mut panel, &star(6_000));
    // Late: created before the second look, and before the first one.
    observe(&mut panel, &star(5_599));
    observe(&mut panel, &star(1_999));
    panel.looked(hash, at(9_200), [13, 0, 0, 0, 0]);
    panel.close(at(5_600 + 3_599), TIMES, SIZE);
    assert_eq!(closed(&panel), [], "late events are waited for");
    panel.close(at(5_600 + 3_600), TIMES, SIZE);
    assert_eq!(closed(&panel), [(0, 2, 3)]);
    observe(&mut panel, &star(5_000));
    panel.close(at(9_200 + 3_600), TIMES, SIZE);
    assert_eq!(closed(&panel), [(0, 2, 3), (0, 1, 0)], "later than waited for is not seen");
    assert_eq!(panel.range(), Some((at(2_000), at(9_200))));
    let growth = panel.growth()[&1];
    assert_eq!((growth.stars, growth.forks, growth.at), (13, 0, at(9_200)));
    assert_eq!(growth.seen, Some(1.0), "three of three, one of them in the interval after");
    panel.close(at(9_200 + 27 * 3_600), TIMES, SIZE);
    assert_eq!((closed(&panel), panel.range()), (vec![], None), "older than the horizon");
}

#[test]
fn repositories_that_are_left_out_leave_with_their_intervals() {
    let mut panel = AuditSample::default();
    let at = Timestamp::from_seconds;
    for repo in [1, 2] {
        observe(&mut panel, &event(repo, 1_000, None));
        panel.looked(hash_of(repo), at(2_000), [10, 0, 0, 0, 0]);
        observe(&mut panel, &event(repo, 2_500, Some(AuditedKind::Stars)));
        panel.looked(hash_of(repo), at(5_600), [12, 0, 0, 0, 0]);
    }
    panel.close(at(9_200), TIMES, SIZE);
    assert_eq!(closed(&panel), [(0, 1, 2), (0, 1, 2)]);
    panel.leave_out(|name| name == "o/r2");
    assert_eq!((closed(&panel), panel.len()), (vec![(0, 1, 2)], 1));
    assert!(panel.growth().contains_key(&1) && !panel.growth().contains_key(&2));
}

#[test]
fn sample_is_random_bounded_and_keeps_those_that_are_quiet() {
    let mut panel = AuditSample::default();
    for repo in 0..10_000 {
        observe(&mut panel, &event(repo, 1_000, None));
    }
    assert_eq!(panel.len(), SIZE);
    let names = panel.names();
    let ids: u64 = names.keys().sum();
    assert!((3_500..6_500).contains(&(ids / SIZE as u64)), "the mean id is in the middle");
    // Others become busy: they do not displace anything.
    for n in 0..10_000 {
        observe(&mut panel, &event(5_000 + n % 7, 2_000, None));
    }
    assert!(panel.names().keys().all(|id| names.contains_key(id)));
    let at = Timestamp::from_seconds;
    let census = panel.census(at(20_000), HOUR);
    assert_eq!((census.repositories, census.seen_lately), (SIZE as u64, 0));
    panel.close(at(1_000 + 31 * 86_400), TIMES, SIZE);
    assert_eq!(panel.len(), 0, "not seen for a month");
}

#[test]
fn those_that_waited_longest_are_due_first() {
    let mut panel = AuditSample::default();
    for repo in 0..10 {
        observe(&mut panel, &event(repo, 1_000, None));
    }
    let at = Timestamp::from_seconds;
    let first = panel.due(at(10_000), HOUR, 6);
    let second = panel.due(at(10_001), HOUR, 6);
    assert_eq!((first.len(), second.len()), (6, 4));
    assert_eq!(panel.due(at(10_002), HOUR, 6), []);
    assert_eq!(first[0].name, format!("o/r{}", first[0].id));
    panel.unanswered(second[0].hash);
    assert_eq!(panel.due(at(10_003), HOUR, 6), second[..1]);
    assert_eq!(panel.due(at(13_600), HOUR, 6), first);
    // A clock that was set back makes everything due, not nothing.
    assert_eq!(panel.due(at(500), HOUR, 20).len(), 10);
    panel.leave(first[0].hash);
    assert_eq!((panel.len(), panel.census(at(0), HOUR).gone), (9, 1));
}

#[test]
fn state_is_kept_as_text_and_read_back() {
    let mut panel = AuditSample::default();
    observe(&mut panel, &event(1, 1_000, Some(AuditedKind::Forks)));
    panel.looked(hash_of(1), Timestamp::from_seconds(2_000), [1, 2, 3, 4, 5]);
    let text = serde_json::to_string(&panel).unwrap();
    let read: AuditSample = serde_json::from_str(&text).unwrap();
    assert_eq!(serde_json::to_string(&read).unwrap(), text);
    assert_eq!(read.repos, panel.repos);
}

#[test]
fn looks_of_one_repository_are_bounded() {
    let mut panel = AuditSample::default();
    observe(&mut panel, &event(1, 1_000, None));
    for n in 0..100 {
        panel.looked(hash_of(1), Timestamp::from_seconds(2_000 + n), [0; 5]);
    }
    assert_eq!(panel.repos[&hash_of(1)].looks.len(), MOST_LOOKS);
    panel.restart();
    assert_eq!(panel.repos[&hash_of(1)].looks.len(), 0);
}
