//! A connection to servers that send what no server sends.

use std::iter::repeat_n;

use tokio::io::duplex;
use tokio::net::TcpListener;

use super::*;

/// Protocol 10, version, connection, and what it can do; its last bytes name the login.
const HELLO: &[u8] = b"\x0a8.0.11\x00\x07\x00\x00\x0012345678\x00\x0f\xa2\x2d\x02\x00\x08\x00\x15\
    \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00mysql_native_password\x00";
const ACCEPTED: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
const PASSWORD: &str = "hidden";

/// A packet with this number.
fn packet(number: u8, body: &[u8]) -> Vec<u8> {
    let [first, second, third, _] = u32::try_from(body.len()).unwrap().to_le_bytes();
    [&[first, second, third, number], body].concat()
}

/// Packets numbered from `first`.
fn packets(first: u8, bodies: impl IntoIterator<Item = Vec<u8>>) -> Vec<u8> {
    let mut number = first.wrapping_sub(1);
    let numbered = bodies.into_iter().flat_map(|body| {
        number = number.wrapping_add(1);
        packet(number, &body)
    });
    numbered.collect()
}

/// The description of a column, and of one with a long name.
fn column(name: &str) -> Vec<u8> {
    let mut bytes = b"\x03def\0\0\0".to_vec();
    bytes.push(0xfd);
    bytes.extend(&u32::try_from(name.len()).unwrap().to_le_bytes()[..3]);
    bytes.extend(name.as_bytes());
    bytes.extend(b"\0\x0c\x2d\0\xff\0\0\0\x08\0\0\0\0\0");
    bytes
}

/// A connection to a server that has sent these bytes; what it sends itself is read and dropped.
async fn reading(sent: &[u8], sequence: u8) -> MysqlConnection {
    let (ours, theirs) = duplex(sent.len() + 1);
    let (mut taken, mut given) = tokio::io::split(theirs);
    given.write_all(sent).await.unwrap();
    given.shutdown().await.unwrap();
    tokio::spawn(async move { tokio::io::copy(&mut taken, &mut tokio::io::sink()).await });
    let stream: Box<dyn Duplex> = Box::new(ours);
    let packets = Packets { stream: BufReader::new(stream), sequence };
    MysqlConnection { packets, unread: None, has_more: false }
}

/// The result of a statement that a server has answered with these bytes: columns and rows.
async fn answered(sent: &[u8]) -> Result<(Vec<String>, Vec<AnswerRow>), MysqlError> {
    let mut connection = reading(sent, 1).await;
    let columns = connection.ask("SELECT 1").await?;
    let mut rows = Vec::new();
    while let Some(row) = connection.row().await? {
        rows.push(row);
    }
    connection.skip().await?;
    Ok((columns, rows))
}

fn end(status: u8) -> Vec<u8> {
    vec![0xfe, 0, 0, status, 0]
}

#[tokio::test]
async fn columns_and_rows_are_read() {
    let [first, second] = ["a", "bé"].map(column);
    let row = b"\x011\xfb".to_vec();
    let bodies = [vec![2], first, second, end(2), row, end(2)];
    let (columns, rows) = answered(&packets(1, bodies)).await.unwrap();
    assert_eq!(columns, ["a", "bé"]);
    assert_eq!(rows, [[Some("1".to_owned()), None]]);
    let without_rows = answered(&packet(1, ACCEPTED)).await.unwrap();
    assert_eq!(without_rows, (vec![], vec![]));
}

#[tokio::test]
async fn results_that_follow_are_skipped() {
    let result = |cell: &[u8], last| [vec![1], column("a"), end(2), cell.to_vec(), end(last)];
    let bodies = result(b"\x011", 2 | 8).into_iter().chain(result(b"\x012", 2));
    let (_, rows) = answered(&packets(1, bodies)).await.unwrap();
    assert_eq!(rows, [[Some("1".to_owned())]]);
    let ok_then_result = [vec![0, 0, 0, 2 | 8, 0, 0, 0]].into_iter().chain(result(b"\x011", 2));
    assert_eq!(answered(&packets(1, ok_then_result)).await.unwrap(), (vec![], vec![]));
}

#[tokio::test]
async fn an_error_ends_a_result() {
    let refused = b"\xff\x19\x04#42000too long".to_vec();
    let bodies = [vec![1], column("a"), end(2), b"\x011".to_vec(), refused];
    let mut connection = reading(&packets(1, bodies), 1).await;
    connection.ask("SELECT 1").await.unwrap();
    assert_eq!(connection.row().await.unwrap(), Some(vec![Some("1".to_owned())]));
    let error = connection.row().await.unwrap_err();
    assert!(matches!(&error, MysqlError::Server { code: 1049, .. }), "{error:?}");
    assert_eq!(error.to_string(), "too long");
    assert_eq!(connection.row().await.unwrap(), None);
}

/// Each would make a client reserve memory, up to more than a machine has.
#[tokio::test]
async fn results_and_packets_beyond_the_limits_are_refused() {
    let announced = |count: u64| packet(1, &[&[0xfe], &count.to_le_bytes()[..]].concat());
    let columns = packets(
        1,
        [vec![0xfc, 0, 16]].into_iter().chain(repeat_n(column(&"x".repeat(60_000)), 100)),
    );
    let large = vec![0xff, 0xff, 0xff, 1];
    for (sent, words) in [
        (announced(1 << 62), "it announces 4611686018427387904 columns; the limit is 4096"),
        (announced(1 << 40), "it announces 1099511627776 columns; the limit is 4096"),
        (announced(4_097), "it announces 4097 columns; the limit is 4096"),
        (columns, "its columns take more than 4194304 bytes"),
        (large, "it announces 16777215 bytes; the limit is 1048576"),
        (packet(1, &[0xfb, b'x']), "it asks for a file of this machine"),
    ] {
        let error = answered(&sent).await.unwrap_err();
        assert_eq!(error.to_string(), words);
    }
    assert!(matches!(answered(&announced(4_096)).await, Err(MysqlError::Io(_))));
}

#[tokio::test]
async fn arbitrary_bytes_never_panic() {
    let mut random = fastrand::Rng::with_seed(11);
    let row = b"\x011".to_vec();
    let valid = [vec![1], column("a"), end(2), row, end(2)];
    for _ in 0..5_000 {
        let mut bodies = valid.clone();
        for _ in 0..random.usize(1..4) {
            let body = &mut bodies[random.usize(..valid.len())];
            let at = random.usize(..body.len());
            body[at] = random.u8(..);
            body.truncate(random.usize(1..=body.len()));
        }
        let _ = answered(&packets(1, bodies)).await;
        let mut hello = HELLO.to_vec();
        let at = random.usize(..hello.len());
        hello[at] = random.u8(..);
        hello.truncate(random.usize(..=hello.len()));
        let _ = ServerHello::read(hello.into()).map(|hello| hello.common(true));
    }
}

/// What a client sends to a server that asks for the login `caching_sha2_password`, and then for
/// the whole password; the server's further packets are `then`.
async fn sent_for(then: &[u8], is_secure: bool) -> (Result<(), MysqlError>, Vec<u8>) {
    let switch = b"\xfecaching_sha2_password\x0012345678901234567890\0".to_vec();
    let (ours, mut theirs) = duplex(1 << 16);
    let mut sent = packets(2, [switch]);
    sent.extend(packet(4, &[1, 4]));
    sent.extend(then);
    theirs.write_all(&sent).await.unwrap();
    let stream: Box<dyn Duplex> = Box::new(ours);
    let packets = Packets { stream: BufReader::new(stream), sequence: 1 };
    let mut connection = MysqlConnection { packets, unread: None, has_more: false };
    let hello = ServerHello::read(HELLO.into()).unwrap();
    let capabilities = hello.common(false).unwrap();
    let password = Secret::new(PASSWORD);
    let login = MysqlLogin { user: "me", password: Some(&password), db: "gh" };
    let done = connection.log_in(hello, capabilities, &login, is_secure).await;
    drop(connection);
    let mut seen = Vec::new();
    theirs.read_to_end(&mut seen).await.unwrap();
    (done, seen)
}

fn holds(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn whole_password_is_sent_in_the_clear_only_with_tls() {
    let (done, seen) = sent_for(&packet(6, ACCEPTED), true).await;
    done.unwrap();
    assert!(holds(&seen, b"hidden\0"));
    let key = include_bytes!("key.pem");
    let given = [packet(6, &[&[1], &key[..]].concat()), packet(8, ACCEPTED)].concat();
    let (done, seen) = sent_for(&given, false).await;
    done.unwrap();
    // The request for the key, and a block as long as the key of 2,048 bits.
    assert!(holds(&seen, &packet(5, &[2])) && holds(&seen, &[0, 1, 0, 7]));
    assert!(!holds(&seen, b"hidden"));
    for malformed in [&b"\x01"[..], b"\x01-----BEGIN PUBLIC KEY-----", b"", b"\x02key"] {
        let (done, seen) = sent_for(&packet(6, malformed), false).await;
        let error = done.unwrap_err().to_string();
        assert_eq!(error, "its answer does not follow MySQL's protocol");
        assert!(!holds(&seen, b"hidden"));
    }
}

#[tokio::test]
async fn other_login_methods_are_refused_by_name() {
    for name in ["mysql_clear_password", "client_ed25519", "mysql_old_password", ""] {
        let switch = [&[SWITCH_LOGIN], name.as_bytes(), &[0]].concat();
        let mut connection = reading(&packet(2, &switch), 1).await;
        let hello = ServerHello::read(HELLO.into()).unwrap();
        let capabilities = hello.common(false).unwrap();
        let login = MysqlLogin { user: "me", password: None, db: "gh" };
        let error = connection.log_in(hello, capabilities, &login, false).await.unwrap_err();
        assert!(error.to_string().contains(&format!("the login method `{name}`")), "{error}");
    }
}

#[tokio::test]
async fn tls_that_is_not_offered_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut theirs, _) = listener.accept().await.unwrap();
    theirs.write_all(&packet(0, HELLO)).await.unwrap();
    let tls = Some(MysqlTls { host: "localhost", authorities: None });
    let login = MysqlLogin { user: "me", password: None, db: "gh" };
    let opened = MysqlConnection::open(stream, tls, login).await.map(drop);
    assert!(matches!(opened, Err(MysqlError::NoTls)), "{opened:?}");
}
