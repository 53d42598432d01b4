//! The two queries, by the keys of the configuration that hold them.

use std::fmt;

/// Which of the two queries of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// The days' counts.
    Daily,
    /// The year's sums.
    Yearly,
}

impl Query {
    /// Both, in the order they are asked in.
    pub const ALL: [Self; 2] = [Self::Daily, Self::Yearly];
}

/// The key of the configuration that holds it.
impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Daily => "tidb.sql.eventsDaily",
            Self::Yearly => "tidb.sql.yearly",
        })
    }
}
