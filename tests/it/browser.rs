//! The page at `/` in a headless Chromium, on a running appliance.
//!
//! The tests drive the browser over its debugging protocol with our own client (`devtools`), so
//! only the browser itself must be installed. Screenshots go to `target/tmp`.

mod access;
mod devtools;
mod docs;
mod empty;
mod examples;
mod filtered;
mod manual;
mod picture;
mod plain;
mod ranked;
mod relay;
mod sizes;

use crate::common::running::{GitHub, PATIENCE, Running, soon};
use devtools::{Browser, Page};
use ghpulse::simulate::Options;
use relay::Relay;
use serde_json::json;
use tokio::time::timeout;

/// What the page must reach, as a JavaScript expression.
const EVENTS_PASS: &str = "document.querySelectorAll('#events li').length >= 20";
const WALL_FILLS: &str = "document.querySelectorAll('#languages .language').length >= 5";
const FIGURES: &str = "Number(document.getElementById('open').textContent.replace(',', '')) > 0 \
                       && Number(document.getElementById('rate').textContent) > 0";
const TRUTH: &str = "/^seen [0-9.]+ % \\([0-9.]+ to [0-9.]+\\)/.test(\
                     document.getElementById('strip').innerText)";
const LINKS: &str =
    "document.querySelectorAll('#events a[href^=\"https://github.com/\"]').length >= 20";
const DRAWN: &str = "document.querySelectorAll('#type-chart path.area').length === 5 \
                     && document.querySelectorAll('#type-table td').length >= 5";
const LIVE: &str = "document.getElementById('link').textContent === 'Live'";

struct Site {
    _github: GitHub,
    _dir: tempfile::TempDir,
    running: Running,
}

impl Site {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let github = GitHub::start(Options::default()).await;
        // While a feed fills up, its pages change their types of events, and how much of it was
        // seen may be unknown for minutes afterwards.
        github.control.emit(900);
        let dir = tempfile::tempdir().unwrap();
        let running = Running::start(dir.path(), &github.url, settings).await;
        Self { _github: github, _dir: dir, running }
    }
}

/// The browser; `None`, with a message, if the test cannot run.
async fn browser(test: &str) -> Option<Browser> {
    let browser = Browser::start().await;
    if browser.is_none() {
        println!("skipped: {test}: no chromium here; `make test` installs it on Debian");
    }
    browser
}

/// The browser, a site of simulated events with these settings, and its host; `None` if the test
/// cannot run.
async fn browser_and_site(
    test: &str,
    settings: &[(&str, &str)],
) -> Option<(Browser, Site, String)> {
    let browser = browser(test).await?;
    let site = Site::start(settings).await;
    let host = site.running.public.to_string();
    Some((browser, site, host))
}

async fn shows(page: &mut Page, what: &str) {
    if timeout(PATIENCE, page.until(what)).await.is_err() {
        let shown = page.evaluate("document.body.innerText.slice(0, 2000)").await;
        panic!("{what}: not within {PATIENCE:?}; the page shows {shown}");
    }
}

/// Asserts that the page reported no errors, and sent requests only to the appliance.
fn check_quiet(page: &Page, host: &str) {
    assert_eq!(page.complaints, Vec::<String>::new(), "complaints in the console");
    assert!(!page.requests.is_empty());
    for url in page.requests.iter().filter(|url| !url.starts_with("data:")) {
        let rest = url.split_once("://").expect("a URL").1;
        assert_eq!(rest.split('/').next(), Some(host), "a request to another host: {url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_events_figures_and_simulated() {
    let test = "page_shows_events_figures_and_simulated";
    let Some((mut browser, site, host)) = browser_and_site(test, &[]).await else { return };
    for (name, scheme, width, height) in [
        ("light", "light", 1280, 1000),
        ("dark", "dark", 1920, 1080),
        ("narrow", "light", 390, 1600),
    ] {
        let mut page = browser.page(width, height, scheme).await;
        page.open(&format!("http://{host}/")).await;
        for what in [EVENTS_PASS, WALL_FILLS, FIGURES, LIVE, TRUTH, LINKS, DRAWN] {
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
async fn page_below_a_base_path_reports_a_lost_connection() {
    let test = "page_below_a_base_path_reports_a_lost_connection";
    let Some(mut browser) = browser(test).await else { return };
    let scripts = tempfile::tempdir().unwrap();
    std::fs::write(scripts.path().join("merge_latest.rhai"), "fn merge(window) {").unwrap();
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
    // Problems are shown prominently.
    let trouble = "document.getElementById('trouble').innerText.includes('merge_latest.rhai')";
    shows(&mut page, trouble).await;
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
async fn page_reports_silence_and_recovery() {
    const SILENT: &str = "document.getElementById('link').textContent.startsWith('No ') \
        && document.body.classList.contains('stale')";
    let test = "page_reports_silence_and_recovery";
    let Some(mut browser) = browser(test).await else { return };
    let site = Site::start(&[]).await;
    let relay = Relay::start(site.running.public).await;
    let mut pages = Vec::new();
    for path in ["", "status", "play"] {
        let mut page = browser.page(1280, 900, "light").await;
        page.open(&format!("http://{}/{path}", relay.address)).await;
        shows(&mut page, "document.getElementById('link') !== null").await;
        if path == "play" {
            page.click("#go").await;
        }
        shows(&mut page, LIVE).await;
        shows(&mut page, TRUTH).await;
        pages.push(page);
    }
    relay.hold(true);
    // A hidden page does not ask for the state.
    for page in &mut pages {
        page.bring_to_front().await;
        shows(page, SILENT).await;
    }
    relay.hold(false);
    for page in &mut pages {
        page.bring_to_front().await;
        shows(page, LIVE).await;
    }
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn query_is_kept_in_the_address() {
    let Some(mut browser) = browser("query_is_kept_in_the_address").await else { return };
    let site = Site::start(&[]).await;
    let host = site.running.public.to_string();
    let mut page = browser.page(1920, 1080, "dark").await;
    page.open(&format!("http://{host}/?wall&types=PushEvent")).await;
    shows(&mut page, LIVE).await;
    shows(&mut page, EVENTS_PASS).await;
    let kinds = "[...document.querySelectorAll('#events .kind')].every((kind) => \
                 kind.textContent === 'push')";
    assert_eq!(page.evaluate(kinds).await, json!(true), "only what was asked for");
    let whole = "document.documentElement.scrollHeight <= window.innerHeight";
    assert_eq!(page.evaluate(whole).await, json!(true), "a wall has nothing to scroll for");
    let in_full = "(() => { const box = document.getElementById('events').getBoundingClientRect(); \
                   return [...document.querySelectorAll('#events li')].every((row) => { \
                   const { left, bottom } = row.getBoundingClientRect(); \
                   return left >= box.right - 1 || bottom <= box.bottom + 1; }); })()";
    assert_eq!(page.evaluate(in_full).await, json!(true), "no row is cut in half");
    page.screenshot("page-wall.png").await;
    check_quiet(&page, &host);
    let mut page = browser.page(1280, 900, "light").await;
    page.open(&format!("http://{host}/play?repos=a/*&types=PushEvent")).await;
    shows(&mut page, "document.getElementById('repos').value === 'a/*'").await;
    page.evaluate("document.getElementById('repos').value = ''").await;
    page.click("#go").await;
    shows(&mut page, "location.search === '?types=PushEvent'").await;
    shows(&mut page, LIVE).await;
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn text_pages_refresh_in_place_and_link_to_each_other() {
    let test = "text_pages_refresh_in_place_and_link_to_each_other";
    let settings = [("GHPULSE_SERVER_BASEPATH", "/websocket")];
    let Some((mut browser, site, host)) = browser_and_site(test, &settings).await else { return };
    for path in ["status", "topics", "scripts", "play", ""] {
        let mut page = browser.page(390, 800, "dark").await;
        page.open(&format!("http://{host}/websocket/{path}")).await;
        let links = "[...document.querySelectorAll('nav a')].map((a) => a.pathname).join()";
        let all = "/websocket/,/websocket/,/websocket/status,/websocket/play,/websocket/topics,\
                   /websocket/scripts,/websocket/docs";
        shows(&mut page, &format!("{links} === '{all}'")).await;
        let landmarks = "document.querySelectorAll('main').length === 1 \
                         && document.querySelector('meta[http-equiv=refresh]') === null";
        shows(&mut page, landmarks).await;
        if path == "status" {
            page.evaluate("window.before = document.getElementById('text').textContent").await;
            shows(&mut page, "document.getElementById('text').textContent !== before").await;
            shows(&mut page, "/Ready/.test(document.getElementById('verdict').innerText)").await;
        }
        check_quiet(&page, &host);
    }
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outside_text_is_never_markup() {
    const NASTY: &str = "<img src=x onerror=document.title='broken'>";
    let test = "outside_text_is_never_markup";
    let Some(mut browser) = browser(test).await else { return };
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let host = running.public.to_string();
    let mut page = browser.page(1920, 1080, "dark").await;
    page.open(&format!("http://{host}/")).await;
    shows(&mut page, LIVE).await;
    let event = json!({
        "id": "1", "type": format!("{NASTY}Event"), "actor": {"id": 1, "login": NASTY},
        "repo": {"id": 1, "name": NASTY}, "payload": {"action": NASTY},
    });
    let pull = json!({
        "id": "2", "type": "PullRequestEvent",
        "actor": {"id": 2, "login": "\u{202e}gnp.exe"}, "payload": {"action": {"odd": [1]},
            "pull_request": {"base": {"repo": {"language": NASTY}}}},
    });
    // The list starts with a sample of the latest events; from this on it has each one.
    shows(&mut page, "document.getElementById('events').dataset.sample === '1'").await;
    for event in [event, pull] {
        github.control.push_raw(&event.to_string());
    }
    shows(&mut page, "document.querySelectorAll('#events li').length === 2").await;
    shows(&mut page, "document.querySelectorAll('#languages .language').length === 1").await;
    for text in [NASTY, "[U+202E]gnp.exe"] {
        shows(&mut page, &format!("document.body.innerText.includes({})", json!(text))).await;
    }
    let shown = page.evaluate("document.body.innerText").await;
    let shown = shown.as_str().unwrap();
    assert!(!shown.contains('\u{202e}'), "nothing turns the direction of writing");
    let links = "document.querySelectorAll('#events a').length";
    assert_eq!(page.evaluate(links).await, json!(0), "what is no name leads nowhere");
    assert_eq!(page.evaluate("document.images.length").await, json!(0));
    shows(&mut page, "document.title === 'ghpulse (simulated)'").await;
    check_quiet(&page, &host);
    browser.end().await;
    running.end().await;
}

/// The messages that an `EventSource` received, kept in the page: cursors of events, and the types
/// of other messages (for gaps, their reasons).
const FOLLOW: &str = "window.got = []; window.others = new Set(); \
    window.source = new EventSource('/stream?types=PushEvent&latest=5'); \
    source.addEventListener('event', (e) => got.push([JSON.parse(e.data).cursor, e.lastEventId])); \
    for (const type of ['hello', 'ack', 'caught_up', 'gap', 'bye']) \
        source.addEventListener(type, (e) => \
            others.add(type === 'gap' ? JSON.parse(e.data).reason : type)); true";

#[tokio::test(flavor = "multi_thread")]
async fn event_source_reconnects_without_a_loss() {
    let test = "event_source_reconnects_without_a_loss";
    let Some(mut browser) = browser(test).await else { return };
    let port = crate::common::ports::free_port().to_string();
    let settings = [("GHPULSE_SERVER_PORT", port.as_str())];
    let Site { _github: github, _dir: dir, running } = Site::start(&settings).await;
    let host = running.public.to_string();
    let mut page = browser.page(800, 600, "light").await;
    page.open(&format!("http://{host}/")).await;
    shows(&mut page, EVENTS_PASS).await;
    assert_eq!(page.evaluate(FOLLOW).await, json!(true));
    shows(&mut page, "got.length >= 30").await;
    running.end().await;
    shows(&mut page, "others.has('bye')").await;
    let before = page.evaluate("got.length").await;
    let running = Running::start(dir.path(), &github.url, &settings).await;
    shows(&mut page, &format!("got.length >= {before} + 30")).await;
    let got = page.evaluate("JSON.stringify(got)").await;
    let got: Vec<(String, String)> = serde_json::from_str(got.as_str().unwrap()).unwrap();
    assert!(got.iter().all(|(cursor, id)| cursor == id));
    let first = &got[0].0;
    let path = format!("/stream?poll=1&types=PushEvent&cursor={first}");
    let polled = crate::common::client::request(running.public, "GET", &path, &[]).await.body;
    let polled = polled.lines().map(serde_json::from_str::<serde_json::Value>);
    let polled = polled.map(Result::unwrap).filter(|message| message["type"] == "event");
    let polled: Vec<String> =
        polled.map(|message| message["cursor"].as_str().unwrap().to_owned()).collect();
    let got: Vec<String> = got.into_iter().skip(1).map(|(cursor, _)| cursor).collect();
    assert_eq!(got, polled[..got.len()], "twice, left out, or out of order");
    // Events that GitHub showed during the disconnect are reported as missing; no others may be.
    for reason in ["retention", "slow", "bus_changed"] {
        let told = page.evaluate(&format!("others.has('{reason}')")).await;
        assert_eq!(told, json!(false), "{reason}");
    }
    browser.end().await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_can_be_tried_resumed_and_taken_elsewhere() {
    const CAME: &str = "Number(document.getElementById('count').textContent) >= 10";
    let test = "the_stream_can_be_tried_resumed_and_taken_elsewhere";
    let settings = [("GHPULSE_SERVER_BASEPATH", "/websocket")];
    let Some((mut browser, site, host)) = browser_and_site(test, &settings).await else { return };
    for (name, scheme, width, prefix) in [
        ("light", "light", 1400, ""),
        ("dark", "dark", 1400, "/websocket"),
        ("narrow", "light", 390, ""),
    ] {
        let mut page = browser.page(width, 1100, scheme).await;
        page.open(&format!("http://{host}{prefix}/play")).await;
        shows(&mut page, "document.getElementById('types') !== null").await;
        page.click("#go").await;
        shows(&mut page, LIVE).await;
        shows(&mut page, CAME).await;
        shows(&mut page, "document.getElementById('cursor').textContent.includes('-')").await;
        // Another query on the same connection.
        page.evaluate("document.getElementById('types').value = 'PushEvent'").await;
        page.evaluate("document.getElementById('from').value = 'latest'").await;
        page.evaluate("document.getElementById('from').dispatchEvent(new Event('change'))").await;
        page.click("#clear").await;
        page.click("#go").await;
        shows(&mut page, "document.querySelectorAll('#events details').length >= 5").await;
        let acknowledged = "[...document.querySelectorAll('#events .note')]\
                            .some((note) => note.textContent.includes('holds'))";
        shows(&mut page, acknowledged).await;
        page.click("#events summary").await;
        shows(&mut page, "document.querySelector('#events pre').textContent.includes('cursor')")
            .await;
        let curl = page.evaluate("document.getElementById('curl').textContent").await;
        let wanted = format!("curl -N 'http://{host}{prefix}/stream?types=PushEvent&latest=20'");
        assert_eq!(curl, json!(wanted));
        let overflow =
            page.evaluate("document.documentElement.scrollWidth > window.innerWidth").await;
        assert_eq!(overflow, json!(false), "{name}: nothing to scroll sideways for");
        let unnamed = "[...document.querySelectorAll('button, input, select')].filter((control) => \
                       !control.textContent.trim() && !control.labels?.length).length";
        assert_eq!(page.evaluate(unnamed).await, json!(0), "every control has a name");
        page.screenshot(&format!("play-{name}.png")).await;
        // An invalid query is reported, and the page can continue.
        page.evaluate("document.getElementById('keys').value = 'evt.#.#.#.x'").await;
        page.click("#go").await;
        shows(&mut page, "document.querySelector('#events .note.bad') !== null").await;
        page.click("#stop").await;
        let gone = "document.getElementById('link').textContent.startsWith('Not connected')";
        shows(&mut page, gone).await;
        // A link fills in the form, and says what sends the query.
        page.open(&format!("http://{host}{prefix}/play?types=PushEvent")).await;
        let ready = "document.getElementById('types')?.value === 'PushEvent' && \
                     document.getElementById('link').textContent.includes('Connect sends')";
        shows(&mut page, ready).await;
        page.screenshot(&format!("play-link-{name}.png")).await;
        check_quiet(&page, &host);
    }
    browser.end().await;
    site.running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn examples_of_the_page_work() {
    let test = "examples_of_the_page_work";
    let Some((mut browser, site, host)) = browser_and_site(test, &[]).await else { return };
    let mut page = browser.page(1280, 2600, "light").await;
    page.open(&format!("http://{host}/")).await;
    shows(&mut page, LIVE).await;
    page.screenshot("page-examples.png").await;
    let example = async |page: &mut Page, id: &str| {
        let shown = format!("document.getElementById('example-{id}').innerText");
        page.evaluate(&shown).await.as_str().unwrap().to_owned()
    };
    let (curl, script, python) = (
        example(&mut page, "curl").await,
        example(&mut page, "script").await,
        example(&mut page, "python").await,
    );
    assert!(script.lines().count() <= 20, "{script}");
    for (program, text) in [("sh", curl), ("python3", python)] {
        let mut child = tokio::process::Command::new(program)
            .args(["-c", &text])
            .env("PYTHONUNBUFFERED", "1")
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(
            child.stdout.take().unwrap(),
        ));
        let found = loop {
            let line = soon("a line", lines.next_line()).await.unwrap();
            let line = line.unwrap_or_else(|| panic!("{program} ended: {text}"));
            if line.contains("opened") || line.contains("closed") {
                break line;
            }
        };
        assert!(!found.starts_with("again"), "{found}");
    }
    // The page's policy forbids scripts from strings, so the script runs in a page without a
    // policy.
    let mut bare = browser.page(800, 600, "light").await;
    let run = format!("window.said = []; console.log = (...all) => said.push(all); {script}");
    bare.evaluate(&format!("{{ {run} }}; true")).await;
    shows(&mut bare, "said.length >= 3 && said.every((line) => line.length === 2)").await;
    browser.end().await;
    site.running.end().await;
}
