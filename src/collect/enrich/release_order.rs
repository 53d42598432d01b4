//! Releases the held events of a poll in admission order, whatever the order of the responses.

use std::collections::BTreeMap;

use crate::model::window::Timestamp;

/// For each poll, by its time of receipt: the admissions of its held events, and whether only the
/// order holds them.
#[derive(Debug, Default)]
pub(super) struct ReleaseOrder(BTreeMap<Timestamp, BTreeMap<u64, bool>>);

impl ReleaseOrder {
    /// Adds a held event of this poll.
    pub(super) fn add(&mut self, poll: Timestamp, admission: u64) {
        self.0.entry(poll).or_default().insert(admission, false);
    }

    /// Marks an event as ready. Returns those released by it, oldest first; none while an older
    /// one is held.
    pub(super) fn mark_ready(&mut self, poll: Timestamp, admission: u64) -> Vec<u64> {
        self.advance(poll, admission, false)
    }

    /// Releases an event and all older ones of its poll.
    pub(super) fn release_with_older(&mut self, poll: Timestamp, admission: u64) -> Vec<u64> {
        self.advance(poll, admission, true)
    }

    /// Removes all events.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    fn advance(&mut self, poll: Timestamp, admission: u64, with_older: bool) -> Vec<u64> {
        let Some(release_order) = self.0.get_mut(&poll) else { return Vec::new() };
        if let Some(is_ready) = release_order.get_mut(&admission) {
            *is_ready = true;
        }
        let mut released = Vec::new();
        while let Some(first) = release_order.first_entry() {
            let is_older = with_older && *first.key() < admission;
            if !*first.get() && !is_older {
                break;
            }
            released.push(first.remove_entry().0);
        }
        if release_order.is_empty() {
            self.0.remove(&poll);
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_waits_for_older_events_of_its_poll_only() {
        let (poll, other) = (Timestamp::from_seconds(1), Timestamp::from_seconds(2));
        let mut order = ReleaseOrder::default();
        (1..=4).for_each(|admission| order.add(poll, admission));
        (5..=6).for_each(|admission| order.add(other, admission));
        assert_eq!(
            order.mark_ready(other, 5),
            [5],
            "a poll of another page does not count as older"
        );
        assert!(order.mark_ready(poll, 2).is_empty());
        assert!(order.mark_ready(poll, 3).is_empty());
        assert_eq!(order.mark_ready(poll, 1), [1, 2, 3]);
        assert_eq!(order.mark_ready(poll, 4), [4]);
        assert_eq!(order.mark_ready(other, 6), [6]);
        assert!(order.0.is_empty());
    }

    #[test]
    fn forced_release_includes_all_older_events() {
        let poll = Timestamp::from_seconds(1);
        let mut order = ReleaseOrder::default();
        (1..=5).for_each(|admission| order.add(poll, admission));
        assert!(order.mark_ready(poll, 4).is_empty());
        assert_eq!(order.release_with_older(poll, 3), [1, 2, 3, 4]);
        order.clear();
        assert!(order.mark_ready(poll, 5).is_empty());
    }
}
