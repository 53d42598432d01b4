//! The table of column families: their content, their keys, and how they are read.
//!
//! A name that was ever used stays listed. A layout changes by a new family, or by a new version
//! byte that older binaries refuse. Merge operators and compaction filters are not used: a panic in
//! one aborts the process, and a database that is opened once without its merge operator loses what
//! was not merged yet.

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
    /// Many millions of small values, some of which each event reads.
    Ledger,
    /// Many millions of small values, which no event reads.
    Months,
}

/// Defines [`Family`] and the table of all families: keys and values, the name on disk, how it is
/// read, and what it holds.
macro_rules! families {
    ($($(#[$about:meta])* $family:ident $name:literal $pattern:ident $holds:literal;)*) => {
        /// One column family.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Family {
            $($(#[$about])* #[doc = concat!("Holds ", $holds, ".")] $family,)*
        }

        /// All families, in the order of the pipeline.
        pub const ALL: &[(Family, &str, ReadPattern)] =
            &[$((Family::$family, $name, ReadPattern::$pattern)),*];

        impl Family {
            /// Its name on disk.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$family => $name,)* }
            }

            /// What it holds, for operators.
            #[must_use]
            pub fn holds(self) -> &'static str {
                match self { $(Self::$family => $holds,)* }
            }
        }
    };
}

families! {
    /// name -> small value; also counters that continue over restarts.
    Meta "meta" Values "the store's identity, and counters";
    /// (received day, id, type) -> (), or which feed showed it; for `store.seenFor`.
    Seen "seen" Membership "events admitted, by the day they were received";
    /// name on a list -> what is known of its feed.
    Feeds "feeds" Values "feeds of what is on complete lists";
    /// admission -> the event, until it is in the journal.
    Bodies "bodies" Queue "admitted events, as GitHub sent them";
    /// admission -> when it was received.
    Inbox "inbox" Queue "admitted events that wait for enrichment";
    /// repository -> its language, and when that was learned.
    Repos "repos" Ledger "languages of repositories";
    /// (scope, period, id) -> ().
    Firsts "firsts" Membership "developers and repositories seen in a day or year";
    /// (scope, period) -> number: the size of each set in `Firsts`.
    Sizes "sizes" Values "numbers of developers and repositories by day or year";
    /// entry -> admission and facts; without a broker also what is not yet applied.
    Outbox "outbox" Queue "enriched events that wait for the bus";
    /// (received day, id, type) -> (); for `store.seenFor`.
    Applied "applied" Membership "events applied, by the day they were received";
    /// (period, object) -> (), for some weeks after the object was last seen.
    Entities "entities" Membership "objects whose documents were seen, by period of ten days";
    /// (received second, language) -> number.
    Buckets "buckets" Values "pull-request events by second and language";
    /// (created hour, origin, metric) -> number.
    Hours "hours" Values "counts by hour";
    /// (day, metric) -> number: counted here since the query began.
    Since "since" Values "counts since the last query to TiDB";
    /// (day, metric) -> number.
    History "history" Values "figures of TiDB";
    /// (bus, position) -> facts and event.
    Journal "journal" Log "applied events, by their position on the bus";
    /// (bus, received minute) -> first position and bytes.
    Minutes "minutes" Values "the beginning of each minute in the journal";
    /// (minute or hour of receiving) -> events by slot and type.
    Activity "activity" Values "events by the time they were received, and type";
    /// (minute or hour of receiving) -> how many were missed, as far as it is known.
    Coverage "coverage" Values "estimates of missed events, by time";
    /// (): the state; hour -> the seen shares as they were known then.
    Audit "audit" Values "the audit: its state, and seen shares by hour";
    /// (day, repository) -> counts by hour and metric; the same by language, and in all.
    Ledger "ledger" Ledger "counts of repositories by day";
    /// (month, repository) -> counts by day and metric, folded from days.
    LedgerMonths "ledger_months" Months "counts of repositories by month";
    /// repository -> its name; name -> its repository.
    RepoNames "repo_names" Ledger "names of repositories";
    /// (bus, position, reason) -> end and size: where events are missing here.
    Gaps "gaps" Values "gaps of the bus";
    /// name -> position.
    Cursors "cursors" Values "cursors of the stages and consumers";
    /// number -> time, reason and text; bounded.
    Rejects "rejects" Log "rejected input, with the reason";
    /// number -> time, reason and text: the dead-letter queue; bounded.
    Dead "dead" Log "unreadable messages, with the reason";
}
