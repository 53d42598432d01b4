//! Fuzzes what the servers around ghpulse send: GitHub's GraphQL API, the issuer of Pulsar's
//! tokens, a database; and the files of an import.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use ghpulse::archive::{ImportOutcome, import};
use ghpulse::bus::pulsar::probe;
use ghpulse::clock::Clock;
use ghpulse::config::{Compression, OAuthConfig, PulsarConfig, Secret};
use ghpulse::github::graphql::{
    AskedBy, GraphQl, ObjectLookup, QueryOutcome, WantedPull, WantedPush,
};
use ghpulse::github::tokens::{PoolOptions, QueryKind, TokenGrant, TokenPool};
use ghpulse::store::{Durability, Store};
use tokio::runtime::Runtime;

use super::{Fuzz, fuzz_with, outcome, text};
use crate::history::database::{Database, PASSWORD, kind};
use crate::history::node::{Node, PATIENT};

/// Inputs that are requests over a socket: a tenth of the usual number.
const SLOWER: u64 = 10;
/// Pull requests per query.
const PULLS: u64 = 3;
const SECRET: &str = "s3cr&t/+";
/// Rows and columns of a result.
const ROWS: usize = 6;
const COLUMNS: usize = 5;
const DISCOVERY: &str = "openid-configuration";

/// An HTTP server on a bare socket that answers with any bytes.
struct Server {
    url: String,
    answers: Arc<Mutex<Answers>>,
}

/// Status and body of the next response; the discovery document of an issuer, if it is whole.
#[derive(Default)]
struct Answers {
    status: u16,
    body: Vec<u8>,
    discovery: Option<String>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let answers = Arc::<Mutex<Answers>>::default();
        let kept = Arc::clone(&answers);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // The client may leave at any moment.
                let _ = answer(stream, &kept);
            }
        });
        Self { url, answers }
    }

    /// Sets the next response: `STATUS BODY`, 200 without a status.
    fn answers_with(&self, input: &[u8], discovery: Option<String>) {
        let head = input.get(..4).and_then(|head| std::str::from_utf8(head).ok());
        let status = head.and_then(|head| head.trim_end().parse().ok());
        let (status, body) = match status.filter(|status| (200..600).contains(status)) {
            Some(status) => (status, input[4..].to_vec()),
            None => (200, input.to_vec()),
        };
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner) =
            Answers { status, body, discovery };
    }
}

fn answer(mut stream: TcpStream, answers: &Mutex<Answers>) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut bytes = [0; 4_096];
    let head = loop {
        let count = stream.read(&mut bytes)?;
        request.extend_from_slice(&bytes[..count]);
        let end = request.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            break end + 4;
        }
        if count == 0 {
            return Ok(());
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.and_then(|length| length.parse().ok()).unwrap_or(0);
    while request.len() < head + length {
        let count = stream.read(&mut bytes)?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&bytes[..count]);
    }
    let (status, body) = {
        let answers = answers.lock().unwrap_or_else(PoisonError::into_inner);
        match &answers.discovery {
            Some(document) if text.contains(DISCOVERY) => (200, document.clone().into_bytes()),
            _ => (answers.status, answers.body.clone()),
        }
    };
    let head = format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat())
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

#[test]
fn graphql_answers() {
    let pull = r#"{"id":"PR_a","fullDatabaseId":"10","additions":3,"deletions":1,"changedFiles":2,
        "title":"T","isDraft":true"#;
    let nodes = format!(
        r#"200 {{"data":{{"rateLimit":{{"cost":1,"remaining":4999,
        "resetAt":"2026-03-01T10:00:00Z"}},"nodes":[{pull},"baseRepository":{{"databaseId":1,
        "primaryLanguage":{{"name":"C"}}}}}},null]}}}}"#
    );
    let names = format!(
        r#"200 {{"data":{{"p0":{{"databaseId":1,"primaryLanguage":null,"pullRequest":{pull}}}}},
        "p1":null}},"errors":[{{"type":"NOT_FOUND","path":["p1"],"message":"gone"}}]}}"#
    );
    let seeds: [&[u8]; 6] = [
        nodes.as_bytes(),
        names.as_bytes(),
        br#"200 {"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}"#,
        br#"200 {"data":{"nodes":[null]},"errors":[{"type":"FORBIDDEN","path":["nodes",0],"message":"SAML"},{"type":"RESOURCE_LIMITS_EXCEEDED"}]}"#,
        br#"403 {"message":"You have exceeded a secondary rate limit."}"#,
        b"502 <html></html>",
    ];
    let (runtime, server, clock) = (runtime(), Server::start(), Clock::system());
    let graphql = GraphQl::new(&format!("{}/graphql", server.url), clock).unwrap();
    let one = |at| WantedPull { base_repo_id: 1, pull_id: 10 + at, repo: "o/n".into(), number: at };
    let wanted: Vec<WantedPull> = (0..PULLS).map(one).collect();
    fuzz_with(Fuzz::slow("graphql_answers", &seeds, SLOWER), |input| {
        server.answers_with(input, None);
        let form = if input.len() % 2 == 0 { AskedBy::NodeIds } else { AskedBy::Names };
        let options = PoolOptions { tokens: vec![Secret::new("ghp_x")], share: 0.9, burst: 3 };
        let pool = TokenPool::new(options, clock);
        let Some(TokenGrant::Go(lease)) = pool.grant_query(QueryKind::Pulls) else {
            panic!("a new pool waits")
        };
        let found = runtime.block_on(graphql.ask(form, &wanted, lease));
        if let QueryOutcome::Answered(found) = &found {
            assert_eq!(found.len(), wanted.len(), "one answer for each");
        }
        outcome((found.name(), form == AskedBy::Names, format!("{found:?}").len() / 50))
    });
}

#[test]
fn commit_answers() {
    let (head, before) = ("a".repeat(40), "b".repeat(40));
    let commit = |oid: &str| {
        format!(
            r#"{{"oid":"{oid}","committedDate":"2026-03-01T10:00:00Z","message":"M\n\ud83e",
            "author":{{"name":"A","email":"a@b.org"}}}}"#
        )
    };
    let (new, old) = (commit(&head), commit(&before));
    let history = |total: u32, nodes: &str| {
        format!(r#"{{"history":{{"totalCount":{total},"nodes":[{nodes}]}}}}"#)
    };
    let value = |head: &str, before: &str| {
        format!(
            r#"200 {{"data":{{"rateLimit":{{"cost":1,"remaining":4999,
            "resetAt":"2026-03-01T10:00:00Z"}},"p0":{{"databaseId":1,"head":{head},
            "before":{before}}},"p1":null}},"errors":[{{"type":"NOT_FOUND","path":["p1"]}}]}}"#
        )
    };
    let usual = value(&history(2, &format!("{new},{old}")), &history(1, &old));
    let forced = value(&history(9, &new), &history(9, &old));
    let seeds: [&[u8]; 4] = [
        usual.as_bytes(),
        forced.as_bytes(),
        br#"200 {"data":{"p0":{"databaseId":1,"head":null,"before":null}}}"#,
        br#"200 {"errors":[{"type":"RATE_LIMITED","message":"API rate limit exceeded"}]}"#,
    ];
    let (runtime, server, clock) = (runtime(), Server::start(), Clock::system());
    let graphql = GraphQl::new(&format!("{}/graphql", server.url), clock).unwrap();
    let one = |head: &str| WantedPush {
        repo_id: 1,
        repo: "o/n".into(),
        repo_url: None,
        head: head.to_owned(),
        before: before.clone(),
    };
    let wanted = [one(&head), one(&"c".repeat(40))];
    fuzz_with(Fuzz::slow("commit_answers", &seeds, SLOWER), |input| {
        server.answers_with(input, None);
        let options = PoolOptions { tokens: vec![Secret::new("ghp_x")], share: 0.9, burst: 3 };
        let pool = TokenPool::new(options, clock);
        let Some(TokenGrant::Go(lease)) = pool.grant_query(QueryKind::Pulls) else {
            panic!("a new pool waits")
        };
        let found = runtime.block_on(graphql.ask(AskedBy::Names, &wanted, lease));
        if let QueryOutcome::Answered(found) = &found {
            assert_eq!(found.len(), wanted.len(), "one answer for each");
            for details in found.iter().filter_map(|found| match found {
                ObjectLookup::Found(details) => Some(details),
                _ => None,
            }) {
                let count = details.commits.len() as u64;
                assert!(count <= 20 && details.size.is_none_or(|size| size >= count));
                assert!(!details.is_whole || details.size.is_some_and(|s| s.min(20) == count));
            }
        }
        outcome((found.name(), format!("{found:?}").len() / 50))
    });
}

#[test]
fn oauth_answers() {
    let seeds: [&[u8]; 5] = [
        br#"200 {"access_token":"token-1","expires_in":3600}"#,
        br#"200 {"access_token":"a","expires_in":1e308,"token_type":"Bearer"}"#,
        br#"400 {"error":"invalid_client","error_description":"s3cr&t/+ is wrong"}"#,
        br#"!{"token_endpoint":"http://127.0.0.1:1/token"}"#,
        br#"!{"token_endpoint":"http://s3cr&t/+@x:99999/"}"#,
    ];
    let (runtime, server, dir) = (runtime(), Server::start(), tempfile::tempdir().unwrap());
    // A broker that ends every connection: what matters is how far the login comes.
    let broker = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("pulsar://{}", broker.local_addr().unwrap());
    std::thread::spawn(move || broker.incoming().map_while(Result::ok).for_each(drop));
    let key_file = dir.path().join("key.json");
    let key = format!(
        r#"{{"client_id":"me","client_secret":"{SECRET}","issuer_url":"{}/"}}"#,
        server.url
    );
    std::fs::write(&key_file, key).unwrap();
    let options = PulsarConfig {
        url,
        producer_topic: "t".to_owned(),
        consumer_topic: "t".to_owned(),
        oauth: Some(OAuthConfig { audience: "urn:x".to_owned(), key_file }),
        ca: None,
        compression: Compression::None,
        consumer_name: "fuzz".to_owned(),
    };
    fuzz_with(Fuzz::slow("oauth_answers", &seeds, SLOWER), |input| {
        let whole = format!(r#"{{"token_endpoint":"{}/token"}}"#, server.url);
        match input.strip_prefix(b"!") {
            Some(discovery) => server.answers_with(discovery, None),
            None => server.answers_with(input, Some(whole)),
        }
        let tried = runtime.block_on(Box::pin(probe(&options, "t", false, Clock::system())));
        let error = tried.expect_err("the broker ends every connection").to_string();
        assert!(!error.contains(SECRET), "{error}");
        let words: Vec<&str> = error.split(' ').filter(|word| word.len() > 3).take(12).collect();
        outcome((words, input.starts_with(b"!")))
    });
}

#[test]
fn tidb_rows() {
    let Some(kind) = kind("tidb_rows") else { return };
    let seeds: [&[u8]; 4] = [
        b"2026-03-01\t5\t4\t3\t2\n2026-03-02\t1\t1\t1\t1",
        b"2026-03-01\t9223372036854775807\t1.0\t\t-1",
        b"2026-02-30\t5\t4\t3\t2\n2026-03-01\t5\t4\t3\t1e3",
        b"\xef\xbb\xbf2026-03-01\t 5\t+4\t3 \t00",
    ];
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let database = runtime.block_on(Database::start(&kind));
    let columns = "CREATE TABLE gharchive.fuzzed (a TEXT, b TEXT, c TEXT, d TEXT, e TEXT) \
                   CHARACTER SET utf8mb4";
    runtime.block_on(database.sql(columns));
    let mut config = database.config();
    config.events_daily = "SELECT * FROM fuzzed".to_owned();
    config.yearly = "SELECT b, c, d, e FROM fuzzed LIMIT 1".to_owned();
    let now = "2026-03-02T10:00:00Z";
    let node = runtime.block_on(async { Node::start(dir.path(), config, now, PATIENT) });
    fuzz_with(Fuzz::slow("tidb_rows", &seeds, SLOWER), |input| {
        let cell = |cell: &str| {
            let short: String = cell.chars().take(200).collect();
            let hex: String =
                short.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            if cell == "\\N" {
                "NULL".to_owned()
            } else {
                format!("CONVERT(X'{hex}' USING utf8mb4)")
            }
        };
        let row = |row: &str| {
            let cells = row.split('\t').chain(std::iter::repeat("")).take(COLUMNS);
            format!("({})", cells.map(cell).collect::<Vec<_>>().join(","))
        };
        let rows: Vec<String> = text(input).split('\n').take(ROWS).map(row).collect();
        let statements = format!(
            "DELETE FROM gharchive.fuzzed; INSERT INTO gharchive.fuzzed VALUES {}",
            rows.join(",")
        );
        runtime.block_on(database.sql(&statements));
        let synced = runtime.block_on(node.sync());
        let error = synced.error.clone().unwrap_or_default();
        assert!(synced.tried && !error.contains(PASSWORD), "{synced}");
        let words: Vec<&str> = error.split(' ').filter(|word| word.len() > 3).take(8).collect();
        outcome((words, synced.daily, synced.yearly))
    });
    runtime.block_on(node.end());
}

#[test]
fn import_files() {
    let pull = [
        r#"{"id":"1","type":"PullRequestEvent","actor":{"id":1},"repo":{"id":2,"name":"a/b"},"#,
        r#""payload":{"action":"opened","pull_request":{"id":3}},"#,
        r#""created_at":"2026-03-01T01:00:00Z"}"#,
    ]
    .concat();
    let old = [
        r#"{"type":"PushEvent","actor":"a","repository":{"id":1,"name":"b","owner":"c"},"#,
        r#""payload":{},"created_at":"2012-03-01T01:00:00-08:00"}"#,
    ]
    .concat();
    let twice = format!("{pull}\n{pull}\n");
    let mixed = format!("{pull}\n\n{old}\nnull\n[]\n");
    let seeds: [&[u8]; 4] = [twice.as_bytes(), mixed.as_bytes(), old.as_bytes(), b"[\n{}\n]"];
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let every = Durability::Every(std::time::Duration::from_secs(1));
    let store = Store::open(dir.path(), every, Clock::system()).unwrap();
    fuzz_with(Fuzz::slow("import_files", &seeds, SLOWER), |input| {
        // Of several files of an hour the last one counts, so one name is enough.
        let path = dir.path().join("2026-03-01-1.json");
        std::fs::write(&path, input).unwrap();
        let (now, read) = (Clock::system().now(), |_: u64| {});
        let imported = match runtime.block_on(import(&store, &path, now, read)) {
            Ok(imported) => imported,
            Err(error) => return outcome(error.to_string().split(' ').count()),
        };
        let again = runtime.block_on(import(&store, &path, now, read)).expect("it was just read");
        assert_eq!(again.state, ImportOutcome::Unchanged);
        let found = imported.events + imported.doubles + imported.strays + imported.broken;
        assert!(found <= input.split(|byte| *byte == b'\n').count() as u64 + input.len() as u64);
        assert!(imported.pull_requests <= imported.events);
        let counts = [imported.events, imported.doubles, imported.strays, imported.broken];
        outcome(counts.map(|count| count.min(4)))
    });
}
