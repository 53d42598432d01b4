//! `ghpulse tail` on a real appliance: lines, queries, and connections that break.

use std::net::SocketAddr;
use std::process::{Output, Stdio};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::process::Command;

use super::events::{opened, push};
use super::site::Site;
use crate::common::ports::free_port;
use crate::common::running::{Running, soon};

fn tail(address: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    let url = format!("http://{address}");
    command.args(["tail", "--url", &url]).args(arguments).env_clear().kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn ended(mut command: Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = soon("tail ends", command.output()).await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

/// The ids of events in lines of JSON.
fn ids(lines: &str) -> Vec<u64> {
    let id = |line: &str| {
        let message: Value = serde_json::from_str(line).unwrap();
        message["event"]["id"].as_str().unwrap().parse().unwrap()
    };
    lines.lines().map(id).collect()
}

/// A site with pull requests 1 to `count` applied.
async fn site_with(count: u64) -> Site {
    site_at(0, count).await
}

/// Does the same at this port.
async fn site_at(port: u16, count: u64) -> Site {
    let port = port.to_string();
    let site = Site::start(&[("GHPULSE_SERVER_PORT", &port)]).await;
    let mut reader = site.sampling(r#"{"samplingRate":1,"filter":["event.id"]}"#).await;
    let events: Vec<String> = (1..=count).map(|id| opened(id, "Go")).collect();
    site.push(&events);
    site.settle(&mut reader, usize::try_from(count).unwrap()).await;
    site
}

/// Forwards bytes, and cuts each connection after a number of bytes; the last connections stay
/// whole.
async fn cutting(to: SocketAddr, mut after: Vec<usize>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let left = if after.is_empty() { usize::MAX } else { after.remove(0) };
            let server = TcpStream::connect(to).await.unwrap();
            tokio::spawn(pass(client, server, left));
        }
    });
    address
}

async fn pass(mut client: TcpStream, mut server: TcpStream, mut left: usize) {
    let (mut up, mut down) = ([0; 2_048], [0; 2_048]);
    while left > 0 {
        tokio::select! {
            read = client.read(&mut up) => match read {
                Ok(n) if n > 0 => server.write_all(&up[..n]).await.unwrap(),
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(n) if n > 0 => {
                    let n = n.min(left);
                    left -= n;
                    if client.write_all(&down[..n]).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_are_cut_anywhere_lose_and_double_nothing() {
    let site = site_with(60).await;
    // Only a few bytes, because the traffic is compressed.
    let address = cutting(site.running.public, vec![1_200, 700, 1_500, 650, 901]).await;
    let arguments = ["--since", "1h", "--json", "--limit", "60"];
    let (code, stdout, stderr) = ended(tail(address, &arguments)).await;
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(ids(&stdout), (1..=60).collect::<Vec<_>>());
    assert!(stderr.contains("reconnecting"), "{stderr}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_continues_after_the_appliance_restarts() {
    let site = site_at(free_port(), 20).await;
    let public = site.running.public;
    let arguments = ["--since", "1h", "--json", "--limit", "40"];
    let mut child = tail(public, &arguments).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut came = Vec::new();
    while came.len() < 20 {
        came.push(soon("a line", lines.next_line()).await.unwrap().expect("it continues"));
    }
    site.running.end().await;
    let port = public.port().to_string();
    let settings = [("GHPULSE_SERVER_PORT", port.as_str())];
    let running = Running::start(site.dir.path(), &site.github.url, &settings).await;
    let site = Site { running, ..site };
    site.push(&(21..=40).map(|id| opened(id, "Go")).collect::<Vec<_>>());
    while let Some(line) = soon("a line", lines.next_line()).await.unwrap() {
        came.push(line);
    }
    assert_eq!(ids(&came.join("\n")), (1..=40).collect::<Vec<_>>());
    assert_eq!(soon("it ends", child.wait()).await.unwrap().code(), Some(0));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_are_for_people_and_queries_are_the_streams() {
    let site = site_with(3).await;
    let mut reader = site.sampling(r#"{"samplingRate":1}"#).await;
    let wild = push(9).replace("\"public\"", "\"x\":\"\\u001b[2J\",\"public\"");
    site.push(&[wild]);
    site.settle(&mut reader, 1).await;
    let public = site.running.public;
    let pulls = ["--since", "1h", "--type", "PullRequestEvent", "--limit", "3"];
    let (code, stdout, stderr) = ended(tail(public, &pulls)).await;
    assert_eq!((code, stdout.lines().count()), (Some(0), 3), "{stdout}{stderr}");
    assert!(stdout.contains(" PR ") && stdout.contains("opened"), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "no colours without a terminal: {stdout}");
    assert!(stderr.contains("simulated GitHub"), "{stderr}");
    let by_key = ["--since", "1h", "--key", "evt.push.*", "--limit", "1"];
    let (_, stdout, _) = ended(tail(public, &by_key)).await;
    assert!(stdout.contains("push"), "{stdout}");
    let fields = ["--since", "1h", "--field", "event.id,payload.pr", "--limit", "1"];
    let (_, stdout, _) = ended(tail(public, &fields)).await;
    assert_eq!(stdout, "event.id=1  payload.pr=1\n");
    let (code, stdout, stderr) = ended(tail(public, &["--cursor", "nowhere"])).await;
    assert_eq!((code, stdout.as_str()), (Some(64), ""), "{stderr}");
    assert!(stderr.contains("nowhere"), "{stderr}");
    // A consumer that closes the pipe early is not an error.
    let mut child = tail(public, &["--since", "1h"]).spawn().unwrap();
    drop(child.stdout.take());
    // It may have printed everything before.
    site.push(&[push(10)]);
    assert_eq!(soon("it ends", child.wait()).await.unwrap().code(), Some(0));
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tail_without_a_server_reports_it() {
    // Reserved but not listening, so that no other process gets the port meanwhile.
    let taken = TcpSocket::new_v4().unwrap();
    taken.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = taken.local_addr().unwrap();
    let (code, _, stderr) = ended(tail(address, &[])).await;
    assert_eq!(code, Some(69), "{stderr}");
    assert!(stderr.contains(&address.to_string()) && stderr.contains("--url"), "{stderr}");
}
