//! A GitHub App instead of tokens: its tokens are used, renewed in time, and given up with their
//! installation; a wrong key is named, and the right one is taken without a restart.

use ghpulse::simulate::SimulatedApp;

use super::*;
use crate::common::client::request;

const KEY: &[u8] = include_bytes!("../../../src/secrets/test-key.pem");
const OTHER_KEY: &[u8] = include_bytes!("../../../src/secrets/other-key.pem");

/// A simulated GitHub that knows an app with two installations.
async fn github(token_for: Duration) -> GitHub {
    let app = SimulatedApp::new("4711", KEY, &["ann", "octo-org"]).unwrap();
    let app = Some(SimulatedApp { token_for, ..app });
    GitHub::start(Options { rate: 50.0, seed: 43, app, ..Options::default() }).await
}

async fn start(dir: &std::path::Path, github: &GitHub, key: &[u8]) -> Running {
    let file = dir.join("key.pem");
    std::fs::write(&file, key).unwrap();
    let settings = [
        ("GHPULSE_GITHUB_TOKENS", ""),
        ("GHPULSE_GITHUB_APP_ID", "4711"),
        ("GHPULSE_GITHUB_APP_KEYFILE", file.to_str().unwrap()),
    ];
    Running::start(&dir.join("data"), &github.url, &settings).await
}

/// Waits until the status of the source, as the operator reads it, is as wanted.
async fn until(appliance: &Running, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    until_some(what, async || {
        let status = request(appliance.ops, "GET", "/status?format=json", &[]).await.json();
        Some(status["source"].clone()).filter(&wanted)
    })
    .await
}

fn requests(github: &GitHub, of: &str) -> u64 {
    github.control.outcomes().get(of).copied().unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn app_tokens_are_used_renewed_and_dropped() {
    // Renewed after half of that: a slow machine may take as long for it.
    let github = github(Duration::from_secs(16)).await;
    let dir = tempfile::tempdir().unwrap();
    let appliance = start(dir.path(), &github, KEY).await;
    let said = until(&appliance, "both are used", |said| said["tokens_usable"] == 2).await;
    assert_eq!((&said["mode"], &said["accounts"]), (&"tokens".into(), &2.into()));
    assert_eq!(said["app"]["installations"][1]["account"], "octo-org");
    let public = request(appliance.public, "GET", "/status?format=json", &[]).await.json();
    assert_eq!(public["source"]["app"], Value::Null, "strangers do not see whose app it is");
    let renewed = github.control.until(|control| {
        (1..=2).all(|installation| control.installation_tokens(installation) >= 3)
    });
    soon("tokens are renewed", renewed).await;
    let pages = requests(&github, "200");
    let more = github.control.until(|control| control.outcomes()["200"] > pages + 20);
    soon("events are read", more).await;
    assert_eq!(requests(&github, "401"), 0, "no token was used after its end");

    github.control.remove_installation(1);
    let one = until(&appliance, "one is left", |said| {
        said["app"]["installations"].as_array().is_some_and(|all| all.len() == 1)
            && said["tokens_usable"] == 1
    });
    assert_eq!(one.await["app"]["installations"][0]["account"], "octo-org");
    github.control.suspend_installation(2);
    let suspended = |said: &Value| {
        let error = said["app"]["installations"][0]["error"].as_str();
        error.is_some_and(|error| error.contains("suspended")) && said["mode"] == "anonymous"
    };
    until(&appliance, "the last one is suspended", suspended).await;
    appliance.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_key_of_an_app_is_named_and_the_right_one_is_taken() {
    let github = github(Duration::from_secs(3_600)).await;
    let dir = tempfile::tempdir().unwrap();
    let appliance = start(dir.path(), &github, OTHER_KEY).await;
    let refused = |said: &Value| {
        let error = said["app"]["error"].as_str();
        error.is_some_and(|error| error.starts_with("key refused (401)"))
    };
    let said = until(&appliance, "the key is refused", refused).await;
    assert_eq!(said["mode"], "anonymous", "GitHub is read meanwhile");
    let parts = request(appliance.ops, "GET", "/readyz", &[]).await.body;
    assert!(parts.contains("GitHub App 4711: key refused (401)"), "{parts}");
    assert!(!parts.contains("BEGIN"), "{parts}");
    std::fs::write(dir.path().join("key.pem"), KEY).unwrap();
    let well = |said: &Value| said["tokens_usable"] == 2 && said["app"]["error"].is_null();
    until(&appliance, "the right key is taken", well).await;
    appliance.end().await;
    // After a restart the app's tokens are there before anything is sent without one.
    let before = github.control.installation_tokens(2);
    let appliance = start(dir.path(), &github, KEY).await;
    until(&appliance, "tokens are used again", well).await;
    assert!(github.control.installation_tokens(2) > before);
    appliance.end().await;
}
