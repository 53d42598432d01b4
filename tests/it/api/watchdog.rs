//! Notifications to systemd: ready once, then the watchdog's keep-alive while the process runs.

use std::process::Stdio;

use ghpulse::simulate::Options;
use tokio::net::UnixDatagram;
use tokio::process::Command;

use crate::common::running::{GitHub, soon};

#[tokio::test(flavor = "multi_thread")]
async fn systemd_is_notified_ready_once_and_alive_regularly() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_ghpulse"))
        .args(["run", "--listen", "127.0.0.1:0", "--github", &github.url, "--data"])
        .arg(dir.path().join("data"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("GHPULSE_OPS_LISTEN", "127.0.0.1:0")
        .env("GHPULSE_GITHUB_TOKENS", "token-of-a-test")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "3000000")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let (mut ready, mut alive) = (0, 0);
    let mut words = [0; 256];
    while ready < 1 || alive < 3 {
        let length = soon("systemd is notified", socket.recv(&mut words)).await.unwrap();
        match &words[..length] {
            b"READY=1" | b"READY=1\n" => ready += 1,
            b"WATCHDOG=1" | b"WATCHDOG=1\n" => alive += 1,
            other => panic!("{}", other.escape_ascii()),
        }
    }
    assert_eq!(ready, 1);
    child.kill().await.unwrap();
}
