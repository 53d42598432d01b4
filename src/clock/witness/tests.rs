//! Tests of the judgement, with times as arguments.

use super::*;

const NOW: i64 = 1_800_000_000;
/// Steps of a clock, seconds.
const STEPS: &[i64] =
    &[61, 3_600, 90_000, 4 * 86_400, 30 * 86_400, -61, -7_200, -3 * 86_400, -700 * 86_400];

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(NOW + second)
}

fn dated(second: i64) -> NewestReceipt {
    NewestReceipt { at: at(second), is_confirmed: true, is_before_created: false }
}

fn undated(second: i64) -> NewestReceipt {
    NewestReceipt { is_confirmed: false, ..dated(second) }
}

fn heard(second: i64, at: Instant) -> Evidence {
    let github = Some(KnownTime { wall: self::at(second), at });
    Evidence { github, ..Evidence::default() }
}

#[tokio::test(start_paused = true)]
async fn github_reveals_any_step_and_events_keep_the_right_time() {
    let start = Clock::system().instant();
    let later = start + Duration::from_secs(5);
    for step in STEPS {
        // Before the step both agreed, or nothing is known of the time before.
        for known in [true, false] {
            let mut evidence = heard(0, start);
            if known {
                assert_eq!(evidence.judge(at(0), start), ClockVerdict::Agrees);
            }
            let wall = at(5 + step);
            let found = evidence.judge(wall, later);
            let wanted =
                ClockVerdict::Disagrees { who: ClockWitness::GitHub, ahead: step * 1_000_000 };
            assert_eq!(found, wanted);
            assert_eq!(evidence.stamp(wall, later), at(5), "{step} {known}");
            assert_eq!(evidence.judge(at(5), later), ClockVerdict::Agrees, "back again");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn earlier_times_reveal_steps_without_github() {
    let start = Clock::system().instant();
    for step in STEPS {
        let newest = Some(dated(-20));
        let mut evidence = Evidence { newest, ..Evidence::default() };
        assert_eq!(evidence.judge(at(0), start), ClockVerdict::Agrees);
        let found = evidence.judge(at(*step), start);
        assert!(matches!(found, ClockVerdict::Disagrees { .. }), "{step}: {found}");
        // At a start only a step back can be seen; a step forward may be a long pause.
        let (newest, pass) = (Some(dated(0)), Some(at(0)));
        let mut evidence = Evidence { newest, pass, ..Evidence::default() };
        let found = evidence.judge(at(*step), start);
        assert!(!found.is_trusted(), "{step}: {found}");
        let is_named = matches!(found, ClockVerdict::Disagrees { .. });
        assert_eq!(is_named, *step < 0, "{step}: {found}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_date_of_github_stops_deletion_and_keeps_stamps() {
    let start = Clock::system().instant();
    let mut evidence = heard(0, start);
    assert!(evidence.judge(at(0), start).is_trusted());
    evidence.github = heard(-500_000, start).github;
    assert!(!evidence.judge(at(1), start).is_trusted());
    assert_eq!(evidence.stamp(at(1), start), at(1));
    // After a start the store contradicts a date before its newest event.
    let newest = Some(dated(-300));
    let evidence = Evidence { github: evidence.github, newest, ..Evidence::default() };
    assert_eq!(evidence.stamp(at(1), start), at(1));
}

#[tokio::test(start_paused = true)]
async fn clock_that_has_lost_its_time_stamps_nothing() {
    let start = Clock::system().instant();
    for lost in [0, 946_684_800, FIRST_VERSION - 300] {
        let mut evidence = heard(lost - NOW, start);
        assert_eq!(evidence.stamp(at(1), start), at(1), "{lost}");
        assert!(!evidence.judge(at(1), start).is_trusted(), "still nothing is deleted");
        // The other way round, and both.
        let lost_too = at(lost - NOW + 90);
        assert_eq!(evidence.stamp(lost_too, start), at(lost - NOW), "{lost}");
        assert_eq!(heard(0, start).stamp(lost_too, start), at(0), "{lost}");
    }
}

#[tokio::test(start_paused = true)]
async fn wrong_date_is_not_believed_after_hours() {
    let start = Clock::system().instant();
    let mut evidence = heard(0, start);
    assert!(evidence.judge(at(0), start).is_trusted());
    let later = start + Duration::from_secs(7_200);
    evidence.github = heard(7_200 + 900_000, later).github;
    assert_eq!(evidence.stamp(at(7_200), later), at(7_200), "it advanced as it should");
    // After a suspension nothing is known of the wall clock's time.
    assert_eq!(evidence.stamp(at(20_000), later), at(7_200 + 900_000));
}

#[tokio::test(start_paused = true)]
async fn event_that_the_clock_itself_has_stamped_does_not_confirm_it() {
    let start = Clock::system().instant();
    let mut evidence = Evidence { newest: Some(undated(900_000)), ..Evidence::default() };
    assert_eq!(evidence.judge(at(900_000), start), ClockVerdict::Unconfirmed);
    let verdict = evidence.judge(at(0), start);
    assert!(matches!(verdict, ClockVerdict::Disagrees { .. }), "a lower bound all the same");
    evidence.newest = Some(dated(900_000));
    assert_eq!(evidence.judge(at(900_000), start), ClockVerdict::Agrees);
}

#[tokio::test(start_paused = true)]
async fn events_in_step_outweigh_a_pass_of_the_future() {
    let start = Clock::system().instant();
    let pass = Some(at(900_000));
    let mut evidence = Evidence { pass, ..Evidence::default() };
    let mut judge = |second: i64, newest: i64| {
        evidence.newest = Some(dated(newest));
        evidence.judge(at(second), start + Duration::from_secs(second.cast_unsigned()))
    };
    let disagrees = |verdict| matches!(verdict, ClockVerdict::Disagrees { .. });
    assert!((0..10).all(|n| disagrees(judge(60 * n, 60 * n))));
    assert!(disagrees(judge(600, 500)), "they stopped");
    assert!((11..21).all(|n| disagrees(judge(60 * n, 60 * n))));
    assert_eq!(judge(60 * 21, 60 * 21), ClockVerdict::Agrees);
    assert!(disagrees(judge(60 * 22, 60 * 20)), "not without them");
}

#[tokio::test(start_paused = true)]
async fn witness_counts_for_an_hour() {
    let start = Clock::system().instant();
    let mut evidence = heard(0, start);
    let hour = Duration::from_secs(3_600);
    assert!(evidence.judge(at(3_600), start + hour).is_trusted());
    assert_eq!(evidence.verdict(at(9_000), start + 3 * hour), ClockVerdict::Unconfirmed);
    assert!(ClockVerdict::Unconfirmed.to_string().contains("nothing expires by age"));
    let far = ClockVerdict::Disagrees { who: ClockWitness::GitHub, ahead: 4 * 86_400_000_000 + 5 };
    assert!(far.to_string().starts_with("the clock of this machine is 4 d 0 h ahead of"));
}

#[tokio::test(start_paused = true)]
async fn date_of_a_proxy_with_the_same_wrong_clock_confirms_nothing() {
    let start = Clock::system().instant();
    let after = |seconds| start + Duration::from_secs(seconds);
    for step in STEPS.iter().copied().filter(|step| step.abs() > 900) {
        // A jump of both while the process runs, and a start with both wrong.
        for is_running in [true, false] {
            let mut evidence = heard(0, start);
            evidence.newest = Some(dated(0));
            if is_running {
                assert_eq!(evidence.judge(at(0), start), ClockVerdict::Agrees);
            }
            evidence.github = heard(5 + step, after(5)).github;
            assert!(!evidence.judge(at(5 + step), after(5)).is_trusted(), "{step} {is_running}");
            // Events that come now are stamped by that clock.
            evidence.newest = Some(undated(7 + step));
            assert!(!evidence.judge(at(7 + step), after(7)).is_trusted(), "{step} {is_running}");
            // None come for an hour.
            evidence.github = heard(3_600 + step, after(3_600)).github;
            let verdict = evidence.judge(at(3_600 + step), after(3_600));
            assert_eq!(verdict, ClockVerdict::Unconfirmed, "{step} {is_running}");
            // Both are right again, and the first event since has arrived.
            evidence.github = heard(3_700, after(3_700)).github;
            assert!(!evidence.judge(at(3_700), after(3_700)).is_trusted(), "{step}");
            evidence.newest = Some(dated(3_701));
            assert_eq!(evidence.judge(at(3_702), after(3_702)), ClockVerdict::Agrees, "{step}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn date_is_believed_soon_after_a_start_where_no_events_come() {
    let start = Clock::system().instant();
    let mut evidence = heard(0, start);
    // The node was off for ten days.
    evidence.newest = Some(dated(-900_000));
    assert_eq!(evidence.judge(at(0), start), ClockVerdict::Unconfirmed);
    let later = start + SETTLED;
    assert_eq!(evidence.judge(at(10), later), ClockVerdict::Agrees);
    // Once confirmed, events that GitHub shows late do not matter.
    evidence.newest = Some(undated(20));
    let later = start + 2 * SETTLED;
    assert_eq!(evidence.judge(at(20), later), ClockVerdict::Agrees);
}

#[tokio::test(start_paused = true)]
async fn date_alone_confirms_nothing_while_events_wait() {
    let clock = Clock::starting_at(at(0));
    let witness = Witness::new(clock);
    witness.record_newest(Some(dated(-900_000)));
    let verdict_after = async |seconds: u64, is_waiting: bool| {
        clock.sleep(Duration::from_secs(seconds)).await;
        witness.record_date(clock.now());
        witness.record_waiting(is_waiting);
        witness.judge()
    };
    for _ in 0..30 {
        assert_eq!(verdict_after(2, true).await, ClockVerdict::Unconfirmed);
    }
    assert_eq!(verdict_after(0, false).await, ClockVerdict::Unconfirmed);
    assert_eq!(verdict_after(SETTLED.as_secs(), false).await, ClockVerdict::Agrees);
}

#[tokio::test(start_paused = true)]
async fn clock_that_stood_still_in_a_pause_stamps_nothing_once_events_show_it() {
    let start = Clock::system().instant();
    let mut evidence = heard(0, start);
    assert!(evidence.judge(at(0), start).is_trusted());
    // Two hours, in which the monotonic clock stands still, too.
    let later = start + Duration::from_secs(5);
    evidence.github = heard(7_205, later).github;
    assert_eq!(evidence.stamp(at(5), later), at(5), "nothing shows yet which of the two is right");
    evidence.newest = Some(NewestReceipt { is_before_created: true, ..undated(5) });
    assert_eq!(evidence.stamp(at(5), later), at(7_205));
    evidence.newest = Some(dated(7_205));
    assert_eq!(evidence.stamp(at(6), later), at(7_205), "it stays so");
    assert!(!evidence.judge(at(6), later).is_trusted());
    // A day later.
    let later = start + Duration::from_secs(86_000);
    evidence.github = heard(93_205, later).github;
    evidence.newest = Some(dated(93_205));
    assert_eq!(evidence.stamp(at(86_005), later), at(93_205));
}
