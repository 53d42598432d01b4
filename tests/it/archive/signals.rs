//! Ctrl-C and SIGTERM while a command waits for a running appliance: the command dies by the
//! signal, which shells and systemd see, and leaves nothing in the data directory.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

use super::*;
use crate::common::running::soon;

/// The signals as `kill` and a shell's exit status name them.
const SIGNALS: [(&str, i32); 2] = [("-INT", 2), ("-TERM", 15)];

/// Listens in place of the appliance: commands find it by the file `ops`.
async fn listen_for_commands(data: &Path) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}\n", listener.local_addr().unwrap());
    std::fs::write(data.join("ops"), url).unwrap();
    listener
}

/// Starts a command in `dir`, with the data directory `data` in it.
fn start(arguments: &[&str], dir: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ghpulse"));
    command.args(arguments).arg("--data").arg(dir.join("data")).current_dir(dir);
    command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
    command.spawn().unwrap()
}

/// Sends a command the signal, and checks that it dies by it.
async fn kill(mut command: Child, (signal, number): (&str, i32), arguments: &[&str]) {
    let id = command.id().expect("it waits for the answer").to_string();
    assert!(Command::new("kill").args([signal, &id]).status().await.unwrap().success());
    let ended = soon("the command ends", command.wait()).await.unwrap();
    assert_eq!(ended.signal(), Some(number), "{arguments:?}: {ended}");
}

/// Passes a command's request on to the appliance, and keeps the answer back. Returns the
/// connection of the command when the appliance has answered.
async fn answered(listener: &TcpListener, ops: SocketAddr) -> TcpStream {
    let (mut command, _) = listener.accept().await.unwrap();
    let mut appliance = TcpStream::connect(ops).await.unwrap();
    let mut status = [0; 12];
    {
        let ((mut asks, _), (mut answers, mut asked)) = (command.split(), appliance.split());
        tokio::select! {
            ended = tokio::io::copy(&mut asks, &mut asked) => panic!("it ended: {ended:?}"),
            read = answers.read_exact(&mut status) => drop(read.unwrap()),
        }
    }
    assert_eq!(String::from_utf8_lossy(&status), "HTTP/1.1 200");
    command
}

/// The directories through which commands and the appliance exchange files now, and their locks.
fn exchanges(data: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().path());
    let is_exchange = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_str().unwrap().starts_with(".exchange-"))
    };
    entries.filter(is_exchange).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_end_commands_and_leave_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let events = world(19, Shape::Old);
    let hour = archive(dir.path(), &events).remove(0);
    let place = data.clone();
    tokio::task::spawn_blocking(move || live::apply(&place, &events)).await.unwrap();
    let github = GitHub::start(Options::by_hand(1)).await;
    let running = Running::start(&data, &github.url, &[]).await;
    let listener = listen_for_commands(&data).await;
    let to = dir.path().join("to");
    let (file, target) = (hour.to_str().unwrap(), to.to_str().unwrap());
    let commands: [&[&str]; 3] = [
        &["import", file],
        &["export", "--since", "2026-01-01", "--to", target],
        &["backup", target],
    ];
    for signal in SIGNALS {
        for arguments in commands {
            let command = start(arguments, dir.path());
            let held = soon("the appliance answers", answered(&listener, running.ops)).await;
            let files = exchanges(&data).iter().flat_map(|path| path.read_dir()).flatten().count();
            assert!(files > 0, "{arguments:?} exchange files");
            kill(command, signal, arguments).await;
            assert_eq!(exchanges(&data), Vec::<PathBuf>::new(), "{arguments:?}");
            let delivered = to.read_dir().into_iter().flatten().count();
            assert_eq!(delivered, 0, "{arguments:?}");
            drop(held);
        }
    }
    running.end().await;
}

/// A request of a command, which the appliance has not received yet.
async fn asked(listener: &TcpListener) -> (TcpStream, Vec<u8>) {
    let (mut command, _) = listener.accept().await.unwrap();
    let mut request = Vec::new();
    loop {
        command.read_buf(&mut request).await.unwrap();
        let text = String::from_utf8_lossy(&request);
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
        });
        if Some(body.len()) >= length {
            return (command, request);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn request_that_arrives_after_its_command_was_interrupted_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let github = GitHub::start(Options::by_hand(1)).await;
    let running = Running::start(&data, &github.url, &[]).await;
    let listener = listen_for_commands(&data).await;
    let to = dir.path().join("to");
    let target = to.to_str().unwrap();
    let commands: [&[&str]; 2] =
        [&["backup", target], &["export", "--since", "2026-01-01", "--to", target]];
    for arguments in commands {
        let command = start(arguments, dir.path());
        let (held, request) = soon("the command asks", asked(&listener)).await;
        kill(command, SIGNALS[0], arguments).await;
        let mut appliance = TcpStream::connect(running.ops).await.unwrap();
        appliance.write_all(&request).await.unwrap();
        let mut status = [0; 12];
        soon("the appliance answers", appliance.read_exact(&mut status)).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&status), "HTTP/1.1 422", "{arguments:?}");
        assert_eq!(exchanges(&data), Vec::<PathBuf>::new(), "{arguments:?}");
        drop(held);
    }
    running.end().await;
}
