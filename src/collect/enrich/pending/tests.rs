use proptest::prelude::*;

use super::*;
use crate::clock::Clock;
use crate::github::graphql::{
    Language, PullDetails, PullLookup, PushLookup, WantedPull, WantedPush,
};
use crate::model::envelope::{Facts, Flags};
use crate::model::window::Timestamp;
use crate::store::keys::RepoKey;

const SECOND: Duration = Duration::from_secs(1);

fn now() -> Instant {
    Clock::system().instant()
}

fn event(admission: u64, pr: bool, since: Instant) -> AdmittedEvent {
    AdmittedEvent {
        admission,
        // Each event is from its own poll, unless a test says otherwise.
        facts: Facts {
            flags: Flags { pr, ..Flags::default() },
            received_at: Timestamp::from_seconds(i64::try_from(admission).unwrap()),
            ..Facts::default()
        },
        is_missing_language: true,
        since,
    }
}

fn wanted(pull_id: u64) -> WantedPull {
    WantedPull { base_repo_id: 1, pull_id, repo: "o/n".to_owned(), number: pull_id }
}

fn found(language: Language) -> PullLookup {
    PullLookup::Found(Box::new(PullDetails {
        additions: Some(3),
        deletions: Some(2),
        changed_files: Some(1),
        title: Some("T".to_owned()),
        draft: Some(false),
        language,
        node_id: None,
    }))
}

fn hold(
    pending: &mut PendingQueue<WantedPull>,
    admission: u64,
    pull_id: u64,
    now: Instant,
) -> Option<ReleaseReason> {
    let held = pending.hold(event(admission, true, now), wanted(pull_id), now + 20 * SECOND, now);
    held.first().map(|ready| ready.reason)
}

fn left(ready: &[ReleasedEvent]) -> Vec<(u64, ReleaseReason)> {
    let mut left: Vec<_> = ready.iter().map(|r| (r.event.admission, r.reason)).collect();
    left.sort_by_key(|(admission, _)| *admission);
    left
}

#[test]
fn pull_request_is_queried_once_for_all_its_events() {
    let (mut pending, now) = (PendingQueue::default(), now());
    for (admission, pull) in [(1, 7), (2, 7), (3, 8)] {
        assert_eq!(hold(&mut pending, admission, pull, now), None);
    }
    assert_eq!((pending.queued(), pending.oldest_queued()), (2, Some(now)));
    assert_eq!(pending.take(1, |_| true), [wanted(8)], "the newest first");
    assert_eq!(pending.take(5, |_| true), [wanted(7)]);
    assert_eq!(hold(&mut pending, 4, 7, now), None);
    assert_eq!(pending.queued(), 0, "it is asked for already");
    let language = || Language::Named("C".to_owned());
    let (ready, cached) = pending.answered(&wanted(7), &found(language()), now);
    let enriched = |n| (n, ReleaseReason::Enriched);
    assert_eq!(left(&ready), [enriched(1), enriched(2), enriched(4)]);
    assert_eq!(cached, Some((RepoKey(1), Some("C".to_owned()))));
    let facts = &ready[0].event.facts;
    assert_eq!(
        (facts.additions, facts.deletions, facts.changed_files),
        (Some(3), Some(2), Some(1))
    );
    assert_eq!((facts.title.as_deref(), facts.language.as_deref()), (Some("T"), Some("C")));
    assert_eq!(pending.next_deadline(), Some(now + 20 * SECOND), "one still waits");
}

#[test]
fn review_is_enriched_with_its_language_only() {
    let (mut pending, now) = (PendingQueue::default(), now());
    let mut sent = event(1, true, now);
    sent.facts.additions = Some(99);
    sent.facts.language = Some("Ada".to_owned());
    sent.is_missing_language = false;
    assert!(pending.hold(sent, wanted(7), now + SECOND, now).is_empty());
    assert!(pending.hold(event(2, false, now), wanted(7), now + SECOND, now).is_empty());
    pending.take(9, |_| true);
    let (ready, _) = pending.answered(&wanted(7), &found(Language::Absent), now);
    let facts =
        |admission| &ready.iter().find(|r| r.event.admission == admission).unwrap().event.facts;
    assert_eq!((facts(1).additions, facts(1).language.as_deref()), (Some(99), Some("Ada")));
    assert!(facts(1).enriched && facts(2).enriched);
    assert_eq!((facts(2).additions, facts(2).title.as_deref()), (None, None));
}

#[test]
fn answer_from_before_a_release_takes_the_object_out_of_the_queue() {
    let (mut pending, now) = (PendingQueue::default(), now());
    hold(&mut pending, 1, 7, now);
    assert_eq!(pending.take(1, |_| true), [wanted(7)]);
    // The last token is gone; another one comes before the answer.
    assert_eq!(left(&pending.release_everything()), [(1, ReleaseReason::NoToken)]);
    hold(&mut pending, 2, 7, now);
    let (ready, _) = pending.answered(&wanted(7), &found(Language::Absent), now);
    assert_eq!(left(&ready), [(2, ReleaseReason::Enriched)]);
    assert_eq!((pending.queued(), pending.oldest_queued()), (0, None));
    hold(&mut pending, 3, 8, now + SECOND);
    assert_eq!((pending.queued(), pending.oldest_queued()), (1, Some(now + SECOND)));
    assert_eq!(pending.next(), Some(&wanted(8)));
}

#[test]
fn late_events_leave_and_their_answer_is_cached() {
    let (mut pending, now) = (PendingQueue::default(), now());
    hold(&mut pending, 1, 7, now);
    hold(&mut pending, 2, 8, now + SECOND);
    assert_eq!(pending.take(1, |_| true), [wanted(8)]);
    assert_eq!(left(&pending.expire(now + 19 * SECOND)), []);
    assert_eq!(left(&pending.expire(now + 20 * SECOND)), [(1, ReleaseReason::Late)]);
    assert_eq!(pending.queued(), 0, "nobody waits for it: it is not asked for");
    assert_eq!(left(&pending.expire(now + 21 * SECOND)), [(2, ReleaseReason::Late)]);
    let (ready, cached) = pending.answered(&wanted(8), &found(Language::Absent), now);
    assert_eq!((left(&ready), cached), (vec![], Some((RepoKey(1), None))));
    assert_eq!(hold(&mut pending, 3, 9, now.checked_sub(21 * SECOND).unwrap()), None);
}

#[test]
fn missing_pull_request_is_not_queried_again_soon() {
    let (mut pending, now) = (PendingQueue::default(), now());
    hold(&mut pending, 1, 7, now);
    pending.take(1, |_| true);
    let (ready, _) = pending.answered(&wanted(7), &PullLookup::Gone, now);
    assert_eq!(left(&ready), [(1, ReleaseReason::Gone)]);
    assert_eq!(hold(&mut pending, 2, 7, now + SECOND), Some(ReleaseReason::Gone));
    assert_eq!(hold(&mut pending, 3, 7, now + GONE_FOR), None);
}

#[test]
fn answered_event_waits_for_older_events_of_its_poll() {
    let (mut pending, now) = (PendingQueue::default(), now());
    let hold = |pending: &mut PendingQueue<WantedPull>, admission, pull, poll, now| {
        let mut event = event(admission, true, now);
        event.facts.received_at = Timestamp::from_seconds(poll);
        assert!(pending.hold(event, wanted(pull), now + 20 * SECOND, now).is_empty());
    };
    for admission in 1..=4 {
        hold(&mut pending, admission, admission, 100, now);
    }
    hold(&mut pending, 5, 5, 200, now + SECOND);
    pending.take(9, |_| true);
    let answer = |pending: &mut PendingQueue<WantedPull>, pull, found: &PullLookup| {
        left(&pending.answered(&wanted(pull), found, now).0)
    };
    let enriched = |n| (n, ReleaseReason::Enriched);
    assert_eq!(answer(&mut pending, 4, &found(Language::Absent)), []);
    assert_eq!(answer(&mut pending, 3, &PullLookup::Gone), []);
    assert_eq!(answer(&mut pending, 5, &found(Language::Absent)), [enriched(5)], "another poll's");
    assert_eq!(answer(&mut pending, 1, &found(Language::Absent)), [enriched(1)]);
    assert_eq!(left(&pending.expire(now + 19 * SECOND)), []);
    // The second one is late, and no event waits longer than that one.
    let last = [(2, ReleaseReason::Late), (3, ReleaseReason::Gone), enriched(4)];
    assert_eq!(left(&pending.expire(now + 20 * SECOND)), last);
    assert_eq!((pending.queued(), pending.next_deadline()), (0, None));
}

#[test]
fn newest_poll_and_its_oldest_events_are_queried_first() {
    let (mut pending, now) = (PendingQueue::default(), now());
    for (admission, poll) in [(1, 100), (2, 100), (3, 100), (4, 200), (5, 200)] {
        let mut event = event(admission, true, now);
        event.facts.received_at = Timestamp::from_seconds(poll);
        pending.hold(event, wanted(admission), now + 20 * SECOND, now);
    }
    assert_eq!(pending.take(3, |_| true), [wanted(4), wanted(5), wanted(1)]);
    assert_eq!(left(&pending.put_back(&wanted(5), false)), []);
    assert_eq!(pending.take(2, |_| true), [wanted(5), wanted(2)], "it has its place again");
    // An event that one of a newer poll waits for too is fetched with that poll.
    let mut again = event(6, true, now);
    again.facts.received_at = Timestamp::from_seconds(300);
    pending.hold(again, wanted(3), now + 20 * SECOND, now);
    pending.hold(event(7, true, now), wanted(9), now + 20 * SECOND, now);
    assert_eq!((pending.take(1, |_| true), pending.queued()), (vec![wanted(3)], 1));
    // An answered event is released at once, even when its poll was fetched only in part.
    let (ready, _) = pending.answered(&wanted(1), &found(Language::Absent), now);
    assert_eq!(left(&ready), [(1, ReleaseReason::Enriched)]);
}

#[test]
fn unanswered_pull_request_is_given_up() {
    let (mut pending, now) = (PendingQueue::default(), now());
    hold(&mut pending, 1, 7, now);
    for _ in 1..MOST_TRIES {
        assert_eq!(pending.take(1, |_| true), [wanted(7)]);
        assert_eq!(left(&pending.put_back(&wanted(7), false)), [], "it was not even tried");
        assert_eq!(pending.take(1, |_| true), [wanted(7)]);
        assert_eq!(left(&pending.answered(&wanted(7), &PullLookup::Unanswered, now).0), []);
    }
    pending.take(1, |_| true);
    let (ready, _) = pending.answered(&wanted(7), &PullLookup::Unanswered, now);
    assert_eq!(left(&ready), [(1, ReleaseReason::Late)]);
    assert_eq!((pending.queued(), pending.next_deadline()), (0, None));
}

proptest! {
    #[test]
    fn events_leave_once_and_in_order_within_a_poll(
        steps in prop::collection::vec((0..7_u8, 0..5_u64), 1..200),
    ) {
        let (mut pending, mut now) = (PendingQueue::default(), now());
        let (mut admitted, mut gone_on) = (0, Vec::new());
        let mut taken: Vec<WantedPull> = Vec::new();
        // As in the stage: all that are released together, in order.
        let mut keep = |mut ready: Vec<ReleasedEvent>| {
            ready.sort_by_key(|ready| ready.event.admission);
            gone_on.extend(ready.iter().map(|r| r.event.admission));
        };
        let poll = |admission: u64| Timestamp::from_seconds(i64::try_from(admission / 4).unwrap());
        for (step, n) in steps {
            now += SECOND;
            match step {
                0 | 1 => {
                    admitted += 1;
                    let deadline = now + 7 * SECOND;
                    let mut event = event(admitted, true, now);
                    event.facts.received_at = poll(admitted);
                    keep(pending.hold(event, wanted(n), deadline, now));
                }
                2 => taken.extend(pending.take(usize::try_from(n).unwrap(), |_| true)),
                3 => keep(pending.expire(now)),
                4 => {
                    for one in &taken {
                        keep(pending.answered(one, &PullLookup::Unanswered, now).0);
                    }
                    pending.split(&taken.iter().collect::<Vec<_>>(), Some(now));
                    if let [one] = &*taken {
                        keep(pending.apply_lone_result(one, LoneResult::Unanswered, now));
                    }
                    taken.clear();
                },
                _ => if let Some(one) = taken.pop() {
                    let forbidden = PullLookup::Forbidden("no".to_owned());
                    let (gone, none) = (PullLookup::Gone, PullLookup::Unanswered);
                    let what = [found(Language::Unknown), gone, none, forbidden];
                    keep(pending.answered(&one, &what[usize::try_from(n).unwrap() % 4], now).0);
                },
            }
        }
        keep(pending.expire(now + 100 * SECOND));
        prop_assert_eq!(pending.next_deadline(), None);
        prop_assert_eq!(pending.queued(), 0);
        for of in 0..=admitted / 4 {
            let mut poll = gone_on.iter().filter(|admission| **admission / 4 == of);
            prop_assert!(poll.by_ref().is_sorted(), "poll {} of {:?}", of, gone_on);
        }
        gone_on.sort_unstable();
        prop_assert_eq!(gone_on, (1..=admitted).collect::<Vec<_>>());
    }
}

#[test]
fn heavy_object_is_asked_for_in_ever_smaller_parts() {
    let (mut pending, now) = (PendingQueue::default(), now());
    for n in 1..=20 {
        assert_eq!(hold(&mut pending, n, n, now), None);
    }
    let (mut sizes, mut released) = (Vec::new(), Vec::new());
    loop {
        let taken = pending.take(100, |_| true);
        if taken.is_empty() {
            break;
        }
        assert_eq!(pending.is_part(&taken), !sizes.is_empty());
        sizes.push(taken.len());
        let is_heavy = taken.iter().any(|one| one.number == 7);
        for one in &taken {
            let found = if is_heavy { PullLookup::Unanswered } else { found(Language::Absent) };
            released.extend(left(&pending.answered(one, &found, now).0));
        }
        if is_heavy {
            pending.split(&taken.iter().collect::<Vec<_>>(), Some(now));
        }
        if let [one] = &*taken {
            let result = if is_heavy { LoneResult::Unanswered } else { LoneResult::Quick };
            released.extend(left(&pending.apply_lone_result(one, result, now)));
        }
    }
    assert_eq!(sizes, [20, 7, 7, 3, 3, 1, 1, 6]);
    released.sort_by_key(|(admission, _)| *admission);
    let of = |n| (n, if n == 7 { ReleaseReason::Late } else { ReleaseReason::Enriched });
    assert_eq!(released, (1..=20).map(of).collect::<Vec<_>>());
    assert_eq!(hold(&mut pending, 21, 7, now), Some(ReleaseReason::Late), "not asked for again");
    assert_eq!(hold(&mut pending, 22, 8, now), None);
}

#[test]
fn heavy_object_is_found_although_deadlines_end_the_search() {
    let (mut pending, mut now, mut admission) = (PendingQueue::default(), now(), 0);
    let (mut late, mut failed) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        let (begin, mut released, mut failures) = (admission, Vec::new(), 0);
        for n in 1..=11 {
            admission += 1;
            let reason = hold(&mut pending, admission, n, now);
            released.extend(reason.map(|reason| (admission, reason)));
        }
        loop {
            let queries = std::iter::repeat_with(|| pending.take(100, |_| true));
            let queries: Vec<_> = queries.take_while(|taken| !taken.is_empty()).collect();
            if queries.is_empty() {
                break;
            }
            let is_heavy = |taken: &Vec<WantedPull>| taken.iter().any(|one| one.number == 7);
            let (heavy, light): (Vec<_>, Vec<_>) = queries.into_iter().partition(is_heavy);
            for one in light.iter().flatten() {
                released.extend(left(&pending.answered(one, &found(Language::Absent), now).0));
            }
            // As long as GitHub works on a query before it ends it.
            now += 10 * SECOND;
            released.extend(left(&pending.expire(now)));
            for taken in heavy {
                failures += 1;
                for one in &taken {
                    released.extend(left(&pending.answered(one, &PullLookup::Unanswered, now).0));
                }
                pending.split(&taken.iter().collect::<Vec<_>>(), Some(now));
                if let [one] = &*taken {
                    released.extend(left(&pending.apply_lone_result(
                        one,
                        LoneResult::Unanswered,
                        now,
                    )));
                }
            }
        }
        assert_eq!(released.len(), 11);
        let is_late = |(_, reason): &(u64, ReleaseReason)| *reason == ReleaseReason::Late;
        let numbers = released.iter().filter(|one| is_late(one)).map(|(n, _)| n - begin);
        let mut numbers: Vec<u64> = numbers.collect();
        numbers.sort_unstable();
        late.push(numbers);
        failed.push(failures);
    }
    assert_eq!(late, [vec![4, 5, 6, 7], vec![7], vec![7], vec![7]]);
    assert_eq!(failed, [2, 2, 1, 0]);
}

#[test]
fn pushes_of_a_heavy_repository_are_asked_for_alone_and_given_up_together() {
    let (mut pending, now) = (PendingQueue::default(), now());
    let push = |n: u64| WantedPush {
        repo_id: 7,
        repo: "o/n".to_owned(),
        repo_url: None,
        head: n.to_string(),
        before: "0".to_owned(),
    };
    for n in 1..=4 {
        let held = pending.hold(event(n, false, now), push(n), now + 20 * SECOND, now);
        assert_eq!(left(&held), []);
    }
    assert_eq!(pending.take(1, |_| true).len(), 1);
    let fail = |pending: &mut PendingQueue<WantedPush>| {
        pending.answered(&push(4), &PushLookup::Unanswered, now);
        left(&pending.apply_lone_result(&push(4), LoneResult::Unanswered, now))
    };
    assert_eq!(fail(&mut pending), []);
    assert_eq!(pending.take(9, |_| true).len(), 1, "each alone");
    assert_eq!(fail(&mut pending), (1..=4).map(|n| (n, ReleaseReason::Late)).collect::<Vec<_>>());
    assert_eq!(pending.queued(), 0);
}

#[test]
fn late_events_and_those_beyond_the_limit_do_not_wait() {
    let (mut pending, now) = (PendingQueue::default(), now());
    let late = pending.hold(event(1, true, now), wanted(1), now, now);
    assert_eq!(left(&late), [(1, ReleaseReason::Late)]);
    for admission in 2..WantedPull::MOST_EVENTS as u64 + 2 {
        assert_eq!(hold(&mut pending, admission, 7, now), None);
    }
    assert_eq!(hold(&mut pending, 1_000_000, 7, now), Some(ReleaseReason::Full));
}
