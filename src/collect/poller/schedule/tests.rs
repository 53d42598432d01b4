use super::*;
use crate::clock::Clock;

const USUAL: Duration = Duration::from_secs(1);

/// Simulates this many seconds in which a page is answered at once, with this fraction of it new
/// each second. Returns the times of requests.
fn follow(schedule: &mut PageSchedule, start: Instant, seconds: u64, new: [f64; 2]) -> [usize; 2] {
    let (mut now, mut counts) = (start, [0; 2]);
    let mut last = [start; 2];
    while now < start + Duration::from_secs(seconds) {
        for page in schedule.due(now, PollRule::Tokens).0 {
            schedule.asked(page, now);
            let part = new[page] * (now - last[page]).as_secs_f64();
            schedule.answered(page, now, Some(part.min(1.0)));
            (last[page], counts[page]) = (now, counts[page] + 1);
        }
        now = schedule.due(now, PollRule::Tokens).1.expect("nothing is waited for");
    }
    counts
}

#[tokio::test]
async fn a_page_is_read_so_often_that_a_third_of_it_is_new() {
    let start = Clock::system().instant();
    let mut schedule = PageSchedule::new(2, USUAL);
    let [first, second] = follow(&mut schedule, start, 300, [0.5, 0.2]);
    assert!((430..=460).contains(&first) && (170..=190).contains(&second), "{first} {second}");
    // Never more than twice as often as usual, nor less than a quarter as often.
    let mut schedule = PageSchedule::new(2, USUAL);
    let [first, second] = follow(&mut schedule, start, 300, [50.0, 0.0]);
    assert!((590..=601).contains(&first) && (73..=80).contains(&second), "{first} {second}");
}

#[tokio::test]
async fn slow_page_delays_no_other_page() {
    let start = Clock::system().instant();
    let mut schedule = PageSchedule::new(2, USUAL);
    let mut asked = 0;
    for second in 0..20 {
        let now = start + Duration::from_secs(second);
        let (due, _) = schedule.due(now, PollRule::Tokens);
        assert!(due.contains(&1), "page 2 comes at once each time");
        for page in due {
            schedule.asked(page, now);
            match page {
                0 => asked += 1,
                _ => schedule.answered(page, now, None),
            }
        }
    }
    assert_eq!(asked, MOST_IN_FLIGHT);
    // Without a token there is one request at a time, and the interval begins at its end.
    let end = start + Duration::from_secs(20);
    assert_eq!(schedule.due(end, PollRule::Every(USUAL)), (vec![1], None));
    for _ in 0..MOST_IN_FLIGHT {
        schedule.answered(0, end, None);
    }
    let (due, later) = schedule.due(end, PollRule::Every(USUAL));
    assert_eq!((due, later), (vec![1], Some(end + USUAL)));
}

#[tokio::test]
async fn failing_pages_back_off_until_the_first_success() {
    let start = Clock::system().instant();
    let mut schedule = PageSchedule::new(2, USUAL);
    let fail = |schedule: &mut PageSchedule, page| {
        schedule.asked(page, start);
        schedule.failed(page, start, Duration::ZERO);
    };
    for _ in 0..9 {
        fail(&mut schedule, 0);
    }
    let soon = start + Duration::from_secs(29);
    assert_eq!(schedule.due(soon, PollRule::Tokens).0, [1]);
    assert!(!schedule.is_well());
    // The other page is well, so the failing one keeps waiting.
    schedule.asked(1, soon);
    schedule.answered(1, soon, None);
    assert_eq!(schedule.due(soon + USUAL, PollRule::Tokens).0, [1]);
    // All pages fail: the first response ends the wait of all.
    for _ in 0..9 {
        fail(&mut schedule, 1);
    }
    assert_eq!(schedule.due(soon, PollRule::Tokens).0, [0; 0]);
    schedule.asked(1, soon);
    schedule.answered(1, soon, None);
    assert!(schedule.due(soon + USUAL, PollRule::Tokens).0.contains(&0));
    schedule.asked(0, soon);
    schedule.answered(0, soon, None);
    assert!(schedule.is_well());
}

#[tokio::test]
async fn failed_page_waits_at_least_the_requested_time() {
    let start = Clock::system().instant();
    let mut schedule = PageSchedule::new(1, USUAL);
    schedule.asked(0, start);
    schedule.failed(0, start, Duration::from_secs(600));
    let (due, later) = schedule.due(start, PollRule::Every(USUAL));
    assert_eq!((due.len(), later), (0, Some(start + Duration::from_secs(600))));
}
