use proptest::prelude::*;

use super::BudgetUse::{Extra, Stream};
use super::*;

mod odd_answers;

const ANONYMOUS: Plan = Plan { share: 1.0, within: 1.0, burst: 3, answer_times: 0.0, points: 1 };
const TOKEN: Plan = Plan { share: 0.9, within: 0.9, burst: 3, answer_times: 1.0, points: 1 };
const NOTHING: Plan = Plan { share: 0.0, ..ANONYMOUS };

/// A budget that one kind of request uses, with this limit until another one is reported.
fn one_kind(plan: Plan, assumed: u64, now: Instant) -> Budget {
    Budget::new(assumed, [plan, NOTHING, NOTHING], now)
}

fn start() -> Instant {
    crate::clock::Clock::system().instant()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn limits(limit: u64, left: u64, after: u64) -> RateLimits {
    let reset = Some(Reset { epoch: 1_800_000_000, after: seconds(after) });
    RateLimits { limit: Some(limit), remaining: Some(left), reset, ..RateLimits::default() }
}

/// Sends requests as fast as the budget allows, each answered at once by `answer`. Returns when
/// each was sent.
fn times(
    budget: &mut Budget,
    from: Instant,
    until: Instant,
    mut answer: impl FnMut(Instant) -> (Spent, RateLimits),
) -> Vec<Instant> {
    let (mut now, mut went) = (from, Vec::new());
    loop {
        now = budget.ready_at(Stream, now);
        if now >= until {
            return went;
        }
        let taken = budget.take(Stream, now);
        went.push(now);
        assert!(went.len() < 100_000, "the budget does not end");
        let (spent, limits) = answer(now);
        budget.settle(now, taken, spent, &limits);
    }
}

fn most_within(went: &[Instant], span: Duration) -> usize {
    let within = |from: &Instant| went.iter().filter(|t| *t >= from && **t < *from + span).count();
    went.iter().map(within).max().unwrap_or(0)
}

#[test]
fn without_headers_an_hour_has_at_most_sixty_requests() {
    let now = start();
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let silent = |_| (Spent::One, RateLimits::default());
    let went = times(&mut budget, now, now + seconds(5 * 3_600), silent);
    assert_eq!(went.iter().filter(|t| **t == now).count(), 3, "the first round goes at once");
    let most = most_within(&went, WINDOW);
    assert!((58..=60).contains(&most), "{most}");
}

#[test]
fn an_interval_alone_is_leave_to_keep_to_it() {
    let now = start();
    let short = RateLimits { poll_interval: Some(seconds(1)), ..RateLimits::default() };
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let went = times(&mut budget, now, now + seconds(10), |_| (Spent::One, short));
    assert!(went.len() >= 30, "{}", went.len());
    // Sixty seconds do not imply a number of requests.
    let usual = RateLimits { poll_interval: Some(seconds(60)), ..RateLimits::default() };
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let went = times(&mut budget, now, now + seconds(3_600), |_| (Spent::One, usual));
    assert!(went.len() <= 60, "{}", went.len());
}

#[test]
fn remaining_requests_are_spread_over_the_window() {
    let now = start();
    let mut budget = one_kind(ANONYMOUS, 60, now);
    let mut left = 20;
    let went = times(&mut budget, now, now + seconds(1_000), |at| {
        left -= 1;
        (Spent::One, limits(60, left, 1_000 - (at - now).as_secs()))
    });
    assert!((18..=20).contains(&went.len()), "{}", went.len());
    let half = went.iter().filter(|t| **t < now + seconds(500)).count();
    assert!((9..=13).contains(&half), "{half} of {} in the first half", went.len());
}

#[test]
fn the_share_of_others_is_left() {
    let now = start();
    let mut budget = one_kind(TOKEN, 5_000, now);
    let mut left = 5_000;
    let went = times(&mut budget, now, now + seconds(3_599), |_| {
        left -= 1;
        (Spent::One, limits(5_000, left, 3_600))
    });
    assert!((4_300..=4_500).contains(&went.len()), "{}", went.len());
}

#[test]
fn exhausted_budget_waits_for_the_next_window() {
    let now = start();
    let mut budget = one_kind(TOKEN, 5_000, now);
    let taken = budget.take(Stream, now);
    budget.settle(now, taken, Spent::One, &limits(5_000, 0, 700));
    assert!(budget.is_exhausted(Stream, now));
    assert_eq!(budget.ready_at(Stream, now), now + seconds(700));
    assert!(!budget.is_exhausted(Stream, now + seconds(700)));
}

#[test]
fn an_unchanged_page_costs_neither_budget_nor_pace() {
    let now = start();
    let mut budget = one_kind(ANONYMOUS, 60, now);
    for _ in 0..1_000 {
        assert_eq!(budget.ready_at(Stream, now), now);
        let taken = budget.take(Stream, now);
        budget.settle(now, taken, Spent::Nothing, &limits(60, 57, 3_600));
    }
}

#[test]
fn slow_answers_slow_us_down() {
    let now = start();
    let mut budget = one_kind(Plan { burst: 1, ..TOKEN }, 5_000, now);
    for _ in 0..50 {
        budget.answered(Stream, Duration::from_millis(1_400));
    }
    budget.take(Stream, now);
    let wait = budget.ready_at(Stream, now) - now;
    assert!(wait > Duration::from_millis(1_390), "{wait:?}");
}

#[test]
fn refusals_without_a_time_wait_a_minute_and_then_longer() {
    let mut now = start();
    let mut budget = one_kind(TOKEN, 5_000, now);
    for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
        budget.refused(Stream, now, None);
        // Refusals of requests in flight at the same time change nothing.
        budget.refused(Stream, now, None);
        assert_eq!(budget.ready_at(Stream, now), now + seconds(60 * minutes));
        now += seconds(60 * minutes);
    }
    budget.answered(Stream, Duration::ZERO);
    budget.refused(Stream, now, None);
    assert_eq!(budget.ready_at(Stream, now), now + seconds(60));
}

#[test]
fn zero_wait_does_not_loop() {
    let mut now = start();
    let mut budget = one_kind(TOKEN, 5_000, now);
    for least in [1, 2, 4, 8, 16, 32, 60, 60] {
        budget.refused(Stream, now, Some(Duration::ZERO));
        assert_eq!(budget.ready_at(Stream, now), now + seconds(least));
        now += seconds(least);
    }
    budget.refused(Stream, now, Some(seconds(600)));
    assert_eq!(budget.ready_at(Stream, now), now + seconds(600), "what is said is kept to");
}

/// A server that counts in its own windows and answers late and out of order.
struct Server {
    limit: u64,
    window: u64,
    start: Instant,
    counted: (u64, u64),
}

impl Server {
    /// Counts a request that arrives at `at`; panics when that exceeds the limit.
    fn count(&mut self, at: Instant, free: bool) -> (u64, u64) {
        let window = (at - self.start).as_secs() / self.window;
        if self.counted.0 != window {
            self.counted = (window, 0);
        }
        self.counted.1 += u64::from(!free);
        assert!(self.counted.1 <= self.limit, "{:?} of {}", self.counted, self.limit);
        (window, self.limit - self.counted.1)
    }

    /// `jitter` is by how many seconds it says that the window ends later.
    fn says(&self, (window, left): (u64, u64), at: Instant, jitter: u64) -> RateLimits {
        let end = (window + 1) * self.window + jitter;
        let date = (at - self.start).as_secs();
        let after = seconds(end.saturating_sub(date));
        let reset = Some(Reset { epoch: i64::try_from(end).unwrap(), after });
        RateLimits {
            limit: Some(self.limit),
            remaining: Some(left),
            reset,
            ..RateLimits::default()
        }
    }
}

/// What happens to a request.
#[derive(Debug, Clone, Copy)]
struct Fate {
    /// Round-trip time of the request and its response, in milliseconds.
    travel: u64,
    /// By how many seconds its response is wrong about the end of the window.
    jitter: u64,
    is_unchanged: bool,
    is_lost: bool,
    of: BudgetUse,
}

fn fates(lost: f64) -> impl Strategy<Value = Vec<Fate>> {
    let of = prop::sample::select(&USES);
    let fate = (0_u64..9_000, 0_u64..3, prop::bool::weighted(0.1), prop::bool::weighted(lost), of);
    let fate = fate.prop_map(|(travel, jitter, is_unchanged, is_lost, of)| Fate {
        travel,
        jitter,
        is_unchanged,
        is_lost: is_lost && !is_unchanged,
        of,
    });
    prop::collection::vec(fate, 200..600)
}

/// Sends requests to the server as fast as the budget allows; panics when one of its windows sees
/// too many. Returns when each request was sent.
fn ask(mut server: Server, plans: [Plan; KINDS], phase: Duration, fates: &[Fate]) -> Vec<Instant> {
    let start = server.start;
    let mut now = start + phase;
    let mut budget = Budget::new(server.limit, plans, now);
    let mut waiting: Vec<(Instant, Reservation, Spent, RateLimits)> = Vec::new();
    let (mut arrived, mut went) = (now, Vec::new());
    for fate in fates {
        // A kind without a share is not sent.
        let of = if plans[fate.of as usize].share > 0.0 { fate.of } else { Stream };
        // Responses that arrive before the next request may be sent.
        loop {
            let ready = budget.ready_at(of, now);
            waiting.sort_by_key(|(at, ..)| *at);
            if waiting.first().is_none_or(|(at, ..)| *at > ready) {
                now = ready;
                break;
            }
            let (at, taken, spent, limits) = waiting.remove(0);
            now = now.max(at);
            budget.settle(now, taken, spent, &limits);
        }
        let taken = budget.take(of, now);
        went.push(now);
        // Requests arrive in the order they were sent, within a second; responses in any order.
        arrived = arrived.max(now + Duration::from_millis((fate.travel / 2).min(1_000)));
        let answered = arrived.max(now + Duration::from_millis(fate.travel));
        let counted = server.count(arrived, fate.is_unchanged);
        let says = server.says(counted, arrived, fate.jitter);
        let limits = if fate.is_lost { RateLimits::default() } else { says };
        let spent = if fate.is_unchanged { Spent::Nothing } else { Spent::One };
        waiting.push((answered, taken, spent, limits));
    }
    went
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_window_of_the_server_ever_sees_more_than_its_limit(
        limit in 10_u64..200,
        window in 60_u64..1_000,
        phase in 0_u64..1_000_000,
        fates in prop_oneof![fates(0.1), fates(0.6)],
    ) {
        let server = Server { limit, window, start: start(), counted: (0, 0) };
        ask(server, [ANONYMOUS, NOTHING, NOTHING], Duration::from_millis(phase), &fates);
    }

    #[test]
    fn several_kinds_together_never_exceed_a_limit(
        limit in 10_u64..200,
        window in 60_u64..1_000,
        phase in 0_u64..1_000_000,
        share in 0.1_f64..0.9,
        fates in prop_oneof![fates(0.1), fates(0.6)],
    ) {
        let server = Server { limit, window, start: start(), counted: (0, 0) };
        let rest = 1.0 - share;
        let shares = [share, rest * 0.3, rest * 0.7];
        let plans = shares.map(|share| Plan { share, ..ANONYMOUS });
        ask(server, plans, Duration::from_millis(phase), &fates);
    }
}

/// GitHub's window ends slightly before ours. A request sent in between and never answered counts
/// in the new window.
#[test]
fn request_lost_at_a_window_end_counts_in_the_next() {
    let now = start();
    let mut server = Server { limit: 3, window: 60, start: now, counted: (0, 0) };
    let mut budget = one_kind(ANONYMOUS, 3, now);
    let first = now + Duration::from_millis(58_300);
    let taken = budget.take(Stream, first);
    // By the server's clock, which has whole seconds, the window ends in two seconds.
    let counted = server.count(first, false);
    budget.settle(first, taken, Spent::One, &server.says(counted, first, 0));
    let second = first + Duration::from_millis(1_800);
    let taken = budget.take(Stream, second);
    server.count(second, false);
    budget.settle(second, taken, Spent::One, &RateLimits::default());
    let went = times(&mut budget, second, now + seconds(119), |at| {
        server.count(at, false);
        (Spent::One, RateLimits::default())
    });
    assert_eq!(went.len(), 2, "three in the second window");
}

/// A response for a window that is over here says nothing about the new one.
#[test]
fn a_late_word_of_the_last_window_takes_nothing_from_the_next() {
    let now = start();
    let mut budget = one_kind(TOKEN, 5_000, now);
    let (early, late) = (budget.take(Stream, now), budget.take(Stream, now));
    budget.settle(now, early, Spent::One, &limits(5_000, 1, 10));
    let over = now + seconds(11);
    assert!(!budget.is_exhausted(Stream, over));
    budget.settle(over, late, Spent::One, &limits(5_000, 0, 0));
    assert!(!budget.is_exhausted(Stream, over));
    // A request sent in the new window whose response still reports the old one shows that the old
    // one is not over.
    let taken = budget.take(Stream, over);
    budget.settle(over, taken, Spent::One, &limits(5_000, 0, 3));
    assert_eq!(budget.ready_at(Stream, over), over + seconds(3));
}

/// Requests sent ahead of an even pace at the end of a window are not that far ahead in the next.
#[test]
fn without_a_token_no_round_is_left_out() {
    let mut chance = fastrand::Rng::with_seed(1);
    for phase in 0..60 {
        let fate = |_| Fate {
            travel: chance.u64(300..2_000),
            jitter: chance.u64(0..2),
            is_unchanged: false,
            is_lost: false,
            of: Stream,
        };
        let fates: Vec<Fate> = (0..350).map(fate).collect();
        let server = Server { limit: 60, window: 3_600, start: start(), counted: (0, 0) };
        let went = ask(server, [ANONYMOUS, NOTHING, NOTHING], seconds(phase * 61), &fates);
        let silence = went.windows(2).map(|two| two[1] - two[0]).max().unwrap();
        assert!(
            silence < seconds(if phase < 59 { 140 } else { 300 }),
            "{silence:?} at phase {phase}"
        );
    }
}

#[test]
fn requests_stay_below_nine_hundred_a_minute() {
    let now = start();
    let mut budget = one_kind(TOKEN, 5_000, now);
    let generous = |_| (Spent::One, limits(10_000_000, 9_000_000, 3_600));
    let went = times(&mut budget, now, now + seconds(180), generous);
    let most = most_within(&went, seconds(60));
    assert!((850..=900).contains(&most), "{most}");
}

#[test]
fn requests_in_flight_of_one_kind_bind_the_other() {
    for (first, other) in [(Stream, Extra), (Extra, Stream)] {
        let now = start();
        let plans = [0.5, 0.0, 0.5].map(|share| Plan { share, ..ANONYMOUS });
        let mut budget = Budget::new(60, plans, now);
        let taken = budget.take(first, now);
        // Of the ten, another program has spent five.
        budget.settle(now, taken, Spent::One, &limits(10, 4, 60));
        let end = now + seconds(60);
        let mut sent = 0;
        for of in [first, other] {
            let mut at = budget.ready_at(of, now);
            while at < end {
                let _ = budget.take(of, at);
                sent += 1;
                at = budget.ready_at(of, at);
            }
        }
        assert!((1..=4).contains(&sent), "{sent} of the 4 that are left, {first:?} first");
    }
}

#[test]
fn merged_budgets_add_their_spent_requests() {
    let now = start();
    let mut server = Server { limit: 60, window: 3_600, start: now, counted: (0, 0) };
    let mut budgets = [(); 2].map(|()| one_kind(ANONYMOUS, 60, now));
    // The response to the last request of each budget is still missing.
    let mut in_flight = Vec::new();
    for budget in &mut budgets {
        for n in 0..3 {
            assert_eq!(budget.ready_at(Stream, now), now);
            let taken = budget.take(Stream, now);
            let counted = server.count(now, false);
            if n < 2 {
                budget.settle(now, taken, Spent::One, &server.says(counted, now, 0));
            } else {
                in_flight.push((taken, server.says(counted, now, 0)));
            }
        }
    }
    let [mut budget, other] = budgets;
    budget.refused(Stream, now, Some(seconds(20)));
    budget.join(other, now);
    assert!(budget.ready_at(Stream, now) >= now + seconds(20), "a refusal holds for both");
    for (taken, says) in in_flight {
        budget.settle(now, taken, Spent::One, &says);
    }
    let went = times(&mut budget, now, now + seconds(3_599), |at| {
        let counted = server.count(at, false);
        (Spent::One, server.says(counted, at, 0))
    });
    assert!((50..=54).contains(&went.len()), "{} of the 54 that are left", went.len());
}

/// Each token has sent a request by the time its account is known. What a hundred of them are ahead
/// of their pace is not one long wait of the account.
#[test]
fn merged_budgets_do_not_wait_for_each_other() {
    for is_heard in [true, false] {
        let now = start();
        let mut left = 4_900;
        let mut answer = |at: Instant| {
            left -= 1;
            let says = limits(5_000, left, 3_000 - (at - now).as_secs());
            (Spent::One, if is_heard { says } else { RateLimits::default() })
        };
        let mut budget = one_kind(TOKEN, 5_000, now);
        for _ in 0..100 {
            let mut other = one_kind(TOKEN, 5_000, now);
            let taken = other.take(Stream, now);
            let (spent, says) = answer(now);
            other.settle(now, taken, spent, &says);
            budget.join(other, now);
        }
        let went = times(&mut budget, now, now + seconds(100), answer);
        assert!(went[0] < now + seconds(2), "{:?}, {is_heard}", went[0] - now);
        // The hundred are of the limit: what is left is spread over the window.
        let most = if is_heard { 150 } else { 130 };
        assert!((110..=most).contains(&went.len()), "{}, {is_heard}", went.len());
    }
}

#[test]
fn window_that_is_over_does_not_count_for_merged_budgets() {
    let now = start();
    let [mut budget, mut other] = [(); 2].map(|()| one_kind(ANONYMOUS, 60, now));
    let taken = budget.take(Stream, now);
    budget.settle(now, taken, Spent::One, &limits(60, 40, 3_600));
    let taken = other.take(Stream, now);
    other.settle(now, taken, Spent::One, &limits(60, 0, 3_600));
    // Neither has sent anything since the window ended.
    let later = now + seconds(3_601);
    budget.join(other, later);
    let went =
        times(&mut budget, later, later + seconds(3_599), |_| (Spent::One, RateLimits::default()));
    assert!((58..=60).contains(&went.len()), "{}", went.len());
}
