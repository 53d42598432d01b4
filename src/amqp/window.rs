//! Published messages without a confirm, oldest first, within limits.

use std::collections::VecDeque;

use crate::model::position::Position;

/// The most messages in flight; more gain no throughput.
const MESSAGES: usize = 256;
/// The most bytes of bodies in flight; one message always fits.
const BYTES: usize = 8 << 20;

pub(super) struct ConfirmWindow<T> {
    /// Each with the event that is complete once it is confirmed, and its bytes.
    sent: VecDeque<(T, Option<Position>, usize)>,
    bytes: usize,
}

impl<T> ConfirmWindow<T> {
    pub(super) fn new() -> Self {
        Self { sent: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.sent.len() >= MESSAGES || self.bytes >= BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty()
    }

    pub(super) fn push(&mut self, message: T, done: Option<Position>, bytes: usize) {
        self.bytes += bytes;
        self.sent.push_back((message, done, bytes));
    }

    /// Marks an event without messages as complete once everything before it is confirmed. Returns
    /// whether it is complete now.
    pub(super) fn pass(&mut self, position: Position) -> bool {
        self.sent.back_mut().map(|(_, done, _)| *done = Some(position)).is_none()
    }

    /// Removes the oldest message, to wait for its confirm.
    pub(super) fn pop(&mut self) -> Option<(T, Option<Position>)> {
        let (message, done, bytes) = self.sent.pop_front()?;
        self.bytes -= bytes;
        Some((message, done))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_is_full_by_messages_or_bytes_one_always_fits() {
        let mut window = ConfirmWindow::new();
        for n in 0..MESSAGES {
            assert!(!window.is_full());
            window.push(n, None, 100);
        }
        assert!(window.is_full());
        assert_eq!(window.pop(), Some((0, None)));
        assert!(!window.is_full());

        let mut window = ConfirmWindow::new();
        window.push(1, None, BYTES + 1);
        assert!(window.is_full());
        assert_eq!(window.pop(), Some((1, None)));
        assert!(window.is_empty() && !window.is_full());
        assert_eq!(window.pop(), None);
    }

    #[test]
    fn an_event_is_done_with_when_all_up_to_it_is_confirmed() {
        let mut window = ConfirmWindow::new();
        window.push('a', None, 1);
        let [first, second, third] = [1, 2, 3].map(Position::counted);
        window.push('b', Some(first), 1);
        window.pass(second);
        window.push('c', Some(third), 1);
        let popped: Vec<_> = std::iter::from_fn(|| window.pop()).collect();
        assert_eq!(popped, [('a', None), ('b', Some(second)), ('c', Some(third))]);
    }
}
