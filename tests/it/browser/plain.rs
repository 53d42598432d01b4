//! What browsers get besides the live pages: errors, pages without scripts, on paper, and in links.

use serde_json::json;

use super::{LIVE, Site, browser, browser_and_site, check_quiet, shows};

/// The pages.
const PATHS: [&str; 6] = ["", "?wall", "status", "topics", "scripts", "play"];

#[tokio::test(flavor = "multi_thread")]
async fn browser_gets_a_page_for_an_error() {
    let Some(mut browser) = browser("browser_gets_a_page_for_an_error").await else { return };
    let site = Site::start(&[("GHPULSE_SERVER_BASEPATH", "/websocket")]).await;
    let host = site.running.public.to_string();
    for (path, heading, words) in [
        ("/nowhere", "404 Not Found", "there is nothing at /nowhere"),
        ("/websocket/no/where/", "404 Not Found", "there is nothing at /no/where"),
        ("/websocket/archive/", "404 Not Found", "`archive.dir` is not set"),
        ("/websocket/repo/no/body", "404 Not Found", "no/body"),
        ("/stream?sample=x", "400 Bad Request", "sample"),
        ("/status?format=x", "400 Bad Request", "`x` is unknown"),
    ] {
        let prefix = if path.starts_with("/websocket") { "/websocket" } else { "" };
        for (width, scheme) in [(390, "dark"), (1280, "light")] {
            let mut page = browser.page(width, 800, scheme).await;
            page.open(&format!("http://{host}{path}")).await;
            let shown = page.evaluate("document.querySelector('h1').textContent").await;
            assert_eq!(shown, json!(heading), "{path}");
            let detail = page.evaluate("document.getElementById('detail').textContent").await;
            assert!(detail.as_str().unwrap().contains(words), "{path}: {detail}");
            assert_eq!(page.evaluate("document.title").await, json!(format!("ghpulse: {heading}")));
            let links = "[...document.querySelectorAll('nav a')].map((a) => a.pathname).join()";
            let wanted = ["/", "/", "/status", "/play", "/topics", "/scripts", "/docs"];
            let wanted = wanted.map(|to| format!("{prefix}{to}")).join(",");
            assert_eq!(page.evaluate(links).await, json!(wanted), "{path}");
            let styled = "getComputedStyle(document.querySelector('nav')).display === 'flex' \
                          && document.documentElement.scrollWidth <= window.innerWidth";
            assert_eq!(page.evaluate(styled).await, json!(true), "{path}");
            page.screenshot(&format!("error-{scheme}.png")).await;
        }
    }
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_without_scripts_show_only_what_they_can_fill() {
    let test = "pages_without_scripts_show_only_what_they_can_fill";
    let Some((mut browser, site, host)) = browser_and_site(test, &[]).await else { return };
    let mut page = browser.page(1280, 900, "light").await;
    page.disable_scripts().await;
    for path in PATHS {
        page.open_without_scripts(&format!("http://{host}/{path}")).await;
        let shown = page.evaluate("document.body.innerText").await;
        let shown = shown.as_str().unwrap();
        // The topics are the same whatever the events are.
        assert!(path == "topics" || shown.contains("Simulated"), "/{path}: {shown}");
        for empty in ["Connecting", "Loading", "Not connected", "–"] {
            assert!(!shown.contains(empty), "/{path} shows `{empty}`: {shown}");
        }
        let says_more = match path {
            "status" => "events",
            "topics" => "evt.push.insert",
            _ => "needs JavaScript",
        };
        assert!(shown.contains(says_more), "/{path}: {shown}");
        page.screenshot(&format!("plain-{}.png", path.trim_start_matches('?'))).await;
    }
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_printed_light_and_whole() {
    const PRINTED: &str = "(() => { const luminance = (color) => { \
            const [r, g, b] = color.match(/[0-9.]+/g).map(Number); return r + g + b; }; \
        const body = getComputedStyle(document.body); \
        const texts = [...document.querySelectorAll('pre')].filter((pre) => pre.offsetHeight > 0); \
        return luminance(body.color) < 200 && luminance(body.backgroundColor) > 700 \
            && [...document.querySelectorAll('nav, form, .head button')].every((one) => !one.offsetHeight) \
            && texts.every((pre) => getComputedStyle(pre).whiteSpace.startsWith('pre-wrap') \
                && pre.scrollWidth <= pre.clientWidth + 1); })()";
    let Some(mut browser) = browser("pages_are_printed_light_and_whole").await else { return };
    let site = Site::start(&[]).await;
    let host = site.running.public.to_string();
    for path in PATHS.into_iter().chain(["docs", "docs/api", "docs/config"]) {
        // The width of A4.
        let mut page = browser.page(794, 1123, "dark").await;
        page.open(&format!("http://{host}/{path}")).await;
        if path.is_empty() {
            shows(&mut page, LIVE).await;
        }
        page.print_media("dark").await;
        shows(&mut page, PRINTED).await;
        page.screenshot(&format!("print-{}.png", path.replace(['/', '?'], ""))).await;
        check_quiet(&page, &host);
    }
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_has_what_previews_and_tabs_show() {
    let test = "every_page_has_what_previews_and_tabs_show";
    let Some((mut browser, site, host)) = browser_and_site(test, &[]).await else { return };
    let mut titles = Vec::new();
    let mut page = browser.page(1280, 900, "light").await;
    for path in PATHS.into_iter().chain(["docs", "docs/api", "nowhere"]) {
        page.open(&format!("http://{host}/{path}")).await;
        let head = "['description'].every((name) => \
                document.querySelector(`meta[name=${name}]`).content.length > 10) \
            && ['site_name', 'title', 'description', 'type'].every((name) => \
                document.querySelector(`meta[property='og:${name}']`).content !== '') \
            && document.querySelectorAll('meta[name=theme-color]').length === 2 \
            && document.querySelector('link[rel=icon]').href.startsWith('data:image/svg+xml') \
            && !document.head.innerHTML.includes('{{')";
        assert_eq!(page.evaluate(head).await, json!(true), "/{path}");
        let is_live = !path.starts_with("docs") && !matches!(path, "topics" | "nowhere");
        if is_live {
            shows(&mut page, "document.title.endsWith('(simulated)')").await;
        }
        titles.push(page.evaluate("document.title").await.to_string());
    }
    // Two tabs can be told apart.
    let all = titles.len();
    titles.sort();
    titles.dedup();
    assert_eq!(titles.len(), all, "{titles:?}");
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn back_leads_to_the_query_before() {
    let Some(mut browser) = browser("back_leads_to_the_query_before").await else { return };
    let site = Site::start(&[]).await;
    let host = site.running.public.to_string();
    let mut page = browser.page(1280, 900, "light").await;
    page.open(&format!("http://{host}/play?types=PushEvent")).await;
    shows(&mut page, "document.getElementById('types').value === 'PushEvent'").await;
    page.click("#go").await;
    shows(&mut page, LIVE).await;
    assert_eq!(page.evaluate("location.search").await, json!("?types=PushEvent"));
    page.evaluate("document.getElementById('types').value = 'WatchEvent, Nothing'").await;
    page.click("#go").await;
    shows(&mut page, "location.search === '?types=WatchEvent%2CNothing'").await;
    // The warning is beside the form, and is read aloud.
    let warned = "document.querySelector('#warned[role=status]').textContent.includes('type')";
    shows(&mut page, warned).await;
    page.evaluate("history.back()").await;
    shows(&mut page, "document.getElementById('types').value === 'PushEvent'").await;
    shows(&mut page, "document.getElementById('warned').textContent === ''").await;
    // A query that is written in another order stays in the history as it is.
    page.open(&format!("http://{host}/play?repos=a/*&types=PushEvent")).await;
    page.click("#go").await;
    shows(&mut page, "location.search === '?types=PushEvent&repos=a%2F*'").await;
    page.evaluate("history.back()").await;
    let is_back = "location.search === '?repos=a/*&types=PushEvent'";
    shows(&mut page, is_back).await;
    shows(&mut page, LIVE).await;
    assert_eq!(page.evaluate(is_back).await, json!(true));
    page.evaluate("document.getElementById('keys').value = 'a.#.#.#'").await;
    page.click("#go").await;
    let refused = "document.querySelector('#refused[role=alert]').textContent.includes('keys')";
    shows(&mut page, refused).await;
    check_quiet(&page, &host);
    browser.end().await;
    site.running.end().await;
}
