//! The machine's minimum cost for the same bytes on the same sockets: frames that were encoded
//! before, gathered for as long as ghpulse gathers them, one write per connection. It selects
//! nothing, enforces no limits and stores nothing; a server cannot be cheaper.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Frames gather for as long as ghpulse gathers them.
const FLUSH: Duration = Duration::from_millis(50);
/// The response to the key that the benchmark's readers send.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\
    connection: upgrade\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const PING: u8 = 0x89;
const PONG: [u8; 2] = [0x8a, 0];

/// Collects frames for the next write.
#[derive(Clone, Default)]
pub struct Floor(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    frames: Vec<u8>,
    arrived: Vec<TcpStream>,
}

/// A connection, and the bytes that the kernel has not accepted yet.
struct Connection {
    stream: TcpStream,
    rest: Vec<u8>,
}

/// Starts the server.
pub fn start(listener: TcpListener) -> Floor {
    let floor = Floor::default();
    let accepting = floor.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(upgrade(stream, accepting.clone()));
        }
    });
    let writing = floor.clone();
    tokio::spawn(async move {
        let mut connections = Vec::new();
        let mut flush = tokio::time::interval(FLUSH);
        loop {
            flush.tick().await;
            let State { frames, arrived } =
                std::mem::take(&mut *writing.0.lock().unwrap_or_else(PoisonError::into_inner));
            let connection = |stream| Connection { stream, rest: Vec::new() };
            connections.extend(arrived.into_iter().map(connection));
            connections.retain_mut(|connection: &mut Connection| connection.write(&frames));
            // A reader that left is only noticed when there is nothing to write.
            if frames.is_empty() {
                connections.retain(|connection| {
                    !matches!(connection.stream.try_read(&mut [0; 16]), Ok(0))
                });
            }
        }
    });
    floor
}

/// Publishes a message.
pub fn publish(floor: &Floor, text: &str) {
    let mut state = floor.0.lock().unwrap_or_else(PoisonError::into_inner);
    state.frames.push(0x81);
    match u16::try_from(text.len()) {
        Ok(length) if length < 126 => state.frames.extend(length.to_be_bytes().last()),
        Ok(length) => {
            state.frames.push(126);
            state.frames.extend(length.to_be_bytes());
        }
        Err(_) => {
            state.frames.push(127);
            state.frames.extend((text.len() as u64).to_be_bytes());
        }
    }
    state.frames.extend(text.as_bytes());
}

/// Reads up to the ping after the parameters, and answers it.
async fn upgrade(mut stream: TcpStream, floor: Floor) {
    let mut heard = Vec::new();
    let mut upgraded = false;
    // The ping is masked with zeros and has no payload.
    while !heard.ends_with(&[PING, 0x80, 0, 0, 0, 0]) {
        if stream.read_buf(&mut heard).await.unwrap_or(0) == 0 {
            return;
        }
        if !upgraded && heard.windows(4).any(|four| four == b"\r\n\r\n") {
            upgraded = stream.write_all(UPGRADED).await.is_ok();
        }
    }
    if stream.set_nodelay(true).is_ok() && stream.write_all(&PONG).await.is_ok() {
        floor.0.lock().unwrap_or_else(PoisonError::into_inner).arrived.push(stream);
    }
}

impl Connection {
    /// Writes as many of the pending bytes and these frames as the kernel accepts. Returns whether
    /// the connection is open.
    fn write(&mut self, frames: &[u8]) -> bool {
        if !self.rest.is_empty() {
            self.rest.extend_from_slice(frames);
            let rest = std::mem::take(&mut self.rest);
            return self.pass(&rest);
        }
        frames.is_empty() || self.pass(frames)
    }

    fn pass(&mut self, bytes: &[u8]) -> bool {
        let mut at = 0;
        while at < bytes.len() {
            match self.stream.try_write(&bytes[at..]) {
                Ok(0) => return false,
                Ok(written) => at += written,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.rest = bytes[at..].to_vec();
                    return true;
                }
                Err(_) => return false,
            }
        }
        true
    }
}
