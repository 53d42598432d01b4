//! Groups: phases, lag, what is held and what is shared.

use proptest::prelude::*;

use super::*;
use crate::hub::log::query::{Conditions, FieldPath};
use crate::hub::log::tail::tests::tail_event;

fn events(numbers: std::ops::RangeInclusive<u64>, kind: &str) -> Vec<Arc<TailEvent>> {
    numbers
        .map(|n| Arc::new(tail_event(n, &format!(r#"{{"id":"{n}","type":"{kind}"}}"#))))
        .collect()
}

fn ids() -> SamplingQuery {
    let form = SamplingEncoding::List(vec![FieldPath::read("event.id").unwrap()]);
    SamplingQuery { form, ..SamplingQuery::default() }
}

fn dispatch(groups: &Groups, events: &[Arc<TailEvent>]) -> u64 {
    groups.registry.all().iter().map(|group| groups.dispatch(group, events)).sum()
}

/// The ids that a member has taken, until nothing is left.
fn taken(member: &mut SamplingSubscriber) -> Vec<u64> {
    let mut ids = Vec::new();
    loop {
        let taken = member.take();
        for frame in taken.frames {
            ids.push(frame.body().trim_matches(['[', ']', '"']).parse().unwrap());
        }
        if !taken.more {
            return ids;
        }
    }
}

#[test]
fn each_member_counts_from_where_it_came() {
    let groups = Arc::new(Groups::new(1_000));
    let notifier = Arc::new(Notifier::default());
    let mut all = groups.join(ids(), 1, &notifier);
    let mut thirds = groups.join(ids(), 3, &notifier);
    dispatch(&groups, &events(1..=2, "A"));
    let mut late = groups.join(ids(), 3, &notifier);
    assert_eq!(dispatch(&groups, &events(3..=8, "A")), 6 + 2 + 2);
    assert_eq!(taken(&mut all), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(taken(&mut thirds), [3, 6]);
    assert_eq!(taken(&mut late), [5, 8]);
    assert_eq!(groups.registry.all().len(), 1);
}

#[test]
fn only_matching_events_are_counted_and_an_empty_group_goes() {
    let groups = Arc::new(Groups::new(1_000));
    let notifier = Arc::new(Notifier::default());
    let conditions = Conditions { kind: Some("B".into()), ..Conditions::default() };
    let mut member = groups.join(SamplingQuery { conditions, ..ids() }, 2, &notifier);
    dispatch(&groups, &events(1..=3, "A"));
    dispatch(&groups, &events(4..=7, "B"));
    assert_eq!(taken(&mut member), [5, 7]);
    drop(member);
    assert_eq!(groups.registry.all().len(), 0);
}

#[test]
fn who_falls_behind_the_lag_is_moved_forward_and_keeps_its_phase() {
    let groups = Arc::new(Groups::new(10));
    let notifier = Arc::new(Notifier::default());
    let mut slow = groups.join(ids(), 1, &notifier);
    let mut slow_thirds = groups.join(ids(), 3, &notifier);
    for n in 1..=40 {
        dispatch(&groups, &events(n..=n, "A"));
    }
    assert_eq!(taken(&mut slow), (31..=40).collect::<Vec<_>>());
    assert_eq!(taken(&mut slow_thirds), [33, 36, 39]);
}

#[test]
fn what_everyone_has_taken_is_not_held() {
    let groups = Arc::new(Groups::new(100_000));
    let notifier = Arc::new(Notifier::default());
    let mut member = groups.join(ids(), 1, &notifier);
    let mut rare = groups.join(ids(), 1_000_000, &notifier);
    for n in 1..=1_000 {
        dispatch(&groups, &events(n..=n, "A"));
        assert_eq!(taken(&mut member), [n]);
    }
    assert_eq!(taken(&mut rare), [] as [u64; 0]);
    assert!(lock(&member.group.state).log.len() <= TRIM_FROM);
}

#[test]
fn members_share_the_bytes() {
    let groups = Arc::new(Groups::new(10));
    let notifier = Arc::new(Notifier::default());
    for subscription in [SamplingQuery::default(), ids()] {
        let mut one = groups.join(subscription.clone(), 1, &notifier);
        let mut two = groups.join(subscription, 1, &notifier);
        dispatch(&groups, &events(1..=1, "A"));
        let (one, two) = (one.take().frames.remove(0), two.take().frames.remove(0));
        assert_eq!(one.bytes().as_ptr(), two.bytes().as_ptr());
    }
}

proptest! {
    #[test]
    fn a_member_gets_every_nth_of_its_own_count(
        rate in 1_u64..7,
        before in 0_u64..10,
        batches in prop::collection::vec(1_u64..9, 1..12),
    ) {
        let groups = Arc::new(Groups::new(1_000));
        let notifier = Arc::new(Notifier::default());
        let _first = groups.join(ids(), 1, &notifier);
        dispatch(&groups, &events(1..=before, "A"));
        let mut member = groups.join(ids(), rate, &notifier);
        let (mut at, mut got) = (before, Vec::new());
        for batch in batches {
            dispatch(&groups, &events(at + 1..=at + batch, "A"));
            at += batch;
            got.extend(taken(&mut member));
        }
        let wanted: Vec<u64> =
            (before + 1..=at).filter(|n| (n - before) % rate == 0).collect();
        prop_assert_eq!(got, wanted);
    }
}

/// A comment as long as GitHub allows, and more.
fn large(number: u64) -> Arc<TailEvent> {
    let body = "word ".repeat(30_000);
    Arc::new(tail_event(number, &format!(r#"{{"id":"{number}","type":"A","body":"{body}"}}"#)))
}

#[tokio::test]
async fn a_large_event_is_encoded_beside_the_readers_and_goes_when_all_have_it() {
    for subscription in [
        SamplingQuery::default(),
        SamplingQuery {
            form: SamplingEncoding::Map(vec![FieldPath::read("event.body").unwrap()]),
            ..ids()
        },
    ] {
        let groups = Arc::new(Groups::new(1_000));
        let notifiers =
            [false, true].map(|deflates| Arc::new(Notifier::default().deflating(deflates)));
        let mut members =
            notifiers.each_ref().map(|notifier| groups.join(subscription.clone(), 1, notifier));
        dispatch(&groups, &[events(1..=1, "A"), vec![large(2)], events(3..=3, "A")].concat());
        for (member, notifier) in members.iter_mut().zip(&notifiers) {
            let before = member.take();
            assert_eq!((before.messages, before.more), (1, false), "the large one is not there");
            let mut rest = member.take().frames;
            while rest.len() < 2 {
                std::future::poll_fn(|cx| notifier.poll_notified(cx)).await;
                rest.extend(member.take().frames);
            }
            assert!(rest[0].len() > 100_000 && rest[1].len() < 1_000);
            let sent = rest[0].clone();
            let sent = if notifier.deflates() { sent.into_deflated() } else { sent.into_bytes() };
            assert_eq!(sent.len() < 10_000, notifier.deflates(), "{} bytes", sent.len());
        }
        let held = lock(&members[0].group.state).log.len();
        assert!(held <= 1, "{held} events are held");
    }
}
