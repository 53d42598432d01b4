use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use super::*;
use crate::clock::Stopwatch;
use crate::config;
use crate::http::fake::{FakeReply, FakeServer, SentRequest};
use crate::logging::captured;
use crate::model::part::PartState;

const SECRETS: [&str; 2] = ["ghp_s3cret_a", "ghp_s3cret_b"];

fn poller(fake: &FakeServer, tokens: &[&str], loop_break_ms: u64) -> Poller {
    poller_by(Clock::system(), fake, tokens, loop_break_ms)
}

fn poller_by(clock: Clock, fake: &FakeServer, tokens: &[&str], loop_break_ms: u64) -> Poller {
    let (api_url, pace) = (fake.url.clone(), Duration::from_millis(loop_break_ms));
    let github = GitHubConfig { api_url, pace, ..config::defaults().github };
    let tokens = tokens.iter().map(|text| Secret::new(*text)).collect();
    Poller::new(&github, tokens, clock).unwrap()
}

/// A page with one event.
fn page(id: u32) -> FakeReply {
    FakeReply::new(200, &format!("[{{\"id\":\"{id}\",\"type\":\"PushEvent\"}}]"))
}

/// A reply with a limit so high that only intervals count.
fn generous(reply: FakeReply) -> FakeReply {
    let reply = reply.with("X-RateLimit-Limit", 10_000_000);
    reply.with("X-RateLimit-Remaining", 9_999_999).with("X-RateLimit-Reset", 4_000_000_000_u64)
}

async fn next(poller: &mut Poller) -> Poll {
    poller.next_poll().await
}

/// Polls until every page arrived this many times; returns all pages that arrived.
async fn each(poller: &mut Poller, times: usize) -> Vec<PolledPage> {
    let mut pages: Vec<PolledPage> = Vec::new();
    while (1..=3).any(|n| pages.iter().filter(|page| page.number == n).count() < times) {
        pages.extend(next(poller).await.pages);
    }
    pages
}

fn numbers(poll: &Poll) -> Vec<u8> {
    poll.pages.iter().map(|page| page.number).collect()
}

/// Polls until the status is as wanted; fails when a page arrives before that.
async fn until(poller: &mut Poller, wanted: impl Fn(&SourceStatus) -> bool) -> SourceStatus {
    let mut status = poller.status();
    tokio::select! {
        biased;
        found = status.wait_for(wanted) => found.unwrap().clone(),
        poll = poller.next_poll() => panic!("{poll:?} before the state that was waited for"),
    }
}

fn seconds_ahead(status: &SourceStatus) -> Option<f64> {
    let next = status.report.next_poll_at?;
    Some(next.since(Clock::system().now()).as_secs_f64())
}

fn interval(status: &SourceStatus) -> Duration {
    Duration::from_secs_f64(status.report.poll_interval_seconds)
}

fn is_far(status: &SourceStatus) -> bool {
    seconds_ahead(status).is_some_and(|seconds| seconds > 5.0)
}

#[tokio::test]
async fn all_pages_are_requested_at_once() {
    let fake =
        FakeServer::start(|asked| page(asked.page().into()).with("X-Simulated", "ghpulse")).await;
    let mut poller = poller(&fake, &[], 1_000);
    let before = poller.status().borrow().clone();
    assert_eq!((before.state, before.simulated), (PartState::Degraded, false));
    let pages = each(&mut poller, 1).await;
    assert_eq!(pages.len(), 3);
    for page in &pages {
        let wanted = format!("[{{\"id\":\"{}\",\"type\":\"PushEvent\"}}]", page.number);
        assert!(page.entries.iter().eq([&wanted[1..wanted.len() - 1]]));
    }
    let status = poller.status().borrow().clone();
    assert_eq!((status.state, status.simulated), (PartState::Ok, true));
    assert_eq!((&*status.report.mode, status.overlap), ("anonymous", vec![None; 3]));
    assert!(status.report.last_poll_at.is_some());
}

#[tokio::test]
async fn where_headers_say_nothing_the_next_request_is_a_minute_away() {
    let fake = FakeServer::start(|asked| page(asked.page().into())).await;
    let mut poller = poller(&fake, &[], 1);
    each(&mut poller, 1).await;
    let status = until(&mut poller, is_far).await;
    let ahead = seconds_ahead(&status).unwrap();
    // Some of it may have passed on a slow machine.
    assert!((30.0..65.0).contains(&ahead), "{ahead}");
    assert_eq!(fake.asked().len(), 3);
}

#[tokio::test]
async fn without_tokens_the_poll_interval_is_kept() {
    let fake =
        FakeServer::start(|asked| generous(page(asked.page().into())).with("X-Poll-Interval", 600))
            .await;
    let mut poller = poller(&fake, &[], 1);
    each(&mut poller, 1).await;
    let status = until(&mut poller, is_far).await;
    let ahead = seconds_ahead(&status).unwrap();
    assert!((540.0..=600.0).contains(&ahead), "{ahead}");
    assert_eq!(interval(&status), Duration::from_secs(600));
}

#[tokio::test]
async fn a_generous_server_is_polled_whole_each_second() {
    let fake =
        FakeServer::start(|asked| generous(page(asked.page().into())).with("X-Poll-Interval", 1))
            .await;
    let mut poller = poller(&fake, &[], 60_000);
    let clock = Clock::system();
    let start = clock.instant();
    assert_eq!(each(&mut poller, 3).await.len(), 9);
    let took = clock.instant() - start;
    assert!(took >= Duration::from_secs(2), "{took:?}");
    let status = poller.status().borrow().clone();
    assert_eq!(status.overlap, vec![Some(1.0); 3]);
}

#[tokio::test]
async fn with_tokens_the_configured_break_paces() {
    let fake =
        FakeServer::start(|asked| generous(page(asked.page().into())).with("X-Poll-Interval", 600))
            .await;
    let mut fast = poller(&fake, &SECRETS, 200);
    each(&mut fast, 4).await;
    let mut slow = poller(&fake, &SECRETS, 40_000);
    each(&mut slow, 1).await;
    let status = until(&mut slow, is_far).await;
    assert_eq!(interval(&status), Duration::from_secs(40));
    assert_eq!((&*status.report.mode, status.report.tokens_usable), ("tokens", 2));
}

#[tokio::test]
async fn each_page_has_its_own_etag_for_each_token() {
    let name = |asked: &SentRequest| {
        format!("W/\"{}-{}\"", asked.header("authorization").unwrap(), asked.page())
    };
    let fake = FakeServer::start(move |asked| generous(page(0)).with("ETag", &name(asked))).await;
    let mut poller = poller(&fake, &SECRETS, 1);
    while fake.asked().len() < 15 {
        next(&mut poller).await;
    }
    let asked = fake.asked();
    let known: Vec<_> = asked.iter().filter(|a| a.header("if-none-match").is_some()).collect();
    let first: HashSet<_> = asked.iter().map(name).collect();
    assert_eq!(known.len(), asked.len() - first.len(), "each was new once");
    for asked in known {
        assert_eq!(asked.header("if-none-match"), Some(name(asked).as_str()));
    }
}

#[tokio::test]
async fn unchanged_page_is_not_returned_again() {
    let version = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&version);
    let fake = FakeServer::start(move |asked| {
        let etag = format!("\"{}\"", count.fetch_add(1, Ordering::SeqCst) / 12);
        let unchanged = asked.header("if-none-match") == Some(&etag);
        let reply = if unchanged { FakeReply::new(304, "") } else { page(7) };
        generous(reply).with("ETag", &etag)
    })
    .await;
    let mut poller = poller(&fake, &SECRETS[..1], 1);
    each(&mut poller, 2).await;
    assert!(fake.asked().len() >= 12 && version.load(Ordering::SeqCst) < 24);
    assert_eq!(poller.status().borrow().state, PartState::Ok);
}

#[tokio::test]
async fn failing_page_does_not_stop_the_others() {
    let left = Arc::new(AtomicU32::new(2));
    let fake = FakeServer::start(move |asked| {
        let fails = asked.page() == 2
            && left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails { FakeReply::new(502, "bad gateway") } else { generous(page(asked.page().into())) }
    })
    .await;
    let mut poller = poller(&fake, &SECRETS[..1], 1);
    while poller.status().borrow().report.last_error.is_none() {
        assert!(!numbers(&next(&mut poller).await).contains(&2));
    }
    let status = poller.status().borrow().clone();
    assert_eq!(status.state, PartState::Degraded);
    assert!(status.report.last_error.unwrap().message.contains("page 2 of http://127.0.0.1:"));
    while !numbers(&next(&mut poller).await).contains(&2) {
        assert_eq!(poller.status().borrow().state, PartState::Degraded);
    }
    let status = poller.status().borrow().clone();
    assert_eq!(status.state, PartState::Ok);
    assert!(status.report.last_error.is_some(), "what went wrong last is kept");
}

#[tokio::test]
async fn a_server_that_never_answered_is_down_until_it_does() {
    let asked = Arc::new(AtomicU32::new(0));
    let fake = FakeServer::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => FakeReply::Cut(Vec::new()),
        1 => FakeReply::Cut(b"garbage".to_vec()),
        2..6 => FakeReply::new(503, ""),
        _ => page(1),
    })
    .await;
    let mut poller = poller(&fake, &SECRETS, 1);
    let status = until(&mut poller, |status| status.state == PartState::Down).await;
    assert!(status.report.last_error.is_some() && status.report.last_poll_at.is_none());
    each(&mut poller, 1).await;
    assert_eq!(poller.status().borrow().state, PartState::Ok);
}

#[tokio::test]
async fn rate_limit_is_waited_for_and_reported() {
    let fake = FakeServer::start(|_| FakeReply::new(429, "").with("Retry-After", 120)).await;
    let mut poller = poller(&fake, &SECRETS[..1], 1);
    let status = until(&mut poller, is_far).await;
    let ahead = seconds_ahead(&status).unwrap();
    assert!((60.0..=120.0).contains(&ahead), "{ahead}");
    assert_eq!((status.state, status.report.tokens_usable), (PartState::Degraded, 0));
    assert_eq!(status.report.last_error.unwrap().message, "GitHub wants fewer requests for 120 s");
}

#[tokio::test]
async fn polling_continues_anonymously_without_valid_tokens() {
    let fake = FakeServer::start(|asked| match asked.header("authorization") {
        Some(_) => FakeReply::new(401, "Bad credentials").with("X-Poll-Interval", 0),
        None => generous(page(asked.page().into())).with("X-Poll-Interval", 0),
    })
    .await;
    let mut poller = poller(&fake, &SECRETS, 1);
    each(&mut poller, 1).await;
    let status = poller.status().borrow().clone();
    assert_eq!((&*status.report.mode, status.report.tokens_benched), ("anonymous", 2));
    assert_eq!(status.state, PartState::Degraded);
    let message = status.report.last_error.clone().unwrap().message;
    assert!(message.contains("refuses a token (401"), "{message}");
    let said = format!("{status:?} {poller:?}");
    assert!(!said.contains("s3cret"), "{said}");
    let with_token = fake.asked().iter().filter(|a| a.header("authorization").is_some()).count();
    // Up to one request for each of three pages with each token, and two identity requests.
    assert!(with_token <= 8, "{with_token} requests with tokens that were refused");
}

#[tokio::test]
async fn dropped_future_loses_no_page() {
    let first = Arc::new(AtomicU32::new(0));
    let fake = FakeServer::start(move |asked| {
        if asked.page() == 3 && first.fetch_add(1, Ordering::SeqCst) == 0 {
            return FakeReply::Hang;
        }
        let etag = format!("\"{}\"", asked.page());
        let unchanged = asked.header("if-none-match") == Some(&etag);
        let reply = if unchanged { FakeReply::new(304, "") } else { page(asked.page().into()) };
        generous(reply).with("ETag", &etag)
    })
    .await;
    let mut poller = poller(&fake, &SECRETS[..1], 1);
    // A page that hangs does not delay any other; the pending future is dropped again and again.
    let mut brought = Vec::new();
    while fake.asked().len() < 3 || brought.len() < 2 {
        let turn = tokio::time::timeout(Duration::from_millis(5), poller.next_poll()).await;
        brought.extend(turn.map_or_else(|_| Vec::new(), |poll| numbers(&poll)));
    }
    while brought.len() < 3 {
        brought.extend(numbers(&next(&mut poller).await));
    }
    brought.sort_unstable();
    assert_eq!(brought, [1, 2, 3]);
}

#[tokio::test]
async fn response_that_is_not_a_list_is_requested_again_whole() {
    let fake =
        FakeServer::start(|_| generous(FakeReply::new(200, "<html>")).with("ETag", "\"x\"")).await;
    let mut poller = poller(&fake, &SECRETS[..1], 1);
    for _ in 0..4 {
        let poll = next(&mut poller).await;
        assert!(!poll.pages[0].entries.is_list());
    }
    assert!(fake.asked().iter().all(|asked| asked.header("if-none-match").is_none()));
    let status = poller.status().borrow().clone();
    assert_eq!(status.state, PartState::Degraded);
    assert!(status.report.last_error.unwrap().message.contains("is not a JSON list"));
}

#[tokio::test]
async fn invalid_url_and_page_count_are_refused() {
    for (url, pages) in [("http://h", 0), ("http://h", MOST_PAGES + 1), ("nonsense", 3)] {
        let github = GitHubConfig { api_url: url.to_owned(), pages, ..config::defaults().github };
        let error = Poller::new(&github, Vec::new(), Clock::system()).unwrap_err();
        assert!(error.to_string().starts_with("cannot ask GitHub: "), "{error}");
    }
}

/// The token `ghp_s3cret_b` gets a page, and every other request gets `other`.
async fn only_b_is_served(
    other: impl Fn() -> FakeReply + Send + Sync + Clone + 'static,
) -> FakeServer {
    FakeServer::start(move |asked| match asked.header("authorization") {
        Some(value) if value.ends_with(SECRETS[1]) => generous(page(asked.page().into())),
        _ => other(),
    })
    .await
}

#[tokio::test]
async fn a_new_token_ends_every_wait_for_the_old_ones() {
    let limited = || FakeReply::new(429, "{}").with("retry-after", 3_600);
    let revoked = || FakeReply::new(401, "{}");
    let broken = || FakeReply::new(404, "{}");
    let patient = || generous(FakeReply::new(304, "")).with("x-poll-interval", 600);
    for (reply, tokens) in [
        (limited as fn() -> FakeReply, &SECRETS[..1]),
        (revoked, &SECRETS[..1]),
        (broken, &SECRETS[..1]),
        (patient, &[]),
    ] {
        let fake = only_b_is_served(reply).await;
        let mut poller = poller(&fake, tokens, 1_000);
        until(&mut poller, is_far).await;
        poller.pool().replace(vec![Secret::new(SECRETS[1])]);
        // Each of those waits takes at least a minute.
        let within = Duration::from_secs(30);
        let poll = tokio::time::timeout(within, next(&mut poller)).await.unwrap();
        assert!(!poll.pages.is_empty(), "{tokens:?}");
    }
}

#[tokio::test]
async fn an_odd_answer_for_each_page_stops_none_of_them_for_long() {
    let asked = Arc::new([(); 3].map(|()| AtomicU32::new(0)));
    let fake = FakeServer::start(move |request| {
        let at = usize::from(request.page()) - 1;
        match asked[at].fetch_add(1, Ordering::Relaxed) {
            0 => FakeReply::new([404, 204, 302][at], ""),
            _ => generous(page(request.page().into())),
        }
    })
    .await;
    let mut poller = poller(&fake, &SECRETS[..1], 100);
    let pages = tokio::time::timeout(Duration::from_secs(30), each(&mut poller, 1)).await.unwrap();
    assert!(pages.iter().all(|page| page.entries.is_whole()));
}

/// Headers of pages that GitHub does not send. None is a reason to stop, or to wait.
const ODD_HEADERS: [&[(&str, &str)]; 22] = [
    &[],
    &[("x-ratelimit-remaining", "-1")],
    &[("x-ratelimit-remaining", "1e9"), ("x-ratelimit-limit", "0x10")],
    &[("x-ratelimit-remaining", "18446744073709551615")],
    &[("x-ratelimit-limit", "0")],
    &[("x-ratelimit-remaining", "5000"), ("x-ratelimit-remaining", "0")],
    &[("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "0")],
    &[("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "1800000000000")],
    &[("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset", "18446744073709551615")],
    &[("x-ratelimit-reset", "soon"), ("x-ratelimit-used", "9999999999")],
    &[("x-poll-interval", "0")],
    &[("x-poll-interval", "1000000000000000000")],
    &[("x-poll-interval", "60, 60")],
    &[("retry-after", "Fri, 31 Dec 9999 23:59:59 GMT")],
    &[("retry-after", "1000000000000000000")],
    &[("date", "Thu, 01 Jan 1970 00:00:00 GMT"), ("x-ratelimit-reset", "1")],
    &[("date", "yesterday")],
    &[("content-type", "text/html; charset=utf-16")],
    &[("content-type", "")],
    &[("etag", "\"caf\u{e9}\"")],
    &[("link", "<http://169.254.169.254/latest>; rel=\"next\"")],
    &[("location", "http://169.254.169.254/latest"), ("refresh", "0")],
];

#[tokio::test]
async fn odd_headers_stop_nothing_and_cost_no_event() {
    let cases = ODD_HEADERS.map(|headers| async move {
        let answer = |asked: &SentRequest| {
            let page = page(asked.page().into());
            headers.iter().fold(page, |reply, (name, value)| reply.with(name, *value))
        };
        let fake = FakeServer::start(answer).await;
        let mut poller = poller(&fake, &SECRETS[..1], 1);
        let within = Duration::from_secs(240);
        let pages = tokio::time::timeout(within, each(&mut poller, 2)).await;
        for page in pages.unwrap_or_else(|_| panic!("{headers:?} stop the poller")) {
            let wanted = format!("{{\"id\":\"{}\",\"type\":\"PushEvent\"}}", page.number);
            assert!(page.entries.iter().eq([&*wanted]), "{headers:?}");
        }
        let is_secret = |asked: &SentRequest| asked.header("authorization").is_some();
        assert!(fake.asked().iter().all(is_secret), "{headers:?}");
    });
    futures_util::future::join_all(cases).await;
}

#[tokio::test]
async fn lines_about_a_state_that_changes_with_each_response_have_a_limit() {
    let fake = FakeServer::start(|_| page(1)).await;
    let mut poller = poller(&fake, &[], 1_000);
    let well = Summary { answered: true, ..Summary::default() };
    let ill = || Summary { answered: true, trouble: Some("odd".into()), ..Summary::default() };
    let ((), log) = captured(|| {
        for _ in 0..40 {
            poller.report(&ill());
            poller.report(&well);
        }
    });
    for kind in ["GitHub answers", "odd"] {
        let lines = log.lines().filter(|line| line.contains(kind)).count();
        assert!(lines <= 10, "{log}");
    }
}

#[tokio::test]
async fn time_in_which_the_machine_was_suspended_is_an_outage() {
    static ASLEEP: AtomicI64 = AtomicI64::new(0);
    static ID: AtomicU32 = AtomicU32::new(0);
    let fake = FakeServer::start(|_| {
        generous(page(ID.fetch_add(1, Ordering::Relaxed))).with("X-Poll-Interval", 1)
    })
    .await;
    let clock = Clock::stepped(&ASLEEP);
    let mut poller = poller_by(clock, &fake, &[], 100);
    each(&mut poller, 2).await;
    let before = clock.now();
    assert_eq!(poller.outage_since(), None);
    ASLEEP.store(1_800_000_000, Ordering::Relaxed);
    next(&mut poller).await;
    let since = poller.outage_since().expect("an outage");
    assert!(since <= before && before.since(since) < Duration::from_secs(60), "{since}");
}

#[tokio::test]
async fn waits_end_while_the_machine_is_suspended() {
    static ASLEEP: AtomicI64 = AtomicI64::new(0);
    let clock = Clock::stepped(&ASLEEP);
    let reset = clock.now().second().0 + 1_800;
    let fake = FakeServer::start(move |asked| {
        if clock.now().second().0 >= reset {
            return generous(page(asked.page().into()));
        }
        let limited = FakeReply::new(403, "{}").with("X-RateLimit-Limit", 5_000);
        limited.with("X-RateLimit-Remaining", 0).with("X-RateLimit-Reset", reset)
    })
    .await;
    let mut poller = poller_by(clock, &fake, &SECRETS[..1], 100);
    let wait = tokio::time::timeout(Duration::from_secs(5), poller.next_poll());
    assert!(wait.await.is_err(), "nothing is sent before the limit's window ends");
    let asked = fake.asked().len();
    ASLEEP.store(900_000_000, Ordering::Relaxed);
    let wait = tokio::time::timeout(Duration::from_secs(5), poller.next_poll());
    assert!(wait.await.is_err(), "nor is the window over after half of it");
    assert_eq!(fake.asked().len(), asked);
    ASLEEP.store(1_900_000_000, Ordering::Relaxed);
    let wait = tokio::time::timeout(Duration::from_secs(60), poller.next_poll());
    assert!(!wait.await.expect("a page").pages.is_empty());
}

#[tokio::test]
async fn clock_that_is_set_again_and_again_ends_a_wait_now_and_then() {
    static AHEAD: AtomicI64 = AtomicI64::new(0);
    let clock = Clock::stepped(&AHEAD);
    let limited = || FakeReply::new(403, "{}").with("Retry-After", 1_800);
    let fake = FakeServer::start(move |_| limited()).await;
    let mut poller = poller_by(clock, &fake, &SECRETS[..1], 100);
    let (mut asked, waited) = (Vec::new(), Stopwatch::start());
    for ahead in [0, 3_600_000_000].repeat(6) {
        AHEAD.store(ahead, Ordering::Relaxed);
        let wait = tokio::time::timeout(Duration::from_secs(1), poller.next_poll());
        assert!(wait.await.is_err(), "no page comes");
        asked.push(fake.asked().len());
    }
    let asked_again = asked.windows(2).filter(|asked| asked[0] < asked[1]).count() as u64;
    let most = 1 + waited.elapsed().as_secs() / RESUME_PAUSE.as_secs();
    assert!((1..=most).contains(&asked_again), "{asked:?}");
}
