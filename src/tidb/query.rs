//! The queries, by their configuration keys.

use std::fmt;

/// One of the two queries for figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FigureQuery {
    /// Counts per day.
    Daily,
    /// Sums of the year.
    Yearly,
}

impl FigureQuery {
    /// Both, in the order in which they run.
    pub const ALL: [Self; 2] = [Self::Daily, Self::Yearly];
}

/// An SQL text of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SqlText {
    /// A query that returns figures.
    Figures(FigureQuery),
    /// The languages of repositories.
    Languages,
    /// Counts of repositories on a day.
    RepoDays,
}

impl From<FigureQuery> for SqlText {
    fn from(query: FigureQuery) -> Self {
        Self::Figures(query)
    }
}

/// Its configuration key.
impl fmt::Display for SqlText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Figures(FigureQuery::Daily) => "tidb.sql.eventsDaily",
            Self::Figures(FigureQuery::Yearly) => "tidb.sql.yearly",
            Self::Languages => "tidb.sql.repoLanguages",
            Self::RepoDays => "tidb.sql.repoDays",
        })
    }
}
