//! The manual in a browser: valid HTML, working links, readable on a desktop and on a phone.

use serde_json::json;

use super::{browser_and_site, check_quiet, shows};

const NAMES: [&str; 13] = [
    "",
    "/config",
    "/scripts",
    "/data",
    "/api",
    "/coverage",
    "/architecture",
    "/threats",
    "/tests",
    "/measurements",
    "/security",
    "/changes",
    "/all",
];
/// Element names in the order of the HTML that was sent, and in that of the parsed document: they
/// differ where the browser had to repair the HTML.
const AS_SENT: &str = "(async () => {
    const text = await (await fetch(location.href)).text();
    const sent = [...text.matchAll(/<([a-z][a-z0-9]*)/g)].map((found) => found[1]);
    const made = [...document.querySelectorAll('*')].map((one) => one.localName);
    window.isAsSent = sent.join() === made.join();
})()";
const IS_SOUND: &str = "document.compatMode === 'CSS1Compat' && document.documentElement.lang === 'en' \
    && document.querySelectorAll('main').length === 1 && document.title.includes('ghpulse') \
    && [...document.querySelectorAll('a[href^=\"#\"]')].every((link) => \
        document.getElementById(decodeURIComponent(link.hash.slice(1)))) \
    && new Set([...document.querySelectorAll('[id]')].map((one) => one.id)).size \
        === document.querySelectorAll('[id]').length";
const STYLED: &str = "document.readyState === 'complete' \
    && getComputedStyle(document.querySelector('.manual')).display === 'grid'";
/// What is copied from the pages: examples, and the links to this server.
const COPIED: &str = "[...document.querySelectorAll('main code, main pre')]\
    .map((one) => one.textContent).join('\\n')";
const TOO_WIDE: &str = "document.documentElement.scrollWidth > window.innerWidth";

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_manual_are_valid_and_fit_their_window() {
    let test = "pages_of_the_manual_are_valid_and_fit_their_window";
    let Some((mut browser, site, host)) = browser_and_site(test, &[]).await else { return };
    for (name, scheme, width, height) in [
        ("desk", "light", 1400, 900),
        ("phone", "dark", 390, 844),
        ("desk-dark", "dark", 1400, 900),
    ] {
        let mut page = browser.page(width, height, scheme).await;
        for path in NAMES {
            page.open(&format!("http://{host}/docs{path}")).await;
            shows(&mut page, STYLED).await;
            assert_eq!(page.evaluate(IS_SOUND).await, json!(true), "{path} {name}");
            assert_eq!(page.evaluate(TOO_WIDE).await, json!(false), "{path} {name}: sideways");
            if matches!(path, "" | "/config") {
                let file = path.trim_start_matches('/');
                page.screenshot(&format!("docs-{file}-{name}.png")).await;
            }
        }
        check_quiet(&page, &host);
    }
    // The pages' policy forbids requests from scripts, so a page that permits them loads the text.
    let mut page = browser.page(800, 600, "light").await;
    for path in NAMES {
        page.open(&format!("http://{host}/play")).await;
        let sent = AS_SENT.replace("location.href", &format!("'/docs{path}'")).replace(
            "document.querySelectorAll",
            "new DOMParser().parseFromString(text, 'text/html').querySelectorAll",
        );
        page.evaluate(&sent).await;
        shows(&mut page, "window.isAsSent !== undefined").await;
        assert_eq!(page.evaluate("window.isAsSent").await, json!(true), "/docs{path}");
    }
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_have_the_address_of_the_reader() {
    let test = "examples_have_the_address_of_the_reader";
    let settings = [("GHPULSE_SERVER_BASEPATH", "/websocket")];
    let Some((mut browser, site, host)) = browser_and_site(test, &settings).await else { return };
    for base in ["", "/websocket"] {
        for (path, wanted) in [
            ("", format!("npx wscat -c ws://{host}{base}/sampling ")),
            ("", format!("from \"http://{host}{base}/client.js\"")),
            ("/api", format!("curl -s http://{host}{base}/readyz\n")),
            ("/api", format!("'ws://{host}{base}/stream?sample=10'")),
            ("/data", format!("\"http://{host}{base}/archive/\"")),
            ("/all", format!("curl -N 'http://{host}{base}/stream?types=PushEvent")),
        ] {
            let mut page = browser.page(1400, 900, "light").await;
            page.open(&format!("http://{host}{base}/docs{path}")).await;
            shows(&mut page, &format!("{COPIED}.includes({})", json!(wanted))).await;
            let left = page.evaluate(&format!("{COPIED}.includes('localhost:8600')")).await;
            assert_eq!(left, json!(false), "{base} {path}");
            check_quiet(&page, &host);
        }
    }
    browser.end().await;
    site.running.end().await;
}
