//! The ledger: counts of repositories by UTC day, kept for years.
//!
//! Three families. [`Family::Ledger`] has one row for each repository and day, ordered by day, with
//! counts by hour of `created_at` and origin; and the same sums by language and in all.
//! [`Family::LedgerMonths`] has one row for each repository and month, with counts by day, once the
//! month is folded ([`fold`]). [`Family::RepoNames`] has the current name of each repository, and
//! for each name the repository that had it last.
//!
//! **Once.** Rows are absolute values, read and written in the batch of the claim that counts the
//! event ([`counting`]), or in the batch of the import that replaces the hour ([`import`]).
//!
//! **Imported hours replace live ones**, as in all counts by hour: which of the two counts is
//! decided when a row is read, by the bits of [`DayHours`]. A folded day has no hours any more, so
//! an hour that it counts cannot be replaced, and an import leaves the ledger of it as it is.
//!
//! [`Family::Ledger`]: super::families::Family::Ledger
//! [`Family::LedgerMonths`]: super::families::Family::LedgerMonths
//! [`Family::RepoNames`]: super::families::Family::RepoNames
//! [`DayHours`]: crate::model::ledger::DayHours

pub mod counting;
pub mod fill;
pub mod fold;
pub mod import;
mod merged;
mod names;
pub mod rank;
mod read;
mod rows;
pub mod seen;

pub(super) use self::names::{decode_name, decode_owner};
pub(super) use self::rows::decode_hours;

#[cfg(test)]
mod tests;
