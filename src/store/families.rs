//! The table of column families: their content, their keys, and how they are read.
//!
//! A name that was ever used stays listed. A layout changes by a new family, or by a new version
//! byte that older binaries refuse. Merge operators and compaction filters are not used: a panic in
//! one aborts the process, and a database that is opened once without its merge operator loses what
//! was not merged yet.

/// One column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// name -> small value: the store's identity, and counters that continue over restarts.
    Meta,
    /// (received day, id, type) -> (), or which feed showed it: events admitted, for
    /// `store.seenFor`.
    Seen,
    /// (received day, id, type) -> (): events applied, for `store.seenFor`.
    Applied,
    /// (period, object) -> (): objects whose documents were seen, for some weeks after the last.
    Entities,
    /// name on a list -> what is known of its feed.
    Feeds,
    /// admission -> the event as GitHub sent it, until it is in the journal.
    Bodies,
    /// admission -> when it was received: admitted, not yet enriched.
    Inbox,
    /// entry -> admission and facts: enriched, not yet on the bus (embedded: not yet applied).
    Outbox,
    /// repository -> its language, and when that was learned.
    Repos,
    /// (scope, period, id) -> (): developers and repositories seen in a period.
    Firsts,
    /// (scope, period) -> number: the size of each set in `Firsts`.
    Sizes,
    /// (second, language) -> number: pull-request events by received second.
    Buckets,
    /// (created hour, origin, metric) -> number.
    Hours,
    /// (day, metric) -> number: counted here since the last query to TiDB.
    Since,
    /// (day, metric) -> number: figures of TiDB.
    History,
    /// (bus, position) -> facts and event.
    Journal,
    /// (bus, received minute) -> first position and bytes.
    Minutes,
    /// (minute or hour of receiving) -> events by slot and type.
    Activity,
    /// (minute or hour of receiving) -> how many were missed, as far as it is known.
    Coverage,
    /// (): the audit's state; hour -> the seen shares as they were known then.
    Audit,
    /// (day, repository) -> counts by hour and metric; the same by language, and in all.
    Ledger,
    /// (month, repository) -> counts by day and metric, folded from days.
    LedgerMonths,
    /// repository -> its name; name -> its repository.
    RepoNames,
    /// (bus, position, reason) -> end and size: gaps, where events are missing here.
    Gaps,
    /// name -> position.
    Cursors,
    /// number -> time, reason and text: the reject log; bounded.
    Rejects,
    /// number -> time, reason and text: the dead-letter queue; bounded.
    Dead,
}

/// How a family is read, which decides its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadPattern {
    /// By whole key, mostly for missing keys.
    Membership,
    /// Written, read once in order, and soon deleted.
    Queue,
    /// Read in ranges, deleted in ranges from the front; large values.
    Log,
    /// Small values, read and overwritten.
    Values,
    /// Many millions of small values.
    Ledger,
}

/// All families, in the order of the pipeline.
pub const ALL: &[(Family, &str, ReadPattern)] = &[
    (Family::Meta, "meta", ReadPattern::Values),
    (Family::Seen, "seen", ReadPattern::Membership),
    (Family::Feeds, "feeds", ReadPattern::Values),
    (Family::Bodies, "bodies", ReadPattern::Queue),
    (Family::Inbox, "inbox", ReadPattern::Queue),
    (Family::Repos, "repos", ReadPattern::Ledger),
    (Family::Firsts, "firsts", ReadPattern::Membership),
    (Family::Sizes, "sizes", ReadPattern::Values),
    (Family::Outbox, "outbox", ReadPattern::Queue),
    (Family::Applied, "applied", ReadPattern::Membership),
    (Family::Entities, "entities", ReadPattern::Membership),
    (Family::Buckets, "buckets", ReadPattern::Values),
    (Family::Hours, "hours", ReadPattern::Values),
    (Family::Since, "since", ReadPattern::Values),
    (Family::History, "history", ReadPattern::Values),
    (Family::Journal, "journal", ReadPattern::Log),
    (Family::Minutes, "minutes", ReadPattern::Values),
    (Family::Activity, "activity", ReadPattern::Values),
    (Family::Coverage, "coverage", ReadPattern::Values),
    (Family::Audit, "audit", ReadPattern::Values),
    (Family::Ledger, "ledger", ReadPattern::Ledger),
    (Family::LedgerMonths, "ledger_months", ReadPattern::Ledger),
    (Family::RepoNames, "repo_names", ReadPattern::Ledger),
    (Family::Gaps, "gaps", ReadPattern::Values),
    (Family::Cursors, "cursors", ReadPattern::Values),
    (Family::Rejects, "rejects", ReadPattern::Log),
    (Family::Dead, "dead", ReadPattern::Log),
];

impl Family {
    /// Its name on disk.
    #[must_use]
    pub fn name(self) -> &'static str {
        ALL.iter().find(|row| row.0 == self).expect("every family is in the table").1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_is_in_the_table_once() {
        let mut names: Vec<_> = ALL.iter().map(|row| row.1).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert_eq!(Family::Dead.name(), "dead");
    }
}
