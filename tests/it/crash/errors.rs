//! Failing writes and syncs of the store: `strace` injects `ENOSPC` and `EIO` at the n-th call. The
//! process continues, or exits with the matching code; after the next start, nothing is lost and
//! nothing is counted twice.

use super::cuts::{can_trace, first_process, strace_that_fails, strace_that_fails_syncs};
use super::*;

/// Runs with failing calls in `make test`, for each error.
const CALLS: u64 = 6;
/// The last call that may be chosen to fail: `strace` counts the calls of each thread separately,
/// and few threads make more per run.
const LAST: u64 = 45;
/// Permitted exit codes of a process that cannot write: a requested stop, and an I/O error.
const ENDS: [i32; 2] = [0, 74];

/// Makes one call of each thread fail, and all later ones succeed. Returns the number of failures.
async fn fails_at(seed: u64, error: &str, call: u64) -> usize {
    println!("{error} at call {call}, the directory of seed {seed}");
    let site = Site::new(seed, Shape::Old).await;
    let around = tempfile::tempdir().unwrap();
    let file = around.path().join("trace");
    let command = strace_that_fails(&file, &site.dir.path().join("db"), error, call);
    let mut command = Command::from(command);
    command.args(["run", "--listen", "127.0.0.1:0"]);
    let mut child = site.start_as(command, site.dir.path(), None, &[]);
    let fed = async {
        for _ in 0..10 {
            site.control.emit(20);
            let requests = site.control.requests();
            site.control.until(|c| c.requests() > requests + 3).await;
        }
    };
    let ended = tokio::select! {
        ended = child.wait() => Some(ended.unwrap()),
        fed = tokio::time::timeout(PATIENCE, fed) => {
            fed.expect("it continues or ends");
            None
        }
    };
    let status = if let Some(status) = ended {
        status
    } else {
        let text = std::fs::read_to_string(&file).unwrap();
        let process = first_process(&text).expect("it opened its store");
        // The process may have exited meanwhile.
        let _ = Command::new("kill").args(["-TERM", &process]).status().await.unwrap();
        tokio::time::timeout(PATIENCE, child.wait()).await.expect("it stops").unwrap()
    };
    let code = status.code();
    assert!(code.is_some_and(|code| ENDS.contains(&code)), "{error} at {call}: {status}");
    let text = std::fs::read_to_string(&file).unwrap();
    let failed = text.matches("(INJECTED)").count();
    println!("ended with {code:?}, {failed} failed");
    site.finish().await;
    failed
}

#[tokio::test(flavor = "multi_thread")]
async fn failing_writes_and_syncs_lose_and_double_nothing() {
    if !can_trace("failing_writes_and_syncs_lose_and_double_nothing") {
        return;
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let calls = number("TEST_ERRORS").unwrap_or(CALLS);
    let seed = number("TEST_ERRORS_SEED").unwrap_or(1);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut failed = 0;
    for at in 0..calls {
        for error in ["ENOSPC", "EIO"] {
            // In a full run, each of the first calls, which a start makes; otherwise any.
            let call = if calls >= LAST { at + 1 } else { rng.u64(1..=LAST) };
            failed += fails_at(seed + at, error, call).await;
        }
    }
    println!("report: {failed} calls failed in all: nothing lost, nothing twice");
    assert!(failed > 0, "no call failed: nothing was tried");
}

/// Syncs of a thread that succeed before all of them fail: more than a start makes.
const SYNCED: u64 = 40;

/// Makes all syncs fail from some moment on, until the process ends. Returns its log.
async fn syncs_fail_with(error: &str) -> String {
    let site = Site::new(41, Shape::Old).await;
    // The first start creates the store, with many syncs.
    let mut child = site.start(None);
    let asked = site.control.until(|c| c.requests() > 3);
    tokio::time::timeout(PATIENCE, asked).await.expect("it asks in time");
    end(&mut child).await;
    let around = tempfile::tempdir().unwrap();
    let (file, log) = (around.path().join("trace"), around.path().join("log"));
    let mut command = Command::from(strace_that_fails_syncs(&file, error, SYNCED + 1));
    command.args(["run", "--listen", "127.0.0.1:0"]);
    let settings = [("GHPULSE_LOG_FILE", log.to_str().unwrap())];
    let mut child = site.start_as(command, site.dir.path(), None, &settings);
    let ended = site.feed_until_death(&mut child).await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert_eq!(ended.code(), Some(74), "{error}: {ended}: {text}");
    site.finish().await;
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_that_keep_failing_end_the_process() {
    if !can_trace("syncs_that_keep_failing_end_the_process") {
        return;
    }
    let closes = "closing the store: cannot sync the write-ahead log";
    let text = syncs_fail_with("EIO").await;
    assert!(text.contains(closes), "{text}");
    // Without space it would wait, but there is space: the process ends after half a minute.
    let text = syncs_fail_with("ENOSPC").await;
    assert!(text.contains("the disk is full: writes wait"), "{text}");
    assert!(text.contains("though the disk seems to have free space"), "{text}");
    assert!(text.contains(closes), "{text}");
}
