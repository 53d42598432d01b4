//! Errors of TiDB, in words that say where to look. None contains a password.

use std::time::Duration;

use super::answer::MalformedAnswer;
use super::query::SqlText;
use crate::store::StoreError;

/// Why figures could not be read. `at` is host and port.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The host name does not resolve.
    #[error("cannot resolve host {host} ({cause}): check `tidb.host` and DNS")]
    Resolve {
        /// The host.
        host: String,
        /// The system's message.
        cause: String,
    },
    /// Nothing listens there, or the network has no route to it.
    #[error(
        "cannot connect to {at} ({cause}): check that the server runs, `tidb.host`, `tidb.port` \
         and the firewall"
    )]
    Unreachable {
        /// Where.
        at: String,
        /// The system's message.
        cause: String,
    },
    /// Connecting and logging in exceeded the time limit.
    #[error(
        "{at} did not complete the login within {} ms: it may be overloaded, or a firewall may \
         drop packets",
        after.as_millis()
    )]
    ConnectTimeout {
        /// Where.
        at: String,
        /// The limit.
        after: Duration,
    },
    /// The server does not offer TLS.
    #[error(
        "{at} does not offer TLS: enable it there, or set `tidb.tls: off` on a network you trust"
    )]
    TlsMissing {
        /// Where.
        at: String,
    },
    /// The server requires TLS.
    #[error("{at} requires TLS ({cause}): set `tidb.tls: on`")]
    TlsRequired {
        /// Where.
        at: String,
        /// The server's message.
        cause: String,
    },
    /// A certificate is not accepted.
    #[error(
        "TLS handshake with {at} failed ({cause}): check that `tidb.ca` holds the authority of \
         its certificate, and that the certificate names `tidb.host`"
    )]
    Tls {
        /// Where.
        at: String,
        /// The TLS library's message.
        cause: String,
    },
    /// The file of the certificate authority is unusable.
    #[error("cannot use `tidb.ca` {path}: {cause}")]
    CaFile {
        /// The file.
        path: String,
        /// The cause.
        cause: String,
    },
    /// The user name or password is not accepted.
    #[error(
        "{at} refused user `{user}` ({cause}): check `tidb.user` and `tidb.password`, and that \
         this user may connect from here{hint}"
    )]
    Login {
        /// Where.
        at: String,
        /// The user.
        user: String,
        /// The server's message.
        cause: String,
        /// Another possible cause.
        hint: &'static str,
    },
    /// The database does not exist.
    #[error("{at} has no database `{db}`: correct `tidb.db`")]
    Database {
        /// Where.
        at: String,
        /// Its name.
        db: String,
    },
    /// The user may not read.
    #[error("user `{user}` is missing a privilege at {at} ({cause}): grant SELECT")]
    Right {
        /// Where.
        at: String,
        /// The user.
        user: String,
        /// The server's message.
        cause: String,
    },
    /// The query names a missing table, column or function.
    #[error("`{query}` does not fit database `{db}` ({cause}): correct the query, or `tidb.db`")]
    Schema {
        /// Which query.
        query: SqlText,
        /// In which database.
        db: String,
        /// The server's message.
        cause: String,
    },
    /// The server refused the query for another reason.
    #[error("`{query}` failed with error {code}: {cause}")]
    Refused {
        /// Which query.
        query: SqlText,
        /// The server's error code.
        code: u16,
        /// The server's message.
        cause: String,
    },
    /// The server refused the session for another reason.
    #[error("{at} failed with error {code}: {cause}")]
    Server {
        /// Where.
        at: String,
        /// The server's error code.
        code: u16,
        /// The server's message.
        cause: String,
    },
    /// The query exceeded its time limit.
    #[error(
        "`{query}` was not answered within {} s: add an index, or raise `tidb.timeout`",
        after.as_secs_f32()
    )]
    QueryTimeout {
        /// Which query.
        query: SqlText,
        /// The limit.
        after: Duration,
    },
    /// The result does not have the needed form.
    #[error("`{query}` returned an unusable result: {cause}")]
    MalformedAnswer {
        /// Which query.
        query: SqlText,
        /// What is wrong.
        cause: MalformedAnswer,
    },
    /// The server's clock shows another year.
    #[error("{at} reports the year {theirs}, this machine {ours}: correct the clocks")]
    Clock {
        /// Where.
        at: String,
        /// The server's year.
        theirs: String,
        /// This machine's year.
        ours: i32,
    },
    /// The connection was lost during an operation.
    #[error("the connection to {at} broke: {cause}")]
    Broken {
        /// Where.
        at: String,
        /// The cause.
        cause: String,
    },
    /// Our own store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HistoryError {
    /// Whether one day of [`SqlText::RepoDays`] cannot be read because of what is in it, while
    /// other days may be.
    pub(super) fn is_of_one_day(&self) -> bool {
        let Self::MalformedAnswer { cause, .. } = self else { return false };
        matches!(
            cause,
            MalformedAnswer::Rows { .. }
                | MalformedAnswer::Bytes { .. }
                | MalformedAnswer::Cell { .. }
        )
    }

    /// Whether the query of one day of [`SqlText::RepoDays`] failed in a way that may be due to the
    /// size of that day: no answer in time, a lost connection, a refusal such as a memory limit.
    pub(super) fn may_be_of_one_day(&self) -> bool {
        matches!(self, Self::QueryTimeout { .. } | Self::Refused { .. } | Self::Broken { .. })
    }

    /// Whether a retry may succeed without any change.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Resolve { .. }
                | Self::Unreachable { .. }
                | Self::ConnectTimeout { .. }
                | Self::Refused { .. }
                | Self::Server { .. }
                | Self::QueryTimeout { .. }
                | Self::Broken { .. }
        )
    }

    /// Whether the same connection can run another query.
    pub(super) fn leaves_connection(&self) -> bool {
        matches!(
            self,
            Self::Schema { .. }
                | Self::Refused { .. }
                | Self::Right { .. }
                | Self::MalformedAnswer {
                    cause: MalformedAnswer::Columns { .. }
                        | MalformedAnswer::Cell { .. }
                        | MalformedAnswer::Twice { .. },
                    ..
                }
        )
    }
}
