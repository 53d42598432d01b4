//! Hours over HTTP: whole, in parts, on a condition, as GH Archive's own lines ask for them, and
//! within limits.

use crate::common::client::{Answer, request};
use crate::common::running::{GitHub, Running, soon, until_some};
use ghpulse::simulate::Options;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const NAME: &str = "2026-11-29-5.json.gz";

struct Site {
    hours: tempfile::TempDir,
    _data: tempfile::TempDir,
    _github: GitHub,
    running: Running,
}

impl Site {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let (hours, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let github = GitHub::start(Options::by_hand(1)).await;
        let dir = hours.path().to_str().unwrap();
        let settings = [settings, &[("GHPULSE_ARCHIVE_DIR", dir)]].concat();
        let running = Running::start(data.path(), &github.url, &settings).await;
        Self { hours, _data: data, _github: github, running }
    }

    fn put(&self, name: &str, content: &[u8]) {
        // As an export does: another file under the same name.
        let part = self.hours.path().join(".part");
        std::fs::write(&part, content).unwrap();
        std::fs::rename(part, self.hours.path().join(name)).unwrap();
    }

    async fn get(&self, path: &str, headers: &[&str]) -> Answer {
        request(self.running.public, "GET", path, headers).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_is_served_whole_in_parts_and_on_a_condition() {
    let site = Site::start(&[]).await;
    let lines: Vec<String> = (0..40_000).map(|n| format!("{n:06}\n")).collect();
    let content = lines.concat();
    site.put(NAME, content.as_bytes());
    let mut about = json!({"missed_share": [0.05, 0.0588, 0.07], "minutes_known": 9});
    (about["cut"], about["simulated"]) = (false.into(), true.into());
    site.put("2026-11-29-5.coverage.json", about.to_string().as_bytes());
    let path = format!("/archive/{NAME}");
    let whole = site.get(&path, &["accept-encoding: gzip", "origin: https://page.example"]).await;
    assert_eq!((whole.status, whole.body.as_str()), (200, content.as_str()));
    assert_eq!(whole.header("content-type"), Some("application/gzip"));
    assert_eq!(whole.header("content-encoding"), None);
    assert_eq!(whole.header("content-length"), Some("280000"));
    assert_eq!(whole.header("x-coverage"), Some("0.9412"));
    assert_eq!(whole.header("x-minutes-known"), Some("9"));
    assert_eq!(whole.header("x-cut"), Some("false"));
    let exposed = whole.header("access-control-expose-headers").unwrap();
    assert!(exposed.contains("x-minutes-known"), "{exposed}");
    let day = "/archive/?since=2026-11-29&until=2026-11-29T23:00:00Z";
    let listed: Value = site.get(day, &[]).await.json();
    assert_eq!(listed["hours"][0]["minutes_known"], 9);
    assert_eq!(listed["hours"][0]["simulated"], true);
    assert_eq!(whole.header("x-simulated"), Some("ghpulse"));
    // The header is about the events of the file, whatever is received now.
    until_some("the source is simulated", async || {
        site.get("/health", &[]).await.header("x-simulated").map(drop)
    })
    .await;
    site.put("2026-11-29-6.json.gz", b"x");
    let real = site.get("/archive/2026-11-29-6.json.gz", &[]).await;
    assert_eq!((real.status, real.header("x-simulated")), (200, None));
    let page = site.get(day, &["accept: text/html"]).await;
    assert!(page.body.contains(">94.1 % of 9 min<"), "{}", page.body);
    assert!(page.body.contains(">2026-11-29-5 (simulated)<"), "{}", page.body);
    assert_eq!(whole.header("access-control-allow-origin"), Some("*"));
    let (tag, date) = (whole.header("etag").unwrap(), whole.header("last-modified").unwrap());
    // The same below `/`, where GH Archive has it.
    assert_eq!(site.get(&format!("/{NAME}"), &[]).await.body, content);
    let head = request(site.running.public, "HEAD", &path, &[]).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), Some("280000"));

    let (by_tag, by_date) = (format!("if-range: {tag}"), format!("if-range: {date}"));
    let part = site.get(&path, &["range: bytes=7-13", &by_tag]).await;
    assert_eq!((part.status, part.body.as_str()), (206, "000001\n"));
    assert_eq!(part.header("content-range"), Some("bytes 7-13/280000"));
    let last = site.get(&path, &["range: bytes=-7"]).await;
    assert_eq!((last.status, last.body.as_str()), (206, "039999\n"));
    let behind = site.get(&path, &["range: bytes=280000-"]).await;
    assert_eq!(behind.status, 416);
    assert_eq!(behind.header("content-range"), Some("bytes */280000"));
    let known = site.get(&path, &[&format!("if-none-match: {tag}")]).await;
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    assert_eq!(site.get(&path, &[&format!("if-modified-since: {date}")]).await.status, 304);

    // Another file under the name: what was kept of the first is not continued with it.
    site.put(NAME, &content.as_bytes()[7..]);
    let other = site.get(&path, &["range: bytes=7-13", &by_tag]).await;
    assert_eq!((other.status, other.body.len()), (200, 280_000 - 7));
    assert_eq!(site.get(&path, &[&format!("if-match: {tag}")]).await.status, 412);
    // A date within this second does not tell two files apart, so it may give either.
    assert!([200, 206].contains(&site.get(&path, &["range: bytes=0-1", &by_date]).await.status));
    soon("it stops", site.running.end()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_files_of_hours_are_served() {
    let site = Site::start(&[]).await;
    site.put("2026-11-29-6.parquet", b"PAR1");
    site.put("2026-11-29-7.json.gz", b"x");
    site.put("secret.txt", b"secret");
    site.put(".2026-11-29-8.json.gz.part", b"secret");
    let link = site.hours.path().join("2026-11-29-9.json.gz");
    std::os::unix::fs::symlink(site.hours.path().join("secret.txt"), link).unwrap();
    for (path, status) in [
        ("/archive/2026-11-29-6.parquet", 200),
        ("/archive/2026-11-29-06.parquet", 404),
        ("/archive/2026-11-29-6.json.gz", 404),
        ("/archive/secret.txt", 404),
        ("/archive/..%2fsecret.txt", 404),
        ("/archive/%2e%2e%2f2026-11-29-6.parquet", 404),
        ("/archive/.2026-11-29-8.json.gz.part", 404),
        // A symbolic link is not followed.
        ("/archive/2026-11-29-9.json.gz", 503),
        ("/secret.txt", 404),
    ] {
        let answer = site.get(path, &[]).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(!answer.body.contains("secret\0") && answer.body != "secret", "{path}");
    }
    let columns = site.get("/2026-11-29-6.parquet", &[]).await;
    assert_eq!(columns.header("content-type"), Some("application/vnd.apache.parquet"));
    assert_eq!(columns.header("x-coverage"), Some("unknown"));

    for path in ["/archive/%ff", "/repo/a/%ff", "/aggregate/%ff", "/docs/%ff"] {
        let answer = site.get(path, &[]).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
    }
    site.put("2026-11-29-6.coverage.json", br#"{"missed_share":[0,-1e308,1],"cut":true}"#);
    let odd = site.get("/archive/2026-11-29-6.parquet", &[]).await;
    assert_eq!(odd.header("x-coverage"), Some("unknown"));
    assert_eq!(odd.header("x-minutes-known"), Some("unknown"));
    assert_eq!(odd.header("x-cut"), Some("true"));

    let listed = site.get("/archive/?since=2026-11-29&until=2026-11-29T23:00:00Z", &[]).await;
    let listed: Value = listed.json();
    let names = |at: usize| listed["hours"][at]["files"][0]["name"].clone();
    assert_eq!([names(0), names(1)], ["2026-11-29-7.json.gz", "2026-11-29-6.parquet"]);
    assert_eq!(listed["hours"].as_array().unwrap().len(), 2);
    assert_eq!(listed["hours"][1]["files"][0]["bytes"], 4);
    assert_eq!(listed["hours"][0]["coverage"], Value::Null);
    assert_eq!(listed["earliest"], "2026-11-29T06:00:00Z");
    let page = "/archive/?since=2026-11-29&until=2026-11-29T23:00:00Z";
    let page = site.get(page, &["accept: text/html"]).await;
    assert!(page.body.contains("href=\"2026-11-29-6.parquet\""), "{}", page.body);
    let bare = site.get("/archive?format=json", &[]).await;
    assert_eq!((bare.status, bare.header("location")), (308, Some("archive/?format=json")));
    for asked in ["since=2020-01-01", "since=2026-11-20&until=2026-11-10"] {
        assert_eq!(site.get(&format!("/archive/?{asked}"), &[]).await.status, 400, "{asked}");
    }
    soon("it stops", site.running.end()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_archive_is_reported() {
    let (data, github) = (tempfile::tempdir().unwrap(), GitHub::start(Options::by_hand(1)).await);
    let running = Running::start(data.path(), &github.url, &[]).await;
    for path in ["/archive/", "/archive/2026-11-29-5.json.gz", "/2026-11-29-5.json.gz"] {
        let answer = request(running.public, "GET", path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.body.contains("archive.dir"), "{}", answer.body);
    }
    soon("it stops", running.end()).await;
}

/// Begins a download and reads only the head of the answer.
async fn begin(site: &Site) -> TcpStream {
    let mut stream = TcpStream::connect(site.running.public).await.unwrap();
    let text = format!("GET /archive/{NAME} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    soon("an answer begins", stream.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_have_limits_and_outlive_their_file() {
    let settings = [
        ("GHPULSE_SERVER_LIMITS_DOWNLOADSPERADDRESS", "2"),
        ("GHPULSE_SERVER_LIMITS_DOWNLOADSPERMINUTE", "1000"),
    ];
    let site = Site::start(&settings).await;
    // More than the buffers of two sockets hold.
    let length = 32 << 20;
    site.put(NAME, &vec![b'x'; length]);
    let (mut one, two) = (begin(&site).await, begin(&site).await);
    let refused = site.get(&format!("/archive/{NAME}"), &[]).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(refused.body.contains("downloadsPerAddress"), "{}", refused.body);
    assert!(refused.header("retry-after").is_some());
    // Other requests of the address are served, and a download ends as it began.
    assert_eq!(site.get("/health", &[]).await.status, 200);
    std::fs::remove_file(site.hours.path().join(NAME)).unwrap();
    let mut rest = Vec::new();
    soon("it is sent", one.read_to_end(&mut rest)).await.unwrap();
    let head = rest.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(rest.len() - head, length);
    drop((one, two));
    // Its place is free again.
    until_some("a place is free", async || {
        let answer = site.get(&format!("/archive/{NAME}"), &[]).await;
        (answer.status == 404).then_some(())
    })
    .await;
    soon("it stops", site.running.end()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_per_minute_are_limited() {
    let site = Site::start(&[("GHPULSE_SERVER_LIMITS_DOWNLOADSPERMINUTE", "3")]).await;
    site.put(NAME, b"x");
    let mut said = Vec::new();
    // On a slow machine, the minute may end between two of them.
    while said.last() != Some(&429) {
        assert!(said.len() < 30, "{said:?}");
        said.push(site.get(&format!("/archive/{NAME}"), &[]).await.status);
    }
    let served = said.len() - 1;
    assert!(served >= 3 && said[..served].iter().all(|status| *status == 200), "{said:?}");
    soon("it stops", site.running.end()).await;
}
