//! `ghpulse status` and `ghpulse tail` without `--url`: they ask the appliance of the directory.

use std::path::Path;
use std::process::Stdio;

use ghpulse::simulate::Options;
use tokio::net::TcpSocket;
use tokio::process::Command;

use super::events::push;
use super::program::{Program, run};
use crate::common::running::{GitHub, soon};

/// Runs a command in this directory; returns exit code, stdout and stderr.
async fn asked(directory: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    command.args(arguments).current_dir(directory).env_clear().kill_on_drop(true);
    let output = soon("it ends", command.stdin(Stdio::null()).output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_ask_the_appliance_of_their_directory() {
    let github = GitHub::start(Options::by_hand(1)).await;
    let (dir, here) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    github.control.push_raw(&push(1));
    let mut program = Program::start(run(&dir, &github.url));
    let public = program.address().await;
    // Its configuration says where the data is, and of the ports only that nobody listens there.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = reserved.local_addr().unwrap().port();
    let data = dir.path().display();
    let text =
        format!("data: {{dir: '{data}'}}\nserver: {{port: {port}}}\nops: {{listen: 'off'}}\n");
    std::fs::write(here.path().join("config.yaml"), &text).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let config = here.path().join("config.yaml");
    let (data, config) = (dir.path().to_str().unwrap(), config.to_str().unwrap());
    let ops = std::fs::read_to_string(dir.path().join("ops")).unwrap();
    for (directory, more) in [
        (here.path(), [].as_slice()),
        (elsewhere.path(), &["--config", config]),
        (elsewhere.path(), &["--data", data]),
    ] {
        let (code, said, error) = asked(directory, &[&["status"], more].concat()).await;
        assert!(matches!(code, Some(0 | 69)), "{more:?} {said}{error}");
        let line = format!("asked      {ops}");
        assert!(said.contains(&line), "{more:?}: {line} is not in {said}{error}");
        let (code, said, error) = asked(directory, &[&["status", "--alive"], more].concat()).await;
        assert_eq!((code, &*said, &*error), (Some(0), "", ""), "{more:?}");
        let tail = ["tail", "--since", "1h", "--limit", "1", "--json"];
        let (code, said, error) = asked(directory, &[&tail, more].concat()).await;
        assert!(code == Some(0) && said.contains(r#""id":"1""#), "{more:?} {said}{error}");
    }
    // What `--url` names is asked, whatever else is written.
    let url = format!("http://{public}");
    let (_, said, error) = asked(here.path(), &["status", "--url", &url]).await;
    assert!(said.contains(env!("CARGO_PKG_VERSION")) && !said.contains("asked "), "{said}{error}");
    // A file that was edited and is invalid now does not hide the appliance.
    std::fs::write(here.path().join("config.yaml"), text + "server.prot: 1\n").unwrap();
    let (_, said, error) = asked(here.path(), &["status"]).await;
    assert!(said.contains(&ops) && error.contains("configuration is invalid"), "{said}{error}");

    program.signal("-TERM").await;
    assert_eq!(program.end().await.0, Some(0));
    // Another appliance on a default port is not what was asked for.
    for command in [["status"].as_slice(), &["status", "--alive"], &["tail", "--limit", "1"]] {
        let (code, said, error) =
            asked(elsewhere.path(), &[command, &["--data", data]].concat()).await;
        assert_eq!((code, &*said), (Some(69), ""), "{error}");
        assert!(error.contains("no ghpulse runs on ") && error.contains(data), "{error}");
    }
    // Nor is it when what was named is not there.
    for (more, code, words) in [
        (["--data", "missing"], 69, "no ghpulse runs on "),
        (["--config", "missing"], 78, "missing"),
    ] {
        let (found, said, error) =
            asked(elsewhere.path(), &[&["status"], &more[..]].concat()).await;
        assert_eq!((found, &*said), (Some(code), ""), "{error}");
        assert!(error.contains(words), "{error}");
    }
    // What a killed process has left names no listener of the next one.
    std::fs::write(dir.path().join("ops"), "http://127.0.0.1:1\n").unwrap();
    let mut without = run(&dir, &github.url);
    without.env("GHPULSE_OPS_LISTEN", "off");
    let mut program = Program::start(without);
    program.address().await;
    assert!(!dir.path().join("ops").exists());
    program.signal("-TERM").await;
    program.end().await;
}
