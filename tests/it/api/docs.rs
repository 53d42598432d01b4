//! The manual at `/docs`, over real sockets: every link of every page has a target.

use std::collections::{BTreeSet, VecDeque};

use super::site::Site;
use crate::common::client::request;

/// Resolves a link on a page to its path and anchor.
fn followed(here: &str, link: &str) -> (String, Option<String>) {
    let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
    let anchor = Some(anchor.to_owned()).filter(|anchor| !anchor.is_empty());
    if path.is_empty() {
        return (here.to_owned(), anchor);
    }
    let mut words: Vec<&str> = here.split('/').collect();
    words.pop();
    for word in path.split('/') {
        match word {
            ".." => drop(words.pop()),
            "." => {}
            word => words.push(word),
        }
    }
    (words.join("/"), anchor)
}

fn values<'a>(html: &'a str, attribute: &str) -> Vec<&'a str> {
    let start = format!(" {attribute}=\"");
    html.split(&start).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_link_of_the_manual_leads_to_an_answer() {
    let site = Site::start(&[("GHPULSE_SERVER_BASEPATH", "/websocket")]).await;
    for base in ["", "/websocket"] {
        let mut waiting = VecDeque::from([format!("{base}/docs")]);
        let mut seen = BTreeSet::new();
        let mut anchors = Vec::new();
        while let Some(path) = waiting.pop_front() {
            if !seen.insert(path.clone()) {
                continue;
            }
            let answer = request(site.running.public, "GET", &path, &["accept: text/html"]).await;
            assert_eq!(answer.status, 200, "{path}");
            if !path.starts_with(&format!("{base}/docs")) {
                continue;
            }
            for link in values(&answer.body, "href") {
                if link.starts_with("http") || link.starts_with("data:") {
                    continue;
                }
                let (to, anchor) = followed(&path, link);
                anchors.extend(anchor.map(|anchor| (path.clone(), to.clone(), anchor)));
                waiting.push_back(to);
            }
        }
        for page in ["", "/config", "/api", "/threats", "/changes", "/all", "/style.css"] {
            assert!(seen.contains(&format!("{base}/docs{page}")), "{page} is not linked");
        }
        for page in ["/", "/status", "/topics", "/play"] {
            assert!(seen.contains(&format!("{base}{page}")), "{page} is not linked");
        }
        for (from, to, anchor) in anchors {
            let answer = request(site.running.public, "GET", &to, &[]).await;
            assert!(values(&answer.body, "id").contains(&anchor.as_str()), "{from}: {to}#{anchor}");
        }
    }
    site.end().await;
}

/// Maximum size of a page as sent, in bytes.
const PAGE_BYTES: usize = 60 << 10;

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_compressed_and_small() {
    let site = Site::start(&[]).await;
    for path in ["/", "/?wall", "/status", "/scripts", "/topics", "/play"] {
        let asked = ["accept: text/html", "accept-encoding: gzip"];
        let packed = request(site.running.public, "GET", path, &asked).await;
        let head = packed.head.to_ascii_lowercase();
        assert!(head.contains("content-type: text/html"), "{path}: {head}");
        assert!(head.contains("content-encoding: gzip"), "{path}: {head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
        assert!(length < PAGE_BYTES, "{path}: {length} bytes");
    }
    site.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn manual_pages_are_compressed_kept_and_readable_without_script() {
    let site = Site::start(&[]).await;
    let at = site.running.public;
    let plain = request(at, "GET", "/docs/config", &[]).await;
    let head = plain.head.to_ascii_lowercase();
    assert!(plain.body.contains("<h1 id=\"running-ghpulse\">"), "{}", plain.body);
    assert!(!head.contains("content-encoding"));
    assert!(head.contains("default-src 'none'; style-src 'self'; script-src 'self';"), "{head}");
    assert_eq!(plain.body.matches("<script").count(), 1);
    let examples = request(at, "GET", "/docs/api", &[]).await.body;
    assert!(examples.contains("curl -s localhost:8600/readyz\n"));
    let script = request(at, "GET", "/docs/address.js", &[]).await;
    assert!(script.header("content-type").unwrap().starts_with("text/javascript"));
    let packed = request(at, "GET", "/docs/config", &["accept-encoding: gzip"]).await;
    let head = packed.head.to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip") && head.contains("vary: "));
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).expect("a length");
    assert!(length * 2 < plain.body.len(), "{length} of {}", plain.body.len());
    let tag = packed.head.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag");
    assert!(tag.starts_with("W/\""), "one tag for both forms: {tag}");
    let known = format!("if-none-match: {tag}");
    let again = request(at, "GET", "/docs/config", &[&known]).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    for (path, to) in [("/docs/", "../docs"), ("/docs/config/", "../config")] {
        let answer = request(at, "GET", path, &[]).await;
        assert_eq!(answer.status, 308, "{path}");
        let location = format!("location: {to}\r\n");
        assert!(format!("{}\r\n", answer.head.to_ascii_lowercase()).contains(&location), "{path}");
    }
    for path in ["/docs/README.md", "/docs/x/y", "/docs/..%2fconfig"] {
        assert_eq!(request(at, "GET", path, &[]).await.status, 404, "{path}");
    }
    site.end().await;
}
