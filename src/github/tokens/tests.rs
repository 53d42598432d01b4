use crate::github::limits::RateLimits;
use std::collections::BTreeMap;

use super::*;
use crate::github::limits::{DeadToken, Reset};
use crate::logging::captured;
use crate::model::window::Timestamp;

mod shares;

fn clock() -> Clock {
    Clock::starting_at(Timestamp::parse("2026-11-22T00:00:00Z").unwrap())
}

fn pool(tokens: &[&str], clock: Clock) -> Arc<TokenPool> {
    let tokens = tokens.iter().map(|text| Secret::new(*text)).collect();
    TokenPool::new(PoolOptions { tokens, share: 0.9, burst: 3 }, clock)
}

fn go(pool: &Arc<TokenPool>) -> Lease {
    match pool.grant() {
        TokenGrant::Go(lease) => lease,
        TokenGrant::Wait(until) => panic!("has to wait until {until:?}"),
    }
}

fn shown(lease: &Lease) -> String {
    lease.token().map_or("none", Secret::expose).to_owned()
}

fn limits(remaining: u64) -> RateLimits {
    let reset = Some(Reset { epoch: 1_800_000_000, after: Duration::from_secs(1_000) });
    RateLimits { limit: Some(5_000), remaining: Some(remaining), reset, ..RateLimits::default() }
}

fn settle(lease: Lease, verdict: TokenVerdict, limits: &RateLimits) {
    lease.settle(verdict, limits, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn tokens_take_turns() {
    let pool = pool(&["a", "b", "c"], clock());
    let mut went = BTreeMap::new();
    for _ in 0..9 {
        let lease = go(&pool);
        *went.entry(shown(&lease)).or_insert(0) += 1;
        settle(lease, TokenVerdict::Served, &limits(4_000));
    }
    let each: Vec<_> = went.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(each, [("a", 3), ("b", 3), ("c", 3)]);
}

#[tokio::test(start_paused = true)]
async fn tokens_take_turns_for_each_page() {
    let three = pool(&["a", "b", "c"], clock());
    let (mut last, mut pairs) = ([None; 3], BTreeMap::new());
    for _ in 0..12 {
        for (page, last) in last.iter_mut().enumerate() {
            let TokenGrant::Go(lease) = three.grant_after(*last) else {
                panic!("nobody has to wait")
            };
            assert_ne!(*last, Some(lease.slot()));
            *last = Some(lease.slot());
            *pairs.entry((page, shown(&lease))).or_insert(0) += 1;
            settle(lease, TokenVerdict::Served, &limits(4_000));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }
    assert_eq!(pairs.len(), 9, "{pairs:?}");
    // A single token is used each time.
    let one = pool(&["a"], clock());
    let lease = go(&one);
    let slot = lease.slot();
    settle(lease, TokenVerdict::Served, &limits(4_000));
    assert!(matches!(one.grant_after(Some(slot)), TokenGrant::Go(lease) if lease.slot() == slot));
}

#[tokio::test(start_paused = true)]
async fn exhausted_token_is_skipped_then_awaited() {
    let clock = clock();
    let pool = pool(&["a", "b"], clock);
    settle(go(&pool), TokenVerdict::Served, &limits(0));
    assert_eq!(
        pool.census(),
        Census { mode: TokenMode::Tokens, tokens: 2, quarantined: 0, usable: 1, accounts: 2 }
    );
    let lease = go(&pool);
    assert_eq!(shown(&lease), "b");
    settle(lease, TokenVerdict::Limited(Some(Duration::from_secs(300))), &RateLimits::default());
    assert_eq!(pool.census().usable, 0);
    let TokenGrant::Wait(until) = pool.grant() else { panic!("no request may be sent") };
    assert_eq!(until, clock.instant() + Duration::from_secs(300));
    clock.sleep(Duration::from_secs(300)).await;
    assert_eq!(shown(&go(&pool)), "b");
    clock.sleep(Duration::from_secs(700)).await;
    assert_eq!(pool.census().usable, 2);
}

#[tokio::test(start_paused = true)]
async fn refused_token_is_tried_again_after_longer_and_longer_times() {
    let clock = clock();
    let pool = pool(&["a"], clock);
    let refused = || {
        let lease = go(&pool);
        assert_eq!(shown(&lease), "a");
        settle(lease, TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    };
    let mut time = QUARANTINE.0;
    for _ in 0..14 {
        refused();
        clock.sleep(time.saturating_sub(Duration::from_millis(1))).await;
        assert_eq!(pool.census().quarantined, 1, "{time:?}");
        clock.sleep(Duration::from_millis(1)).await;
        assert_eq!(pool.census().quarantined, 0, "{time:?}");
        time = (2 * time).min(QUARANTINE.1);
    }
    refused();
    pool.retry_refused();
    let lease = go(&pool);
    assert_eq!(shown(&lease), "a", "the operator asked for it");
    settle(lease, TokenVerdict::Served, &RateLimits::default());
    refused();
    clock.sleep(QUARANTINE.0).await;
    assert_eq!(pool.census().quarantined, 0, "it was accepted in between");
}

#[tokio::test(start_paused = true)]
async fn lines_about_tokens_have_a_limit() {
    let names: Vec<String> = (0..40).map(|n| n.to_string()).collect();
    let pool = pool(&names.iter().map(String::as_str).collect::<Vec<_>>(), clock());
    let ((), log) = captured(|| {
        for id in 1..=40 {
            pool.set_identity(TokenSlotId(id), Identity::User(id % 20));
        }
        for _ in &names {
            let refused = TokenVerdict::Refused(DeadToken::Revoked);
            settle(go(&pool), refused, &RateLimits::default());
        }
    });
    assert_eq!((pool.census().quarantined, pool.census().accounts), (40, 20));
    for words in ["GitHub refuses token", "are of one account"] {
        assert!(log.lines().filter(|line| line.contains(words)).count() <= 10, "{log}");
    }
}

#[tokio::test(start_paused = true)]
async fn dead_tokens_rest_and_the_last_one_leaves_us_anonymous() {
    let clock = clock();
    let pool = pool(&["a", "b"], clock);
    for (name, why) in [("a", DeadToken::Revoked), ("b", DeadToken::Suspended)] {
        let lease = go(&pool);
        assert_eq!(shown(&lease), name);
        settle(lease, TokenVerdict::Refused(why), &RateLimits::default());
    }
    assert_eq!(
        pool.census(),
        Census { mode: TokenMode::Anonymous, tokens: 2, quarantined: 2, usable: 0, accounts: 2 }
    );
    let lease = go(&pool);
    assert_eq!((shown(&lease).as_str(), lease.slot()), ("none", TokenSlotId(0)));
    settle(lease, TokenVerdict::Served, &RateLimits::default());
    // After the quarantine they are tried again; one that is still refused is quarantined once
    // more.
    clock.sleep(QUARANTINE.0).await;
    assert_eq!(pool.census().mode, TokenMode::Tokens);
    settle(go(&pool), TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    let lease = go(&pool);
    assert_eq!(shown(&lease), "b");
    settle(lease, TokenVerdict::Served, &RateLimits::default());
    assert_eq!(
        pool.census(),
        Census { mode: TokenMode::Tokens, tokens: 2, quarantined: 1, usable: 1, accounts: 2 }
    );
}

#[tokio::test(start_paused = true)]
async fn limits_in_the_response_to_a_refused_token_are_not_its_own() {
    let pool = pool(&["a", "b"], clock());
    let (a, b) = (go(&pool), go(&pool));
    assert_eq!((shown(&a).as_str(), shown(&b).as_str()), ("a", "b"));
    pool.set_identity(a.slot(), Identity::User(7));
    pool.set_identity(b.slot(), Identity::User(7));
    settle(b, TokenVerdict::Served, &limits(4_000));
    let nothing = RateLimits { limit: Some(0), ..limits(0) };
    settle(a, TokenVerdict::Refused(DeadToken::Revoked), &nothing);
    assert_eq!(shown(&go(&pool)), "b", "the account that they share has 4,000 left");
}

#[tokio::test(start_paused = true)]
async fn without_tokens_sixty_go_in_an_hour() {
    let clock = clock();
    let pool = pool(&[], clock);
    assert_eq!(
        pool.census(),
        Census { mode: TokenMode::Anonymous, tokens: 0, quarantined: 0, usable: 0, accounts: 0 }
    );
    let (end, mut went) = (clock.instant() + Duration::from_secs(3_600), 0);
    while clock.instant() < end {
        match pool.grant() {
            TokenGrant::Go(lease) => {
                went += 1;
                settle(lease, TokenVerdict::Served, &RateLimits::default());
            }
            TokenGrant::Wait(until) => tokio::time::sleep_until(until).await,
        }
    }
    assert!((57..=60).contains(&went), "{went}");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_is_dropped_counts_as_spent() {
    let pool = pool(&["a"], clock());
    settle(go(&pool), TokenVerdict::Served, &limits(501));
    // One request is left above the share of others: a second may not be sent until the window
    // ends.
    drop(go(&pool));
    assert!(matches!(pool.grant(), TokenGrant::Wait(_)));
    assert_eq!(pool.census().usable, 0);
}

#[tokio::test(start_paused = true)]
async fn new_token_list_keeps_the_state_of_known_tokens() {
    let pool = pool(&["a", "b"], clock());
    let (a, b) = (go(&pool), go(&pool));
    let kept = b.slot();
    settle(a, TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    pool.replace(["b", "a", "b", "", "c\n", "d d"].map(Secret::new).into());
    assert_eq!(
        pool.census(),
        Census { mode: TokenMode::Tokens, tokens: 3, quarantined: 1, usable: 2, accounts: 3 }
    );
    settle(b, TokenVerdict::Served, &limits(0));
    assert_eq!(pool.census().usable, 1);
    let lease = go(&pool);
    assert_eq!(shown(&lease), "c");
    pool.replace(vec![Secret::new("b")]);
    // Its token is gone; there is nothing left to settle with.
    settle(lease, TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    assert_eq!(
        pool.census(),
        Census { mode: TokenMode::Tokens, tokens: 1, quarantined: 0, usable: 0, accounts: 1 }
    );
    assert!(matches!(pool.grant(), TokenGrant::Wait(_)), "{kept:?} is still used up");
}

#[tokio::test(start_paused = true)]
async fn no_token_is_in_any_debug_text() {
    let pool = pool(&["ghp_s3cret"], clock());
    let lease = go(&pool);
    let said = format!("{pool:?} {lease:?} {:?}", lease.token());
    assert!(!said.contains("s3cret") && said.contains("‹secret›"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn queries_have_a_budget_of_their_own_and_need_a_token() {
    assert!(pool(&[], clock()).grant_query(QueryKind::Pulls).is_none());
    let clock = clock();
    let pool = pool(&["a", "b"], clock);
    pool.set_shares(|shares| shares.queries = 0.5);
    let query = || match pool.grant_query(QueryKind::Pulls) {
        Some(TokenGrant::Go(lease)) => lease,
        other => panic!("{other:?}"),
    };
    let (first, second) = (query(), query());
    assert_eq!((shown(&first).as_str(), shown(&second).as_str()), ("a", "b"));
    // Half of the 5,000 is for other uses: both are exhausted, and pages are not.
    settle(first, TokenVerdict::Served, &limits(2_500));
    settle(second, TokenVerdict::Served, &limits(2_500));
    let Some(TokenGrant::Wait(until)) = pool.grant_query(QueryKind::Pulls) else {
        panic!("no request may be sent")
    };
    assert_eq!(until, clock.instant() + Duration::from_secs(1_000));
    assert_eq!(pool.census().usable, 2);
    settle(go(&pool), TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    settle(go(&pool), TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    assert!(pool.grant_query(QueryKind::Pulls).is_none(), "a token that pages found dead is dead");
}

#[tokio::test(start_paused = true)]
async fn queries_leave_the_time_that_they_took_before_the_next() {
    let pool = pool(&["a"], clock());
    pool.set_shares(|shares| shares.queries = 1.0);
    let plenty = || limits(1_000_000);
    for _ in 0..40 {
        tokio::time::advance(Duration::from_secs(20)).await;
        let Some(TokenGrant::Go(lease)) = pool.grant_query(QueryKind::Pulls) else {
            panic!("long enough ago")
        };
        lease.settle(TokenVerdict::Served, &plenty(), Duration::from_secs(2));
    }
    let mut went = 0;
    for _ in 0..600 {
        tokio::time::advance(Duration::from_millis(100)).await;
        if let Some(TokenGrant::Go(lease)) = pool.grant_query(QueryKind::Pulls) {
            lease.settle(TokenVerdict::Served, &plenty(), Duration::from_secs(2));
            went += 1;
        }
    }
    // 30 seconds of work per minute, and the burst.
    assert!((14..=18).contains(&went), "{went}");
}

#[tokio::test(start_paused = true)]
async fn token_with_old_pages_rests_and_still_queries() {
    let clock = clock();
    let pool = pool(&["a", "b"], clock);
    let lease = go(&pool);
    let (slot, name) = (lease.slot(), shown(&lease));
    pool.rest(slot, Duration::from_secs(600));
    // A request in flight ends as it would have, and does not end the rest.
    settle(lease, TokenVerdict::Served, &limits(4_000));
    assert_eq!(
        pool.census(),
        Census { mode: TokenMode::Tokens, tokens: 2, quarantined: 0, usable: 1, accounts: 2 }
    );
    for _ in 0..3 {
        let other = go(&pool);
        assert_ne!(shown(&other), name);
        settle(other, TokenVerdict::Served, &limits(4_000));
        clock.sleep(Duration::from_secs(2)).await;
    }
    let query = || match pool.grant_query(QueryKind::Pulls) {
        Some(TokenGrant::Go(lease)) => shown(&lease),
        other => panic!("{other:?}"),
    };
    assert_ne!(query(), query());
    // The last token never rests: stale pages are better than none.
    let other = go(&pool);
    pool.rest(other.slot(), Duration::from_secs(600));
    settle(other, TokenVerdict::Served, &limits(4_000));
    assert_eq!(pool.census().usable, 1);
    // A token that was removed is ignored.
    pool.rest(TokenSlotId(77), Duration::from_secs(600));
    clock.sleep(Duration::from_secs(601)).await;
    let names = [go(&pool), go(&pool)].map(|lease| shown(&lease));
    assert!(names.contains(&name), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn secondary_limit_applies_to_pages_and_queries() {
    let clock = clock();
    let waits = |pool: &Arc<TokenPool>| match pool.grant_query(QueryKind::Pulls) {
        Some(TokenGrant::Wait(until)) => Some(until - clock.instant()),
        Some(TokenGrant::Go(_)) => None,
        None => panic!("there is a token"),
    };
    let secondary = pool(&["a"], clock);
    let wait = Duration::from_secs(90);
    settle(go(&secondary), TokenVerdict::Limited(Some(wait)), &limits(4_000));
    assert_eq!(waits(&secondary), Some(wait));
    let primary = pool(&["a"], clock);
    settle(go(&primary), TokenVerdict::Limited(Some(wait)), &limits(0));
    assert_eq!(waits(&primary), None);
    assert!(matches!(primary.grant(), TokenGrant::Wait(_)));
}

/// Registers the two as tokens of these users.
fn introduced(pool: &Arc<TokenPool>, users: &[u64]) {
    for user in users {
        let lease = pool.grant_identity_request().expect("it was not asked yet");
        let slot = lease.slot();
        settle(lease, TokenVerdict::Served, &RateLimits::default());
        pool.set_identity(slot, Identity::User(*user));
    }
    assert!(pool.grant_identity_request().is_none(), "each is asked once");
}

#[tokio::test(start_paused = true)]
async fn tokens_of_one_account_share_its_hour() {
    let clock = clock();
    let pool = pool(&["a", "b", "c"], clock);
    assert_eq!(pool.census().accounts, 3, "nothing is known yet");
    introduced(&pool, &[7, 8, 7]);
    assert_eq!((pool.census().tokens, pool.census().accounts), (3, 2));
    // The remaining requests reported for one of them apply to both.
    clock.sleep(Duration::from_secs(60)).await;
    while shown(&go(&pool)) != "c" {}
    settle(go(&pool), TokenVerdict::Served, &limits(0));
    assert_eq!(pool.census().usable, 1);
    for _ in 0..2 {
        clock.sleep(Duration::from_secs(5)).await;
        let lease = go(&pool);
        assert_eq!(shown(&lease), "b");
        settle(lease, TokenVerdict::Served, &limits(4_000));
    }
}

#[tokio::test(start_paused = true)]
async fn secondary_limit_applies_to_the_account_only() {
    let clock = clock();
    let pool = pool(&["a", "b", "c"], clock);
    introduced(&pool, &[7, 8, 7]);
    clock.sleep(Duration::from_secs(60)).await;
    let lease = go(&pool);
    assert_eq!(shown(&lease), "a");
    let wait = Duration::from_secs(90);
    settle(lease, TokenVerdict::Limited(Some(wait)), &RateLimits::default());
    for _ in 0..4 {
        clock.sleep(Duration::from_secs(5)).await;
        let lease = go(&pool);
        assert_eq!(shown(&lease), "b");
        settle(lease, TokenVerdict::Served, &limits(4_000));
        let Some(TokenGrant::Go(query)) = pool.grant_query(QueryKind::Pulls) else {
            panic!("one may ask")
        };
        assert_eq!(shown(&query), "b");
        settle(query, TokenVerdict::Served, &limits(4_000));
    }
    clock.sleep(wait).await;
    let names = [(); 3].map(|()| shown(&go(&pool)));
    assert!(names.contains(&"a".to_owned()) && names.contains(&"c".to_owned()), "{names:?}");
}

#[tokio::test(start_paused = true)]
async fn several_tokens_of_an_account_share_its_rate() {
    let clock = clock();
    let went = async |tokens: &[&str]| {
        let pool = pool(tokens, clock);
        if tokens.len() > 1 {
            introduced(&pool, &vec![7; tokens.len()]);
        }
        let (end, mut went, mut left) = (clock.instant() + Duration::from_secs(600), 0, 5_000);
        while clock.instant() < end {
            match pool.grant() {
                TokenGrant::Go(lease) => {
                    (went, left) = (went + 1, left - 1);
                    // A response takes a second of GitHub's work, which also counts by account.
                    lease.settle(TokenVerdict::Served, &limits(left), Duration::from_secs(1));
                }
                TokenGrant::Wait(until) => tokio::time::sleep_until(until).await,
            }
        }
        went
    };
    let (one, many) = (went(&["a"]).await, went(&["a", "b", "c", "d"]).await);
    assert!((550..620).contains(&one), "{one}");
    assert!(many <= one + 5, "{many} with four tokens, {one} with one");
}

#[tokio::test(start_paused = true)]
async fn accounts_are_requested_only_for_several_tokens() {
    let clock = clock();
    assert!(pool(&["a"], clock).grant_identity_request().is_none(), "it shares with nobody");
    assert!(pool(&[], clock).grant_identity_request().is_none());
    let pool = pool(&["a", "b"], clock);
    drop(pool.grant_identity_request().expect("the first"));
    let second = pool.grant_identity_request().expect("the second");
    pool.set_identity(second.slot(), Identity::Nobody);
    drop(second);
    assert!(pool.grant_identity_request().is_none(), "both were asked");
    clock.sleep(ASK_AGAIN).await;
    let again = pool.grant_identity_request().expect("the first is granted");
    assert_eq!(shown(&again), "a");
    drop(again);
    assert!(pool.grant_identity_request().is_none(), "an installation has no user");
    assert_eq!(pool.census().accounts, 2);
    // A token that is refused is not used for this.
    clock.sleep(ASK_AGAIN).await;
    settle(go(&pool), TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    settle(go(&pool), TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    assert!(pool.grant_identity_request().is_none());
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_removed_token_count_for_its_account() {
    let pool = pool(&["a", "b"], clock());
    introduced(&pool, &[7, 7]);
    let lease = go(&pool);
    assert_eq!(shown(&lease), "a");
    pool.replace(vec![Secret::new("b"), Secret::new("c")]);
    settle(lease, TokenVerdict::Limited(Some(Duration::from_secs(90))), &RateLimits::default());
    assert_eq!(pool.census().usable, 1, "b is of the account that has to wait");
    // A token that returns keeps its identity.
    pool.replace(vec![Secret::new("c")]);
    pool.replace(["b", "c", "a"].map(Secret::new).into());
    assert_eq!((pool.census().usable, pool.census().accounts), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_taken_out_and_is_put_back_still_waits() {
    let clock = clock();
    let pool = pool(&["a"], clock);
    let wait = Duration::from_secs(600);
    settle(go(&pool), TokenVerdict::Limited(Some(wait)), &limits(4_000));
    let refused_at = clock.instant();
    pool.replace(vec![Secret::new("b")]);
    settle(go(&pool), TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    clock.sleep(QUARANTINE.0 / 2).await;
    pool.replace(vec![Secret::new("a"), Secret::new("b")]);
    assert_eq!(
        pool.census(),
        Census { mode: TokenMode::Tokens, tokens: 2, quarantined: 1, usable: 0, accounts: 2 }
    );
    let TokenGrant::Wait(until) = pool.grant() else { panic!("no request may be sent") };
    assert_eq!(until, refused_at + wait);
}

#[tokio::test(start_paused = true)]
async fn state_of_removed_tokens_is_limited() {
    let pool = pool(&["a"], clock());
    settle(go(&pool), TokenVerdict::Refused(DeadToken::Revoked), &RateLimits::default());
    pool.replace((0..MOST_TOKENS).map(|n| Secret::new(format!("x{n}"))).collect());
    pool.replace(vec![Secret::new("x0"), Secret::new("b")]);
    pool.replace(vec![Secret::new("a"), Secret::new("b")]);
    assert_eq!(pool.census().quarantined, 1, "it and 999 of that list are 1,000");
    // After a thousand others it is forgotten.
    pool.replace((0..MOST_TOKENS).map(|n| Secret::new(format!("y{n}"))).collect());
    pool.replace(vec![Secret::new("c")]);
    pool.replace(vec![Secret::new("a")]);
    assert_eq!(pool.census().quarantined, 0);
}

#[tokio::test(start_paused = true)]
async fn queries_stay_below_two_thousand_points_a_minute() {
    let clock = clock();
    let pool = pool(&["a", "b"], clock);
    pool.set_shares(|shares| shares.queries = 1.0);
    introduced(&pool, &[7, 7]);
    let (end, mut went) = (clock.instant() + Duration::from_secs(180), Vec::new());
    while clock.instant() < end {
        match pool.grant_query(QueryKind::Pulls).expect("there is a token") {
            TokenGrant::Go(lease) => {
                went.push(clock.instant());
                settle(lease, TokenVerdict::Served, &limits(1_000_000));
            }
            TokenGrant::Wait(until) => tokio::time::sleep_until(until).await,
        }
    }
    let minute = Duration::from_secs(60);
    let within =
        |from: &Instant| went.iter().filter(|at| *at >= from && **at < *from + minute).count();
    let most = went.iter().map(within).max().unwrap();
    assert!((500..2_000).contains(&most), "{most}");
}

#[tokio::test(start_paused = true)]
async fn only_a_changed_token_list_notifies() {
    let pool = pool(&["a", "b"], clock());
    let mut changes = pool.changes();
    let list = |names: &[&str]| names.iter().map(|name| Secret::new(*name)).collect::<Vec<_>>();
    pool.replace(list(&["a", "b"]));
    assert!(!changes.has_changed().unwrap());
    for names in [&["a", "b", "c"][..], &["c", "b", "a"], &["c"], &[]] {
        pool.replace(list(names));
        assert!(changes.has_changed().unwrap(), "{names:?}");
        changes.mark_unchanged();
    }
}

#[tokio::test(start_paused = true)]
async fn renewed_installation_token_keeps_its_budget() {
    let pool = pool(&[], clock());
    let secret = |text: &str| Secret::new(text);
    pool.install(vec![(7, secret("ghs_1")), (8, secret("ghs_x"))]);
    let refusals = pool.refusals();
    assert!(pool.grant_identity_request().is_none(), "the limits of an installation are its own");
    assert_eq!(pool.census().accounts, 2);
    pool.install(vec![(7, secret("ghs_1"))]);
    let old = go(&pool);
    let account = old.account();
    settle(old, TokenVerdict::Served, &limits(4_000));
    tokio::time::advance(Duration::from_secs(10)).await;
    let late = go(&pool);
    pool.install(vec![(7, secret("ghs_2"))]);
    settle(late, TokenVerdict::Refused(DeadToken::Revoked), &limits(3_999));
    assert_eq!(pool.census().quarantined, 0, "the old token's refusal says nothing of the new");
    tokio::time::advance(Duration::from_secs(10)).await;
    let new = go(&pool);
    assert_eq!((shown(&new).as_str(), new.account()), ("ghs_2", account));
    settle(new, TokenVerdict::Refused(DeadToken::Revoked), &limits(3_998));
    assert_eq!((pool.refused_installations(), refusals.has_changed().unwrap()), (vec![7], true));
    pool.install(vec![(7, secret("ghs_3"))]);
    assert_eq!((pool.refused_installations(), pool.census().tokens), (vec![], 1));
    pool.replace(vec![secret("b")]);
    assert_eq!((pool.census().tokens, pool.census().accounts), (2, 2));
    pool.install(Vec::new());
    assert_eq!(pool.census().tokens, 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_without_a_token_while_an_app_is_expected() {
    let pool = pool(&[], clock());
    pool.expect_installations();
    let mut changes = pool.changes();
    assert!(matches!(pool.grant(), TokenGrant::Wait(_)));
    assert!(matches!(pool.grant_query(QueryKind::Pulls), Some(TokenGrant::Wait(_))));
    pool.install(Vec::new());
    assert!(changes.has_changed().unwrap(), "a request that waits looks again");
    changes.mark_unchanged();
    assert_eq!(shown(&go(&pool)), "none");
    assert!(pool.grant_query(QueryKind::Pulls).is_none());
}
