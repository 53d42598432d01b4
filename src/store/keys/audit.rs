//! Keys of the audit's rows.

use super::part::KeyPart;
use super::{Family, Key};
use crate::model::window::Hour;

/// A row of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AuditKey {
    /// Its state: the sample, and what was counted in it.
    State,
    /// The shares as they were known at the end of an hour.
    Hour(Hour),
}

impl Key for AuditKey {
    const FAMILY: Family = Family::Audit;

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::State => out.push(0),
            Self::Hour(hour) => {
                out.push(1);
                hour.push(out);
            }
        }
    }

    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        let key = match u8::take(rest)? {
            0 => Self::State,
            1 => Self::Hour(Hour::take(rest)?),
            _ => return None,
        };
        rest.is_empty().then_some(key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
