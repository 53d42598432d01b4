//! Problems with the feed are reported within two minutes: on `/status`, in the log, and by alert.
//! All three run in parallel, each with its own GitHub and appliance, at the normal pace, so the
//! test takes as long as in production.

use std::time::Duration;

use ghpulse::logging;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::timeout;

use super::*;
use crate::common::client::request;
use crate::common::running::config;
use crate::common::webhook::webhook;

const WITHIN: Duration = Duration::from_secs(120);
/// Page reads before the fault begins.
const WELL: u64 = 25;

/// How a fault is reported: the trouble, its page or token, the alert, and words of the message.
struct Told {
    trouble: &'static str,
    of: u64,
    alert: &'static str,
    words: &'static str,
}

/// The next alert with this name.
async fn next(posts: &mut UnboundedReceiver<Value>, name: &str) -> Value {
    let named = async {
        loop {
            let post = posts.recv().await.expect("the webhook is there");
            if post["condition"] == name {
                return post;
            }
            println!("beside it: {post}");
        }
    };
    // A loaded machine may take twice as long.
    let posted = timeout(2 * WITHIN, named).await;
    posted.unwrap_or_else(|_| panic!("{name}: no alert within {:?}", 2 * WITHIN))
}

async fn follow_with(fault: Fault, told: Told, seed: u64, log: &std::path::Path) {
    let options = Options { rate: 60.0, shape: Shape::Today, seed, ..Options::default() };
    let github = GitHub::start(options).await;
    let (webhook, mut posts) = webhook().await;
    let dir = tempfile::tempdir().unwrap();
    let settings = [
        ("GHPULSE_GITHUB_TOKENS", "one,two,three"),
        ("GHPULSE_GITHUB_LOOP_BREAK", "1000"),
        ("GHPULSE_ALERTS_WEBHOOK", webhook.as_str()),
    ];
    let appliance = Running::start(dir.path(), &github.url, &settings).await;
    let well = github.control.until(|control| control.requests() >= WELL);
    soon("pages are read", well).await;
    let status = request(appliance.public, "GET", "/status?format=json", &[]).await.json();
    assert_eq!(status["completeness"]["troubles"].as_array().map(Vec::len), Some(0), "{status}");
    github.control.set_fault(fault);

    let post = next(&mut posts, told.alert).await;
    assert_eq!(post["state"], "begins");
    assert!(post["text"].as_str().unwrap().contains(told.words), "{post}");
    let status = request(appliance.public, "GET", "/status?format=json", &[]).await.json();
    let troubles = status["completeness"]["troubles"].as_array().unwrap();
    assert_eq!(troubles.len(), 1, "{troubles:?}");
    assert_eq!((&troubles[0]["kind"], &troubles[0]["of"]), (&told.trouble.into(), &told.of.into()));
    let page = request(appliance.public, "GET", "/status?format=html", &[]).await.body;
    assert!(page.contains("TROUBLE") && page.contains(told.words), "{page}");
    let log = std::fs::read_to_string(log).unwrap();
    let line = log.lines().find(|line| line.contains(told.words) && line.contains("WARN"));
    assert!(line.is_some_and(|line| line.contains(told.trouble)), "{} is not logged", told.trouble);

    // The end of a problem is reported too. A stale token stays quarantined much longer.
    github.control.clear_faults();
    if told.trouble != "stale_token" {
        let post = next(&mut posts, told.alert).await;
        assert_eq!(post["state"], "over");
    }
    appliance.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn feed_troubles_are_named_within_two_minutes() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    let logged = config(
        dir.path(),
        "http://127.0.0.1:1",
        &[("GHPULSE_LOG_FILE", log.display().to_string().as_str())],
    );
    logging::install(&logged.log).unwrap();
    let frozen = Told {
        trouble: "frozen_feed",
        of: 0,
        alert: "feed_frozen",
        words: "has shown nothing new since",
    };
    let stale = Told {
        trouble: "stale_token",
        of: 2,
        alert: "token_stale",
        words: "token 2 is shown older pages than the others",
    };
    let missing =
        Told { trouble: "page_missing", of: 2, alert: "page_missing", words: "page 2 is empty" };
    tokio::join!(
        follow_with(Fault::new(FaultKind::Frozen), frozen, 31, &log),
        follow_with(Fault::new(FaultKind::Stale).token("two"), stale, 32, &log),
        follow_with(Fault::new(FaultKind::PageMissing), missing, 33, &log),
    );
}
