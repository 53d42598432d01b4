//! One connection per sync, the SQL texts, and results as text.
//!
//! Uses a fresh connection each time and no pool: one query an hour needs none, and an abandoned
//! connection is closed, not cleaned. Every operation has a time limit, which the server is asked
//! to enforce too. The session's clock is set to ours, in UTC, so that `YEAR(NOW())` in a query
//! means the same year here and there; if the server does not allow that, its year is compared.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use xxhash_rust::xxh3::xxh3_64;

use super::answer::{self, AnswerRow, AnswerTable, MalformedAnswer};
use super::error::HistoryError;
use super::mysql::{MysqlConnection, MysqlError, MysqlLogin, MysqlTls};
use super::query::{FigureQuery, SqlText};
use crate::config::TidbConfig;
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
    conn: MysqlConnection,
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
        let connecting = Box::pin(self.connect());
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

    async fn connect(&self) -> Result<MysqlConnection, HistoryError> {
        let tidb = &self.tidb;
        let host = tidb.host.trim_matches(['[', ']']);
        let unknown = |cause: String| HistoryError::Resolve { host: tidb.host.clone(), cause };
        // Resolved here, so that a wrong name and a dead server are distinguished.
        let found = tokio::net::lookup_host((host, tidb.port)).await;
        let found = found.map_err(|error| unknown(error.to_string()))?;
        let addresses: Vec<SocketAddr> = found.collect();
        if addresses.is_empty() {
            return Err(unknown("it has no address".to_owned()));
        }
        let authorities = if tidb.tls { self.authorities().await? } else { None };
        let authorities = authorities.as_deref();
        let tls = tidb.tls.then_some(MysqlTls { host, authorities });
        let password = tidb.password.as_ref();
        let login = MysqlLogin { user: &tidb.user, password, db: &tidb.db };
        let opening = async {
            let stream = TcpStream::connect(&addresses[..]).await?;
            stream.set_nodelay(true)?;
            let keepalive = TcpKeepalive::new().with_time(KEEPALIVE);
            SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
            MysqlConnection::open(stream, tls, login).await
        };
        opening.await.map_err(|error| self.fault(TidbAction::Connecting, error))
    }

    /// The configured authorities; none if only public ones are trusted.
    async fn authorities(&self) -> Result<Option<Arc<[u8]>>, HistoryError> {
        let Some(path) = &self.tidb.ca else { return Ok(None) };
        let refuse =
            |cause: String| HistoryError::CaFile { path: path.display().to_string(), cause };
        // While it is invalid, the last valid one stays in use.
        let path = path.clone();
        let read = move || reload::read_good(&path, reload::check_authorities);
        let read = blocking(read).await.unwrap_or_else(|error| Err(error.to_string()));
        read.map(Some).map_err(refuse)
    }

    /// The meaning of an error. Quotes none of our texts that could contain a password.
    fn fault(&self, doing: TidbAction, error: MysqlError) -> HistoryError {
        let at = self.at.clone();
        match error {
            MysqlError::Server { code, message } => self.server_fault(doing, code, message),
            MysqlError::NoTls => HistoryError::TlsMissing { at },
            MysqlError::Io(error) => {
                let cause = error.to_string();
                match (error.kind(), doing) {
                    (ErrorKind::UnexpectedEof, _) => {
                        HistoryError::Broken { at, cause: "the server closed it".to_owned() }
                    }
                    // An error of the TLS library.
                    (ErrorKind::InvalidData, _) => HistoryError::Tls { at, cause },
                    (_, TidbAction::Connecting) => HistoryError::Unreachable { at, cause },
                    _ => HistoryError::Broken { at, cause },
                }
            }
            MysqlError::Unusable(cause) => HistoryError::Broken { at, cause },
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
            match self.conn.ask(&setting).await {
                Ok(_) => {}
                Err(MysqlError::Server { message, .. }) => {
                    tracing::debug!(at = self.server.at, message, "session setting not supported");
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
        let setting = format!("SET @ghpulse_day = '{day}'");
        let set = self.conn.ask(&setting);
        let after = self.server.limits.connect;
        let query = SqlText::RepoDays;
        match tokio::time::timeout(after, set).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.server.fault(TidbAction::Asking(query), error)),
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
        let asked = rows(&mut self.conn, &text, most, take);
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
        let asked = async {
            self.conn.ask(text).await?;
            self.conn.row().await
        };
        let row = asked.await.map_err(|error| self.server.fault(TidbAction::Connecting, error))?;
        Ok(row.and_then(|row| row.into_iter().next().flatten()).unwrap_or_default())
    }

    /// Closes the connection, whatever is in flight.
    pub(super) async fn close(self) {
        // The server drops the connection anyway.
        let _ = tokio::time::timeout(GOODBYE, self.conn.close()).await;
    }
}

async fn rows(
    conn: &mut MysqlConnection,
    text: &str,
    most: usize,
    mut take: impl FnMut(&[String], AnswerRow) -> Result<(), MalformedAnswer>,
) -> Result<Result<Vec<String>, MalformedAnswer>, MysqlError> {
    let columns = conn.ask(text).await?;
    let mut read = 0;
    while let Some(row) = conn.row().await? {
        if read == most {
            return Ok(Err(MalformedAnswer::Rows { most }));
        }
        read += 1;
        if let Err(refused) = take(&columns, row) {
            return Ok(Err(refused));
        }
    }
    conn.skip().await?;
    Ok(Ok(columns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

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
        let closed = std::io::Error::from(ErrorKind::UnexpectedEof).into();
        assert!(server.fault(TidbAction::Asking(FigureQuery::Daily.into()), closed).is_transient());
        assert!(!server.fault(TidbAction::Connecting, MysqlError::NoTls).is_transient());
    }
}
