//! The event log for subscribers: from the journal into the newest events without a seam.
//!
//! Near the head, subscribers with equal queries form groups ([`live`], [`sampling`]). A subscriber
//! of `/stream` that is further back ([`follower`]) reads the ring of newest events ([`tail`]), and
//! behind that the journal, one page at a time on blocking threads ([`page`]). The memory of all
//! pages and the number of concurrent reads are bounded, so a slow subscriber holds one page and
//! never affects another.

mod answers;
pub(super) mod control;
pub(super) mod encoding;
pub(super) mod event_log;
pub(super) mod filter;
pub(super) mod follower;
pub(super) mod live;
pub(super) mod page;
pub(super) mod paths;
mod pending_page;
mod projection;
pub(super) mod query;
pub(super) mod sampling;
pub(super) mod searches;
pub(super) mod selector;
pub(super) mod streamed_event;
pub(super) mod tail;
#[cfg(test)]
mod tests;
