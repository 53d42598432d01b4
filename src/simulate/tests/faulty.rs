//! Each fault as a client experiences it.

use std::collections::HashSet;

use super::*;

#[tokio::test]
async fn refusing_faults_look_like_those_of_github() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(5);
    let as_a = ["User-Agent: test", "Authorization: Bearer a"];
    for (kind, status) in [
        (FaultKind::Error500, 500),
        (FaultKind::Error502, 502),
        (FaultKind::Error503, 503),
        (FaultKind::Limited, 403),
        (FaultKind::Suspended, 403),
        (FaultKind::RetryAfter, 429),
        (FaultKind::Revoked, 401),
    ] {
        github.control.set_fault(Fault::always(kind).wait(Duration::from_secs(7)));
        let reply = github.ask(PAGE_1, &as_a).await;
        assert_eq!(reply.status, status, "{kind:?}");
        match kind {
            FaultKind::Limited => {
                assert_eq!(reply.header("x-ratelimit-remaining"), "0");
                let reset: i64 = reply.header("x-ratelimit-reset").parse().unwrap();
                assert!((NOW + 7..NOW + 17).contains(&reset));
            }
            FaultKind::Suspended => {
                assert!(!reply.headers.keys().any(|name| name.starts_with("x-ratelimit")));
            }
            FaultKind::RetryAfter => assert_eq!(reply.header("retry-after"), "7"),
            FaultKind::Error502 => assert!(reply.body.starts_with("<html>")),
            _ => assert!(reply.json()["message"].is_string()),
        }
        github.control.clear_faults();
    }
    assert_eq!(github.control.served().len(), 0);
    assert_eq!(github.ask(PAGE_1, &as_a).await.status, 200);
    assert_eq!(github.control.served().len(), 5);
    assert_eq!(github.control.outcomes()["403 suspended"], 1);
    github.control.set_fault(Fault::new(FaultKind::Revoked).token("a"));
    assert_eq!(github.ask(PAGE_1, &as_a).await.status, 401);
    assert_eq!(github.get(PAGE_1).await.status, 200);
    github.end().await;
}

#[tokio::test]
async fn a_cut_off_body_breaks_in_the_middle_and_serves_nothing() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(30);
    github.control.set_fault(Fault::always(FaultKind::CutOff));
    let reply = github.get(PAGE_1).await;
    assert_eq!((reply.status, reply.whole), (200, false));
    assert!(reply.body.len() > 100 && reply.body.starts_with("[{\"id\""), "{}", reply.body.len());
    assert_eq!(github.control.unserved(), 30);
    assert_eq!(github.control.outcomes(), outcomes(&[("200 cut-off", 1)]));
    github.end().await;
}

#[tokio::test]
async fn slow_response_is_delayed() {
    let github = start(Options::by_hand(1)).await;
    let wait = Duration::from_millis(150);
    github.control.set_fault(Fault::always(FaultKind::Slow).wait(wait));
    let before = Clock::system().now();
    assert_eq!(github.get(PAGE_1).await.status, 200);
    assert!(Clock::system().now().since(before) >= wait);
    // Stopping does not wait for the slow response.
    github.control.set_fault(Fault::always(FaultKind::Slow).wait(Duration::from_secs(600)));
    let (url, control) = (github.url.clone(), github.control.clone());
    let asked = tokio::spawn(async move {
        let mut stream = TcpStream::connect(url.trim_start_matches("http://")).await.unwrap();
        let request = b"GET /events HTTP/1.1\r\nHost: x\r\nUser-Agent: t\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
    });
    control.until(|control| control.requests() == 2).await;
    github.end().await;
    asked.await.unwrap();
}

#[tokio::test]
async fn stale_and_frozen_pages_are_old_ones() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(20);
    let first = github.get(PAGE_1).await;
    github.control.emit(20);
    let second = github.get(PAGE_1).await;
    assert_ne!(first.body, second.body);
    github.control.set_fault(Fault::always(FaultKind::Stale));
    let tag = format!("If-None-Match: {}", first.header("etag"));
    let stale = github.ask(PAGE_1, &["User-Agent: t", &tag]).await;
    assert_eq!((stale.status, &stale.body), (200, &first.body));
    assert_eq!(stale.header("etag"), first.header("etag"));
    github.control.clear_faults();
    github.control.set_fault(Fault::new(FaultKind::Frozen));
    github.control.emit(20);
    assert_eq!(github.get(PAGE_1).await.body, second.body);
    let tag = format!("If-None-Match: {}", second.header("etag"));
    assert_eq!(github.ask(PAGE_1, &["User-Agent: t", &tag]).await.status, 304);
    github.control.clear_faults();
    assert_eq!(github.get(PAGE_1).await.events().len(), 60);
    github.end().await;
}

#[tokio::test]
async fn garbage_is_served_among_valid_events() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(20);
    github.control.set_fault(Fault::always(FaultKind::Garbage));
    let (mut ways, mut tries) = (HashSet::new(), 0);
    while ways.len() < 4 {
        tries += 1;
        assert!(tries < 200, "only {ways:?}");
        let served = github.control.served().len();
        let reply = github.get(PAGE_1).await;
        assert!(reply.status == 200 && reply.header("etag").is_empty() && reply.whole);
        let way = match serde_json::from_str::<Value>(&reply.body) {
            Ok(Value::Array(list)) => {
                let events = list.iter().filter(|it| it["id"].is_string()).count();
                assert!(events == 20 && list.len() > 20);
                assert_eq!(github.control.unserved(), 0);
                "mixed"
            }
            Ok(_) => "no list",
            Err(_) if reply.body.starts_with("[{") => "half",
            Err(_) => "no json",
        };
        assert!(way == "mixed" || github.control.served().len() == served);
        ways.insert(way);
    }
    github.end().await;
}

#[tokio::test]
async fn a_reordered_page_has_the_same_events() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(60);
    let ids =
        |reply: &Reply| -> Vec<String> { reply.events().iter().map(Value::to_string).collect() };
    let straight = ids(&github.get(PAGE_1).await);
    github.control.set_fault(Fault::always(FaultKind::Reordered));
    let shuffled = ids(&github.get(PAGE_1).await);
    assert_ne!(straight, shuffled);
    let sorted = |mut ids: Vec<String>| {
        ids.sort();
        ids
    };
    assert_eq!(sorted(straight), sorted(shuffled));
    github.end().await;
}

#[tokio::test]
async fn page_missing_empties_page_2_and_no_other() {
    let github = start(Options::by_hand(1)).await;
    github.control.emit(500);
    github.control.set_fault("page-missing".parse().unwrap());
    let sizes = |n: u8| {
        let github = &github;
        async move {
            let reply = github.get(&format!("/events?per_page=100&page={n}")).await;
            (reply.status, reply.json().as_array().map(Vec::len))
        }
    };
    for (page, size) in [(1, 100), (2, 0), (3, 100)] {
        assert_eq!(sizes(page).await, (200, Some(size)), "page {page}");
    }
    let outcomes = github.control.outcomes();
    assert_eq!((outcomes["200"], outcomes["200 page-missing"]), (2, 1), "{outcomes:?}");
    github.control.clear_faults();
    assert_eq!(sizes(2).await, (200, Some(100)));
    github.end().await;
}
