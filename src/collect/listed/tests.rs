use super::feeds::ListedFeeds;
use super::read::{FinishedRead, ReadEnd};
use super::*;
use crate::github::limits::RateLimits;
use crate::github::tokens::{PoolOptions, TokenVerdict};
use crate::model::window::Timestamp;

const WITHIN: Duration = Duration::from_secs(3_600);

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000).plus(Duration::from_secs(seconds))
}

fn name(text: &str) -> ListedName {
    ListedName::parse(text).unwrap()
}

fn feeds(names: &[ListedName]) -> ListedFeeds {
    let mut feeds = ListedFeeds::new(Vec::new(), at(0));
    feeds.set(names.iter(), at(0));
    feeds
}

/// Pages with the events of these ids, newest first.
fn pages(ids: std::ops::Range<u64>, repo: &str) -> Vec<Entries> {
    let event = |id: &u64| {
        format!(
            r#"{{"id":"{id}","type":"WatchEvent","repo":{{"name":"{repo}"}},"created_at":"{}"}}"#,
            at(*id)
        )
    };
    let ids: Vec<u64> = ids.rev().collect();
    let page = |ids: &[u64]| {
        let list: Vec<String> = ids.iter().map(event).collect();
        Entries::of_list(&format!("[{}]", list.join(",")).into())
    };
    let pages: Vec<Entries> = ids.chunks(100).take(3).map(page).collect();
    if pages.is_empty() { vec![page(&[])] } else { pages }
}

fn whole(name: &ListedName, pages: Vec<Entries>, is_joined: bool) -> FinishedRead {
    let has_all = pages.len() == 3;
    let ended = ReadEnd::Whole { etag: Some("W/\"x\"".to_owned()), is_joined, has_all };
    FinishedRead { name: name.clone(), pages, ended, poll_interval: None }
}

fn ended(name: &ListedName, ended: ReadEnd) -> FinishedRead {
    FinishedRead { name: name.clone(), pages: Vec::new(), ended, poll_interval: None }
}

/// Reads a due feed. Returns what was said and how many holes were found.
fn settle(feeds: &mut ListedFeeds, read: &FinishedRead, now: u64) -> (Option<String>, u64) {
    feeds.start(&read.name).expect("it is not in flight");
    let settled = feeds.settle(read, WITHIN, at(now)).unwrap();
    (settled.message, settled.holes)
}

/// Seconds until the next feed is due.
fn next(feeds: &ListedFeeds, now: u64) -> u64 {
    let (due, next) = feeds.due(at(now), WITHIN);
    if due.is_empty() { next.unwrap().since(at(now)).as_secs() } else { 0 }
}

#[test]
fn pace_follows_activity() {
    let repo = name("a/b");
    let mut quiet = feeds(std::slice::from_ref(&repo));
    assert_eq!(next(&quiet, 0), 0);
    assert_eq!(settle(&mut quiet, &whole(&repo, pages(0..0, "a/b"), true), 0), (None, 0));
    assert!((3_200..=3_600).contains(&next(&quiet, 0)), "{}", next(&quiet, 0));
    settle(&mut quiet, &ended(&repo, ReadEnd::Unchanged), 3_600);
    assert!((3_200..=3_600).contains(&next(&quiet, 3_600)));
    // Sixty events an hour, one a minute: ten of them take ten minutes.
    let mut busy = feeds(std::slice::from_ref(&repo));
    let page = |until: u64| whole(&repo, pages(until - 100..until, "a/b"), until > 100);
    settle(&mut busy, &page(100), 6_000);
    let wait = next(&busy, 6_000);
    assert!((500..=600).contains(&wait), "{wait}");
    // A burst is followed at once; GitHub's interval is the least.
    settle(&mut busy, &page(190), 6_060);
    assert_eq!(next(&busy, 6_060), 60);
    let slow = FinishedRead { poll_interval: Some(Duration::from_secs(90)), ..page(280) };
    settle(&mut busy, &slow, 6_120);
    assert_eq!(next(&busy, 6_120), 90);
}

#[test]
fn more_events_than_a_feed_shows_are_a_certain_hole() {
    let repo = name("a/b");
    let mut feeds = feeds(std::slice::from_ref(&repo));
    // The first read has nothing to join, whatever it shows.
    assert_eq!(settle(&mut feeds, &whole(&repo, pages(0..400, "a/b"), false), 500), (None, 0));
    let joined = whole(&repo, pages(350..650, "a/b"), true);
    assert_eq!(settle(&mut feeds, &joined, 1_000), (None, 0));
    let torn = whole(&repo, pages(700..1_000, "a/b"), false);
    let (said, holes) = settle(&mut feeds, &torn, 2_000);
    let said = said.unwrap();
    assert!(said.starts_with("events of a/b are missing: more than 300 came between"), "{said}");
    assert_eq!(holes, 1);
    let changed = feeds.take_changed();
    assert_eq!((changed.len(), changed[0].2, changed[0].1.holes), (1, 1, 1));
    assert_eq!(changed[0].1.last_hole, Some((at(1_000), at(2_000))));
    assert!(feeds.take_changed().is_empty());
    // After more than 30 days events may have expired: a hole is possible, not certain.
    let late = whole(&repo, pages(2_000..2_300, "a/b"), false);
    assert_eq!(settle(&mut feeds, &late, 2_000 + 31 * 86_400).1, 0);
}

#[test]
fn feeds_that_were_read_by_a_clock_ahead_are_read_again() {
    let repo = name("a/b");
    let mut feeds = feeds(std::slice::from_ref(&repo));
    let year = 365 * 86_400;
    let all = whole(&repo, pages(0..300, "a/b"), true);
    settle(&mut feeds, &all, year);
    feeds.correct(at(year));
    let rows = feeds.take_changed().into_iter().map(|(name, row, _)| {
        assert_eq!(row.whole_at, Some(at(year)));
        (FeedKey(name.to_string()), row)
    });
    let mut next_run = ListedFeeds::new(rows.collect(), at(100));
    next_run.set(std::iter::once(&repo), at(100));
    feeds.correct(at(100));
    for feeds in [&mut feeds, &mut next_run] {
        assert_eq!(next(feeds, 100), 24 * 3_600);
        let row = feeds.start(&repo).unwrap();
        assert_eq!((row.read_at, row.whole_at), (Some(at(100)), Some(at(100))));
    }
}

#[test]
fn closed_feed_is_named_and_tried_less_often() {
    let repo = name("a/b");
    let mut feeds = feeds(std::slice::from_ref(&repo));
    let gone = ended(&repo, ReadEnd::Closed(404));
    let (said, _) = settle(&mut feeds, &gone, 0);
    let said = said.unwrap();
    assert_eq!(said, "the feed of a/b cannot be read: 404: it does not exist, or is private");
    let waits: Vec<u64> = (0..7)
        .scan(0, |now, _| {
            let wait = next(&feeds, *now);
            *now += wait;
            assert_eq!(settle(&mut feeds, &gone, *now).0, None, "it is said once");
            Some(wait / 3_600)
        })
        .collect();
    assert_eq!(waits, [1, 2, 4, 8, 16, 24, 24]);
    let (figures, incomplete) = feeds.figures(None);
    assert_eq!((figures.closed, &*incomplete[0].name), (1, "a/b"));
    let back = whole(&repo, pages(0..5, "a/b"), true);
    let (said, _) = settle(&mut feeds, &back, 1_000_000);
    assert_eq!(said.as_deref(), Some("the feed of a/b can be read again"));
    assert_eq!(feeds.figures(None).0.closed, 0);
}

#[test]
fn owner_without_organization_is_read_as_a_user() {
    let owner = name("ann/*");
    let mut feeds = feeds(std::slice::from_ref(&owner));
    assert_eq!(settle(&mut feeds, &ended(&owner, ReadEnd::Closed(404)), 0), (None, 0));
    assert_eq!(next(&feeds, 0), 0, "at once");
    let row = feeds.start(&owner).unwrap();
    assert_eq!(read::path_of(&owner, row.is_user), "users/ann/events/public");
}

#[test]
fn renamed_repository_is_named_once() {
    let repo = name("a/old");
    let mut feeds = feeds(std::slice::from_ref(&repo));
    let read = |until| whole(&repo, pages(0..until, "A/new"), true);
    let (said, _) = settle(&mut feeds, &read(3), 0);
    assert_eq!(said.as_deref(), Some("a/old is now called a/new: put that name on the list"));
    assert_eq!(settle(&mut feeds, &read(4), 4_000).0, None);
    assert_eq!(feeds.figures(None).1[0].reason, "now called a/new: put that name on the list");
}

#[test]
fn name_without_sense_is_not_taken_for_a_new_one() {
    let repo = name("a/b");
    let mut feeds = feeds(std::slice::from_ref(&repo));
    let long = format!("a/{}", "n".repeat(5_000));
    for (at, now) in ["a/b\\r\\nERROR x", "=cmd|' /C calc'!A0/x", "a", &long].iter().enumerate() {
        let read = whole(&repo, pages(0..3, now), true);
        let said = settle(&mut feeds, &read, 1_000_000 * (at as u64 + 1)).0;
        assert_eq!(said, None, "{now}");
    }
}

#[test]
fn owners_and_people_are_read_before_thousands_of_repositories() {
    let mut names: Vec<ListedName> = (0..2_000).map(|n| name(&format!("a/r{n}"))).collect();
    names.extend([name("zz/*"), name("@zoe")]);
    let (due, _) = feeds(&names).due(at(0), WITHIN);
    assert_eq!(due[..2], [name("zz/*"), name("@zoe")]);
}

#[test]
fn most_urgent_feed_is_first_and_rows_survive() {
    let names = ["a/busy", "a/quiet", "a/new"].map(name);
    let mut feeds = feeds(&names[..2]);
    settle(&mut feeds, &whole(&names[0], pages(0..280, "a/busy"), true), 300);
    settle(&mut feeds, &whole(&names[1], pages(0..1, "a/quiet"), true), 30_000);
    let rows = feeds.take_changed();
    let rows = rows.into_iter().map(|(name, row, _)| (FeedKey(name.to_string()), row)).collect();
    let mut feeds = ListedFeeds::new(rows, at(40_000));
    feeds.set(names.iter(), at(40_000));
    let (due, _) = feeds.due(at(40_000), WITHIN);
    assert_eq!(due, [names[0].clone(), names[2].clone(), names[1].clone()]);
    assert_eq!(feeds.start(&names[0]).unwrap().etag.as_deref(), Some("W/\"x\""));
    assert!(feeds.start(&names[0]).is_none(), "it is in flight");
}

/// What hours of 10,000 quiet repositories costs one token: an event a day each. A model of the
/// schedule and the budgets, in simulated time, without a network.
#[tokio::test(start_paused = true)]
async fn quiet_repositories_cost_few_counted_requests() {
    const REPOS: u64 = 10_000;
    let clock = Clock::system();
    let tokens = vec![crate::config::Secret::new("t")];
    let pool = TokenPool::new(PoolOptions { tokens, share: 0.9, burst: 3 }, clock);
    pool.set_shares(|shares| shares.feeds = 0.2);
    let names: Vec<ListedName> = (0..REPOS).map(|n| name(&format!("o/r{n}"))).collect();
    let begun = clock.instant();
    let now = || clock.instant().duration_since(begun).as_secs();
    let mut feeds = feeds(&names);
    let mut counted = vec![0_u64; 20];
    let mut reads = [0_u64; 20];
    let hour = |now: u64| usize::try_from(now / 3_600).unwrap();
    // Events of a repository up to a time: one a day, each at an hour of its own.
    let events = |n: u64, now: u64| (now + n * 86_400 / REPOS) / 86_400;
    let mut shown: BTreeMap<ListedName, u64> = BTreeMap::new();
    while hour(now()) < 16 {
        let (due, next) = feeds.due(at(now()), WITHIN);
        let mut wait = next.map_or(LOOK, |next| next.since(at(now()))).min(LOOK);
        for name in due {
            let lease = match pool.grant_feed(read::token_of(&name)) {
                TokenGrant::Go(lease) => lease,
                TokenGrant::Wait(until) => {
                    wait = until.duration_since(clock.instant());
                    break;
                }
            };
            wait = Duration::ZERO;
            feeds.start(&name).unwrap();
            let n: u64 = name.to_string()[3..].parse().unwrap();
            let count = events(n, now());
            let is_changed = shown.insert(name.clone(), count) != Some(count);
            let limits = RateLimits { limit: Some(5_000), ..RateLimits::default() };
            let verdict = if is_changed { TokenVerdict::Served } else { TokenVerdict::Unchanged };
            lease.settle(verdict, &limits, Duration::from_millis(100));
            reads[hour(now())] += 1;
            counted[hour(now())] += u64::from(is_changed);
            let read = if is_changed {
                whole(&name, pages(0..count, &name.to_string()), true)
            } else {
                ended(&name, ReadEnd::Unchanged)
            };
            feeds.settle(&read, WITHIN, at(now())).unwrap();
        }
        clock.sleep(wait.max(Duration::from_millis(10))).await;
    }
    // The first read of each counts; within the share of one token that takes hours.
    let first = counted.iter().take_while(|counted| **counted > 900).count();
    assert!((9..=12).contains(&first), "{counted:?}");
    for at in 12..16 {
        let per_thousand = counted[at] * 1_000 / REPOS;
        assert!(per_thousand < 100, "{per_thousand} in hour {at}: {counted:?}");
        assert!(reads[at] > REPOS * 9 / 10, "{} reads in hour {at}", reads[at]);
    }
}
