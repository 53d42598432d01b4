//! Keys of kept counts by time of receipt, and of their completeness.

use super::keys;
use crate::model::activity::Span;

/// Events received in a minute or an hour, by slot and type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActivityKey {
    /// The length of the span.
    pub span: Span,
    /// The number of the span since 1970.
    pub at: i64,
}

/// The completeness of a minute or an hour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CoverageKey {
    /// The length of the span.
    pub span: Span,
    /// The number of the span since 1970.
    pub at: i64,
}

keys! {
    ActivityKey Activity (span, at);
    CoverageKey Coverage (span, at);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::keys::Key as _;

    #[test]
    fn bytes_once_assigned_never_change() {
        let key = ActivityKey { span: Span::Minute, at: 1 };
        assert_eq!(key.to_bytes(), [1, 0x80, 0, 0, 0, 0, 0, 0, 1]);
        let key = CoverageKey { span: Span::Hour, at: -1 };
        assert_eq!(key.to_bytes(), [2, 0x7f, 255, 255, 255, 255, 255, 255, 255]);
    }

    proptest! {
        #[test]
        fn keys_come_back_sorted_and_any_bytes_decode(
            (a, b) in any::<(i64, i64)>(), bytes in any::<Vec<u8>>()
        ) {
            let key = |at| ActivityKey { span: Span::Minute, at };
            prop_assert_eq!(ActivityKey::decode(&key(a).to_bytes()), Some(key(a)));
            prop_assert_eq!(key(a).to_bytes().cmp(&key(b).to_bytes()), a.cmp(&b));
            let hour = ActivityKey { span: Span::Hour, at: b };
            prop_assert!(key(a) < hour);
            let _ = (ActivityKey::decode(&bytes), CoverageKey::decode(&bytes));
        }
    }
}
