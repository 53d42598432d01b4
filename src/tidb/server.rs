//! One connection per sync, the SQL texts, and results as text. The only user of `mysql_async`.
//!
//! Uses a fresh connection each time and no pool: one query an hour needs none, and an abandoned
//! connection is closed, not cleaned. Every operation has a time limit, which the server is asked
//! to enforce too. The session's clock is set to ours, in UTC, so that `YEAR(NOW())` in a query
//! means the same year here and there; if the server does not allow that, its year is compared.

use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt as _;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Column, Conn, DriverError, Error, IoError, OptsBuilder, Row, SslOpts, Value};
use xxhash_rust::xxh3::xxh3_64;

use super::answer::{self, AnswerRow, AnswerTable, MalformedAnswer};
use super::error::HistoryError;
use super::query::{FigureQuery, SqlText};
use crate::config::{Secret, TidbConfig};
use crate::model::window::{Day, Timestamp, Year};
use crate::reload;
use crate::sync::blocking;

/// Time limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueryLimits {
    /// Resolving, connecting and logging in; also each small internal query.
    pub connect: Duration,
    /// One configured query; `tidb.timeout`.
    pub query: Duration,
}

impl QueryLimits {
    /// The limits outside tests.
    #[must_use]
    pub fn of(tidb: &TidbConfig) -> Self {
        Self { connect: Duration::from_secs(10), query: tidb.timeout }
    }
}

/// The most bytes of a packet: a row is five numbers.
const PACKET_BYTES: usize = 1 << 20;
/// The most bytes of an error text of the server that are shown: a packet holds up to 1 MiB.
const ERROR_TEXT_BYTES: usize = 512;
/// A dead connection is noticed within this time and a few retries of the kernel.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Time limit for closing a connection.
const GOODBYE: Duration = Duration::from_secs(1);

/// The configured server.
#[derive(Debug)]
pub(super) struct TidbServer {
    tidb: TidbConfig,
    /// Host and port.
    pub(super) at: String,
    limits: QueryLimits,
}

/// A connection after login.
pub(super) struct TidbSession<'s> {
    server: &'s TidbServer,
    conn: Conn,
    /// The server's year.
    pub(super) year: Year,
}

/// The operation that failed.
#[derive(Debug, Clone, Copy)]
enum TidbAction {
    Connecting,
    Asking(SqlText),
}

impl TidbServer {
    pub(super) fn new(tidb: TidbConfig, limits: QueryLimits) -> Self {
        let is_v6 = tidb.host.contains(':') && !tidb.host.starts_with('[');
        let at = if is_v6 {
            format!("[{}]:{}", tidb.host, tidb.port)
        } else {
            format!("{}:{}", tidb.host, tidb.port)
        };
        Self { tidb, at, limits }
    }

    /// Whether a query for languages is configured.
    pub(super) fn knows_languages(&self) -> bool {
        self.tidb.repo_languages.is_some()
    }

    /// The queries of a sync: those for figures, and with the daily ones the others that are
    /// configured.
    pub(super) fn texts(&self, figures: &[FigureQuery]) -> impl Iterator<Item = SqlText> {
        let is_daily = figures.contains(&FigureQuery::Daily);
        let languages = (is_daily && self.knows_languages()).then_some(SqlText::Languages);
        let has_days = is_daily && self.tidb.repo_days.is_some();
        let repo_days = has_days.then_some(SqlText::RepoDays);
        figures.iter().map(|query| SqlText::from(*query)).chain(languages).chain(repo_days)
    }

    fn text_of(&self, query: SqlText) -> &str {
        match query {
            SqlText::Figures(FigureQuery::Daily) => &self.tidb.events_daily,
            SqlText::Figures(FigureQuery::Yearly) => &self.tidb.yearly,
            SqlText::Languages => self.tidb.repo_languages.as_deref().unwrap_or_default(),
            SqlText::RepoDays => self.tidb.repo_days.as_deref().unwrap_or_default(),
        }
    }

    /// Connects, logs in, and sets the session's clock to `now`.
    pub(super) async fn open(&self, now: Timestamp) -> Result<TidbSession<'_>, HistoryError> {
        let connecting = async {
            let opts = self.options().await?;
            unpanicked(Conn::new(opts))
                .await
                .map_err(|error| self.fault(TidbAction::Connecting, error))
        };
        let after = self.limits.connect;
        let timeout = || HistoryError::ConnectTimeout { at: self.at.clone(), after };
        let conn = tokio::time::timeout(after, connecting).await.map_err(|_| timeout())??;
        let mut session = TidbSession { server: self, conn, year: now.year() };
        let prepared = tokio::time::timeout(after, session.prepare(now)).await;
        match prepared.unwrap_or_else(|_| Err(timeout())) {
            Ok(()) => Ok(session),
            Err(error) => {
                session.close().await;
                Err(error)
            }
        }
    }

    async fn options(&self) -> Result<OptsBuilder, HistoryError> {
        let tidb = &self.tidb;
        let host = tidb.host.trim_matches(['[', ']']).to_owned();
        let unknown = |cause: String| HistoryError::Resolve { host: tidb.host.clone(), cause };
        // Resolved here, so that a wrong name and a dead server are distinguished.
        let found = tokio::net::lookup_host((host.as_str(), tidb.port)).await;
        let found = found.map_err(|error| unknown(error.to_string()))?;
        let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
        if addresses.is_empty() {
            return Err(unknown("it has no address".to_owned()));
        }
        let tls = if tidb.tls { Some(self.tls().await?) } else { None };
        Ok(OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(tidb.port)
            .resolved_ips(Some(addresses))
            .user(Some(&tidb.user))
            .pass(tidb.password.as_ref().map(Secret::expose))
            .db_name(Some(&tidb.db))
            // Otherwise a server on this machine would be contacted again over its socket.
            .prefer_socket(false)
            .tcp_keepalive(Some(KEEPALIVE))
            .stmt_cache_size(0)
            .max_allowed_packet(Some(PACKET_BYTES))
            .wait_timeout(Some(60))
            .ssl_opts(tls))
    }

    async fn tls(&self) -> Result<SslOpts, HistoryError> {
        let Some(path) = &self.tidb.ca else { return Ok(SslOpts::default()) };
        let refuse =
            |cause: String| HistoryError::CaFile { path: path.display().to_string(), cause };
        // While it is invalid, the last valid one stays in use.
        let path = path.clone();
        let read = move || reload::read_good(&path, reload::check_authorities);
        let read = blocking(read).await.unwrap_or_else(|error| Err(error.to_string()));
        let read = read.map_err(refuse)?;
        Ok(SslOpts::default().with_root_certs(vec![read.to_vec().into()]))
    }

    /// The meaning of an error. Quotes none of our texts that could contain a password.
    fn fault(&self, doing: TidbAction, error: Error) -> HistoryError {
        let at = self.at.clone();
        match (doing, error) {
            (_, Error::Server(error)) => self.server_fault(doing, error.code, error.message),
            (_, Error::Driver(DriverError::NoClientSslFlagFromServer)) => {
                HistoryError::TlsMissing { at }
            }
            (_, Error::Io(IoError::Tls(error))) => {
                HistoryError::Tls { at, cause: error.to_string() }
            }
            (TidbAction::Connecting, Error::Io(IoError::Io(error))) => {
                let cause = error.to_string();
                match error.kind() {
                    // An error of the TLS library arrives as invalid data.
                    std::io::ErrorKind::InvalidData if self.tidb.tls => {
                        HistoryError::Tls { at, cause }
                    }
                    _ => HistoryError::Unreachable { at, cause },
                }
            }
            (_, error) => HistoryError::Broken { at, cause: innermost(&error) },
        }
    }

    fn server_fault(&self, doing: TidbAction, code: u16, mut cause: String) -> HistoryError {
        if cause.len() > ERROR_TEXT_BYTES {
            let end = (0..=ERROR_TEXT_BYTES).rev().find(|end| cause.is_char_boundary(*end));
            cause.truncate(end.unwrap_or(0));
            cause.push('…');
        }
        let (at, user, db) = (self.at.clone(), self.tidb.user.clone(), self.tidb.db.clone());
        match (code, doing) {
            // Access denied; this host may not connect; another authentication method is needed.
            (1045 | 1130 | 1251 | 1524 | 1698 | 1862, _) => {
                // Servers do not say that TLS is missing.
                let hint = if self.tidb.tls { "" } else { "; it may require `tidb.tls: on`" };
                HistoryError::Login { at, user, cause, hint }
            }
            // TLS required: MySQL and MariaDB by number, TiDB in words.
            (3159, _) => HistoryError::TlsRequired { at, cause },
            _ if cause.to_ascii_lowercase().contains("insecure transport") => {
                HistoryError::TlsRequired { at, cause }
            }
            (1049, _) => HistoryError::Database { at, db },
            (1044 | 1142 | 1143 | 1227 | 1370, _) => HistoryError::Right { at, user, cause },
            // No such table, column or function; syntax error.
            (1054 | 1064 | 1146 | 1305 | 1630, TidbAction::Asking(query)) => {
                HistoryError::Schema { query, db, cause }
            }
            (_, TidbAction::Asking(query)) => HistoryError::Refused { query, code, cause },
            (_, TidbAction::Connecting) => HistoryError::Server { at, code, cause },
        }
    }
}

impl TidbSession<'_> {
    /// Sets the session's variables. A server that does not know one of them is accepted.
    async fn prepare(&mut self, now: Timestamp) -> Result<(), HistoryError> {
        let micros = now.micros();
        let millis = self.server.limits.query.as_millis();
        let settings = [
            "SET time_zone = '+00:00'".to_owned(),
            format!("SET timestamp = {}.{:06}", micros / 1_000_000, micros % 1_000_000),
            // So that an abandoned query does not keep running on the server.
            format!("SET max_execution_time = {millis}"),
        ];
        for setting in settings {
            match unpanicked(self.conn.query_drop(setting)).await {
                Ok(()) => {}
                Err(Error::Server(error)) => {
                    tracing::debug!(at = self.server.at, %error, "session setting not supported");
                }
                Err(error) => return Err(self.server.fault(TidbAction::Connecting, error)),
            }
        }
        let ours = self.year.0;
        let theirs = self.one_text("SELECT YEAR(NOW())").await?;
        if theirs == ours.to_string() {
            return Ok(());
        }
        Err(HistoryError::Clock { at: self.server.at.clone(), theirs, ours })
    }

    /// Identifies the text of a configured query.
    pub(super) fn hash_of(&self, query: SqlText) -> u64 {
        xxh3_64(self.server.text_of(query).as_bytes())
    }

    /// Sets the day that [`SqlText::RepoDays`] selects by.
    pub(super) async fn set_day(&mut self, day: Day) -> Result<(), HistoryError> {
        let set = unpanicked(self.conn.query_drop(format!("SET @ghpulse_day = '{day}'")));
        let after = self.server.limits.connect;
        let query = SqlText::RepoDays;
        match tokio::time::timeout(after, set).await {
            Ok(done) => done.map_err(|error| self.server.fault(TidbAction::Asking(query), error)),
            Err(_) => Err(HistoryError::QueryTimeout { query, after }),
        }
    }

    /// Runs a configured query; reads up to `most` rows.
    pub(super) async fn ask(
        &mut self,
        query: SqlText,
        most: usize,
    ) -> Result<AnswerTable, HistoryError> {
        let mut rows = Vec::new();
        let take = |_: &[String], row| {
            rows.push(row);
            Ok(())
        };
        let columns = self.each_row(query, most, take).await?;
        Ok(AnswerTable { columns, rows })
    }

    /// Runs a configured query and gives each row to `take` as it comes, with the names of the
    /// columns, which are returned; reads up to `most` rows. Ends with the first refusal.
    pub(super) async fn each_row(
        &mut self,
        query: SqlText,
        most: usize,
        take: impl FnMut(&[String], AnswerRow) -> Result<(), MalformedAnswer>,
    ) -> Result<Vec<String>, HistoryError> {
        let text = self.server.text_of(query).to_owned();
        self.each_row_of((query, text), most, take).await
    }

    async fn each_row_of(
        &mut self,
        (query, text): (SqlText, String),
        most: usize,
        take: impl FnMut(&[String], AnswerRow) -> Result<(), MalformedAnswer>,
    ) -> Result<Vec<String>, HistoryError> {
        let after = self.server.limits.query;
        let server = self.server;
        let asked = unpanicked(rows(&mut self.conn, text, most, take));
        match tokio::time::timeout(after, asked).await {
            Ok(Ok(answered)) => {
                answered.map_err(|cause| HistoryError::MalformedAnswer { query, cause })
            }
            Ok(Err(error)) => Err(server.fault(TidbAction::Asking(query), error)),
            Err(_) => Err(HistoryError::QueryTimeout { query, after }),
        }
    }

    /// Whether the server accepts a query and returns the needed columns; reads no row.
    pub(super) async fn try_out(&mut self, query: SqlText) -> Result<(), HistoryError> {
        let text = self.server.text_of(query).trim().trim_end_matches(';').to_owned();
        // On separate lines, because the text may end with a comment.
        let nothing = format!("SELECT * FROM (\n{text}\n) AS ghpulse_check LIMIT 0");
        let ignored = |_: &[String], _| Ok(());
        let columns = match self.each_row_of((query, nothing), answer::MOST_ROWS, ignored).await {
            // Not every statement that returns rows can be a subquery.
            Err(HistoryError::Schema { .. } | HistoryError::Refused { .. }) => {
                let explain = format!("EXPLAIN {text}");
                let explained = self.each_row_of((query, explain), answer::MOST_ROWS, ignored);
                return explained.await.map(drop);
            }
            columns => columns?,
        };
        let checked = match query {
            SqlText::Figures(query) => answer::places(query, &columns).map(drop),
            SqlText::Languages => answer::language_places(&columns).map(drop),
            SqlText::RepoDays => answer::repo_day_places(&columns).map(drop),
        };
        checked.map_err(|cause| HistoryError::MalformedAnswer { query, cause })
    }

    /// The server's version text.
    pub(super) async fn version(&mut self) -> Result<String, HistoryError> {
        let asked =
            tokio::time::timeout(self.server.limits.connect, self.one_text("SELECT VERSION()"));
        asked.await.unwrap_or_else(|_| {
            let (at, after) = (self.server.at.clone(), self.server.limits.connect);
            Err(HistoryError::ConnectTimeout { at, after })
        })
    }

    async fn one_text(&mut self, text: &str) -> Result<String, HistoryError> {
        let server = self.server;
        let row: Option<Row> = unpanicked(self.conn.query_first(text))
            .await
            .map_err(|error| server.fault(TidbAction::Connecting, error))?;
        Ok(row.as_ref().and_then(|row| cell(row, 0)).unwrap_or_default())
    }

    /// Closes the connection, whatever is in flight.
    pub(super) async fn close(self) {
        // The server drops the connection anyway.
        let _ = tokio::time::timeout(GOODBYE, self.conn.disconnect()).await;
    }
}

/// A panic of the client library as an error: it reserves memory for as many columns as the server
/// announces. Reserving more than the machine has still ends the process.
async fn unpanicked<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    AssertUnwindSafe(asked).catch_unwind().await.unwrap_or_else(|_| {
        Err(Error::Other("the client library cannot take the answer of the server".into()))
    })
}

async fn rows(
    conn: &mut Conn,
    text: String,
    most: usize,
    mut take: impl FnMut(&[String], AnswerRow) -> Result<(), MalformedAnswer>,
) -> Result<Result<Vec<String>, MalformedAnswer>, Error> {
    let mut result = conn.query_iter(text).await?;
    let name = |column: &Column| column.name_str().into_owned();
    let columns: Vec<String> = result.columns_ref().iter().map(name).collect();
    let (mut read, width) = (0, columns.len());
    while let Some(row) = result.next().await? {
        if read == most {
            return Ok(Err(MalformedAnswer::Rows { most }));
        }
        read += 1;
        if let Err(refused) = take(&columns, (0..width).map(|at| cell(&row, at)).collect()) {
            return Ok(Err(refused));
        }
    }
    result.drop_result().await?;
    Ok(Ok(columns))
}

/// A cell as text; invalid UTF-8 is replaced.
fn cell(row: &Row, at: usize) -> Option<String> {
    match row.as_ref(at)? {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        // The text protocol returns nothing else.
        other => Some(other.as_sql(true).trim_matches('\'').to_owned()),
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut at = error;
    while let Some(cause) = at.source() {
        at = cause;
    }
    at.to_string()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    fn server(tls: bool) -> TidbServer {
        let tidb = TidbConfig {
            host: "::1".to_owned(),
            port: 4000,
            user: "me".to_owned(),
            password: Some(Secret::new("hidden")),
            db: "gh".to_owned(),
            tls,
            ca: None,
            events_daily: "SELECT 1".to_owned(),
            yearly: "SELECT 2".to_owned(),
            repo_languages: None,
            repo_days: None,
            timeout: Duration::from_secs(120),
        };
        let limits = QueryLimits::of(&tidb);
        TidbServer::new(tidb, limits)
    }

    #[test]
    fn error_numbers_of_the_server_become_cures() {
        let server = server(false);
        assert_eq!(server.at, "[::1]:4000");
        let asking = TidbAction::Asking(FigureQuery::Yearly.into());
        let insecure = "Connections using insecure transport are prohibited. See https://…";
        let said = [
            (1045, TidbAction::Connecting, "denied", "refused user `me` (denied)"),
            (1130, TidbAction::Connecting, "not allowed", "this user may connect from here"),
            (3159, TidbAction::Connecting, "only TLS", "set `tidb.tls: on`"),
            (1105, TidbAction::Connecting, insecure, "set `tidb.tls: on`"),
            (1105, TidbAction::Connecting, "unknown", "failed with error 1105: unknown"),
            (1049, TidbAction::Connecting, "", "has no database `gh`"),
            (1142, asking, "SELECT denied", "grant SELECT"),
            (1146, asking, "no x", "`tidb.sql.yearly` does not fit database `gh` (no x)"),
            (1054, asking, "no column x", "correct the query"),
            (8175, asking, "out of memory", "`tidb.sql.yearly` failed with error 8175"),
        ];
        for (code, doing, cause, expected) in said {
            let error = server.server_fault(doing, code, cause.to_owned()).to_string();
            assert!(error.contains(expected), "{code}: {error}");
        }
    }

    #[test]
    fn long_error_texts_are_cut_between_characters() {
        let asking = TidbAction::Asking(FigureQuery::Yearly.into());
        let shown = |text: &str| server(true).server_fault(asking, 8175, text.to_owned());
        let of = |text: &str| format!("failed with error 8175: {text}");
        // A character of two bytes lies across the limit.
        let (full, short) = ("x".repeat(ERROR_TEXT_BYTES), "x".repeat(ERROR_TEXT_BYTES - 1));
        for (text, expected) in [
            (full.clone(), of(&full)),
            (format!("{full}y"), of(&format!("{full}…"))),
            (format!("{short}é"), of(&format!("{short}…"))),
            ("é".repeat(1 << 19), of(&format!("{}…", "é".repeat(ERROR_TEXT_BYTES / 2)))),
        ] {
            let shown = shown(&text).to_string();
            assert!(shown.contains(&expected) && shown.len() < 700, "{shown}");
        }
    }

    #[test]
    fn only_transient_errors_are_retried() {
        let server = server(true);
        let fault = |code| server.server_fault(TidbAction::Connecting, code, String::new());
        assert!(fault(1040).is_transient() && fault(1105).is_transient());
        assert!(!fault(1045).is_transient() && !fault(1049).is_transient());
        let closed = DriverError::ConnectionClosed.into();
        assert!(server.fault(TidbAction::Asking(FigureQuery::Daily.into()), closed).is_transient());
        let none = DriverError::NoClientSslFlagFromServer.into();
        assert!(!server.fault(TidbAction::Connecting, none).is_transient());
    }

    /// A server that accepts any login and setting, and announces 2^62 columns for a query.
    async fn boasting(listener: tokio::net::TcpListener) -> std::io::Result<()> {
        // Protocol 10, version, connection, and what it can do: its last bytes name the login.
        const HELLO: &[u8] =
            b"\x0a8.0.11\x00\x07\x00\x00\x0012345678\x00\x0f\xa2\x2d\x02\x00\x08\x00\x15\
            \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00123456789012\x00mysql_native_password\x00";
        const OK: &[u8] = &[0, 0, 0, 2, 0, 0, 0];
        let packet = |number: u8, body: &[u8]| {
            let length = u8::try_from(body.len()).expect("it is short");
            [&[length, 0, 0, number], body].concat()
        };
        let (mut stream, _) = listener.accept().await?;
        stream.write_all(&packet(0, HELLO)).await?;
        let mut answer = packet(2, OK);
        loop {
            let mut head = [0; 4];
            stream.read_exact(&mut head).await?;
            let mut body = vec![0; usize::from(head[0]) + 256 * usize::from(head[1])];
            stream.read_exact(&mut body).await?;
            stream.write_all(&answer).await?;
            let columns = [&[0xfe], &(1_u64 << 62).to_le_bytes()[..]].concat();
            answer = packet(1, if body.starts_with(b"\x03SET max") { &columns } else { OK });
        }
    }

    #[tokio::test]
    async fn announced_columns_beyond_memory_are_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(boasting(listener));
        let mut server = server(false);
        (server.tidb.host, server.tidb.port) = ("127.0.0.1".to_owned(), port);
        let opened = server.open(Timestamp::from_seconds(1_772_000_000)).await;
        let error = opened.map(|_| "it opens").unwrap_err();
        assert!(matches!(error, HistoryError::Broken { .. }), "{error}");
        assert!(error.is_transient() && error.to_string().contains("cannot take"), "{error}");
    }
}
