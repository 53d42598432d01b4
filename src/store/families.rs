//! The table of column families: what is kept, under which key, and how it is looked at.
//!
//! A name once used stays listed. A layout changes by a new family, never in place. There are no
//! merge operators and no compaction filters: a panic in one ends the process, and a database
//! that is opened once without its merge operator loses what it had not merged yet.

/// One column family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// name -> small value: what the store is, and counts that continue over restarts.
    Meta,
    /// (received day, id, type) -> (): every event once, within `store.seenFor`.
    Seen,
    /// (received day, id, type) -> (): every event applied once, within `store.seenFor`.
    Applied,
    /// (period, object) -> (): whose documents were seen, for some weeks after the last time.
    Entities,
    /// admission -> the event as GitHub sent it, until it is in the journal.
    Bodies,
    /// admission -> when it was received: admitted, not yet enriched.
    Inbox,
    /// entry -> admission and facts: enriched, not yet on the bus (embedded: not yet applied).
    Outbox,
    /// repository -> its language, and as of when.
    Repos,
    /// (scope, period, id) -> (): who was seen for the first time, when.
    Firsts,
    /// (scope, period) -> number: how many there are of each in `Firsts`.
    Sizes,
    /// (second, language) -> number: pull-request events by received second.
    Buckets,
    /// (created hour, origin, metric) -> number.
    Hours,
    /// (day, metric) -> number: what was counted since the history was asked.
    Since,
    /// (day, metric) -> number: what the history said.
    History,
    /// (bus, position) -> facts and event.
    Journal,
    /// (bus, received minute) -> first position and bytes.
    Minutes,
    /// (minute or hour of receiving) -> events by slot and type.
    Activity,
    /// (minute or hour of receiving) -> how many were missed, as far as it is known.
    Coverage,
    /// (bus, position, reason) -> where it ends and how much it is: what is missing here.
    Gaps,
    /// name -> position.
    Cursors,
    /// number -> time, reason and text of what was no event; bounded.
    Rejects,
    /// number -> time, reason and text of messages that could not be read; bounded.
    Dead,
}

/// How a family is looked at, which decides its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// By whole key, mostly for keys that are not there.
    Membership,
    /// Written, read once in order and deleted soon.
    Queue,
    /// Read in ranges, deleted in ranges from the front; large values.
    Log,
    /// Small values, read and overwritten.
    Values,
}

/// All families, in the order of the data's way.
pub const ALL: &[(Family, &str, Access)] = &[
    (Family::Meta, "meta", Access::Values),
    (Family::Seen, "seen", Access::Membership),
    (Family::Bodies, "bodies", Access::Queue),
    (Family::Inbox, "inbox", Access::Queue),
    (Family::Repos, "repos", Access::Values),
    (Family::Firsts, "firsts", Access::Membership),
    (Family::Sizes, "sizes", Access::Values),
    (Family::Outbox, "outbox", Access::Queue),
    (Family::Applied, "applied", Access::Membership),
    (Family::Entities, "entities", Access::Membership),
    (Family::Buckets, "buckets", Access::Values),
    (Family::Hours, "hours", Access::Values),
    (Family::Since, "since", Access::Values),
    (Family::History, "history", Access::Values),
    (Family::Journal, "journal", Access::Log),
    (Family::Minutes, "minutes", Access::Values),
    (Family::Activity, "activity", Access::Values),
    (Family::Coverage, "coverage", Access::Values),
    (Family::Gaps, "gaps", Access::Values),
    (Family::Cursors, "cursors", Access::Values),
    (Family::Rejects, "rejects", Access::Log),
    (Family::Dead, "dead", Access::Log),
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
