//! The README's example of a page, opened as a file: its origin is another than the server's.

use ghpulse::simulate::Options;
use serde_json::json;

use super::{browser, shows};
use crate::common::documented::example;
use crate::common::running::{GitHub, Running};

fn push(id: u64) -> String {
    let event = json!({
        "id": id.to_string(), "type": "PushEvent", "actor": {"id": 1, "login": "ann"},
        "repo": {"id": id, "name": format!("ann/tool{id}")}, "payload": {},
    });
    event.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_example_runs_as_printed_and_resumes() {
    let test = "page_example_runs_as_printed_and_resumes";
    let Some(mut browser) = browser(test).await else { return };
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(dir.path(), &github.url, &[]).await;
    let path = dir.path().join("page.html");
    std::fs::write(&path, example("html", running.public)).unwrap();
    let url = format!("file://{}", path.display());
    let mut page = browser.page(800, 600, "light").await;
    page.open(&url).await;
    shows(&mut page, "localStorage.getItem('pushes') !== null").await;
    github.control.push_raw(&push(1));
    github.control.push_raw(&push(2));
    shows(&mut page, "document.body.innerText.trim() === 'ann/tool1 ann/tool2'").await;
    page.open("about:blank").await;
    github.control.push_raw(&push(3));
    page.open(&url).await;
    // The cursor of the last event is kept when the next one is asked for.
    let resumed = "/^(ann\\/tool2 )?ann\\/tool3$/.test(document.body.innerText.trim())";
    shows(&mut page, resumed).await;
    assert_eq!(page.complaints, Vec::<String>::new(), "complaints in the console");
    browser.end().await;
    running.end().await;
}
