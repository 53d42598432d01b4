//! Tests of admission on a real store.

use std::collections::VecDeque;

use bytes::Bytes;

use super::super::entries::Entries;
use super::super::source::PolledPage;
use super::*;
use crate::clock::Clock;
use crate::store::Durability;
use crate::store::keys::RejectKey;
use crate::store::retention::{RetentionOptions, drop_due};
use crate::store::rows::decode_inbox;

fn store(dir: &std::path::Path) -> Store {
    Store::open(dir, Durability::EveryBatch, Clock::system()).unwrap()
}

fn poll(pages: &[&str]) -> Poll {
    let page = |(i, text): (usize, &&str)| PolledPage {
        number: u8::try_from(i + 1).unwrap(),
        entries: Entries::of_list(&Bytes::copy_from_slice(text.as_bytes())),
    };
    let pages = pages.iter().enumerate().map(page).collect();
    Poll { pages, received_at: Clock::system().now() }
}

fn bodies(store: &Store) -> Vec<String> {
    let mut found = Vec::new();
    let read = |_: BodyKey, value: &[u8]| {
        found.push(String::from_utf8(value.to_vec()).unwrap());
        Ok(true)
    };
    store.reader().scan(&BodyKey(0), read).unwrap();
    found
}

#[tokio::test]
async fn duplicate_within_a_poll_is_admitted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let a = r#"{"id":"1","type":"A"}"#;
    let same_id = r#"{"id":"1","type":"B"}"#;
    let page = format!("[{a},{same_id},{a}]");
    let first = admit(&store, poll(&[&page, &page])).await.unwrap();
    assert_eq!(first, Admitted { new: 2, known: 4, rejected: 0, left_out: 0 });
    let second = admit(&store, poll(&[&page])).await.unwrap();
    assert_eq!(second, Admitted { new: 0, known: 3, rejected: 0, left_out: 0 });
    assert_eq!(bodies(&store), [a, same_id]);
    assert_eq!(*store.watermarks().inbox.borrow(), 2);
}

#[tokio::test]
async fn events_of_the_simulated_github_are_marked() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut poll = poll(&[r#"[{"id":"1","type":"A"}]"#, r#"[{"id":"2","type":"A"}]"#]);
    let page = &mut poll.pages[1];
    page.entries = page.entries.clone().with_simulated(true);
    admit(&store, poll).await.unwrap();
    let mut marked = Vec::new();
    let read = |key: InboxKey, value: &[u8]| {
        marked.push(decode_inbox(key, value)?.1);
        Ok(true)
    };
    store.reader().scan(&InboxKey(0), read).unwrap();
    assert_eq!(marked, [false, true]);
}

#[tokio::test]
async fn a_poll_is_admitted_oldest_first_by_time_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let event = |id: u32, second: u32| {
        format!(r#"{{"id":"{id}","type":"A","created_at":"2026-01-01T00:00:{second:02}Z"}}"#)
    };
    let one = format!("[{},{}]", event(10, 5), event(9, 5));
    let two = format!("[{},{}]", event(3, 4), event(200, 5));
    admit(&store, poll(&[&one, &two])).await.unwrap();
    assert_eq!(bodies(&store), [event(3, 4), event(9, 5), event(10, 5), event(200, 5)]);
}

#[tokio::test]
async fn invalid_entry_is_counted_and_kept_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let pages = [r#"[1,null,{"x":2},{"id":"5"}]"#, "<html>busy</html>", r#"[{"id":"6"#];
    let admitted = admit(&store, poll(&pages)).await.unwrap();
    assert_eq!(admitted, Admitted { new: 1, known: 0, rejected: 5, left_out: 0 });
    let mut reasons = Vec::new();
    let read = |_: RejectKey, value: &[u8]| {
        let refused = crate::store::rows::decode_rejected(value).unwrap();
        reasons.push((refused.reason, String::from_utf8(refused.text).unwrap()));
        Ok(true)
    };
    store.reader().scan(&RejectKey(0), read).unwrap();
    assert_eq!(reasons[0], ("not a JSON object".to_owned(), "1".to_owned()));
    assert!(reasons[2].0.contains("neither `id` nor `type`"), "{reasons:?}");
    assert!(reasons[3].0.contains("page 2 is not a JSON list"), "{reasons:?}");
}

#[tokio::test]
async fn the_reject_log_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let many = format!("[{}]", vec!["0"; 80].join(","));
    for _ in 0..30 {
        admit(&store, poll(&[&many])).await.unwrap();
    }
    let mut kept = 0;
    store
        .reader()
        .scan(&RejectKey(0), |_, _| {
            kept += 1;
            Ok(true)
        })
        .unwrap();
    assert_eq!(kept, rejects::KEPT);
}

#[tokio::test]
async fn text_that_is_not_utf8_does_not_lose_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut poll = poll(&[]);
    let body = Bytes::from_static(b"[{\"id\":\"1\",\"n\":\"\xff\"},{\"id\":\"2\"}]");
    poll.pages.push(PolledPage { number: 1, entries: Entries::of_list(&body) });
    assert_eq!(admit(&store, poll).await.unwrap().new, 2);
}

/// A source with these polls, each after an outage that began at the given time; stops at their
/// end.
struct Polls {
    left: VecDeque<(Option<Timestamp>, Poll)>,
    outage_since: Option<Timestamp>,
    polled_before: Option<Timestamp>,
    stop: CancellationToken,
}

impl EventSource for Polls {
    async fn next_poll(&mut self) -> Poll {
        let Some((outage_since, poll)) = self.left.pop_front() else {
            self.stop.cancel();
            return std::future::pending().await;
        };
        self.outage_since = outage_since;
        poll
    }

    fn outage_since(&mut self) -> Option<Timestamp> {
        self.outage_since.take()
    }

    fn polled_before(&mut self) -> Option<Timestamp> {
        self.polled_before.take()
    }
}

fn second(at: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + at)
}

#[tokio::test]
async fn event_is_admitted_once_despite_clock_steps() {
    const DAY: i64 = 86_400;
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let page = r#"[{"id":"1","type":"PushEvent"},{"id":"2","type":"WatchEvent"}]"#;
    for (n, days) in [0, 30, 0, -700, 4, -3, 400].into_iter().enumerate() {
        let poll = Poll { received_at: second(days * DAY), ..poll(&[page]) };
        let admitted = admit(&store, poll).await.unwrap();
        assert_eq!((admitted.new, admitted.known), if n == 0 { (2, 0) } else { (0, 2) }, "{days}");
        // A new event, so that this day has a claim too.
        let other = format!(r#"[{{"id":"9{n}","type":"PushEvent"}}]"#);
        let poll = Poll { received_at: second(days * DAY), ..self::poll(&[&other]) };
        assert_eq!(admit(&store, poll).await.unwrap().new, 1);
    }
}

/// A page of a hundred events up to the number `last`, read at second `at` after an outage since
/// `since`.
fn full_page(last: u64, at: i64, since: Option<i64>) -> (Option<Timestamp>, Poll) {
    let event = |id: u64| format!(r#"{{"id":"{id}","type":"PushEvent"}}"#);
    let events: Vec<String> = (last - 99..=last).map(event).collect();
    let poll = poll(&[&format!("[{}]", events.join(","))]);
    (since.map(second), Poll { received_at: second(at), ..poll })
}

fn options(pages: u8) -> IngestOptions {
    IngestOptions { backlog_bytes: 1 << 30, pages, lists: Arc::default(), clock: Clock::system() }
}

/// Runs the stage once, following one page; returns the outage that is pending then.
async fn live(store: &Store, polls: Vec<(Option<Timestamp>, Poll)>) -> Vec<PendingOutage> {
    let stop = CancellationToken::new();
    let source =
        Polls { left: polls.into(), outage_since: None, polled_before: None, stop: stop.clone() };
    super::run(source, store.clone(), options(1), stop).await.unwrap();
    outages::pending(store.reader()).unwrap()
}

/// Runs the stage after standby, with one poll; another node had polled last at second 55.
async fn after_standby(store: &Store, poll: (Option<Timestamp>, Poll)) -> Vec<PendingOutage> {
    let stop = CancellationToken::new();
    let (left, polled_before) = (VecDeque::from([poll]), Some(second(55)));
    let source = Polls { left, outage_since: None, polled_before, stop: stop.clone() };
    super::run(source, store.clone(), options(1), stop).await.unwrap();
    outages::pending(store.reader()).unwrap()
}

fn outage(since: i64, until: i64, before: u64) -> PendingOutage {
    let outage = Outage { since: second(since), until: second(until) };
    PendingOutage { outage, before }
}

#[tokio::test]
async fn outage_is_pending_before_the_first_event_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    // Half of the page was known; then nothing of it, but without an outage.
    let polls =
        vec![full_page(1_200, 0, None), full_page(1_250, 60, Some(0)), full_page(1_500, 61, None)];
    assert_eq!(live(&store, polls).await, []);
    // Nothing of it was known, after an outage.
    let polls = vec![full_page(1_510, 62, None), full_page(2_000, 200, Some(62))];
    assert_eq!(live(&store, polls).await, [outage(62, 200, 261)]);
    let arrived = |found: PendingOutage| {
        let store = store.clone();
        async move {
            store.commit(move |batch| outages::arrive(batch, &[found.outage])).await.unwrap();
        }
    };
    arrived(outage(62, 200, 261)).await;
    // A later run knows when the previous one read last.
    assert_eq!(live(&store, vec![full_page(2_050, 300, None)]).await, []);
    let found = live(&store, vec![full_page(9_000, 400, None)]).await;
    assert_eq!(found, [outage(300, 400, 411)]);
}

#[tokio::test]
async fn outage_after_standby_begins_with_the_last_poll_of_any_node() {
    // This node polled last at 0, or at 70.
    for (own, since) in [(None, 55), (Some(0), 55), (Some(70), 70)] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        admit(&store, full_page(100, 0, None).1).await.unwrap();
        let found = after_standby(&store, full_page(900, 100, own)).await;
        assert_eq!(found, [outage(since, 100, 101)], "{own:?}");
    }
}

#[tokio::test]
async fn pages_that_show_all_events_of_a_young_store_are_no_gap() {
    let few = r#"[{"id":"101","type":"PushEvent"},{"id":"102","type":"PushEvent"}]"#;
    // Of the second store they show two events of three.
    for (page, pending) in [("[]", None), (r#"[{"id":"3","type":"PushEvent"}]"#, Some(4))] {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        admit(&store, poll(&[few, page])).await.unwrap();
        let found = live(&store, vec![full_page(200, 60, Some(0))]).await;
        assert_eq!(found, pending.map(|before| outage(0, 60, before)).as_slice());
    }
}

#[tokio::test]
async fn polls_after_an_outage_are_admitted_together_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    admit(&store, full_page(100, 0, None).1).await.unwrap();
    let mut second_page = full_page(700, 61, None).1;
    second_page.pages[0].number = 2;
    let left = VecDeque::from([(None, full_page(900, 60, None).1), (None, second_page)]);
    let stop = CancellationToken::new();
    let source = Polls { left, outage_since: None, polled_before: None, stop: stop.clone() };
    super::run(source, store.clone(), options(2), stop).await.unwrap();
    // As one poll they are in the order of their ids: page 2 has the older ones.
    let after = &bodies(&store)[100..];
    assert!(after.len() == 200 && after[0].contains("\"601\""), "{}", after[0]);
    assert_eq!(outages::pending(store.reader()).unwrap(), [outage(0, 60, 101)]);
}

/// A source with one poll and then nothing.
struct Once(Option<Poll>);

impl EventSource for Once {
    async fn next_poll(&mut self) -> Poll {
        match self.0.take() {
            Some(poll) => poll,
            None => std::future::pending().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn held_polls_do_not_wait_for_a_page_that_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    admit(&store, full_page(100, 0, None).1).await.unwrap();
    let stop = CancellationToken::new();
    let source = Once(Some(full_page(900, 60, None).1));
    let running = tokio::spawn(super::run(source, store.clone(), options(3), stop.clone()));
    let mut inbox = store.watermarks().inbox.subscribe();
    inbox.wait_for(|admitted| *admitted == 200).await.unwrap();
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn admitted_bytes_are_counted_and_too_many_pause_polling() {
    use futures_util::FutureExt as _;
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let event = r#"{"id":"1","type":"A"}"#;
    admit(&store, poll(&[&format!("[{event}]")])).await.unwrap();
    let backlog = store.reader().count(&MetaKey(BACKLOG.to_owned())).unwrap();
    assert_eq!(backlog, i64::try_from(event.len()).unwrap());
    let mut source = Once(Some(poll(&["[]"])));
    let limit = event.len() as u64;
    assert!(next(&mut source, &store, limit - 1).now_or_never().is_none(), "it pauses");
    assert!(source.0.is_some(), "the source is not asked");
    assert_eq!(next(&mut source, &store, limit).await.unwrap().pages.len(), 1);
}

#[tokio::test]
async fn large_events_and_floods_of_rejects_are_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let large = format!(r#"[{{"id":"1","type":"A","x":"{}"}}]"#, "x".repeat(EVENT_BYTES));
    let flood = format!("[{}]", vec!["{}"; REJECTS_A_POLL + 20].join(","));
    let admitted = admit(&store, poll(&[&large, &flood])).await.unwrap();
    let rejected = REJECTS_A_POLL as u64 + 21;
    assert_eq!(admitted, Admitted { new: 0, known: 0, rejected, left_out: 0 });
    let mut kept = 0;
    let count = |_: RejectKey, _: &[u8]| {
        kept += 1;
        Ok(true)
    };
    store.reader().scan(&RejectKey(0), count).unwrap();
    assert_eq!(kept, REJECTS_A_POLL);
}

#[tokio::test]
async fn excluded_actor_is_not_queued_and_stays_excluded() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let event = |id: u32, actor: &str| {
        format!(r#"{{"id":"{id}","type":"A","actor":{{"login":"{actor}"}}}}"#)
    };
    let page = format!("[{},{}]", event(1, "Ann"), event(2, "bob"));
    store.privacy().set(&["ann".to_owned()], false);
    let first = admit(&store, poll(&[&page])).await.unwrap();
    assert_eq!(first, Admitted { new: 1, known: 0, rejected: 0, left_out: 1 });
    assert_eq!(bodies(&store), [event(2, "bob")]);
    // Also when she is not left out any more: what was published then stays out.
    store.privacy().set(&[], false);
    let again = admit(&store, poll(&[&page])).await.unwrap();
    assert_eq!(again, Admitted { new: 0, known: 2, rejected: 0, left_out: 0 });
}

#[tokio::test]
async fn event_shown_after_its_claim_expired_is_admitted_again() {
    const HOUR: i64 = 3_600;
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let seen_for = Duration::from_secs(72 * 3_600);
    let retention = RetentionOptions {
        tag: store.bus_tag(),
        seen_for,
        buckets: seen_for,
        journal_for: seen_for,
        journal_bytes: u64::MAX,
        held_by: None,
    };
    let mut admitted = Vec::new();
    // `second(0)` is at 8 o'clock. It is claimed in the last hour of that day.
    for hours in [15, 16, 40, 64, 15 + 71, 16 + 72 + 1] {
        let poll = Poll {
            received_at: second(hours * HOUR),
            ..poll(&[r#"[{"id":"1","type":"PushEvent"}]"#])
        };
        drop_due(&store, retention, poll.received_at).await.unwrap();
        admitted.push(admit(&store, poll).await.unwrap().new);
    }
    assert_eq!(admitted, [1, 0, 0, 0, 0, 1], "for 72 hours, rounded up to whole days");
}

#[tokio::test]
async fn events_older_than_their_claims_are_skipped() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let [old, new] = [
        r#"{"id":"1","type":"A","created_at":"2000-01-01T00:00:00Z"}"#,
        r#"{"id":"2","type":"A"}"#,
    ];
    let page = format!("[{old},{new}]");
    let no_older_than = Some(Duration::from_secs(72 * 3_600));
    let rules = IngestRules { no_older_than, ..IngestRules::default() };
    let admitted = admit_poll(&store, poll(&[&page]), None, &rules).await.unwrap();
    assert_eq!(admitted, Admitted { new: 1, ..Admitted::default() });
    assert_eq!(bodies(&store), [new]);
}

/// Entries that GitHub does not send; some are events all the same.
fn odd_entries() -> Vec<String> {
    let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
    let of = |member: &str| format!(r#"{{"id":"7","type":"A",{member}}}"#);
    let mut odd: Vec<String> = [
        r#"{"id":"7","type":"A","id":"8","type":"B","id":null}"#,
        r#"{"id":-7,"type":"A"}"#,
        r#"{"id":1e400,"type":"A"}"#,
        r#"{"id":99999999999999999999999999,"type":"A"}"#,
        r#"{"id":"","type":"\u0000"}"#,
        r#"{"id":["7"],"type":{"A":1}}"#,
        r#"{"id":"7\ud800","type":"A\udfff"}"#,
        "7",
        "null",
        r#""id""#,
        r#"[{"id":"7","type":"A"}]"#,
    ]
    .map(str::to_owned)
    .into();
    let members = [
        r#""created_at":"9999-12-31T23:59:59Z""#,
        r#""created_at":"0000-01-01T00:00:00Z""#,
        r#""created_at":"-292277-01-01T00:00:00Z""#,
        r#""created_at":"2026-02-30T25:61:61Z""#,
        r#""created_at":1e308"#,
        r#""actor":{"id":-1,"login":"\u0000\ud800"},"repo":{"id":1e99,"name":"//"}"#,
        r#""actor":[],"repo":"","org":7,"payload":[]"#,
        r#""payload":{"commits":[{"author":{"email":"\u0000@\ud800"}}],"size":-1}"#,
        r#""payload":{"pull_request":{"base":{"repo":{"id":-1}},"number":1e9}}"#,
    ];
    odd.extend(members.map(of));
    odd.push(of(&format!(r#""payload":{{"x":{}}}"#, deep(100))));
    odd.push(of(&format!(r#""actor":{{"login":"{}"}}"#, "x".repeat(1 << 20))));
    odd.push(of(&format!(r#""payload":"{}""#, "x".repeat(10 << 20))));
    odd
}

#[tokio::test]
async fn odd_entry_costs_no_other_event_and_is_admitted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut odd_events = 0;
    for (at, odd) in odd_entries().into_iter().enumerate() {
        let good = |n: usize| format!(r#"{{"id":"{}","type":"Good"}}"#, 1_000 + 2 * at + n);
        // Each odd event is of its own type, because many have the same id.
        let odd = odd.replace(r#""type":"A""#, &format!(r#""type":"A{at}""#));
        let page = format!("[{},{odd},{}]", good(0), good(1));
        let shown = &odd[..odd.len().min(100)];
        let first = admit(&store, poll(&[&page])).await.unwrap();
        assert_eq!((first.new.max(2), first.new + first.rejected), (first.new, 3), "{shown}");
        let again = admit(&store, poll(&[&page, &page])).await.unwrap();
        let rejected = 2 * first.rejected;
        let expected = Admitted { known: 2 * first.new, rejected, ..Admitted::default() };
        assert_eq!(again, expected, "{shown}");
        odd_events += first.new - 2;
    }
    assert!(odd_events >= 14, "{odd_events} of them are events");
    // Deeper than any parser goes, and cut off: the events around it are found.
    for odd in ["[".repeat(100_000), r#"{"id":"9","type":"C","x":"#.to_owned()] {
        let page = format!(r#"[{{"id":"5","type":"{}"}},{odd}"#, odd.len());
        assert_eq!(admit(&store, poll(&[&page])).await.unwrap().new, 1);
    }
}
