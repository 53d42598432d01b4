use super::*;
use crate::config::Secret;
use crate::github::graphql::{Language, Learnt, QueryError};
use crate::github::tokens::PoolOptions;
use crate::model::window::Timestamp;

/// The caller.
const ALICE: (SeatId, AccountId) = (SeatId(1), AccountId::of_test(1));

fn asker(tokens: &[&str]) -> Asker {
    let clock = Clock::starting_at(Timestamp::from_seconds(1_790_000_000));
    let tokens = tokens.iter().map(|text| Secret::new(*text)).collect();
    let pool = TokenPool::new(PoolOptions { tokens, share: 0.9, burst: 3 }, clock);
    let url = "http://127.0.0.1:9/graphql".to_owned();
    let deadline = Duration::from_secs(20);
    let options = LookupOptions { url, deadline, batch: 100, budget: 0.5 };
    Asker::new(Lookup::new(&options, pool, clock).unwrap(), clock)
}

fn wanted(count: u64) -> Vec<Wanted> {
    let one = |n| Wanted { base_repo_id: 1, pull_id: n, repo: "o/n".to_owned(), number: n };
    (0..count).map(one).collect()
}

fn pull(node_id: Option<String>) -> Found {
    let language = Language::Absent;
    Found::Pull(Box::new(Learnt { node_id, additions: Some(1), language, ..Learnt::default() }))
}

/// What it makes of an answer that has this for each.
fn hear(asker: &mut Asker, count: u64, found: impl Fn(&Wanted) -> Found) -> Option<Vec<Found>> {
    let wanted = wanted(count);
    let outcome = Outcome::Answered(wanted.iter().map(found).collect());
    let form = asker.form(asker.clock.instant());
    let asked_with = ALICE;
    asker.conclude(&Flight { form, asked_with, wanted, outcome })
}

fn own(one: &Wanted) -> Found {
    pull(Some(node_id::of_pull(one.base_repo_id, one.pull_id)))
}

fn form(asker: &mut Asker) -> Form {
    asker.form(asker.clock.instant())
}

#[tokio::test(start_paused = true)]
async fn half_as_many_are_asked_for_after_what_was_too_heavy_and_slowly_more_again() {
    let mut asker = asker(&["a"]);
    let heavy = |asker: &mut Asker, count| {
        let outcome = Outcome::TooHeavy("answered 502".to_owned());
        let flight =
            Flight { form: Form::Names, asked_with: ALICE, wanted: wanted(count), outcome };
        asker.conclude(&flight).unwrap()
    };
    assert_eq!(heavy(&mut asker, 100), vec![Found::Unanswered; 100]);
    assert_eq!((asker.size, asker.not_before), (50, None));
    heavy(&mut asker, 50);
    assert_eq!(asker.size, 25);
    heavy(&mut asker, 1);
    assert_eq!(asker.size, 1);
    assert!(asker.not_before.is_some(), "fewer cannot be asked for: time may do");
    for _ in 0..GROW_AFTER {
        hear(&mut asker, 1, own);
    }
    assert_eq!((asker.size, asker.not_before), (2, None));
    for _ in 0..10 * GROW_AFTER {
        hear(&mut asker, 1, own);
    }
    assert_eq!(asker.size, 100);
    hear(&mut asker, 60, |one| if one.number < 30 { own(one) } else { Found::Unanswered });
    assert_eq!(asker.size, 30, "a part of an answer is too heavy, too");
}

#[tokio::test(start_paused = true)]
async fn names_are_used_until_githubs_ids_are_seen_to_be_ours() {
    let mut asker = asker(&["a"]);
    assert_eq!(form(&mut asker), Form::Names);
    hear(&mut asker, 2, |_| Found::Gone);
    hear(&mut asker, 2, |_| pull(None));
    assert_eq!(form(&mut asker), Form::Names, "nothing was seen yet");
    hear(&mut asker, 2, own);
    assert_eq!(form(&mut asker), Form::NodeIds);
}

#[tokio::test(start_paused = true)]
async fn other_ids_are_not_used_for_an_hour() {
    let mut asker = asker(&["a"]);
    let found = hear(&mut asker, 2, |_| pull(Some("NEW_1".to_owned())));
    assert!(found.is_some(), "what was said of them by name is good");
    hear(&mut asker, 2, own);
    assert_eq!(form(&mut asker), Form::Names);
    tokio::time::advance(DISTRUST_FOR).await;
    hear(&mut asker, 2, own);
    assert_eq!(form(&mut asker), Form::NodeIds);
}

#[tokio::test(start_paused = true)]
async fn a_query_by_ids_that_finds_nothing_is_asked_again_by_names() {
    for refused in [false, true] {
        let mut asker = asker(&["a"]);
        hear(&mut asker, 2, own);
        assert_eq!(hear(&mut asker, 3, |_| Found::Gone), None);
        assert_eq!(form(&mut asker), Form::Names);
        let by_name = |one: &Wanted| if refused { own(one) } else { Found::Gone };
        assert!(hear(&mut asker, 3, by_name).is_some());
        let expected = if refused { Form::Names } else { Form::NodeIds };
        assert_eq!(form(&mut asker), expected);
    }
    // Some of them gone is nothing strange.
    let mut asker = asker(&["a"]);
    hear(&mut asker, 2, own);
    assert!(
        hear(&mut asker, 3, |one| if one.number == 1 { Found::Gone } else { own(one) }).is_some()
    );
    assert_eq!(form(&mut asker), Form::NodeIds);
}

#[tokio::test(start_paused = true)]
async fn limits_and_dead_tokens_are_no_tries_and_failures_are() {
    let mut asker = asker(&["a"]);
    let mut conclude = |outcome| {
        let wanted = wanted(2);
        let flight = Flight { form: Form::Names, asked_with: ALICE, wanted, outcome };
        asker.conclude(&flight).map(|f| f.len())
    };
    assert_eq!(conclude(Outcome::Limited { wait: None }), None);
    let reason = crate::github::tokens::Dead::Revoked;
    assert_eq!(conclude(Outcome::TokenDead { reason }), None);
    let error = QueryError::Answer { host: "h".into(), status: 500, said: "no".into() };
    assert_eq!(conclude(Outcome::Failed(error)), Some(2));
    assert!(asker.not_before.is_some());
}

#[tokio::test(start_paused = true)]
async fn without_a_token_nothing_can_be_asked() {
    assert!(asker(&["a"]).can_ask());
    assert!(!asker(&[]).can_ask());
}

#[tokio::test(start_paused = true)]
async fn what_one_account_may_not_see_another_is_asked_for_and_then_it_is_forbidden() {
    let mut asker = asker(&["a", "b"]);
    let no = || Found::Forbidden("Resource protected by organization SAML enforcement".to_owned());
    let mut ask = |at: usize| {
        let Some(Grant::Go(lease)) = asker.lookup.pool.grant_query() else { panic!("it may") };
        let (form, asked_with, wanted) = (Form::Names, (lease.seat(), lease.account()), wanted(2));
        let outcome = Outcome::Answered(vec![own(&wanted[0]), no()]);
        let flight = Flight { form, asked_with, wanted, outcome };
        let found = asker.conclude(&flight).unwrap();
        assert!(matches!(found[0], Found::Pull(_)), "{at}");
        found[1].clone()
    };
    // The two take turns.
    assert_eq!(ask(0), Found::Unanswered, "a token of another account may see it");
    assert_eq!(ask(1), no());
    assert_eq!(asker.size, 100, "nothing was too heavy");
}
