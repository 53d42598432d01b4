//! In which order subscribers are notified.

/// A part of all subscribers: the parts are notified one after another, so that a crowd is not
/// woken at once.
#[derive(Debug, Clone, Copy)]
pub(in crate::hub) struct Turn {
    /// Which part, below `of`.
    pub(in crate::hub) number: u64,
    /// The number of parts, at least one.
    pub(in crate::hub) of: u64,
}

impl Turn {
    /// All subscribers at once.
    #[cfg(test)]
    pub(in crate::hub) const ALL: Self = Self { number: 0, of: 1 };

    pub(super) fn includes(self, subscriber: u64) -> bool {
        subscriber % self.of == self.number
    }

    pub(super) fn is_last(self) -> bool {
        self.number + 1 >= self.of
    }
}
