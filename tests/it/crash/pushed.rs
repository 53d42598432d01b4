//! Pushes that wait for their commits when the process dies.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn pushes_that_wait_for_commits_survive_kill_9() {
    let site = Site::new(13, Shape::Today).await;
    site.control.emit(120);
    let emitted = site.control.emitted();
    let events = emitted.iter().map(|event| serde_json::from_str::<Value>(event).unwrap());
    let pushes = events.filter(|event| event["type"] == "PushEvent");
    let names: BTreeSet<String> =
        pushes.map(|event| event["repo"]["name"].as_str().unwrap().to_owned()).collect();
    let lists = tempfile::tempdir().unwrap();
    let lines: Vec<&str> = names.iter().map(String::as_str).collect();
    std::fs::write(lists.path().join("mine.txt"), lines.join("\n")).unwrap();
    let settings = [("GHPULSE_LISTS_DIR", lists.path().to_str().unwrap())];

    // All answers are late: everything waits.
    site.control.set_fault(Fault::always(FaultKind::QuerySlow).wait(PATIENCE));
    let mut child = site.start_with(None, &settings);
    let asked = site.control.until(|control| control.unserved() == 0 && control.queries() > 1);
    tokio::time::timeout(PATIENCE, asked).await.expect("it asks in time");
    child.kill().await.unwrap();
    site.control.clear_faults();
    let mut child = site.start_with(Some("enrich.waiting:1"), &settings);
    let died = tokio::time::timeout(PATIENCE, child.wait()).await.expect("it dies in time");
    assert!(!died.unwrap().success());

    for restart in 0..RESTARTS as u64 {
        let mut child = site.start_with(None, &settings);
        let requests = site.control.requests();
        let polled = site
            .control
            .until(|control| control.requests() > requests + 9 * (1 + restart * restart));
        tokio::time::timeout(PATIENCE, polled).await.expect("it polls in time");
        end(&mut child).await;
        if stored::journal(site.dir.path()).len() >= emitted.len() {
            break;
        }
    }
    let journal = stored::journal(site.dir.path());
    assert_eq!(journal.len(), emitted.len(), "nothing is lost, nothing comes twice");
    let truth = site.control.pushes();
    let truth = truth.iter().map(|push| serde_json::from_str::<Value>(push).unwrap());
    let truth: Vec<Value> = truth.collect();
    let (mut whole, mut all) = (0, 0);
    for (_, facts, event) in journal.iter().filter(|(.., event)| event["type"] == "PushEvent") {
        all += 1;
        if !facts.enriched {
            continue;
        }
        whole += 1;
        let payload = &event["payload"];
        let wanted = truth.iter().find(|push| push["push_id"] == payload["push_id"]).unwrap();
        let shas = |push: &Value| -> Vec<Value> {
            push["commits"].as_array().unwrap().iter().map(|one| one["sha"].clone()).collect()
        };
        assert_eq!((&payload["size"], shas(payload)), (&wanted["size"], shas(wanted)));
    }
    assert!(whole * 10 > all * 8 && all > 30, "{whole} of {all}");
}
