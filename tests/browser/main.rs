//! The page at `/` as a person sees it: a headless Chromium on a running appliance.
//!
//! The browser is driven over its own debugging protocol by a client of ours (`devtools`), so
//! nothing but the browser itself has to be there. Screenshots go to `target/tmp`.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

#[path = "../common/mod.rs"]
mod common;
mod devtools;

use common::running::{GitHub, Running, soon};
use devtools::{Browser, Page};
use ghpulse::simulate::Options;
use serde_json::json;

/// What the page must come to, as an expression of its own.
const EVENTS_PASS: &str = "document.querySelectorAll('#events li').length >= 20";
const WALL_FILLS: &str = "document.querySelectorAll('#languages .language').length >= 5";
const FIGURES: &str = "Number(document.getElementById('open').textContent.replace(',', '')) > 0 \
                       && Number(document.getElementById('rate').textContent) > 0";
const LIVE: &str = "document.getElementById('link').textContent === 'Live'";

struct Site {
    _github: GitHub,
    _dir: tempfile::TempDir,
    running: Running,
}

impl Site {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let github = GitHub::start(Options::default()).await;
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(dir.path(), &github.url, settings).await;
        Self { _github: github, _dir: dir, running }
    }
}

/// The browser, or a line that says why the test does not run.
async fn browser(test: &str) -> Option<Browser> {
    let browser = Browser::start().await;
    if browser.is_none() {
        println!("skipped: {test}: no chromium here; `make test` installs it on Debian");
    }
    browser
}

async fn shows(page: &mut Page, what: &str) {
    soon(what, page.until(what)).await;
}

/// Nothing went wrong in the page, and it asked nobody but the appliance.
fn check_quiet(page: &Page, host: &str) {
    assert_eq!(page.complaints, Vec::<String>::new(), "complaints in the console");
    assert!(!page.requests.is_empty());
    for url in page.requests.iter().filter(|url| !url.starts_with("data:")) {
        let rest = url.split_once("://").expect("a URL").1;
        assert_eq!(rest.split('/').next(), Some(host), "a request to another host: {url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_pass_the_wall_fills_and_simulated_is_said() {
    let Some(mut browser) = browser("events_pass_the_wall_fills_and_simulated_is_said").await
    else {
        return;
    };
    let site = Site::start(&[]).await;
    let host = site.running.public.to_string();
    for (name, scheme, width, height) in [
        ("light", "light", 1280, 1000),
        ("dark", "dark", 1920, 1080),
        ("narrow", "light", 390, 1600),
    ] {
        let mut page = browser.page(width, height, scheme).await;
        page.open(&format!("http://{host}/")).await;
        for what in [EVENTS_PASS, WALL_FILLS, FIGURES, LIVE] {
            shows(&mut page, what).await;
        }
        shows(&mut page, "document.getElementById('simulated').offsetHeight > 0").await;
        let said = page.evaluate("document.getElementById('simulated').innerText").await;
        assert!(said.as_str().unwrap().contains("Simulated"), "{said}");
        let overflow =
            page.evaluate("document.documentElement.scrollWidth > window.innerWidth").await;
        assert_eq!(overflow, json!(false), "{name}: nothing to scroll sideways for");
        let below = "document.getElementById('wall').getBoundingClientRect().bottom";
        let fits = format!("{below} <= window.innerHeight || window.innerWidth < 600");
        assert_eq!(page.evaluate(&fits).await, json!(true), "{name}: the wall is one screen");
        let before = page.evaluate("document.querySelector('#events').innerText").await;
        let before = serde_json::to_string(&before).unwrap();
        shows(&mut page, &format!("document.querySelector('#events').innerText !== {before}"))
            .await;
        page.screenshot(&format!("page-{name}.png")).await;
        check_quiet(&page, &host);
    }
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_works_below_a_base_path_and_says_when_the_connection_is_lost() {
    let test = "the_page_works_below_a_base_path_and_says_when_the_connection_is_lost";
    let Some(mut browser) = browser(test).await else { return };
    let scripts = tempfile::tempdir().unwrap();
    let settings = [
        ("GHPULSE_SERVER_BASEPATH", "/websocket"),
        ("GHPULSE_SCRIPTS_DIR", scripts.path().to_str().unwrap()),
    ];
    let site = Site::start(&settings).await;
    let host = site.running.public.to_string();
    let mut page = browser.page(1280, 900, "light").await;
    page.open(&format!("http://{host}/websocket/")).await;
    shows(&mut page, EVENTS_PASS).await;
    shows(&mut page, LIVE).await;
    // What is not as it should be is said where everyone looks.
    shows(&mut page, "document.getElementById('trouble').offsetHeight > 0").await;
    let trouble = page.evaluate("document.getElementById('trouble').innerText").await;
    assert!(trouble.as_str().unwrap().contains("merge_latest.rhai"), "{trouble}");
    check_quiet(&page, &host);
    let sockets = page.requests.iter().filter(|url| url.starts_with("ws://"));
    let prefix = format!("ws://{host}/websocket/");
    assert!(sockets.clone().count() >= 2 && sockets.clone().all(|url| url.starts_with(&prefix)));
    site.running.end().await;
    let lost = "document.getElementById('link').textContent.startsWith('Connection lost')";
    shows(&mut page, lost).await;
    browser.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_outside_is_text_and_nothing_else() {
    const NASTY: &str = "<img src=x onerror=document.title='broken'>";
    let test = "what_comes_from_outside_is_text_and_nothing_else";
    let Some(mut browser) = browser(test).await else { return };
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let host = running.public.to_string();
    let mut page = browser.page(1280, 900, "dark").await;
    page.open(&format!("http://{host}/")).await;
    shows(&mut page, LIVE).await;
    let event = json!({
        "id": "1", "type": format!("{NASTY}Event"), "actor": {"id": 1, "login": NASTY},
        "repo": {"id": 1, "name": NASTY}, "payload": {"action": NASTY},
    });
    let pull = json!({
        "id": "2", "type": "PullRequestEvent", "payload": {"action": {"odd": [1]},
            "pull_request": {"base": {"repo": {"language": NASTY}}}},
    });
    for event in [event, pull] {
        github.control.push_raw(&event.to_string());
    }
    shows(&mut page, "document.querySelectorAll('#events li').length === 2").await;
    shows(&mut page, "document.querySelectorAll('#languages .language').length === 1").await;
    let shown = page.evaluate("document.body.innerText").await;
    assert!(shown.as_str().unwrap().contains(NASTY), "{shown}");
    assert_eq!(page.evaluate("document.images.length").await, json!(0));
    shows(&mut page, "document.title === 'ghpulse (simulated)'").await;
    check_quiet(&page, &host);
    browser.end().await;
    running.end().await;
}
