//! `make bench ARGS=attack`: how much memory strangers can make the server use, and how long an
//! honest client waits meanwhile, for each known way of asking for too much.
//!
//! The server is the program itself, in its own process, with the default limits; attackers and the
//! honest client are this process, each with its own address of the loopback network. An attack
//! lasts [`DURING`]; then all attackers leave, and after [`AFTER`] the memory is read again. The
//! honest client requests `/health` and `/stream?poll=1&latest=5` repeatedly. `ARGS="attack 3 5"`
//! runs only the attacks with these numbers.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ghpulse::clock::{Clock, Stopwatch};
use ghpulse::simulate::{Control, Options, Simulation};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;

use crate::measure::program;

/// Small events in the journal before the attack begins.
const KEPT: u64 = 30_000;
/// Bytes of a comment's text; such a comment arrives twice a second.
const COMMENT: usize = 130_000;
const BEFORE: Duration = Duration::from_secs(4);
const DURING: Duration = Duration::from_secs(12);
const AFTER: Duration = Duration::from_secs(60);
/// How long the honest client waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(15);
/// Interval between the honest client's requests.
const BETWEEN: Duration = Duration::from_millis(20);
/// Attackers that connect at the same time.
const AT_ONCE: usize = 64;
const HONEST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// One attack.
struct Attack {
    name: &'static str,
    sockets: usize,
    /// Number of source addresses of the attackers.
    addresses: u8,
    /// The request's path and what is sent after the handshake, for each socket by its number.
    path: fn(usize) -> String,
    sent: fn(usize) -> Vec<u8>,
    /// What is sent repeatedly, and how often.
    again: Option<Again>,
}

type Again = (Duration, fn() -> Vec<u8>);

const ATTACKS: [Attack; 6] = [
    Attack {
        name: "1 lists that repeat the event, deflated, unread",
        sockets: 200,
        addresses: 1,
        path: |_| "/sampling".to_owned(),
        sent: |n| {
            text(&format!(
                r#"{{"samplingRate":1,"returnType":"list","filter":["event","event","payload.x{n}"]}}"#
            ))
        },
        again: None,
    },
    Attack {
        name: "1 the same, 100 copies: refused",
        sockets: 200,
        addresses: 1,
        path: |_| "/sampling".to_owned(),
        sent: |n| {
            let copies = r#""event","#.repeat(99);
            text(&format!(
                r#"{{"samplingRate":1,"returnType":"list","filter":[{copies}"payload.x{n}"]}}"#
            ))
        },
        again: None,
    },
    Attack {
        name: "2 searches: latest=10000 with 32 globs",
        sockets: 400,
        addresses: 2,
        path: |_| format!("/stream?poll=1&latest=10000&repos={}", globs()),
        sent: |_| Vec::new(),
        again: None,
    },
    Attack {
        name: "3 messages that never end, with pings",
        sockets: 1_000,
        addresses: 1,
        path: |_| "/sampling".to_owned(),
        sent: |_| unfinished(262_000),
        again: Some((Duration::from_secs(4), || frame(0x89, b""))),
    },
    Attack {
        name: "4 queries of 8 KB with stars",
        sockets: 500,
        addresses: 1,
        path: |_| "/stream".to_owned(),
        sent: |n| {
            let letters = "abcdefghijklmnopqrstuvwxyzab".repeat(8);
            let glob = |i: usize| format!("\"{n}-{i}*{letters}\"");
            let mut globs: Vec<String> = (0..31).map(glob).collect();
            globs.push(format!("\"*{letters}*x*\""));
            text(&format!(r#"{{"repos":[{}]}}"#, globs.join(",")))
        },
        again: None,
    },
    Attack {
        name: "5 all places, from five addresses",
        sockets: 10_000,
        addresses: 5,
        path: |_| "/sampling".to_owned(),
        sent: |_| Vec::new(),
        again: None,
    },
];

/// Measures and prints the results.
pub fn run() {
    println!(
        "attack: memory (MiB) before, at most during, {} s after; milliseconds that an honest \
         client waited (p99, and the longest)",
        AFTER.as_secs()
    );
    println!("| attack | MiB | before | during | after |");
    println!("|---|---|---|---|---|");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let numbers: Vec<String> = std::env::args().filter(|arg| arg.len() == 1).collect();
    let is_wanted = |attack: &&Attack| {
        numbers.is_empty() || numbers.iter().any(|number| attack.name.starts_with(number.as_str()))
    };
    for attack in ATTACKS.iter().filter(is_wanted) {
        let row = runtime.block_on(async { Site::start().await.measure(attack).await });
        println!("| {} | {row} |", attack.name);
    }
}

/// The server, and the simulated GitHub that it follows.
struct Site {
    process: Child,
    address: SocketAddr,
    control: Control,
    told: Arc<AtomicU64>,
    stop: CancellationToken,
    clock: Clock,
    _dir: tempfile::TempDir,
}

impl Site {
    async fn start() -> Self {
        let clock = Clock::system();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let stop = CancellationToken::new();
        let options = Options { remember: 1_000, ..Options::by_hand(1) };
        let simulation = Simulation::start(listener, options, clock, stop.clone());
        let simulation = simulation.expect("it begins");
        let (url, control) = (simulation.url(), simulation.control());
        tokio::spawn(simulation.wait());
        let free = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = free.local_addr().expect("it is bound");
        drop(free);
        let dir = tempfile::tempdir().expect("a directory can be made");
        let process = program()
            .args(["run", "--listen", &address.to_string(), "--github", &url, "--data"])
            .arg(dir.path())
            .current_dir(dir.path())
            .env("GHPULSE_GITHUB_TOKENS", "token-of-a-benchmark")
            .env("GHPULSE_GITHUB_LOOP_BREAK", "20")
            .env("GHPULSE_OPS_LISTEN", "127.0.0.1:0")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut site =
            Self { process, address, control, told: Arc::default(), stop, clock, _dir: dir };
        while ask(site.address, "/health").await.is_none() {
            let ended = site.process.try_wait().expect("it is a child");
            assert!(ended.is_none(), "the program ends: {ended:?}");
            clock.sleep(Duration::from_millis(50)).await;
        }
        while site.told.load(Ordering::Relaxed) < KEPT {
            (0..100).for_each(|_| tell(&site.control, &site.told, 100));
            let watch = Stopwatch::start();
            while site.control.unserved() > 150 && watch.elapsed() < PATIENCE {
                clock.sleep(Duration::from_millis(2)).await;
            }
        }
        site
    }

    /// Runs one attack; returns its row of the table.
    async fn measure(mut self, attack: &'static Attack) -> String {
        let live = tokio::spawn({
            let (control, told, clock) = (self.control.clone(), Arc::clone(&self.told), self.clock);
            async move {
                loop {
                    tell(&control, &told, COMMENT);
                    (0..20).for_each(|_| tell(&control, &told, 1_000));
                    clock.sleep(Duration::from_millis(500)).await;
                }
            }
        });
        let before = self.honest(BEFORE).await;
        let at_rest = self.resident();
        let over = CancellationToken::new();
        let attackers = tokio::spawn(attackers(attack, self.address, over.clone(), self.clock));
        let (during, most) = tokio::join!(self.honest(DURING), self.most_resident(DURING));
        over.cancel();
        let reached = attackers.await.expect("no panic");
        let after = self.honest(AFTER).await;
        let left = self.resident();
        live.abort();
        self.stop.cancel();
        let is_alive = self.process.try_wait().is_ok_and(|ended| ended.is_none());
        let end = if is_alive { "" } else { " (the server has ended)" };
        format!(
            "{at_rest}, {most}, {left}{end} | {before} | {during}; {reached} connected | {after}"
        )
    }

    /// How long the honest client waits for responses, measured for this time.
    async fn honest(&self, time: Duration) -> String {
        let watch = Stopwatch::start();
        let (mut took, mut failed) = (Vec::new(), 0);
        while watch.elapsed() < time {
            for path in ["/health", "/stream?poll=1&latest=5"] {
                let each = Stopwatch::start();
                let answered = tokio::time::timeout(PATIENCE, ask(self.address, path)).await;
                failed += usize::from(!matches!(answered, Ok(Some(200))));
                took.push(each.elapsed());
            }
            self.clock.sleep(BETWEEN).await;
        }
        took.sort_unstable();
        let at = |part: usize| took.get(took.len() * part / 100).map_or(0, Duration::as_millis);
        let last = took.last().map_or(0, Duration::as_millis);
        let failed =
            if failed == 0 { String::new() } else { format!(", {failed} without an answer") };
        format!("{} ({last}) of {}{failed}", at(99), took.len())
    }

    async fn most_resident(&self, time: Duration) -> u64 {
        let watch = Stopwatch::start();
        let mut highest = 0;
        while watch.elapsed() < time {
            highest = highest.max(self.resident());
            self.clock.sleep(Duration::from_millis(50)).await;
        }
        highest
    }

    /// Resident memory in MiB.
    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.process.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
        let kilobytes = line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok());
        kilobytes.unwrap_or(0) >> 10
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn tell(control: &Control, told: &AtomicU64, bytes: usize) {
    let n = told.fetch_add(1, Ordering::Relaxed);
    let mut body = String::with_capacity(bytes);
    for i in 0..bytes / 8 {
        write!(body, "{:07x} ", i * 7_919 + 13).expect("a string takes all");
    }
    let now = Clock::system().now();
    control.push_raw(&format!(
        r#"{{"id":"{}","type":"IssueCommentEvent","actor":{{"id":{n},"login":"ann{n}"}},
        "repo":{{"id":{n},"name":"owner/abababababab{n}"}},"payload":{{"action":"created",
        "comment":{{"id":{n},"body":"{body}"}}}},"public":true,"created_at":"{now}"}}"#,
        50_000_000_000 + n
    ));
}

/// Opens all connections and holds them; returns how many are still open at the end.
async fn attackers(
    attack: &'static Attack,
    to: SocketAddr,
    over: CancellationToken,
    clock: Clock,
) -> usize {
    let mut held = Vec::new();
    for begin in (0..attack.sockets).step_by(AT_ONCE) {
        let mut opening = tokio::task::JoinSet::new();
        for n in begin..attack.sockets.min(begin + AT_ONCE) {
            opening.spawn(async move {
                let host = u8::try_from(n % usize::from(attack.addresses)).unwrap_or(0);
                let mut stream = open(to, Ipv4Addr::new(127, 0, 0, 11 + host)).await?;
                let request = format!(
                    "GET {} HTTP/1.1\r\nhost: {to}\r\nconnection: upgrade\r\n\
                     upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     sec-websocket-extensions: permessage-deflate\r\n\r\n",
                    (attack.path)(n)
                );
                stream.write_all(request.as_bytes()).await.ok()?;
                let mut answer = [0; 12];
                stream.read_exact(&mut answer).await.ok()?;
                stream.write_all(&(attack.sent)(n)).await.ok()?;
                answer.ends_with(b"101").then_some(stream)
            });
        }
        tokio::select! {
            () = over.cancelled() => break,
            opened = opening.join_all() => held.extend(opened.into_iter().flatten()),
        }
    }
    while let Some((every, sent)) = attack.again.filter(|_| !over.is_cancelled()) {
        tokio::select! {
            () = over.cancelled() => break,
            () = clock.sleep(every) => {}
        }
        for stream in &held {
            // Sockets that the server has closed accept nothing.
            let _ = stream.try_write(&sent());
        }
    }
    over.cancelled().await;
    held.len()
}

async fn open(to: SocketAddr, from: Ipv4Addr) -> Option<TcpStream> {
    let socket = TcpSocket::new_v4().ok()?;
    socket.set_reuseaddr(true).ok()?;
    socket.bind((from, 0).into()).ok()?;
    socket.connect(to).await.ok()
}

/// The status of a complete response; `None` if it did not complete.
async fn ask(to: SocketAddr, path: &str) -> Option<u16> {
    let mut stream = open(to, HONEST).await?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: {to}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.ok()?;
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

fn globs() -> String {
    let glob = |i: usize| format!("*a*b*a*b*{i:02}x");
    (0..32).map(glob).collect::<Vec<_>>().join(",")
}

fn text(text: &str) -> Vec<u8> {
    frame(0x81, text.as_bytes())
}

/// A message of this length whose last part is never sent.
fn unfinished(bytes: usize) -> Vec<u8> {
    frame(0x01, &vec![b' '; bytes])
}

/// Masked with zeros, which leaves the text unchanged.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let mut sent = vec![first];
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(short), _) if short < 126 => sent.push(0x80 | short),
        (_, Ok(medium)) => {
            sent.push(0xfe);
            sent.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            sent.push(0xff);
            sent.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    sent.extend_from_slice(&[0; 4]);
    sent.extend_from_slice(body);
    sent
}
