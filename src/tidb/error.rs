//! What can go wrong between us and TiDB, in words that say where to look. A password is in none.

use std::time::Duration;

use super::answer::MalformedAnswer;
use super::query::Text;
use crate::store::StoreError;

/// Why figures could not be had. `at` is host and port.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Its name leads nowhere.
    #[error("no host is called {host} ({cause}): correct `tidb.host`, or the name service")]
    Resolve {
        /// The host.
        host: String,
        /// What the system says.
        cause: String,
    },
    /// Nobody listens there, or there is no way.
    #[error(
        "cannot connect to {at} ({cause}): is the server up, and are `tidb.host`, `tidb.port` and \
         the firewall right"
    )]
    Unreachable {
        /// Where.
        at: String,
        /// What the system says.
        cause: String,
    },
    /// Connecting and logging in took too long.
    #[error(
        "{at} did not let us in within {} ms: is it overloaded, or does a firewall drop us",
        after.as_millis()
    )]
    ConnectTimeout {
        /// Where.
        at: String,
        /// The limit that was passed.
        after: Duration,
    },
    /// It cannot encrypt.
    #[error(
        "{at} offers no TLS: switch it on there, or set `tidb.tls: off` on a network you trust"
    )]
    TlsMissing {
        /// Where.
        at: String,
    },
    /// It accepts nothing in the clear.
    #[error("{at} accepts only TLS ({cause}): set `tidb.tls: on`")]
    TlsRequired {
        /// Where.
        at: String,
        /// What the server says.
        cause: String,
    },
    /// Its certificate, or ours, is not accepted.
    #[error(
        "TLS with {at} fails ({cause}): does `tidb.ca` name the authority of its certificate, and \
         is `tidb.host` a name in it"
    )]
    Tls {
        /// Where.
        at: String,
        /// What TLS says.
        cause: String,
    },
    /// Our own authority's file is of no use.
    #[error("cannot use `tidb.ca` {path}: {cause}")]
    CaFile {
        /// The file.
        path: String,
        /// Why not.
        cause: String,
    },
    /// User or password are not accepted.
    #[error(
        "{at} refuses user `{user}` ({cause}): correct `tidb.user` and `tidb.password`, or let this \
         user in from here{hint}"
    )]
    Login {
        /// Where.
        at: String,
        /// As whom.
        user: String,
        /// What the server says.
        cause: String,
        /// What else it may be.
        hint: &'static str,
    },
    /// There is no such database.
    #[error("{at} has no database `{db}`: correct `tidb.db`")]
    Database {
        /// Where.
        at: String,
        /// Its name.
        db: String,
    },
    /// The user may not read.
    #[error("user `{user}` lacks a right at {at} ({cause}): grant it SELECT")]
    Right {
        /// Where.
        at: String,
        /// Who.
        user: String,
        /// What the server says.
        cause: String,
    },
    /// The query names what is not there.
    #[error("`{query}` does not fit database `{db}` ({cause}): correct the query, or `tidb.db`")]
    Schema {
        /// Which query.
        query: Text,
        /// In which database.
        db: String,
        /// What the server says.
        cause: String,
    },
    /// The server refuses the query for another reason.
    #[error("`{query}` fails with error {code}: {cause}")]
    Refused {
        /// Which query.
        query: Text,
        /// The server's number for it.
        code: u16,
        /// What the server says.
        cause: String,
    },
    /// The server refuses us for another reason.
    #[error("{at} fails with error {code}: {cause}")]
    Server {
        /// Where.
        at: String,
        /// The server's number for it.
        code: u16,
        /// What the server says.
        cause: String,
    },
    /// The answer took too long.
    #[error(
        "`{query}` was not answered within {} s: does it need an index, or the server more power",
        after.as_secs_f32()
    )]
    QueryTimeout {
        /// Which query.
        query: Text,
        /// The limit that was passed.
        after: Duration,
    },
    /// It was answered with something else than was wanted.
    #[error("`{query}` answers wrongly: {cause}")]
    MalformedAnswer {
        /// Which query.
        query: Text,
        /// What is wrong.
        cause: MalformedAnswer,
    },
    /// Its year is not ours.
    #[error("{at} says it is the year {theirs}, here it is {ours}: set the clocks right")]
    Clock {
        /// Where.
        at: String,
        /// The year there.
        theirs: String,
        /// The year here.
        ours: i32,
    },
    /// The connection ended in the middle.
    #[error("the connection to {at} broke: {cause}")]
    Broken {
        /// Where.
        at: String,
        /// What broke.
        cause: String,
    },
    /// Our own store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HistoryError {
    /// Whether the same may well succeed a little later, without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Resolve { .. }
            | Self::Unreachable { .. }
            | Self::ConnectTimeout { .. }
            | Self::Refused { .. }
            | Self::Server { .. }
            | Self::QueryTimeout { .. }
            | Self::Broken { .. } => true,
            Self::TlsMissing { .. }
            | Self::TlsRequired { .. }
            | Self::Tls { .. }
            | Self::CaFile { .. }
            | Self::Login { .. }
            | Self::Database { .. }
            | Self::Right { .. }
            | Self::Schema { .. }
            | Self::MalformedAnswer { .. }
            | Self::Clock { .. }
            | Self::Store(_) => false,
        }
    }

    /// Whether another query can be asked on the same connection.
    pub(super) fn leaves_connection(&self) -> bool {
        matches!(
            self,
            Self::Schema { .. }
                | Self::Refused { .. }
                | Self::Right { .. }
                | Self::MalformedAnswer { cause: MalformedAnswer::Columns { .. }, .. }
                | Self::MalformedAnswer { cause: MalformedAnswer::Number { .. }, .. }
                | Self::MalformedAnswer { cause: MalformedAnswer::Date { .. }, .. }
                | Self::MalformedAnswer { cause: MalformedAnswer::Time { .. }, .. }
                | Self::MalformedAnswer { cause: MalformedAnswer::Twice { .. }, .. }
        )
    }
}
