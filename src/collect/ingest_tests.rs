//! Admission, on a real store.

use bytes::Bytes;

use super::super::source::Page;
use super::*;
use crate::store::Sync;

const DAY: Duration = Duration::from_secs(86_400);

fn store(dir: &std::path::Path) -> Store {
    Store::open(dir, Sync::EveryBatch, Clock::system()).unwrap()
}

fn poll(pages: &[&str]) -> Poll {
    let page = |(i, text): (usize, &&str)| Page {
        number: u8::try_from(i + 1).unwrap(),
        body: Body::Array(Bytes::copy_from_slice(text.as_bytes())),
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
async fn what_is_served_twice_is_admitted_once_also_within_a_poll() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let a = r#"{"id":"1","type":"A"}"#;
    let same_id = r#"{"id":"1","type":"B"}"#;
    let page = format!("[{a},{same_id},{a}]");
    let first = admit(&store, poll(&[&page, &page]), DAY, Clock::system()).await.unwrap();
    assert_eq!(first, Admitted { new: 2, known: 4, rejected: 0 });
    let second = admit(&store, poll(&[&page]), DAY, Clock::system()).await.unwrap();
    assert_eq!(second, Admitted { new: 0, known: 3, rejected: 0 });
    assert_eq!(bodies(&store), [a, same_id]);
    assert_eq!(*store.heads().inbox.borrow(), 2);
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
    admit(&store, poll(&[&one, &two]), DAY, Clock::system()).await.unwrap();
    assert_eq!(bodies(&store), [event(3, 4), event(9, 5), event(10, 5), event(200, 5)]);
}

#[tokio::test]
async fn what_is_no_event_is_counted_and_kept_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let pages = [r#"[1,null,{"x":2},{"id":"5"}]"#, "<html>busy</html>", r#"[{"id":"6"#];
    let admitted = admit(&store, poll(&pages), DAY, Clock::system()).await.unwrap();
    assert_eq!(admitted, Admitted { new: 1, known: 0, rejected: 5 });
    let mut reasons = Vec::new();
    let read = |_: RejectKey, value: &[u8]| {
        let (_, reason, text) = crate::store::rows::decode_refused(value).unwrap();
        reasons.push((reason, String::from_utf8(text).unwrap()));
        Ok(true)
    };
    store.reader().scan(&RejectKey(0), read).unwrap();
    assert_eq!(reasons[0], ("not a JSON object".to_owned(), "1".to_owned()));
    assert!(reasons[2].0.contains("neither `id` nor `type`"), "{reasons:?}");
    assert!(reasons[3].0.contains("page 2 is no JSON list"), "{reasons:?}");
}

#[tokio::test]
async fn the_reject_log_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let many = format!("[{}]", vec!["0"; 80].join(","));
    for _ in 0..30 {
        admit(&store, poll(&[&many]), DAY, Clock::system()).await.unwrap();
    }
    let mut kept = 0;
    store
        .reader()
        .scan(&RejectKey(0), |_, _| {
            kept += 1;
            Ok(true)
        })
        .unwrap();
    assert_eq!(kept, REJECTS);
}

#[tokio::test]
async fn text_that_is_not_utf8_does_not_lose_the_page() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let mut poll = poll(&[]);
    let body = Body::Array(Bytes::from_static(b"[{\"id\":\"1\",\"n\":\"\xff\"},{\"id\":\"2\"}]"));
    poll.pages.push(Page { number: 1, body });
    assert_eq!(admit(&store, poll, DAY, Clock::system()).await.unwrap().new, 2);
}
