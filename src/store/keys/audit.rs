//! Keys of the audit's rows.

use super::tagged_keys;
use crate::model::window::Hour;

/// A row of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditKey {
    /// Its state: the sample, and what was counted in it.
    State,
    /// The shares as they were known at the end of an hour.
    Hour(Hour),
}

tagged_keys! {
    AuditKey Audit { 0 State; 1 Hour(hour); }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::keys::Key as _;

    #[test]
    fn bytes_once_assigned_never_change() {
        assert_eq!(AuditKey::State.to_bytes(), [0]);
        assert_eq!(AuditKey::Hour(Hour(1)).to_bytes(), [1, 0x80, 0, 0, 0, 0, 0, 0, 1]);
    }

    proptest! {
        #[test]
        fn keys_come_back_sorted_and_any_bytes_decode(
            (a, b) in any::<(i64, i64)>(), bytes in any::<Vec<u8>>()
        ) {
            let key = |at| AuditKey::Hour(Hour(at));
            prop_assert_eq!(AuditKey::decode(&key(a).to_bytes()), Some(key(a)));
            prop_assert_eq!(key(a).to_bytes().cmp(&key(b).to_bytes()), a.cmp(&b));
            let _ = AuditKey::decode(&bytes);
        }
    }
}
