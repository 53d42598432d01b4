//! The client side of MySQL's protocol, as far as a session needs it: login, and statements whose
//! results are text. [Its documentation](https://dev.mysql.com/doc/dev/mysql-server/latest/).
//!
//! Client libraries reserve memory for as many columns as a server announces, which may be more
//! than the machine has, and keep columns of any length. Here a packet is refused by its header,
//! and a result by its number of columns and their bytes; rows are returned one by one.

use std::io;
use std::panic::catch_unwind;

use bytes::{Buf as _, BufMut as _, Bytes};
use mysql_common::constants::CapabilityFlags;
use mysql_common::crypto;
use mysql_common::scramble::{scramble_native, scramble_sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

use super::answer::AnswerRow;
use crate::config::Secret;
use crate::tls::{self, Duplex};

/// The most bytes of a packet: a row is five numbers.
const PACKET_BYTES: usize = 1 << 20;
/// The most columns of a result; MySQL's tables have as many.
const COLUMNS: u64 = 4_096;
/// The most bytes of the packets that describe the columns of a result.
const COLUMNS_BYTES: usize = 4 << 20;
/// The most bytes of a server's public key in PEM form; one of 4,096 bits has 800.
const KEY_BYTES: usize = 2 << 10;
/// A longer packet would be sent in parts.
const SENT_BYTES: usize = 0xff_ffff;

/// `utf8mb4_general_ci`, which all servers know.
const COLLATION: u8 = 45;
/// Bytes of the random text that a password is mixed with.
const NONCE_BYTES: usize = 20;
/// The first version of the protocol with this login.
const VERSION: u8 = 10;

/// First bytes of a packet.
const OK: u8 = 0;
const MORE_LOGIN: u8 = 1;
const NULL: u8 = 0xfb;
const LOCAL_FILE: u8 = 0xfb;
const END: u8 = 0xfe;
const SWITCH_LOGIN: u8 = 0xfe;
const ERROR: u8 = 0xff;
/// The most bytes of a packet that ends a result; a row that begins with [`END`] is longer.
const END_BYTES: usize = 8;
/// The status flag of a result that another one follows.
const MORE_RESULTS: u16 = 8;

const COMMAND_QUIT: u8 = 1;
const COMMAND_QUERY: u8 = 3;

/// Why a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum MysqlError {
    /// It refused.
    #[error("{message}")]
    Server {
        /// Its number for the error.
        code: u16,
        /// Its message.
        message: String,
    },
    /// It does not offer TLS.
    #[error("it does not offer TLS")]
    NoTls,
    /// TLS failed, or the connection.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Its answer is not one that a session can take.
    #[error("{0}")]
    Unusable(String),
}

impl MysqlError {
    fn malformed() -> Self {
        Self::Unusable("its answer does not follow MySQL's protocol".to_owned())
    }
}

/// What to log in with.
pub(super) struct MysqlLogin<'a> {
    pub(super) user: &'a str,
    pub(super) password: Option<&'a Secret>,
    pub(super) db: &'a str,
}

/// TLS, for a certificate that names this host.
pub(super) struct MysqlTls<'a> {
    pub(super) host: &'a str,
    pub(super) authorities: Option<&'a [u8]>,
}

/// A connection after login. Results have to be read before the next statement; what was left is
/// skipped.
pub(super) struct MysqlConnection {
    packets: Packets<BufReader<Box<dyn Duplex>>>,
    /// The columns of the result whose rows were not all read.
    unread: Option<usize>,
    has_more: bool,
}

impl MysqlConnection {
    /// Logs in on a new connection.
    pub(super) async fn open(
        stream: TcpStream,
        tls: Option<MysqlTls<'_>>,
        login: MysqlLogin<'_>,
    ) -> Result<Self, MysqlError> {
        let mut plain = Packets { stream, sequence: 0 };
        let hello = ServerHello::read(plain.read().await?).ok_or_else(MysqlError::malformed)?;
        let capabilities = hello.common(tls.is_some())?;
        let is_secure = tls.is_some();
        let mut sequence = plain.sequence;
        let stream: Box<dyn Duplex> = match tls {
            None => Box::new(plain.stream),
            Some(MysqlTls { host, authorities }) => {
                plain.write(&beginning(capabilities)).await?;
                sequence = plain.sequence;
                Box::new(Box::pin(tls::connect(plain.stream, host, authorities)).await?)
            }
        };
        let packets = Packets { stream: BufReader::new(stream), sequence };
        let mut connection = Self { packets, unread: None, has_more: false };
        connection.log_in(hello, capabilities, &login, is_secure).await?;
        Ok(connection)
    }

    async fn log_in(
        &mut self,
        hello: ServerHello,
        capabilities: CapabilityFlags,
        login: &MysqlLogin<'_>,
        is_secure: bool,
    ) -> Result<(), MysqlError> {
        let password = login.password.map(Secret::expose).unwrap_or_default();
        let (mut method, mut nonce) = (hello.method, hello.nonce);
        let proof = method.proof(password, &nonce);
        let mut response = beginning(capabilities);
        put_text(&mut response, login.user.as_bytes());
        response.put_u8(u8::try_from(proof.len()).map_err(|_| MysqlError::malformed())?);
        response.extend(proof);
        put_text(&mut response, login.db.as_bytes());
        put_text(&mut response, method.name());
        self.packets.write(&response).await?;
        let mut is_switched = false;
        loop {
            let mut said = self.packets.read().await?;
            match (said.first(), said.get(1)) {
                (Some(&OK), _) => return Ok(()),
                (Some(&SWITCH_LOGIN), _) if !is_switched => {
                    is_switched = true;
                    said.advance(1);
                    let name = text(&mut said).unwrap_or_default();
                    method = LoginMethod::named(&name)?;
                    nonce = said.strip_suffix(&[0]).unwrap_or(&said).to_vec();
                    let proof = method.proof(password, &nonce);
                    self.packets.write(&proof).await?;
                }
                // The server remembers the password, and OK follows.
                (Some(&MORE_LOGIN), Some(3)) if method == LoginMethod::Sha2 => {}
                (Some(&MORE_LOGIN), Some(4)) if method == LoginMethod::Sha2 => {
                    self.send_whole(password, &nonce, is_secure).await?;
                }
                _ => return Err(MysqlError::malformed()),
            }
        }
    }

    /// Sends the password, without TLS encrypted with the server's key.
    async fn send_whole(
        &mut self,
        password: &str,
        nonce: &[u8],
        is_secure: bool,
    ) -> Result<(), MysqlError> {
        let mut password = [password.as_bytes(), &[0]].concat();
        if is_secure {
            return self.packets.write(&password).await;
        }
        self.packets.write(&[2]).await?;
        let said = self.packets.read().await?;
        let key = said.strip_prefix(&[MORE_LOGIN]).filter(|key| key.len() <= KEY_BYTES);
        let key = key.ok_or_else(MysqlError::malformed)?;
        for (byte, mix) in password.iter_mut().zip(nonce.iter().cycle()) {
            *byte ^= mix;
        }
        // The library panics on a malformed key.
        let encrypted = catch_unwind(|| crypto::encrypt(&password, key));
        self.packets.write(&encrypted.map_err(|_| MysqlError::malformed())?).await
    }

    /// Runs a statement; returns the names of the result's columns, none when it has no rows.
    pub(super) async fn ask(&mut self, statement: &str) -> Result<Vec<String>, MysqlError> {
        self.skip().await?;
        self.packets.sequence = 0;
        self.packets.write(&[&[COMMAND_QUERY], statement.as_bytes()].concat()).await?;
        self.columns().await
    }

    /// The next row of the result; `None` at its end. Cells are text; invalid UTF-8 is replaced.
    pub(super) async fn row(&mut self) -> Result<Option<AnswerRow>, MysqlError> {
        let Some(width) = self.unread.take() else { return Ok(None) };
        // An error ends the result, too.
        let mut packet = self.packets.read().await?;
        if self.ends(&packet) {
            return Ok(None);
        }
        self.unread = Some(width);
        let text = |cell: Bytes| String::from_utf8_lossy(&cell).into_owned();
        let row: Result<AnswerRow, MysqlError> =
            (0..width).map(|_| Ok(value(&mut packet)?.map(text))).collect();
        row.map(Some)
    }

    /// Reads the rest of the results.
    pub(super) async fn skip(&mut self) -> Result<(), MysqlError> {
        loop {
            while self.row().await?.is_some() {}
            if !std::mem::take(&mut self.has_more) {
                return Ok(());
            }
            self.columns().await?;
        }
    }

    /// Says goodbye.
    pub(super) async fn close(mut self) -> Result<(), MysqlError> {
        self.packets.sequence = 0;
        self.packets.write(&[COMMAND_QUIT]).await?;
        Ok(self.packets.stream.shutdown().await?)
    }

    async fn columns(&mut self) -> Result<Vec<String>, MysqlError> {
        let mut head = self.packets.read().await?;
        match head.first() {
            Some(&OK) => {
                self.has_more = has_more_after_ok(head).ok_or_else(MysqlError::malformed)?;
                return Ok(Vec::new());
            }
            Some(&LOCAL_FILE) => {
                return Err(MysqlError::Unusable("it asks for a file of this machine".to_owned()));
            }
            _ => {}
        }
        let count = length(&mut head).ok_or_else(MysqlError::malformed)?;
        if count > COLUMNS {
            let words = format!("it announces {count} columns; the limit is {COLUMNS}");
            return Err(MysqlError::Unusable(words));
        }
        let (mut names, mut bytes) = (Vec::new(), 0);
        for _ in 0..count {
            let mut column = self.packets.read().await?;
            bytes += column.len();
            if bytes > COLUMNS_BYTES {
                let words = format!("its columns take more than {COLUMNS_BYTES} bytes");
                return Err(MysqlError::Unusable(words));
            }
            // Catalogue, schema, table and the table's own name precede the column's.
            for _ in 0..4 {
                value(&mut column)?;
            }
            let name = value(&mut column)?.ok_or_else(MysqlError::malformed)?;
            names.push(String::from_utf8_lossy(&name).into_owned());
        }
        let end = self.packets.read().await?;
        if !self.ends(&end) {
            return Err(MysqlError::malformed());
        }
        self.unread = Some(names.len());
        Ok(names)
    }

    /// Whether a packet ends the columns or the rows of a result.
    fn ends(&mut self, packet: &[u8]) -> bool {
        let is_end = packet.first() == Some(&END) && packet.len() <= END_BYTES;
        if is_end {
            // Behind the number of warnings.
            let status = packet.get(3..).and_then(|rest| rest.first_chunk());
            self.has_more = status.is_some_and(|status| is_followed(u16::from_le_bytes(*status)));
        }
        is_end
    }
}

fn is_followed(status: u16) -> bool {
    status & MORE_RESULTS != 0
}

/// Whether another result follows one without rows.
fn has_more_after_ok(mut packet: Bytes) -> Option<bool> {
    packet.advance(1);
    // The rows that were changed, and the last id.
    length(&mut packet)?;
    length(&mut packet)?;
    packet.try_get_u16_le().ok().map(is_followed)
}

/// What a server says first.
struct ServerHello {
    capabilities: CapabilityFlags,
    method: LoginMethod,
    nonce: Vec<u8>,
}

impl ServerHello {
    fn read(mut packet: Bytes) -> Option<Self> {
        if packet.try_get_u8().ok()? != VERSION {
            return None;
        }
        let _version = text(&mut packet)?;
        let _connection = packet.try_get_u32_le().ok()?;
        let mut nonce = taken(&mut packet, 8)?.to_vec();
        packet.try_get_u8().ok()?;
        let low = packet.try_get_u16_le().ok()?;
        let _collation = packet.try_get_u8().ok()?;
        let _status = packet.try_get_u16_le().ok()?;
        let high = packet.try_get_u16_le().ok()?;
        let whole = usize::from(packet.try_get_u8().ok()?);
        taken(&mut packet, 10)?;
        let second = whole.saturating_sub(8).max(13).min(packet.len());
        nonce.extend(taken(&mut packet, second)?);
        nonce.resize(NONCE_BYTES, 0);
        let name = text(&mut packet).unwrap_or(packet);
        let method = LoginMethod::named(&name).unwrap_or(LoginMethod::Native);
        let bits = u32::from(high) << 16 | u32::from(low);
        Some(Self { capabilities: CapabilityFlags::from_bits_truncate(bits), method, nonce })
    }

    /// What both sides can do.
    fn common(&self, tls: bool) -> Result<CapabilityFlags, MysqlError> {
        let needed = CapabilityFlags::CLIENT_PROTOCOL_41
            | CapabilityFlags::CLIENT_SECURE_CONNECTION
            | CapabilityFlags::CLIENT_CONNECT_WITH_DB
            | CapabilityFlags::CLIENT_PLUGIN_AUTH;
        if !self.capabilities.contains(needed) {
            let words = "it is older than MySQL 5.5.7, or not a server of MySQL's protocol";
            return Err(MysqlError::Unusable(words.to_owned()));
        }
        let secured = if tls { CapabilityFlags::CLIENT_SSL } else { CapabilityFlags::empty() };
        if !self.capabilities.contains(secured) {
            return Err(MysqlError::NoTls);
        }
        let wished = CapabilityFlags::CLIENT_LONG_PASSWORD
            | CapabilityFlags::CLIENT_TRANSACTIONS
            | CapabilityFlags::CLIENT_MULTI_STATEMENTS
            | CapabilityFlags::CLIENT_MULTI_RESULTS;
        Ok(needed | secured | self.capabilities & wished)
    }
}

/// How a password is proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LoginMethod {
    Native,
    Sha2,
}

impl LoginMethod {
    fn named(name: &[u8]) -> Result<Self, MysqlError> {
        let known = [Self::Native, Self::Sha2].into_iter().find(|method| method.name() == name);
        known.ok_or_else(|| {
            let name = String::from_utf8_lossy(&name[..name.len().min(60)]);
            MysqlError::Unusable(format!(
                "it asks for the login method `{name}`; mysql_native_password and \
                 caching_sha2_password are supported"
            ))
        })
    }

    fn name(self) -> &'static [u8] {
        match self {
            Self::Native => b"mysql_native_password",
            Self::Sha2 => b"caching_sha2_password",
        }
    }

    /// The proof; nothing without a password.
    fn proof(self, password: &str, nonce: &[u8]) -> Vec<u8> {
        let password = password.as_bytes();
        let proof = match self {
            _ if password.is_empty() => None,
            Self::Native => scramble_native(nonce, password).map(|proof| proof.to_vec()),
            Self::Sha2 => scramble_sha256(nonce, password).map(|proof| proof.to_vec()),
        };
        proof.unwrap_or_default()
    }
}

/// The beginning of a login, which alone asks for TLS.
fn beginning(capabilities: CapabilityFlags) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.put_u32_le(capabilities.bits());
    bytes.put_u32_le(u32::try_from(PACKET_BYTES).unwrap_or(u32::MAX));
    bytes.put_u8(COLLATION);
    bytes.put_bytes(0, 23);
    bytes
}

fn put_text(bytes: &mut Vec<u8>, text: &[u8]) {
    bytes.extend(text);
    bytes.push(0);
}

/// The text up to a zero.
fn text(packet: &mut Bytes) -> Option<Bytes> {
    let end = packet.iter().position(|byte| *byte == 0)?;
    let text = packet.split_to(end);
    packet.advance(1);
    Some(text)
}

fn taken(packet: &mut Bytes, bytes: usize) -> Option<Bytes> {
    (bytes <= packet.len()).then(|| packet.split_to(bytes))
}

/// A number of one to nine bytes.
fn length(packet: &mut Bytes) -> Option<u64> {
    Some(match packet.try_get_u8().ok()? {
        0xfc => packet.try_get_u16_le().ok()?.into(),
        0xfd => packet.try_get_uint_le(3).ok()?,
        0xfe => packet.try_get_u64_le().ok()?,
        NULL | ERROR => return None,
        number => number.into(),
    })
}

/// A value with its length in front; `None` for NULL.
fn value(packet: &mut Bytes) -> Result<Option<Bytes>, MysqlError> {
    if packet.first() == Some(&NULL) {
        packet.advance(1);
        return Ok(None);
    }
    let bytes = length(packet).and_then(|bytes| usize::try_from(bytes).ok());
    let value = bytes.and_then(|bytes| taken(packet, bytes));
    value.map(Some).ok_or_else(MysqlError::malformed)
}

/// Packets on a stream.
struct Packets<S> {
    stream: S,
    /// The number of the next packet, from either side.
    sequence: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Packets<S> {
    /// Reads a packet; fails with the error that it carries.
    async fn read(&mut self) -> Result<Bytes, MysqlError> {
        let header = self.stream.read_u32_le().await?;
        let [first, second, third, number] = header.to_le_bytes();
        let bytes = u32::from_le_bytes([first, second, third, 0]) as usize;
        if number != self.sequence {
            return Err(MysqlError::malformed());
        }
        if bytes > PACKET_BYTES {
            let words = format!("it announces {bytes} bytes; the limit is {PACKET_BYTES}");
            return Err(MysqlError::Unusable(words));
        }
        self.sequence = number.wrapping_add(1);
        let mut packet = vec![0; bytes];
        self.stream.read_exact(&mut packet).await?;
        let mut packet = Bytes::from(packet);
        if packet.first() != Some(&ERROR) {
            return Ok(packet);
        }
        packet.advance(1);
        let code = packet.try_get_u16_le().map_err(|_| MysqlError::malformed())?;
        // A mark and a state of five letters, which errors of the login do not have.
        if packet.first() == Some(&b'#') {
            taken(&mut packet, 6);
        }
        let message = String::from_utf8_lossy(&packet).into_owned();
        Err(MysqlError::Server { code, message })
    }

    async fn write(&mut self, packet: &[u8]) -> Result<(), MysqlError> {
        let length = u32::try_from(packet.len()).ok().filter(|_| packet.len() < SENT_BYTES);
        let Some(length) = length else {
            return Err(MysqlError::Unusable("the statement is larger than 16 MiB".to_owned()));
        };
        let [first, second, third, _] = length.to_le_bytes();
        let number = self.sequence;
        self.sequence = number.wrapping_add(1);
        let packet = [&[first, second, third, number], packet].concat();
        self.stream.write_all(&packet).await?;
        Ok(self.stream.flush().await?)
    }
}

#[cfg(test)]
mod tests;
