//! Several kinds of requests share a limit: each gets its share, and all together no more.

use super::*;
use crate::github::limits::AUDIT_POINTS;

/// How long GitHub takes for each answer.
const TOOK: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_secs(3_600);

/// GitHub's count of one account's limit. A window starts with its first request.
struct AccountCount {
    limit: u64,
    used: u64,
    ends: Option<(Instant, i64)>,
}

impl AccountCount {
    fn new(limit: u64) -> Self {
        Self { limit, used: 0, ends: None }
    }

    /// Counts a request. Returns the limits in its answer, `None` when it is refused.
    fn count(&mut self, points: u64, now: Instant) -> Option<RateLimits> {
        let (end, epoch) = match self.ends {
            Some((end, epoch)) if now < end => (end, epoch),
            before => {
                self.used = 0;
                (now + HOUR, before.map_or(1_800_000_000, |(_, epoch)| epoch + 3_601))
            }
        };
        self.ends = Some((end, epoch));
        if self.used + points > self.limit {
            return None;
        }
        self.used += points;
        let reset = Some(Reset { epoch, after: end - now });
        let (limit, remaining) = (Some(self.limit), Some(self.limit - self.used));
        Some(RateLimits { limit, remaining, reset, ..RateLimits::default() })
    }
}

/// One kind of request, sent as often as the pool permits.
struct Kind<'a> {
    grant: Box<dyn FnMut() -> TokenGrant + 'a>,
    points: u64,
    went: Vec<Instant>,
}

impl<'a> Kind<'a> {
    fn new(points: u64, grant: impl FnMut() -> TokenGrant + 'a) -> Self {
        Self { grant: Box::new(grant), points, went: Vec::new() }
    }

    /// How many were sent in this span, and the longest time without one.
    fn within(&self, from: Instant, until: Instant) -> (u64, Duration) {
        let went: Vec<Instant> =
            self.went.iter().copied().filter(|at| (from..until).contains(at)).collect();
        let gaps = went.windows(2).map(|two| two[1] - two[0]);
        (went.len() as u64, gaps.max().unwrap_or(until - from))
    }
}

fn queries_and_audits(pool: &Arc<TokenPool>) -> [Kind<'_>; 2] {
    [
        Kind::new(1, || pool.grant_query(QueryKind::Pulls).expect("there is a token")),
        Kind::new(AUDIT_POINTS, || pool.grant_audit().expect("there is a token")),
    ]
}

/// Sends all kinds at full pace for `span`, and a foreign program's requests at `foreign`. Panics
/// when GitHub refuses one of ours.
async fn at_full_pace(
    kinds: &mut [Kind<'_>],
    github: &mut AccountCount,
    foreign: Option<Duration>,
    clock: Clock,
    span: Duration,
) {
    let end = clock.instant() + span;
    let mut in_flight: Vec<(Instant, Lease, RateLimits)> = Vec::new();
    let mut next_foreign = foreign.map(|pace| clock.instant() + pace);
    while clock.instant() < end {
        let now = clock.instant();
        if let (Some(at), Some(pace)) = (next_foreign, foreign)
            && at <= now
        {
            github.count(1, now);
            next_foreign = Some(at + pace);
        }
        while in_flight.first().is_some_and(|(at, ..)| *at <= now) {
            let (_, lease, limits) = in_flight.remove(0);
            lease.settle(TokenVerdict::Served, &limits, TOOK);
        }
        let mut next = next_foreign.unwrap_or(end).min(end);
        for kind in &mut *kinds {
            loop {
                match (kind.grant)() {
                    TokenGrant::Go(lease) => {
                        let limits = github.count(kind.points, now).expect("GitHub refuses");
                        kind.went.push(now);
                        in_flight.push((now + TOOK, lease, limits));
                    }
                    TokenGrant::Wait(until) => break next = next.min(until),
                }
            }
        }
        next = in_flight.first().map_or(next, |(at, ..)| next.min(*at));
        tokio::time::sleep_until(next).await;
    }
}

/// The permission to ask for the account of a token, as soon as there is one.
async fn until_asked(pool: &Arc<TokenPool>) -> Lease {
    loop {
        if let Some(lease) = pool.grant_identity_request() {
            return lease;
        }
        tokio::time::advance(TOOK).await;
    }
}

fn pages_and_feeds(pool: &Arc<TokenPool>) -> [Kind<'_>; 2] {
    let mut feed = 0;
    let feeds = move || {
        feed += 1;
        pool.grant_feed(feed)
    };
    [Kind::new(1, || pool.grant()), Kind::new(1, feeds)]
}

#[tokio::test(start_paused = true)]
async fn pages_and_feeds_at_full_pace_have_their_shares() {
    let clock = clock();
    let pool = pool(&["a"], clock);
    pool.set_shares(|shares| shares.feeds = 0.2);
    let (mut kinds, mut github) = (pages_and_feeds(&pool), AccountCount::new(5_000));
    let start = clock.instant();
    at_full_pace(&mut kinds, &mut github, None, clock, 3 * HOUR).await;
    for hour in 0..3 {
        let (from, until) = (start + hour * HOUR, start + (hour + 1) * HOUR);
        let (pages, silence) = kinds[0].within(from, until);
        assert!((3_430..=3_520).contains(&pages), "{pages} pages in hour {hour}");
        assert!(silence < Duration::from_secs(5), "no page for {silence:?} in hour {hour}");
        let (feeds, _) = kinds[1].within(from, until);
        assert!((970..=1_040).contains(&feeds), "{feeds} feeds in hour {hour}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_program_slows_all_kinds_alike() {
    let clock = clock();
    let pool = pool(&["a"], clock);
    pool.set_shares(|shares| shares.feeds = 0.2);
    let (mut kinds, mut github) = (pages_and_feeds(&pool), AccountCount::new(5_000));
    let start = clock.instant();
    let foreign = Some(Duration::from_secs(2));
    at_full_pace(&mut kinds, &mut github, foreign, clock, 2 * HOUR).await;
    // 4,500 less the other program's 1,800, by seven and two parts.
    let (pages, silence) = kinds[0].within(start + HOUR, start + 2 * HOUR);
    assert!((2_000..=2_250).contains(&pages), "{pages} pages");
    assert!(silence < Duration::from_secs(10), "no page for {silence:?}");
    let (feeds, silence) = kinds[1].within(start + HOUR, start + 2 * HOUR);
    assert!((480..=640).contains(&feeds), "{feeds} feeds");
    assert!(silence < Duration::from_secs(60), "no feed for {silence:?}");
}

#[tokio::test(start_paused = true)]
async fn pages_and_feeds_without_a_token_share_sixty() {
    let clock = clock();
    let pool = pool(&[], clock);
    pool.set_shares(|shares| shares.feeds = 0.2);
    let (mut kinds, mut github) = (pages_and_feeds(&pool), AccountCount::new(60));
    let start = clock.instant();
    at_full_pace(&mut kinds, &mut github, None, clock, 3 * HOUR).await;
    let (pages, silence) = kinds[0].within(start, start + 3 * HOUR);
    assert!((138..=144).contains(&pages), "{pages} pages");
    assert!(silence < Duration::from_secs(230), "no page for {silence:?}");
    let (feeds, _) = kinds[1].within(start, start + 3 * HOUR);
    assert!((30..=36).contains(&feeds), "{feeds} feeds");
}

#[tokio::test(start_paused = true)]
async fn lists_without_feeds_leave_pages_their_whole_share() {
    let clock = clock();
    let pool = pool(&[], clock);
    // Lists were in force and have no feeds now.
    pool.set_shares(|shares| shares.feeds = 0.2);
    pool.set_shares(|shares| shares.feeds = 0.0);
    let mut kinds = [Kind::new(1, || pool.grant())];
    let mut github = AccountCount::new(60);
    let start = clock.instant();
    at_full_pace(&mut kinds, &mut github, None, clock, 2 * HOUR).await;
    let (pages, _) = kinds[0].within(start, start + 2 * HOUR);
    assert!((116..=120).contains(&pages), "{pages} pages");
}

#[tokio::test(start_paused = true)]
async fn lists_that_come_late_in_the_hour_do_not_silence_pages() {
    let clock = clock();
    let pool = pool(&["a"], clock);
    let (mut kinds, mut github) = (pages_and_feeds(&pool), AccountCount::new(5_000));
    let start = clock.instant();
    let late = Duration::from_secs(3_000);
    at_full_pace(&mut kinds[..1], &mut github, None, clock, late).await;
    pool.set_shares(|shares| shares.feeds = 0.2);
    at_full_pace(&mut kinds, &mut github, None, clock, HOUR).await;
    let (pages, silence) = kinds[0].within(start + late, start + late + HOUR);
    assert!(silence < Duration::from_secs(30), "no page for {silence:?}");
    assert!((2_900..=3_520).contains(&pages), "{pages} pages");
    let (feeds, _) = kinds[1].within(start + late, start + HOUR);
    assert!(feeds >= 100, "{feeds} feeds before the hour ends");
}

#[tokio::test(start_paused = true)]
async fn queries_and_the_audit_share_the_whole_limit() {
    let clock = clock();
    let pool = pool(&["a"], clock);
    pool.set_shares(|shares| shares.queries = 1.0);
    pool.set_shares(|shares| shares.audits = 0.05);
    let mut kinds = queries_and_audits(&pool);
    let mut github = AccountCount::new(5_000);
    let start = clock.instant();
    at_full_pace(&mut kinds, &mut github, None, clock, 3 * HOUR).await;
    let (queries, silence) = kinds[0].within(start, start + 3 * HOUR);
    assert!((14_000..=14_250).contains(&queries), "{queries} queries");
    assert!(silence < Duration::from_secs(5), "no query for {silence:?}");
    let (audits, _) = kinds[1].within(start, start + 3 * HOUR);
    assert!((175..=190).contains(&audits), "{audits} of the audit");
}

#[tokio::test(start_paused = true)]
async fn audit_keeps_its_share_beside_another_program() {
    let clock = clock();
    let pool = pool(&["a"], clock);
    pool.set_shares(|shares| shares.queries = 0.5);
    pool.set_shares(|shares| shares.audits = 0.05);
    let mut kinds = queries_and_audits(&pool);
    // Another program uses four fifths of the limit: queries have to wait, the audit does not.
    let mut github = AccountCount::new(5_000);
    let start = clock.instant();
    let foreign = Some(Duration::from_millis(900));
    at_full_pace(&mut kinds, &mut github, foreign, clock, 3 * HOUR).await;
    let (audits, silence) = kinds[1].within(start, start + 3 * HOUR);
    assert!(audits >= 90, "{audits} of the audit");
    assert!(silence < Duration::from_secs(600), "nothing of the audit for {silence:?}");
}

#[tokio::test(start_paused = true)]
async fn what_two_tokens_spent_counts_for_their_account() {
    let clock = clock();
    let pool = pool(&["a", "b"], clock);
    pool.set_shares(|shares| shares.feeds = 0.2);
    let (mut kinds, mut github) = (pages_and_feeds(&pool), AccountCount::new(5_000));
    let start = clock.instant();
    at_full_pace(&mut kinds, &mut github, None, clock, Duration::from_secs(600)).await;
    for _ in 0..2 {
        let lease = until_asked(&pool).await;
        let slot = lease.slot();
        let limits = github.count(1, clock.instant()).expect("GitHub refuses");
        lease.settle(TokenVerdict::Served, &limits, TOOK);
        pool.set_identity(slot, Identity::User(7));
    }
    at_full_pace(&mut kinds, &mut github, None, clock, Duration::from_secs(2_990)).await;
    let (pages, silence) = kinds[0].within(start, start + HOUR);
    assert!((3_300..=3_520).contains(&pages), "{pages} pages");
    assert!(silence < Duration::from_secs(30), "no page for {silence:?}");
    let (feeds, _) = kinds[1].within(start, start + HOUR);
    assert!((900..=1_040).contains(&feeds), "{feeds} feeds");
}

/// The longest time without a page, and how many were read, in the first minute with this many
/// tokens of one account: four of them at a time are asked for it.
async fn first_minute(tokens: usize) -> (Duration, usize) {
    let clock = clock();
    let names: Vec<String> = (0..tokens).map(|n| format!("token{n}")).collect();
    let pool = pool(&names.iter().map(String::as_str).collect::<Vec<_>>(), clock);
    let mut github = AccountCount::new(5_000);
    let mut went = vec![clock.instant()];
    let end = went[0] + Duration::from_secs(60);
    while clock.instant() < end {
        let now = clock.instant();
        let mut settled = |lease: Lease| {
            let limits = github.count(1, now).expect("GitHub refuses");
            lease.settle(TokenVerdict::Served, &limits, TOOK);
        };
        for lease in std::iter::from_fn(|| pool.grant_identity_request()).take(4) {
            let slot = lease.slot();
            settled(lease);
            pool.set_identity(slot, Identity::User(7));
        }
        if let TokenGrant::Go(lease) = pool.grant() {
            settled(lease);
            went.push(now);
        }
        tokio::time::advance(TOOK).await;
    }
    went.push(end);
    assert_eq!(pool.census().accounts, 1);
    let silence = went.windows(2).map(|two| two[1] - two[0]).max().expect("there are two");
    (silence, went.len() - 2)
}

#[tokio::test(start_paused = true)]
async fn pages_are_read_while_tokens_turn_out_to_be_of_one_account() {
    let (_, alone) = first_minute(1).await;
    for tokens in [2, 20, 100] {
        let (silence, pages) = first_minute(tokens).await;
        assert!(silence < Duration::from_secs(3), "{tokens} tokens: no page for {silence:?}");
        assert!(pages + 10 >= alone, "{tokens} tokens: {pages} pages, {alone} with one");
    }
}
