//! The queries, by the keys of the configuration that hold them.

use std::fmt;

/// Which of the two queries of figures.
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

/// Which text of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Text {
    /// One that answers with figures.
    Figures(Query),
    /// The languages of repositories.
    Languages,
}

impl From<Query> for Text {
    fn from(query: Query) -> Self {
        Self::Figures(query)
    }
}

/// The key of the configuration that holds it.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Figures(Query::Daily) => "tidb.sql.eventsDaily",
            Self::Figures(Query::Yearly) => "tidb.sql.yearly",
            Self::Languages => "tidb.sql.repoLanguages",
        })
    }
}
