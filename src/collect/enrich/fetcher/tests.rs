use super::*;
use crate::collect::enrich::lookup_queue::{LookupQueue, Released};
use crate::collect::enrich::read::AdmittedEvent;
use crate::config::Secret;
use crate::github::graphql::{Language, PullDetails, PullLookup, QueryError};
use crate::github::node_id;
use crate::github::tokens::{PoolOptions, QueryKind};
use crate::model::envelope::Facts;
use crate::model::window::Timestamp;

/// The token and account used for the queries.
const ALICE: (TokenSlotId, AccountId) = (TokenSlotId(1), AccountId::of_test(1));

fn fetcher(tokens: &[&str]) -> Fetcher<WantedPull> {
    let clock = Clock::starting_at(Timestamp::from_seconds(1_790_000_000));
    let tokens = tokens.iter().map(|text| Secret::new(*text)).collect();
    let pool = TokenPool::new(PoolOptions { tokens, share: 0.9, burst: 3 }, clock);
    let url = "http://127.0.0.1:9/graphql".to_owned();
    let deadline = Duration::from_secs(20);
    let options = EnrichConfig { enabled: true, deadline, batch: 100, budget: 0.5 };
    Fetcher::new(EnrichLookup::new(&url, &options, pool, clock).unwrap(), clock)
}

fn wanted(count: u64) -> Vec<WantedPull> {
    let one = |n| WantedPull { base_repo_id: 1, pull_id: n, repo: "o/n".to_owned(), number: n };
    (0..count).map(one).collect()
}

fn pull(node_id: Option<String>) -> PullLookup {
    let language = Language::Absent;
    PullLookup::Found(Box::new(PullDetails {
        node_id,
        additions: Some(1),
        language,
        ..PullDetails::default()
    }))
}

fn bad_gateway() -> QueryOutcome {
    QueryOutcome::TooHeavy { why: "answered 502".to_owned(), is_reported: false }
}

/// A query of all these objects that has just ended.
fn query_of(
    fetcher: &Fetcher<WantedPull>,
    form: AskedBy,
    wanted: Vec<WantedPull>,
    outcome: QueryOutcome,
) -> InFlightQuery<WantedPull> {
    let (asked_with, is_part, sent) = (ALICE, false, fetcher.clock.instant());
    InFlightQuery { form, asked_with, is_part, sent, wanted, outcome }
}

/// Settles a response that has this result for each pull request.
fn hear(
    fetcher: &mut Fetcher<WantedPull>,
    count: u64,
    found: impl Fn(&WantedPull) -> PullLookup,
) -> Option<Vec<PullLookup>> {
    let wanted = wanted(count);
    let outcome = QueryOutcome::Answered(wanted.iter().map(found).collect());
    let form = fetcher.form(fetcher.clock.instant());
    fetcher.settle(&query_of(fetcher, form, wanted, outcome))
}

fn own(one: &WantedPull) -> PullLookup {
    pull(Some(node_id::of_pull(one.base_repo_id, one.pull_id)))
}

fn form(fetcher: &mut Fetcher<WantedPull>) -> AskedBy {
    fetcher.form(fetcher.clock.instant())
}

#[tokio::test(start_paused = true)]
async fn query_size_halves_after_an_overload_and_grows_slowly() {
    let mut fetcher = fetcher(&["a"]);
    let heavy = |fetcher: &mut Fetcher<WantedPull>, count| {
        let outcome = bad_gateway();
        let query = query_of(fetcher, AskedBy::Names, wanted(count), outcome);
        fetcher.settle(&query).unwrap()
    };
    assert_eq!(heavy(&mut fetcher, 100), vec![PullLookup::Unanswered; 100]);
    assert_eq!((fetcher.size, fetcher.not_before), (50, None));
    heavy(&mut fetcher, 50);
    assert_eq!(fetcher.size, 25);
    heavy(&mut fetcher, 1);
    assert_eq!(fetcher.size, 1);
    assert!(fetcher.not_before.is_some(), "fewer cannot be asked for: time may do");
    for _ in 0..GROW_AFTER {
        hear(&mut fetcher, 1, own);
    }
    assert_eq!((fetcher.size, fetcher.not_before), (2, None));
    for _ in 0..10 * GROW_AFTER {
        hear(&mut fetcher, 1, own);
    }
    assert_eq!(fetcher.size, 100);
    hear(&mut fetcher, 60, |one| if one.number < 30 { own(one) } else { PullLookup::Unanswered });
    assert_eq!(fetcher.size, 30, "a part of an answer is too heavy, too");
}

#[tokio::test(start_paused = true)]
async fn parts_of_a_heavy_query_change_no_query_size() {
    let mut fetcher = fetcher(&["a"]);
    let outcome = bad_gateway();
    let query = query_of(&fetcher, AskedBy::Names, wanted(100), outcome);
    fetcher.settle(&query);
    for _ in 0..2 * GROW_AFTER {
        let outcome = QueryOutcome::Answered(wanted(2).iter().map(own).collect());
        let query = query_of(&fetcher, AskedBy::Names, wanted(2), outcome);
        fetcher.settle(&InFlightQuery { is_part: true, ..query });
    }
    assert_eq!(fetcher.size, 50);
}

#[tokio::test(start_paused = true)]
async fn lone_object_shows_its_weight_only_in_time_or_in_words() {
    let mut fetcher = fetcher(&["a"]);
    hear(&mut fetcher, 2, own);
    tokio::time::advance(2 * SLOW_FROM).await;
    let reported = QueryOutcome::TooHeavy { why: "limits".to_owned(), is_reported: true };
    let unanswered = Some(LoneResult::Unanswered);
    let cases = [
        (bad_gateway(), Duration::ZERO, None),
        (bad_gateway(), SLOW_FROM, unanswered),
        (reported, Duration::ZERO, unanswered),
        (QueryOutcome::Answered(vec![PullLookup::Unanswered]), Duration::ZERO, unanswered),
        (QueryOutcome::Answered(vec![PullLookup::Gone]), Duration::ZERO, Some(LoneResult::Quick)),
        (QueryOutcome::Answered(vec![PullLookup::Gone]), SLOW_FROM, Some(LoneResult::Slow)),
    ];
    for (outcome, took, expected) in cases {
        let query = query_of(&fetcher, AskedBy::Names, wanted(1), outcome);
        let query = InFlightQuery { sent: query.sent - took, ..query };
        assert_eq!(fetcher.lone_result(&query), expected, "{:?} after {took:?}", query.outcome);
    }
    tokio::time::advance(2 * SHORTLY).await;
    let query = query_of(&fetcher, AskedBy::Names, wanted(1), bad_gateway());
    tokio::time::advance(SLOW_FROM).await;
    assert_eq!(fetcher.lone_result(&query), None, "nothing else was answered either");
}

#[tokio::test(start_paused = true)]
async fn quick_failures_of_a_lone_object_are_tried_again_with_backoff() {
    let fetcher = fetcher(&["a"]);
    let (lookup, clock) = (fetcher.lookup.clone(), fetcher.clock);
    let mut queue = LookupQueue::new(Some(&lookup), clock);
    let mut released = Released::default();
    let answer = QueryOutcome::Answered(wanted(1).iter().map(own).collect());
    let earlier = query_of(&fetcher, AskedBy::Names, wanted(1), answer);
    queue.take_in(&earlier, clock.instant(), &mut released);
    let lone = wanted(2).remove(1);
    let (facts, since) = (Facts::default(), clock.instant());
    let event = AdmittedEvent { admission: 1, facts, is_missing_language: true, since };
    assert!(queue.hold((event, lone.clone()), clock.instant(), &mut released));
    for attempt in 1..=2 {
        let query = query_of(&fetcher, AskedBy::Names, vec![lone.clone()], bad_gateway());
        tokio::time::advance(Duration::from_millis(5)).await;
        let now = clock.instant();
        queue.take_in(&query, now, &mut released);
        assert!(released.events.is_empty(), "given up after attempt {attempt}");
        let due = queue.send_due().expect("it is queued");
        assert!(due >= now + WAITS.0 / 2, "at once after attempt {attempt}");
        tokio::time::advance(due - now).await;
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_used_until_githubs_ids_are_seen_to_be_ours() {
    let mut fetcher = fetcher(&["a"]);
    assert_eq!(form(&mut fetcher), AskedBy::Names);
    hear(&mut fetcher, 2, |_| PullLookup::Gone);
    hear(&mut fetcher, 2, |_| pull(None));
    assert_eq!(form(&mut fetcher), AskedBy::Names, "nothing was seen yet");
    hear(&mut fetcher, 2, own);
    assert_eq!(form(&mut fetcher), AskedBy::NodeIds);
}

#[tokio::test(start_paused = true)]
async fn other_ids_are_not_used_for_an_hour() {
    let mut fetcher = fetcher(&["a"]);
    let found = hear(&mut fetcher, 2, |_| pull(Some("NEW_1".to_owned())));
    assert!(found.is_some(), "what was said of them by name is good");
    hear(&mut fetcher, 2, own);
    assert_eq!(form(&mut fetcher), AskedBy::Names);
    tokio::time::advance(DISTRUST_FOR).await;
    hear(&mut fetcher, 2, own);
    assert_eq!(form(&mut fetcher), AskedBy::NodeIds);
}

#[tokio::test(start_paused = true)]
async fn empty_query_by_ids_is_repeated_by_names() {
    for refused in [false, true] {
        let mut fetcher = fetcher(&["a"]);
        hear(&mut fetcher, 2, own);
        assert_eq!(hear(&mut fetcher, 3, |_| PullLookup::Gone), None);
        assert_eq!(form(&mut fetcher), AskedBy::Names);
        let by_name = |one: &WantedPull| if refused { own(one) } else { PullLookup::Gone };
        assert!(hear(&mut fetcher, 3, by_name).is_some());
        let expected = if refused { AskedBy::Names } else { AskedBy::NodeIds };
        assert_eq!(form(&mut fetcher), expected);
    }
    // Some missing pull requests are normal.
    let mut fetcher = fetcher(&["a"]);
    hear(&mut fetcher, 2, own);
    assert!(
        hear(&mut fetcher, 3, |one| if one.number == 1 { PullLookup::Gone } else { own(one) })
            .is_some()
    );
    assert_eq!(form(&mut fetcher), AskedBy::NodeIds);
}

#[tokio::test(start_paused = true)]
async fn limits_and_dead_tokens_are_no_tries_and_failures_are() {
    let mut fetcher = fetcher(&["a"]);
    let mut settle = |outcome| {
        let query = query_of(&fetcher, AskedBy::Names, wanted(2), outcome);
        fetcher.settle(&query).map(|f| f.len())
    };
    assert_eq!(settle(QueryOutcome::Limited { wait: None }), None);
    let reason = crate::github::limits::DeadToken::Revoked;
    assert_eq!(settle(QueryOutcome::TokenDead { reason }), None);
    let error = QueryError::Answer { host: "h".into(), status: 500, said: "no".into() };
    assert_eq!(settle(QueryOutcome::Failed(error)), Some(2));
    assert!(fetcher.not_before.is_some());
}

#[tokio::test(start_paused = true)]
async fn queries_require_a_token() {
    assert!(fetcher(&["a"]).can_ask());
    assert!(!fetcher(&[]).can_ask());
}

#[tokio::test(start_paused = true)]
async fn forbidden_pull_request_is_queried_with_another_account() {
    let mut fetcher = fetcher(&["a", "b"]);
    let no =
        || PullLookup::Forbidden("Resource protected by organization SAML enforcement".to_owned());
    let mut ask = |at: usize| {
        let Some(TokenGrant::Go(lease)) = fetcher.lookup.pool.grant_query(QueryKind::Pulls) else {
            panic!("it may")
        };
        let (asked_with, wanted) = ((lease.slot(), lease.account()), wanted(2));
        let outcome = QueryOutcome::Answered(vec![own(&wanted[0]), no()]);
        let query = query_of(&fetcher, AskedBy::Names, wanted, outcome);
        let query = InFlightQuery { asked_with, ..query };
        let found = fetcher.settle(&query).unwrap();
        assert!(matches!(found[0], PullLookup::Found(_)), "{at}");
        found[1].clone()
    };
    // The two accounts alternate.
    assert_eq!(ask(0), PullLookup::Unanswered, "a token of another account may see it");
    assert_eq!(ask(1), no());
    assert_eq!(fetcher.size, 100, "nothing was too heavy");
}
