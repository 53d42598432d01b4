//! The wall and the page at many sizes: in small frames and on large screens no cards overlap.

use serde_json::json;

use super::{EVENTS_PASS, browser_and_site, check_quiet, shows};

/// Width and height of the windows, and whether everything is on one screen.
const SIZES: [(u32, u32, bool); 13] = [
    (3840, 1080, true),
    (1920, 1080, true),
    (1366, 768, true),
    (1280, 720, true),
    (1024, 600, true),
    (900, 600, true),
    (800, 600, true),
    (800, 480, true),
    (641, 480, true),
    (900, 900, true),
    (768, 1024, true),
    (720, 375, false),
    (390, 844, false),
];
/// Cards that lie on each other, are cut, or are next to nothing: their names.
const WRONG: &str = "(() => { const wrong = []; \
    const cards = [...document.querySelectorAll('.card')].filter((card) => card.offsetHeight > 0); \
    const boxes = cards.map((card) => card.getBoundingClientRect()); \
    const name = (at) => cards[at].id || cards[at].innerText.slice(0, 20); \
    boxes.forEach((one, at) => { \
        if (one.height < 30) wrong.push(`${name(at)} is ${one.height} high`); \
        if (cards[at].scrollHeight > cards[at].clientHeight + 2) wrong.push(`${name(at)} is cut`); \
        for (let other = at + 1; other < boxes.length; other += 1) { \
            const two = boxes[other]; \
            if (Math.min(one.right, two.right) - Math.max(one.left, two.left) > 1 \
                && Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 1) \
                wrong.push(`${name(at)} and ${name(other)}`); } }); \
    return wrong.join(); })()";
/// Labels of the time in charts that lie on each other.
const LABELS: &str = "[...document.querySelectorAll('.chart svg')].flatMap((chart) => { \
    const texts = [...chart.querySelectorAll('text')]; \
    const lowest = Math.max(...texts.map((text) => +text.getAttribute('y'))); \
    const labels = texts.filter((text) => +text.getAttribute('y') === lowest); \
    const boxes = labels.map((label) => label.getBoundingClientRect()); \
    return labels.slice(1).filter((_, at) => boxes[at].right > boxes[at + 1].left) \
        .map((label) => label.textContent); }).join()";
/// Whether what an endpoint gives is in sight, and wide enough to be read.
const ENDPOINTS: &str = "[...document.querySelectorAll('#endpoints td:last-child')].every((cell) => { \
    const { right, width } = cell.getBoundingClientRect(); \
    return right <= innerWidth && width > 150; })";
const SIDEWAYS: &str = "document.documentElement.scrollWidth > window.innerWidth";

#[tokio::test(flavor = "multi_thread")]
async fn no_card_lies_on_another_at_any_size() {
    let test = "no_card_lies_on_another_at_any_size";
    let Some((mut browser, site, host)) = browser_and_site(test, &[]).await else { return };
    for (path, scheme) in [("?wall", "dark"), ("", "light")] {
        let mut page = browser.page(1280, 720, scheme).await;
        page.open(&format!("http://{host}/{path}")).await;
        for what in [EVENTS_PASS, "document.querySelectorAll('#panels .card').length >= 3"] {
            shows(&mut page, what).await;
        }
        for (width, height, is_one_screen) in SIZES {
            page.resize(width, height).await;
            // Rows are fitted after the layout: what is shown in the end counts.
            let settled = format!("innerWidth === {width} && {WRONG} === '' && {LABELS} === ''");
            shows(&mut page, &settled).await;
            let what = format!("/{path} at {width}x{height}");
            assert_eq!(page.evaluate(SIDEWAYS).await, json!(false), "{what}: sideways");
            if path.is_empty() && width < 641 {
                assert_eq!(page.evaluate(ENDPOINTS).await, json!(true), "{what}: endpoints");
            }
            if is_one_screen && !path.is_empty() {
                let whole = "document.documentElement.scrollHeight <= window.innerHeight";
                assert_eq!(page.evaluate(whole).await, json!(true), "{what}: scrolls");
                let events = "document.getElementById('events-card').clientHeight > 100";
                assert_eq!(page.evaluate(events).await, json!(true), "{what}: events");
            }
            page.screenshot(&format!("size-{}{width}x{height}.png", &path[path.len().min(1)..]))
                .await;
        }
        check_quiet(&page, &host);
    }
    browser.end().await;
    site.running.end().await;
}
