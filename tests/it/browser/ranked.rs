//! Repositories of the day on the wall, and the chart behind a click.

use serde_json::json;

use super::{browser_and_site, check_quiet, shows};

#[tokio::test(flavor = "multi_thread")]
async fn a_click_on_a_ranked_repository_shows_its_chart() {
    let test = "a_click_on_a_ranked_repository_shows_its_chart";
    let Some((mut browser, site, host)) = browser_and_site(test, &[]).await else { return };
    let mut page = browser.page(1280, 1000, "light").await;
    page.open(&format!("http://{host}/")).await;
    let hour = "document.querySelector('#top-pushes li button') !== null";
    shows(&mut page, hour).await;
    let day = "(() => { const s = document.getElementById('ranked-window'); s.value = '24h'; \
               s.dispatchEvent(new Event('change')); \
               document.getElementById('top-pushes').dataset.said = ''; return true; })()";
    assert_eq!(page.evaluate(day).await, json!(true));
    // The ranking of the day has replaced that of the hour.
    shows(&mut page, "document.getElementById('top-pushes').dataset.said !== ''").await;
    page.click("#top-pushes li button").await;
    let drawn = "document.getElementById('repo-chart').open && \
                 document.querySelector('#repo-chart img').naturalWidth > 0";
    shows(&mut page, drawn).await;
    page.screenshot("ranked.png").await;
    check_quiet(&page, &host);
    browser.end().await;
    site.running.end().await;
}
