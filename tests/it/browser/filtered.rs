//! A filtered page: it says what is filtered, why a filter is refused, and that no event comes.

use ghpulse::simulate::Options;
use serde_json::json;

use super::{EVENTS_PASS, LIVE, Site, browser, browser_and_site, check_quiet, shows};
use crate::common::running::{GitHub, Running};

/// The number of figures, and of headings on the wall, that say that the filter does not apply.
const UNFILTERED: &str = "[['#figures span', '::after'], ['#wall h2 span', '::before']].map(\
    ([which, part]) => [...document.querySelectorAll(which)].filter((one) => \
    getComputedStyle(one, part).content.includes('unfiltered')).length)";

fn contains(id: &str, words: &str) -> String {
    format!(
        "document.getElementById('{id}').offsetHeight > 0 && \
         document.getElementById('{id}').textContent.includes({})",
        json!(words)
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn page_says_what_its_filter_selects() {
    let Some(mut browser) = browser("page_says_what_its_filter_selects").await else { return };
    let site = Site::start(&[]).await;
    let host = site.running.public.to_string();
    for (path, scheme) in [("?wall&types=PushEvent", "dark"), ("?types=PushEvent", "light")] {
        let mut page = browser.page(1280, 900, scheme).await;
        page.open(&format!("http://{host}/{path}")).await;
        shows(&mut page, EVENTS_PASS).await;
        shows(&mut page, &contains("scope", "types PushEvent")).await;
        shows(&mut page, &contains("scope", "what is marked “unfiltered” is of all events")).await;
        let marked = page.evaluate(UNFILTERED).await;
        assert_eq!(marked, json!([6, 4]), "{path}: figures, and charts and rankings");
        shows(&mut page, "document.title === 'PushEvent · ghpulse (simulated)'").await;
        if !path.contains("wall") {
            // The wall behind the link has the same filter.
            let link = "document.querySelector('nav a[data-to=\"?wall\"]').search";
            assert_eq!(page.evaluate(link).await, json!("?wall&types=PushEvent"));
        }
        check_quiet(&page, &host);
    }
    let mut page = browser.page(1280, 900, "light").await;
    page.open(&format!("http://{host}/")).await;
    shows(&mut page, LIVE).await;
    assert_eq!(page.evaluate("document.getElementById('scope').hidden").await, json!(true));
    assert_eq!(page.evaluate(UNFILTERED).await, json!([0, 0]), "nothing is filtered");
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_filter_is_named_and_seldom_sent_again() {
    let test = "refused_filter_is_named_and_seldom_sent_again";
    let Some((mut browser, site, host)) = browser_and_site(test, &[]).await else { return };
    let mut page = browser.page(1280, 900, "dark").await;
    page.open(&format!("http://{host}/?list=nope")).await;
    shows(&mut page, &contains("scope", "The filter is refused: list: no list `nope`")).await;
    shows(&mut page, &contains("no-events", "the filter is refused")).await;
    // The next try is most of a minute away: the two seconds of a lost connection never pass 30.
    let later = "/^Filter refused. Trying again in [3-6][0-9] s$/.test(\
                 document.getElementById('link').textContent)";
    shows(&mut page, later).await;
    // Everything else is live.
    let figures = "Number(document.getElementById('rate').textContent) > 0 \
                   && !document.body.classList.contains('stale')";
    shows(&mut page, figures).await;
    check_quiet(&page, &host);
    let streams = page.requests.iter().filter(|url| url.contains("/stream?"));
    // On a slow machine the next try may have come.
    assert!(streams.count() <= 2, "{:?}", page.requests);
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filtered_page_is_not_live_without_events() {
    let test = "filtered_page_is_not_live_without_events";
    let Some(mut browser) = browser(test).await else { return };
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let mut page = browser.page(1280, 900, "light").await;
    page.open(&format!("http://{}/?types=WatchEvent", running.public)).await;
    shows(&mut page, LIVE).await;
    let silent = "document.getElementById('link').textContent.startsWith('Connected, no event') \
                  && document.body.classList.contains('stale')";
    shows(&mut page, silent).await;
    // An event that the filter does not select shows that others come.
    github.control.push_raw("{\"id\":\"1\",\"type\":\"PushEvent\"}");
    shows(&mut page, LIVE).await;
    browser.end().await;
    running.end().await;
}
