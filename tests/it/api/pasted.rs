//! `/client.js` and `/client.py` run as programs: behind a proxy that cuts and freezes connections,
//! killed and restarted, and across a restart of the server.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};

use super::events::push;
use super::site::Site;
use super::stream::{feed, polled};
use crate::common::client::request;
use crate::common::running::{Running, soon};

/// Connections of each client that are cut or frozen.
const CUTS: usize = 100;
/// One in this many of them is frozen instead of cut.
const FROZEN: usize = 10;
/// Bytes of a response that pass before the cut.
const PASSING: std::ops::Range<u64> = 100..50_000;
/// Events that a client prints before it is killed.
const PRINTED: std::ops::Range<usize> = 20..60;
/// Maximum size of `/client.js` in bytes.
const BYTES: usize = 6 << 10;
/// The response to the first connection.
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\n\
    content-type: application/problem+json\r\ncontent-length: 27\r\nconnection: close\r\n\r\n\
    {\"detail\":\"try again soon\"}";
/// The response of another server.
const FOREIGN: &str = "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\n\
    content-length: 16\r\nconnection: close\r\n\r\n{\"message\":\"no\"}";

/// A client and the program that runs it.
struct Kind {
    path: &'static str,
    program: &'static str,
    script: &'static str,
    /// The constants of its timeouts, and their replacements in a test.
    waits: [(&'static str, &'static str); 2],
}

const JAVASCRIPT: Kind = Kind {
    path: "/client.js",
    program: "node",
    script: "pasted.mjs",
    waits: [("SILENCE = 4e4", "SILENCE = 700"), ("BACKOFF = 6e4", "BACKOFF = 20")],
};
const PYTHON: Kind = Kind {
    path: "/client.py",
    program: "python3",
    script: "pasted.py",
    waits: [("SILENCE = 40.0", "SILENCE = 0.7"), ("BACKOFF = 60.0", "BACKOFF = 0.02")],
};

/// A running client.
struct Reader {
    lines: Lines<BufReader<ChildStdout>>,
    child: Child,
    /// The lines that begin with `#`.
    said: Vec<String>,
}

impl Kind {
    /// Saves the client as the server serves it, except for its timeouts.
    async fn download(&self, address: SocketAddr, dir: &Path) -> PathBuf {
        let answer = request(address, "GET", self.path, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut text = answer.body;
        for (from, to) in self.waits {
            assert!(text.contains(from), "{from}: {text}");
            text = text.replace(from, to);
        }
        let name = if self.program == "node" { "client.mjs" } else { "client.py" };
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// `None`, with a message, if the program is not installed.
    fn run(&self, dir: &Path, url: &str, query: &Value, count: usize) -> Option<Reader> {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/api/clients");
        let name = if self.program == "node" { "client.mjs" } else { "client.py" };
        let mut command = Command::new(self.program);
        command.arg(scripts.join(self.script)).arg(dir.join(name)).arg(url);
        command.arg(query.to_string()).arg(dir.join("checkpoint")).arg(count.to_string());
        let Ok(mut child) = command.stdout(Stdio::piped()).kill_on_drop(true).spawn() else {
            println!("skipped: {}: no {} here", self.path, self.program);
            return None;
        };
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Reader { lines, child, said: Vec::new() })
    }
}

impl Reader {
    /// The next event or counts; `None` at the end.
    async fn next(&mut self) -> Option<String> {
        loop {
            let line = soon("the client prints", self.lines.next_line()).await.unwrap()?;
            if !line.starts_with('#') {
                return Some(line);
            }
            self.said.push(line);
        }
    }

    /// Waits for it to exit, which must be successful.
    async fn end(mut self) -> Vec<String> {
        while self.next().await.is_some() {}
        let status = soon("the client ends", self.child.wait()).await.unwrap();
        assert!(status.success(), "{status}: {:?}", self.said);
        self.said
    }
}

/// Forwards connections and disturbs the first ones.
struct Proxy {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    spoilt: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(
        target: SocketAddr,
        seed: u64,
        cuts: usize,
        first: Option<&'static str>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Arc::new(Mutex::new(target));
        let spoilt = Arc::new(AtomicUsize::new(0));
        let (at, counted) = (Arc::clone(&target), Arc::clone(&spoilt));
        tokio::spawn(async move {
            let (mut random, mut first) = (fastrand::Rng::with_seed(seed), first);
            while let Ok((mut client, _)) = listener.accept().await {
                if let Some(text) = first.take() {
                    let mut asked = [0; 4096];
                    let _ = client.read(&mut asked).await;
                    let _ = client.write_all(text.as_bytes()).await;
                    continue;
                }
                let target = *at.lock().unwrap();
                let limit = random.u64(PASSING);
                tokio::spawn(pass(client, target, limit, cuts, Arc::clone(&counted)));
            }
        });
        Self { address, target, spoilt }
    }

    fn spoilt(&self) -> usize {
        self.spoilt.load(Ordering::SeqCst)
    }
}

/// Forwards one connection; to its end if `cuts` connections were already disturbed.
async fn pass(
    mut client: TcpStream,
    target: SocketAddr,
    limit: u64,
    cuts: usize,
    spoilt: Arc<AtomicUsize>,
) {
    let Ok(mut server) = TcpStream::connect(target).await else { return };
    if spoilt.load(Ordering::SeqCst) >= cuts {
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        return;
    }
    let (mut asks, mut gets) = client.split();
    let (answers, mut asked) = server.split();
    let mut answers = answers.take(limit);
    tokio::select! {
        _ = tokio::io::copy(&mut asks, &mut asked) => return,
        _ = tokio::io::copy(&mut answers, &mut gets) => {}
    }
    if answers.limit() > 0 {
        return;
    }
    if spoilt.fetch_add(1, Ordering::SeqCst).is_multiple_of(FROZEN) {
        // The proxy sends nothing more; the client must close the connection.
        let _ = tokio::io::copy(&mut asks, &mut tokio::io::sink()).await;
    }
}

/// Reads across cuts, reloads and a restart of the server; expects the complete journal without
/// duplicates.
async fn expect_the_journal(kind: &Kind, seed: u64) {
    let (dir, github) = (tempfile::tempdir().unwrap(), feed(100).await);
    let files = tempfile::tempdir().unwrap();
    let mut running = Running::start(dir.path(), &github.url, &[]).await;
    kind.download(running.public, files.path()).await;
    let proxy = Proxy::start(running.public, seed, CUTS, Some(BUSY)).await;
    let mut random = fastrand::Rng::with_seed(seed);
    let (url, query) = (format!("http://{}", proxy.address), json!({ "since": "1h" }));
    let (mut got, mut said, mut runs) = (Vec::new(), Vec::new(), 0);
    while proxy.spoilt() < CUTS || runs < 5 {
        let count = random.usize(PRINTED);
        let Some(mut reader) = kind.run(files.path(), &url, &query, count) else { return };
        let before_restart = if runs == 2 { count / 2 } else { usize::MAX };
        let had = got.len();
        while got.len() - had < before_restart
            && let Some(event) = reader.next().await
        {
            got.push(event);
        }
        if runs == 2 {
            running.end().await;
            running = Running::start(dir.path(), &github.url, &[]).await;
            *proxy.target.lock().unwrap() = running.public;
        }
        while let Some(event) = reader.next().await {
            got.push(event);
        }
        said.extend(reader.end().await);
        runs += 1;
    }
    let journal = polled(running.public, "").await;
    // An id is unique only among events of the same type.
    let line = |(cursor, event): (String, Value)| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        format!("{cursor} {} {}", text(&event["key"]), text(&event["event"]["id"]))
    };
    let journal: Vec<String> = journal.into_iter().map(line).collect();
    let mut reader = kind.run(files.path(), &url, &query, usize::MAX >> 12).unwrap();
    while got.last() != journal.last() {
        assert!(got.len() < journal.len(), "more came than there is: {} events", got.len());
        got.push(reader.next().await.expect("the client reads on"));
    }
    println!("{}: {} events, {runs} runs, {} retries", kind.path, got.len(), said.len());
    let differs = got.iter().zip(&journal).position(|(got, wanted)| got != wanted);
    assert_eq!(differs, None, "twice, left out, or out of order: {:?}", differs.map(|n| &got[n]));
    assert_eq!(got.len(), journal.len());
    let busy = said.iter().find(|line| line.contains("503: try again soon")).unwrap();
    let wait: u64 = busy.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((1_000..=1_250).contains(&wait), "{busy}");
    let lost = said.iter().find(|line| line.contains("\"gap\"") && !line.contains("upstream"));
    assert_eq!(lost, None);
    running.end().await;
}

/// Folds counts across cuts, and expects the clients to throw the server's error for a bad query.
async fn expect_counts_and_refusals(kind: &Kind) {
    let (site, files) = (Site::start(&[]).await, tempfile::tempdir().unwrap());
    kind.download(site.running.public, files.path()).await;
    let proxy = Proxy::start(site.running.public, 7, 5, None).await;
    let url = |path: &str| format!("http://{}{path}", proxy.address);
    let query = json!({ "window": "24h" });
    let counts = url("/stream/types");
    let Some(mut reader) = kind.run(files.path(), &counts, &query, usize::MAX >> 12) else {
        return;
    };
    for round in 1..=10 {
        let star = push(2 * round).replace("PushEvent", "WatchEvent");
        site.push(&[push(2 * round - 1), star]);
        let wanted =
            BTreeMap::from([("PushEvent".to_owned(), round), ("WatchEvent".into(), round)]);
        loop {
            let line = reader.next().await.expect("the client reads on");
            let got: BTreeMap<String, u64> = serde_json::from_str(&line).unwrap();
            assert!(got.values().all(|count| *count <= round), "{got:?} after {wanted:?}");
            if got == wanted {
                break;
            }
        }
    }
    assert!(!files.path().join("checkpoint").exists(), "counts keep no cursor");
    drop(reader);

    let query = json!({ "latest": [0], "typo": null });
    let said = kind.run(files.path(), &url("/"), &query, 1).unwrap().end().await;
    let refused = said.last().unwrap();
    assert!(refused.contains("# refused 400: latest: "), "{said:?}");
    let said = kind.run(files.path(), &url("/status"), &json!({}), 1).unwrap().end().await;
    assert!(said.last().unwrap().contains("# refused "), "{said:?}");
    // What the server answers in plain text.
    let said = kind.run(files.path(), &url("/sampling"), &json!({}), 1).unwrap().end().await;
    let refused = said.last().unwrap();
    assert!(refused.contains("# refused 426: ") && refused.contains("WebSocket"), "{said:?}");
    let query = json!({ "poll": 1, "latest": 3, "types": ["PushEvent", "WatchEvent"] });
    let mut reader = kind.run(files.path(), &url("/stream"), &query, 9).unwrap();
    for id in ["18", "19", "20"] {
        let event = reader.next().await.expect("the last three come");
        assert_eq!(event.rsplit(' ').next(), Some(id));
    }
    let said = reader.end().await;
    assert!(said.last().unwrap().contains("caught_up"), "{said:?}");
    let query = json!({ "poll": 1, "latest": 1, "type": "PushEvent" });
    let said = kind.run(files.path(), &url("/"), &query, 9).unwrap().end().await;
    let warned = "ghpulse: query type: unknown parameter; did you mean types?";
    assert!(said.iter().any(|line| line == &format!("# warned {warned}")), "{said:?}");
    let checkpoint = files.path().join("checkpoint");
    std::fs::write(&checkpoint, "").unwrap();
    let said = kind.run(files.path(), &url("/"), &json!({ "poll": 1 }), 9).unwrap().end().await;
    let empty = format!("{} is empty: ", checkpoint.display());
    assert!(said.last().unwrap().contains(&empty), "it does not begin anew: {said:?}");
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_client_reads_the_journal_over_cuts() {
    expect_the_journal(&JAVASCRIPT, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_client_reads_the_journal_over_cuts() {
    expect_the_journal(&PYTHON, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn javascript_client_folds_counts_and_reports_refusals() {
    expect_counts_and_refusals(&JAVASCRIPT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn python_client_folds_counts_and_reports_refusals() {
    expect_counts_and_refusals(&PYTHON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_refuse_wrong_addresses_in_words() {
    let (site, files) = (Site::start(&[]).await, tempfile::tempdir().unwrap());
    for kind in [&JAVASCRIPT, &PYTHON] {
        kind.download(site.running.public, files.path()).await;
        let proxy = Proxy::start(site.running.public, 1, 0, Some(FOREIGN)).await;
        let url = format!("http://{}/", proxy.address);
        let Some(reader) = kind.run(files.path(), &url, &json!({}), 1) else { continue };
        let said = reader.end().await;
        assert_eq!(said, [r#"# refused 404: {"message":"no"}"#], "{}", kind.path);
    }
    for url in ["ws://localhost:8600/", "wss://localhost/", "localhost:8600"] {
        let Some(reader) = JAVASCRIPT.run(files.path(), url, &json!({}), 1) else { break };
        let refused = format!("# refused {url}: use http:// or https://");
        assert_eq!(reader.end().await, [refused]);
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_are_small_typed_and_cached() {
    let site = Site::start(&[]).await;
    let asked = async |path: &str, headers: &[&str]| {
        request(site.running.public, "GET", path, headers).await
    };
    for (path, kind) in [
        ("/client.js", "text/javascript"),
        ("/client.d.ts", "text/plain"),
        ("/client.py", "text/x-python"),
    ] {
        let answer = asked(path, &["origin: https://elsewhere.example"]).await;
        let head = answer.head.to_ascii_lowercase();
        assert!(head.contains(&format!("content-type: {kind}; charset=utf-8")), "{head}");
        assert!(head.contains("access-control-allow-origin: *"), "{head}");
        assert!(path != "/client.js" || answer.body.len() < BYTES, "{} bytes", answer.body.len());
        let tag = head.split_once("etag: ").unwrap().1.lines().next().unwrap().to_owned();
        let again = asked(path, &[&format!("if-none-match: \"other\", W/{tag}")]).await;
        assert_eq!((again.status, &*again.body), (304, ""));
        assert_eq!(asked(path, &["if-none-match: \"other\""]).await.status, 200);
        let is_linked = path != "/client.d.ts";
        for page in ["/", "/play"].into_iter().filter(|_| is_linked) {
            let page = asked(page, &["accept: text/html"]).await;
            assert!(page.body.contains(&format!("href=\"{}\"", &path[1..])), "{path}");
        }
    }
    site.end().await;
}
