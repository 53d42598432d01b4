//! Fuzzes a running appliance as a stranger could: HTTP heads, WebSocket frames, compressed frames,
//! parameters, queries, addresses. The appliance responds or disconnects, and serves the next
//! client.

use std::net::SocketAddr;
use std::time::Duration;

use flate2::{Compress, Compression, FlushCompress};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Fuzz, outcome, text};
use crate::api::frames::frame;
use crate::api::site::Site;
use crate::common::client::request;
use crate::common::running::soon;

/// Runs a tenth of the usual number of inputs: each is a connection.
const SLOWER: u64 = 10;
/// How long a response is read; an endless response is cut off then.
const LISTEN: Duration = Duration::from_millis(40);
/// Inputs between two checks that other clients are served.
const LOOK_EVERY: u64 = 20;
const UPGRADE: &str = "GET /stream HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\n\
                       upgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Sends bytes and returns the beginning of the response.
async fn answer(to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = soon("it accepts", TcpStream::connect(to)).await.unwrap();
    // The server may disconnect midway.
    let _ = soon("it reads or hangs up", stream.write_all(bytes)).await;
    let mut came = vec![0; 4_096];
    let mut length = 0;
    let listening = async {
        while length < came.len() {
            match stream.read(&mut came[length..]).await {
                Ok(0) | Err(_) => break,
                Ok(more) => length += more,
            }
        }
    };
    let _ = tokio::time::timeout(LISTEN, listening).await;
    came.truncate(length);
    came
}

/// Sends every input as transformed by `bytes`, and checks that other clients are served meanwhile.
async fn served(mut fuzz: Fuzz, bytes: impl Fn(&[u8]) -> Vec<u8>) {
    let site = Site::start(&[]).await;
    let to = site.running.public;
    let mut sent = 0;
    while let Some(input) = fuzz.next() {
        let came = answer(to, &bytes(&input)).await;
        let came = String::from_utf8_lossy(&came);
        let status = came.split(' ').nth(1).unwrap_or_default().to_owned();
        assert!(!status.starts_with("500"), "{came}: {}", fuzz.words(&input));
        sent += 1;
        if sent % LOOK_EVERY == 0 {
            let health = request(to, "GET", "/health", &[]).await;
            assert_eq!(health.status, 200, "{}", fuzz.words(&input));
        }
        fuzz.came(input, outcome((status, came.len() / 64)));
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn http_heads() {
    let seeds: [&[u8]; 4] = [
        b"GET /sampling HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST /sync-event HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        b"GET /status?format=json HTTP/1.1\r\nhost: a\r\naccept: */*;q=0.5\r\n\r\n",
        UPGRADE.as_bytes(),
    ];
    served(Fuzz::slow("http_heads", &seeds, SLOWER), <[u8]>::to_vec).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_and_queries() {
    let seeds: [&[u8]; 5] = [
        b"/stream?poll=1&types=PushEvent&repos=a/*&sample=3",
        b"/stream/types?window=1h",
        b"/aggregate/stars?window=1h&top=5",
        b"/stream?poll=1&cursor=51a70c3e-be1f4b&fields=id,repo.name",
        b"/status?format=json",
    ];
    let fuzz = Fuzz::slow("addresses_and_queries", &seeds, SLOWER);
    served(fuzz, |input| {
        let end = b" HTTP/1.1\r\nhost: a\r\naccept: application/x-ndjson\r\n\r\n";
        [b"GET ", input, end].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_the_ledger() {
    let seeds: [&[u8]; 6] = [
        b"/top?by=stars&window=7d&language=C%2B%2B&limit=25",
        b"/top?by=prs&window=24h&format=csv",
        b"/repo/rust-lang/rust?since=2026-01-01&until=2026-03-01",
        b"/repo/a/b.svg?by=pushes&style=badge&days=30",
        b"/repo/a/%3Csvg%3E.svg?style=chart&days=731",
        b"/days?since=30d",
    ];
    let fuzz = Fuzz::slow("queries_of_the_ledger", &seeds, SLOWER);
    served(fuzz, |input| {
        [b"GET ", input, b" HTTP/1.1\r\nhost: a\r\nif-none-match: \"x\"\r\n\r\n"].concat()
    })
    .await;
}

/// Requests for parts of a file: whatever they say, what is sent is a part of it, as announced.
#[tokio::test(flavor = "multi_thread")]
async fn parts_of_archived_hours() {
    let hours = tempfile::tempdir().unwrap();
    let file: Vec<u8> = (0..1_000_u16).map(|n| n.to_le_bytes()[0] ^ n.to_be_bytes()[0]).collect();
    std::fs::write(hours.path().join("2026-11-29-5.json.gz"), &file).unwrap();
    let site = Site::start(&[
        ("GHPULSE_ARCHIVE_DIR", hours.path().to_str().unwrap()),
        ("GHPULSE_SERVER_LIMITS_DOWNLOADSPERMINUTE", "1000000"),
    ])
    .await;
    let seeds: [&[u8]; 8] = [
        b"range: bytes=0-499",
        b"range: bytes=-7\r\nif-range: \"x\"",
        b"range: bytes=999-\r\nif-match: *",
        b"range: bytes=5-6,7-8",
        b"range: bytes=1000-\r\nif-range: Sun, 29 Nov 2026 06:10:00 GMT",
        b"range: bytes=0-18446744073709551615\r\nif-none-match: W/\"x\", \"y\"",
        b"if-modified-since: Sun, 29 Nov 2026 06:10:00 GMT",
        b"if-unmodified-since: Sun Nov  6 08:49:37 1994\r\naccept-encoding: gzip",
    ];
    let mut fuzz = Fuzz::slow("parts_of_archived_hours", &seeds, SLOWER);
    while let Some(input) = fuzz.next() {
        let head =
            b"GET /archive/2026-11-29-5.json.gz HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
        let came = answer(site.running.public, &[head, &*input, b"\r\n\r\n"].concat()).await;
        let status = check_part(&came, &file, &fuzz.words(&input));
        fuzz.came(input, outcome((status, came.len() / 64)));
    }
    assert_eq!(request(site.running.public, "GET", "/health", &[]).await.status, 200);
    site.end().await;
}

/// Checks that an answer has what its head announces of a file. Returns its status.
fn check_part(came: &[u8], file: &[u8], words: &str) -> String {
    let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") else {
        return String::new();
    };
    let (head, body) = (String::from_utf8_lossy(&came[..end]), &came[end + 4..]);
    let status = head.split(' ').nth(1).unwrap_or_default();
    let value = |name: &str| {
        head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    };
    // The input may end the request's head, and begin another request.
    let length = value("content-length").and_then(|text| text.parse::<usize>().ok());
    let body = &body[..length.unwrap_or(0).min(body.len())];
    match status {
        "200" => assert!(file.starts_with(body), "{words}"),
        "206" => {
            let range = value("content-range").unwrap_or_default();
            let (part, all) = range.strip_prefix("bytes ").unwrap().split_once('/').unwrap();
            let (first, last) = part.split_once('-').unwrap();
            let (first, last): (usize, usize) = (first.parse().unwrap(), last.parse().unwrap());
            assert!(all == "1000" && first <= last && last < 1_000, "{head}: {words}");
            assert_eq!(length, Some(last - first + 1), "{head}: {words}");
            assert!(file[first..=last].starts_with(body), "{head}: {words}");
        }
        _ => assert!(!status.starts_with('5'), "{head}: {words}"),
    }
    status.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn websocket_frames() {
    let text = frame(0x81, br#"{"types":["PushEvent"]}"#);
    let pieces = [frame(0x01, b"{"), frame(0x89, b"ping"), frame(0x80, b"}")].concat();
    let close = frame(0x88, b"\x03\xe8bye");
    let seeds: [&[u8]; 4] = [&text, &pieces, &close, b"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff"];
    let fuzz = Fuzz::slow("websocket_frames", &seeds, SLOWER);
    served(fuzz, |input| [UPGRADE.as_bytes(), b"\r\n", input].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_frames() {
    let query = br#"{"types":["PushEvent"],"repos":["a/*"]}"#;
    let mut deflate = Compress::new(Compression::fast(), false);
    let mut deflated = Vec::with_capacity(1_000);
    deflate.compress_vec(query, &mut deflated, FlushCompress::Sync).unwrap();
    let bomb = frame(0xc1, &[0x62, 0x60, 0x18, 0x05, 0xa3, 0x60, 0x14, 0x0c, 0x15, 0x00]);
    let whole = frame(0xc1, &deflated[..deflated.len() - 4]);
    let seeds: [&[u8]; 3] = [&whole, &bomb, &frame(0xc1, b"\xff\xff")];
    let agreed = "sec-websocket-extensions: permessage-deflate\r\n\r\n";
    let fuzz = Fuzz::slow("compressed_frames", &seeds, SLOWER);
    served(fuzz, |input| [UPGRADE.as_bytes(), agreed.as_bytes(), input].concat()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn params_of_sampling() {
    let seeds: [&[u8]; 4] = [
        br#"{"samplingRate":1,"filter":["event.id"]}"#,
        br#"{"samplingRate":18446744073709551615,"eventType":"PushEvent","repoName":"a/b"}"#,
        br#"{"filter":[],"returnType":"map"}"#,
        b"{}",
    ];
    let fuzz = Fuzz::slow("params_of_sampling", &seeds, SLOWER);
    served(fuzz, |input| {
        let head = UPGRADE.replace("/stream", "/sampling") + "\r\n";
        let short = text(&input[..input.len().min(60_000)]).into_owned();
        let short: String = short.chars().take(20_000).collect();
        [head.as_bytes(), &frame(0x81, short.as_bytes())].concat()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_of_the_stream() {
    let seeds: [&[u8]; 4] = [
        br#"{"types":["PushEvent","!Fork*"],"repos":["a/*"],"sample":3,"latest":5}"#,
        br#"{"keys":["evt.#","!ent.*.insert"],"fields":["id","payload.commits[0].sha"]}"#,
        br#"{"since":"1h","cursor":"51a70c3e-be1f4b"}"#,
        br#"{"languages":["C*"],"actors":["dependabot*"],"orgs":[""],"actions":["opened"]}"#,
    ];
    let fuzz = Fuzz::slow("queries_of_the_stream", &seeds, SLOWER);
    served(fuzz, |input| {
        let short = text(&input[..input.len().min(60_000)]).into_owned();
        let short: String = short.chars().take(20_000).collect();
        [UPGRADE.as_bytes(), b"\r\n", &frame(0x81, short.as_bytes())].concat()
    })
    .await;
}
