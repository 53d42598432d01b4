//! WebSocket libraries of Node: they dispatch messages later than these arrive, which shows whether
//! a connection ends before the client has read everything.

use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tokio::process::Command;

use super::events::push;
use super::site::Site;
use crate::common::running::soon;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/api/clients/read.mjs");
/// Concurrent connections of one client.
const TIMES: usize = 15;
/// Events that each connection must read.
const EVENTS: usize = 50;

/// The directory into which `.ci/setup test` installs undici and ws.
fn modules() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| {
        let home = std::env::var_os("HOME")?;
        Some(PathBuf::from(home).join(".cache"))
    });
    cache.unwrap_or_default().join("ghpulse-tests")
}

/// What each connection read; `None`, with a message, if this library is not installed.
async fn read(test: &str, library: &str, url: &str, params: &str) -> Option<Vec<Value>> {
    let modules = modules();
    if library != "native" && !modules.join("node_modules").join(library).is_dir() {
        println!("skipped: {test}: no {library} here; `.ci/setup test` installs it where npm is");
        return None;
    }
    let mut command = Command::new("node");
    command.args((library == "native").then_some("--experimental-websocket"));
    command.arg(SCRIPT).arg(library).arg(&modules).arg(url).arg(TIMES.to_string()).arg(params);
    let Ok(running) = command.stdout(Stdio::piped()).kill_on_drop(true).spawn() else {
        println!("skipped: {test}: no node here");
        return None;
    };
    let done = soon("the client ends", running.wait_with_output()).await.unwrap();
    assert!(done.status.success(), "{library}: {done:?}");
    Some(serde_json::from_slice(&done.stdout).unwrap())
}

async fn expect_everything(library: &str) {
    let test = format!("{library}_reads_every_message_and_the_close_code");
    let site = Site::start(&[]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    let filler = format!(r#""pad":"{}","public""#, "some text that deflates ".repeat(400));
    let count = EVENTS + 10;
    let events: Vec<_> =
        (1..=count).map(|id| push(id as u64).replacen(r#""public""#, &filler, 1)).collect();
    site.push(&events);
    site.settle(&mut reader, count).await;
    let url = |path: &str| format!("ws://{}{path}", site.running.public);
    let polled = url(&format!("/stream?poll=1&latest={EVENTS}"));
    if let Some(all) = read(&test, library, &polled, "").await {
        assert_eq!(all.len(), TIMES);
        for one in all {
            let got = (&one["events"], &one["code"], &one["clean"], &one["last"]["type"]);
            let wanted = (&EVENTS.into(), &1000.into(), &true.into(), &"caught_up".into());
            assert_eq!(got, wanted, "{library}: {one}");
        }
    }
    let refused = read(&test, library, &url("/sampling"), r#"{"samplingRate":0}"#).await;
    for one in refused.into_iter().flatten() {
        assert_eq!((&one["code"], &one["clean"]), (&1008.into(), &true.into()), "{one}");
        assert_eq!(one["reason"], "invalid params: samplingRate", "{one}");
        assert_eq!(one["last"]["error"]["field"], "samplingRate", "{one}");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn native_reads_every_message_and_the_close_code() {
    expect_everything("native").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn undici_reads_every_message_and_the_close_code() {
    expect_everything("undici").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ws_reads_every_message_and_the_close_code() {
    expect_everything("ws").await;
}
