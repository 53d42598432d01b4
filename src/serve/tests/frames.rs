//! WebSocket frames: close frames, limits on incoming messages, replies.

use super::*;

const PARAMS: &[u8] = br#"{"samplingRate":1,"filter":["event.id"]}"#;
const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;
const PONG: u8 = 0x8a;

/// A client's frame, masked with zeros.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    [&announced(first, payload.len() as u64)[..], payload].concat()
}

/// The header of a client's frame that announces a payload of this length.
fn announced(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => bytes.push(0x80 | short),
        (_, Ok(medium)) => {
            bytes.push(0xfe);
            bytes.extend(medium.to_be_bytes());
        }
        _ => {
            bytes.push(0xff);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes
}

struct Raw(TcpStream);

impl Raw {
    /// Connects to `/sampling` and reads the first message.
    async fn open(served: &Served, headers: &str) -> Self {
        let mut stream = TcpStream::connect(served.public).await.unwrap();
        let head = format!(
            "GET /sampling HTTP/1.1\r\nhost: test\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             {headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(soon(stream.read_u8()).await.unwrap());
        }
        let mut raw = Self(stream);
        raw.next().await;
        raw
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// The next frame: its first byte and its payload.
    async fn next(&mut self) -> (u8, Vec<u8>) {
        let read = async {
            let first = self.0.read_u8().await.unwrap();
            let length = match self.0.read_u8().await.unwrap() {
                126 => self.0.read_u16().await.unwrap().into(),
                short => usize::from(short),
            };
            let mut payload = vec![0; length];
            self.0.read_exact(&mut payload).await.unwrap();
            (first, payload)
        };
        soon(read).await
    }

    /// Code and reason of the next close frame; skips text frames before it.
    async fn closed(&mut self) -> (u16, String) {
        loop {
            let (first, payload) = self.next().await;
            if first == CLOSE {
                let reason = String::from_utf8_lossy(&payload[2..]).into_owned();
                return (u16::from_be_bytes([payload[0], payload[1]]), reason);
            }
        }
    }
}

#[tokio::test]
async fn connection_ends_after_the_close_frame_of_the_peer() {
    // Longer than the deadline of the test: only the peer's close frame can end the connection.
    let served = served_by(|options| options.reply_within = Duration::from_secs(3_600)).await;
    let bad_params = frame(TEXT, br#"{"samplingRate":0}"#);
    let too_long = announced(TEXT, 1 << 40);
    let no_utf8 = frame(TEXT, b"\xff\xfe");
    for (ends, code) in [(bad_params, 1008), (too_long, 1009), (no_utf8, 1007)] {
        let mut raw = Raw::open(&served, "").await;
        raw.send(&ends).await;
        assert_eq!(raw.closed().await.0, code);
        // The peer still reads what was sent before the close frame: nothing ends the connection.
        let early = tokio::time::timeout(Duration::from_millis(300), raw.0.read_u8()).await;
        assert!(early.is_err(), "{code}: ended before the peer answered: {early:?}");
        // A frame in flight is discarded. The rest of the long message never arrives.
        if code != 1009 {
            raw.send(&[frame(PING, b"on its way"), frame(CLOSE, &code.to_be_bytes())].concat())
                .await;
            assert!(soon(raw.0.read_u8()).await.is_err(), "{code}");
        }
    }
}

#[tokio::test]
async fn every_ping_of_a_burst_and_the_close_frame_are_answered() {
    const PINGS: u16 = 500;
    // A ping would wake the connection.
    let served = served_by(|options| options.ping_every = Duration::from_secs(3_600)).await;
    for deflates in ["", "sec-websocket-extensions: permessage-deflate\r\n"] {
        let mut raw = Raw::open(&served, deflates).await;
        let pings = (0..PINGS).flat_map(|ping| frame(PING, &ping.to_be_bytes()));
        let burst: Vec<u8> = pings.chain(frame(CLOSE, b"\x03\xe8")).collect();
        raw.send(&burst).await;
        let answers = async {
            for ping in 0..PINGS {
                assert_eq!(raw.next().await, (PONG, ping.to_be_bytes().to_vec()));
            }
            assert_eq!(raw.closed().await.0, 1000);
        };
        tokio::time::timeout(PATIENCE, answers).await.expect("a reply is kept back");
    }
}

#[tokio::test]
async fn unfinished_message_closes_the_connection_despite_pings() {
    let served = served_by(|options| options.message_within = Duration::from_millis(200)).await;
    let half = [&announced(TEXT, 100)[..], b"half"].concat();
    let fragment = frame(0x01, b"{");
    let deflated = [&announced(0xc1, 100)[..], b"half"].concat();
    let agreed = "sec-websocket-extensions: permessage-deflate\r\n";
    for (begun, headers) in
        [(half, ""), (fragment.clone(), ""), (fragment, agreed), (deflated, agreed)]
    {
        let mut raw = Raw::open(&served, headers).await;
        raw.send(&begun).await;
        let (code, reason) = raw.closed().await;
        assert_eq!(code, 1008);
        assert!(reason.contains("not finished"), "{reason}");
    }
    // A message that was completed in time does not count against later ones.
    let mut raw = Raw::open(&served, "").await;
    let (head, tail) = PARAMS.split_at(9);
    raw.send(&[frame(0x01, head), frame(0x80, tail)].concat()).await;
    let early = tokio::time::timeout(Duration::from_millis(500), raw.0.read_u8()).await;
    assert!(early.is_err(), "{early:?}");
}

#[tokio::test]
async fn fragments_count_as_chatter() {
    let served = served().await;
    for headers in ["", "sec-websocket-extensions: permessage-deflate\r\n"] {
        let mut raw = Raw::open(&served, headers).await;
        raw.send(&[frame(0x01, b"{"), frame(0x00, b"").repeat(700)].concat()).await;
        let (code, reason) = raw.closed().await;
        assert_eq!(code, 1008);
        assert!(reason.contains("600") && reason.contains("fragments"), "{reason}");
    }
}

#[tokio::test]
async fn too_long_message_is_rejected_by_its_header() {
    let served = served().await;
    let most = options().config.limits.message_bytes as u64;
    for headers in ["", "sec-websocket-extensions: permessage-deflate\r\n"] {
        let mut raw = Raw::open(&served, headers).await;
        raw.send(&announced(TEXT, most + 1)).await;
        assert_eq!(raw.closed().await.0, 1009);
        // An accepted client receives replies and stays connected, whether or not it fragments.
        let mut raw = Raw::open(&served, headers).await;
        raw.send(&frame(TEXT, PARAMS)).await;
        let long = vec![b' '; usize::try_from(most).unwrap()];
        let pieces = [frame(0x01, &long), frame(0x80, PARAMS)].concat();
        for sent in [frame(TEXT, &[&long[..], PARAMS].concat()), pieces] {
            raw.send(&sent).await;
            let (first, text) = raw.next().await;
            assert_eq!(first, TEXT);
            let text = String::from_utf8(text).unwrap();
            assert!(text.contains("server.limits.messageBytes"), "{text}");
        }
        served.append([7]);
        assert_eq!(raw.next().await, (TEXT, br#"{"event.id":"7"}"#.to_vec()));
    }
}
