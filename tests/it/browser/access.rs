//! Accessibility: axe-core finds no violation on any page, in light and dark mode, on a phone and
//! on a large screen.

use serde_json::json;

use super::{Site, browser, shows};

/// The axe-core installed by `.ci/setup test`.
fn axe() -> Option<String> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(std::path::PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")))?;
    let file = cache.join("ghpulse-tests/node_modules/axe-core/axe.min.js");
    std::fs::read_to_string(file).ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn axe_has_no_finding_on_any_page() {
    const TEST: &str = "axe_has_no_finding_on_any_page";
    const RUN: &str = "axe.run({ resultTypes: ['violations'] }).then(({ violations }) => \
        JSON.stringify(violations.map(({ id, nodes }) => \
            [id, nodes.slice(0, 3).map(({ target }) => target.join(' '))])))";
    let Some(axe) = axe() else {
        println!("skipped: {TEST}: no axe-core here; `make test` installs it where npm is");
        return;
    };
    let Some(mut browser) = browser(TEST).await else { return };
    let site = Site::start(&[]).await;
    let host = site.running.public.to_string();
    let ready = [
        ("", "document.querySelectorAll('#events li').length >= 20"),
        ("?wall", "document.querySelectorAll('#events li').length >= 20"),
        ("status", "document.querySelectorAll('#cards dl').length >= 3"),
        ("scripts", "document.querySelectorAll('#scripts section').length === 4"),
        ("topics", "document.getElementById('text') !== null"),
        ("play", "document.getElementById('types') !== null"),
    ];
    for (path, is_ready) in ready {
        for (width, scheme) in [(390, "light"), (1920, "dark")] {
            let mut page = browser.page(width, 1080, scheme).await;
            page.open(&format!("http://{host}/{path}")).await;
            shows(&mut page, is_ready).await;
            page.evaluate(&axe).await;
            let found = page.evaluate(RUN).await;
            assert_eq!(found, json!("[]"), "/{path} at {width}, {scheme}");
        }
    }
    browser.end().await;
    site.running.end().await;
}
