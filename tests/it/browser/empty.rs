//! The list of events while it is empty: the page says why.

use ghpulse::simulate::{Fault, FaultKind, Options};

use super::{LIVE, browser, shows};
use crate::common::running::{GitHub, Running};

fn says(words: &str) -> String {
    format!(
        "document.getElementById('no-events').offsetHeight > 0 && \
         document.getElementById('no-events').textContent.startsWith('No event yet: {words}')"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_list_names_its_reason() {
    let Some(mut browser) = browser("empty_list_names_its_reason").await else { return };
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let mut pages = Vec::new();
    for (query, words) in [("", "none has come"), ("?repos=a/b", "nothing that came matches")] {
        let mut page = browser.page(1280, 900, "light").await;
        page.open(&format!("http://{}/{query}", running.public)).await;
        shows(&mut page, LIVE).await;
        shows(&mut page, &says(words)).await;
        let unknown = "document.getElementById('open').textContent === '–'";
        shows(&mut page, unknown).await;
        pages.push(page);
    }
    running.end().await;
    for page in &mut pages {
        shows(page, &says("the connection to the server is lost")).await;
    }
    // Without a token, and when GitHub fails.
    let none = [("GHPULSE_GITHUB_TOKENS", "")];
    let running = Running::start(dir.path(), &github.url, &none).await;
    let mut page = browser.page(390, 900, "dark").await;
    page.open(&format!("http://{}/", running.public)).await;
    shows(&mut page, &says("without a token GitHub is read once in")).await;
    shows(&mut page, "document.getElementById('anonymous').offsetHeight > 0").await;
    running.end().await;
    github.control.set_fault(Fault::always(FaultKind::Error503));
    let running = Running::start(dir.path(), &github.url, &[]).await;
    page.open(&format!("http://{}/", running.public)).await;
    shows(&mut page, &says("GitHub does not answer the server")).await;
    github.control.push_raw("{\"id\":\"1\",\"type\":\"PushEvent\"}");
    github.control.clear_faults();
    shows(&mut page, "document.getElementById('no-events').hidden").await;
    browser.end().await;
    running.end().await;
}
