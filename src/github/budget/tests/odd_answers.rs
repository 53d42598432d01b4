//! Responses that say something odd about a limit, or nothing.

use super::*;

#[test]
fn window_whose_reported_end_jitters_is_one_window() {
    let now = start();
    let limits = |left, jitter: u64| {
        let reset = Some(Reset {
            epoch: 1_800_000_000 + i64::try_from(jitter).unwrap(),
            after: seconds(600 + jitter),
        });
        RateLimits { limit: Some(60), remaining: Some(left), reset, ..RateLimits::default() }
    };
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let taken: Vec<Reservation> = (0..3).map(|_| budget.take(Stream, now)).collect();
    budget.settle(now, taken[0], Spent::One, &limits(0, 0));
    // These two were overtaken by the first.
    budget.settle(now, taken[1], Spent::One, &limits(2, 1));
    budget.settle(now, taken[2], Spent::One, &limits(1, 2));
    assert_eq!(budget.ready_at(Stream, now), now + seconds(602), "nothing is left until the end");
    let [mut one, mut two] = [(); 2].map(|()| one_kind(ANONYMOUS, 60, now));
    for (budget, limits) in [(&mut one, limits(0, 0)), (&mut two, limits(30, 1))] {
        let taken = budget.take(Stream, now);
        budget.settle(now, taken, Spent::One, &limits);
    }
    one.join(two, now);
    assert!(one.is_exhausted(Stream, now), "the more careful of two reports on one window");
}

#[test]
fn reset_in_the_past_gives_no_second_budget() {
    let now = start();
    for step in [0, 1, 100] {
        let mut budget = one_kind(ANONYMOUS, 60, now);
        let mut epoch = 1_000;
        let went = times(&mut budget, now, now + seconds(3_600), |_| {
            epoch += step;
            let reset = Some(Reset { epoch, after: Duration::ZERO });
            let limits =
                RateLimits { limit: Some(60), remaining: Some(59), reset, ..RateLimits::default() };
            (Spent::One, limits)
        });
        assert!((30..=64).contains(&went.len()), "{} requests with step {step}", went.len());
    }
}

#[test]
fn limit_that_is_used_up_in_its_last_second_is_whole_in_the_next() {
    let now = start();
    let mut budget = one_kind(TOKEN, 5_000, now);
    for second in 0..3 {
        let at = now + seconds(second);
        let taken = budget.take(Stream, at);
        budget.settle(at, taken, Spent::One, &limits(5_000, 0, 0));
        assert!(!budget.is_exhausted(Stream, at));
        assert!(budget.ready_at(Stream, at) < at + seconds(60));
    }
}

#[test]
fn reset_in_the_far_future_is_believed_for_an_hour() {
    let now = start();
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let taken = budget.take(Stream, now);
    let reset = Some(Reset { epoch: i64::MAX, after: seconds(3_600) });
    let absurd = RateLimits { reset, ..limits(60, 59, 0) };
    budget.settle(now, taken, Spent::One, &absurd);
    let went = times(&mut budget, now, now + seconds(3_599), |_| (Spent::One, limits(60, 7, 100)));
    assert!((50..=60).contains(&went.len()), "{} requests", went.len());
    let later = now + seconds(3_601);
    let went = times(&mut budget, later, later + seconds(99), |_| (Spent::One, limits(60, 0, 100)));
    assert_eq!(went.len(), 1, "then what GitHub says counts");
}

#[test]
fn window_that_ended_while_the_machine_was_suspended_is_over() {
    let now = start();
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let answer = |budget: &mut Budget, left, epoch, after| {
        let taken = budget.take(Stream, now);
        let reset = Some(Reset { epoch, after: seconds(after) });
        let limits =
            RateLimits { limit: Some(60), remaining: Some(left), reset, ..RateLimits::default() };
        budget.settle(now, taken, Spent::One, &limits);
    };
    // The monotonic clock stands still while the machine is suspended.
    for left in (10..60).rev() {
        answer(&mut budget, left, 1_800_000_000, 1_200);
    }
    assert_eq!(budget.usable(Stream), 10);
    // GitHub's clock shows 1,799,998,800.
    answer(&mut budget, 59, 1_800_000_600, 1_800);
    assert_eq!(budget.usable(Stream), 9, "a window that comes too early gives nothing");
    answer(&mut budget, 59, 1_800_004_200, 3_000);
    assert_eq!(budget.usable(Stream), 59, "GitHub's clock shows that the last window is over");
}

#[test]
fn responses_without_a_reset_are_of_the_known_window() {
    let now = start();
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let taken = budget.take(Stream, now);
    budget.settle(now, taken, Spent::One, &limits(60, 50, 700));
    let taken = budget.take(Stream, now);
    let limits = RateLimits { remaining: Some(0), ..RateLimits::default() };
    budget.settle(now, taken, Spent::One, &limits);
    assert_eq!(budget.ready_at(Stream, now), now + seconds(700));
}

#[test]
fn hours_without_a_response_leave_the_next_hour_its_budget() {
    let now = start();
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let taken = budget.take(Stream, now);
    budget.settle(now, taken, Spent::One, &limits(240, 239, 3_600));
    let mut went = Vec::new();
    for hour in 0..4 {
        let [from, until] = [hour, hour + 1].map(|hour| now + seconds(3_600 * hour));
        let silent = |_| (Spent::One, RateLimits::default());
        went.push(times(&mut budget, from, until, silent).len());
    }
    assert!(went.iter().all(|count| (220..=242).contains(count)), "{went:?}");
}

#[test]
fn cost_that_a_response_states_counts_against_the_share() {
    let now = start();
    let mut budget =
        one_kind(Plan { share: 0.1, within: 1.0, answer_times: 0.0, ..TOKEN }, 5_000, now);
    let mut left = 5_000;
    let went = times(&mut budget, now, now + seconds(3_599), |at| {
        left -= 5;
        let after = 3_600 - (at - now).as_secs();
        (Spent::One, RateLimits { cost: Some(5), ..limits(5_000, left, after) })
    });
    assert!((90..=100).contains(&went.len()), "{} queries of 5 points", went.len());
    let half = went.iter().filter(|at| **at < now + seconds(1_800)).count();
    assert!((40..=60).contains(&half), "{half} of them in the first half");
    // A cost that cannot be true does not end the hour.
    let taken = budget.take(Stream, now + seconds(3_600));
    let absurd = RateLimits { cost: Some(u64::MAX), ..RateLimits::default() };
    budget.settle(now + seconds(3_601), taken, Spent::One, &absurd);
    assert!(!budget.is_exhausted(Stream, now + seconds(3_602)));
}

#[test]
fn share_that_goes_down_and_up_gives_no_more() {
    let now = start();
    let mut budget = one_kind(Plan { burst: 1, ..ANONYMOUS }, 60, now);
    for left in (30..60).rev() {
        let taken = budget.take(Stream, now);
        budget.settle(now, taken, Spent::One, &limits(60, left, 3_600));
    }
    budget.share(Stream, 0.6, 1.0);
    assert_eq!(budget.usable(Stream), 18, "half of it, as before");
    budget.share(Stream, 1.0, 1.0);
    assert_eq!(budget.usable(Stream), 30);
}

#[test]
fn limit_of_nothing_is_not_believed_beyond_its_window() {
    let now = start();
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let taken = budget.take(Stream, now);
    budget.settle(now, taken, Spent::One, &limits(0, 0, 700));
    assert_eq!(budget.ready_at(Stream, now), now + seconds(700));
    let silent = |_| (Spent::One, RateLimits::default());
    let reset = now + seconds(700);
    let went = times(&mut budget, reset, reset + seconds(3_600), silent);
    assert!((50..=60).contains(&went.len()), "{}", went.len());
}

#[test]
fn numbers_of_the_server_never_overflow() {
    const ENDS: [u64; 5] = [0, 1, u64::MAX / 2, u64::MAX - 1, u64::MAX];
    let windows = [(i64::MIN, 0), (0, 1), (1_800_000_000, 3_900), (i64::MAX, 3_900)];
    let mut all = Vec::new();
    for (limit, remaining) in ENDS.into_iter().flat_map(|limit| ENDS.map(|left| (limit, left))) {
        all.extend(windows.map(|(epoch, after)| RateLimits {
            limit: Some(limit),
            remaining: Some(remaining),
            reset: Some(Reset { epoch, after: seconds(after) }),
            retry_after: Some(seconds(after)),
            poll_interval: Some(seconds(after)),
            date: None,
            cost: Some(limit),
        }));
        all.push(RateLimits {
            limit: Some(limit),
            remaining: Some(remaining),
            ..RateLimits::default()
        });
    }
    let start = start();
    for plans in [[ANONYMOUS, NOTHING, NOTHING], [TOKEN, NOTHING, Plan { points: 4, ..ANONYMOUS }]]
    {
        let mut other = Budget::new(60, plans, start);
        for pair in all.windows(2) {
            let (mut budget, mut now) = (Budget::new(60, plans, start), start);
            for limits in pair.iter().chain(&all[..3]) {
                for _ in 0..3 {
                    let taken = budget.take(Stream, now);
                    budget.answered(Stream, Duration::MAX / 4);
                    budget.settle(now, taken, Spent::One, limits);
                    budget.refused(Stream, now, limits.retry_after);
                    now = budget.ready_at(Stream, now).min(now + WINDOW);
                }
                assert!(budget.ready_at(Stream, now) >= now);
            }
            other.join(budget, now);
            assert!(other.ready_at(Stream, now) >= now);
        }
    }
}
