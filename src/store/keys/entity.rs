//! Objects whose documents were seen, by the period in which they were seen last.

use std::time::Duration;

use super::{Family, Key, Parts, push_i32};
use crate::model::entity::ObjectId;
use crate::model::window::Timestamp;

/// Days of a period.
const DAYS: i32 = 10;
/// Periods before that of an event in which its objects are still remembered.
const PERIODS: i32 = 3;

/// How long an object is remembered after it was last seen, at least. There is no end to them, so
/// one that nothing was heard of for so long is taken for new again when it is said to be.
pub const ENTITIES_FOR: Duration = Duration::from_secs(30 * 86_400);

/// An object that was seen in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntityKey {
    /// Periods of ten days since 1970, by the day an event was received.
    pub period: i32,
    /// The object.
    pub id: ObjectId,
}

impl EntityKey {
    /// The periods to look at for an event that was received then; the last one is its own.
    #[must_use]
    pub fn periods(received_at: Timestamp) -> std::ops::RangeInclusive<i32> {
        let period = received_at.day().0.div_euclid(DAYS);
        period - PERIODS..=period
    }
}

impl Key for EntityKey {
    const FAMILY: Family = Family::Entities;

    fn encode(&self, out: &mut Vec<u8>) {
        push_i32(out, self.period);
        out.extend_from_slice(&self.id.to_bytes());
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut parts = Parts(bytes);
        let (period, id) = (parts.i32()?, ObjectId::from_bytes(parts.take()?));
        parts.end(Self { period, id })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(period: i32, byte: u8) -> EntityKey {
        EntityKey { period, id: ObjectId::from_bytes([byte; 12]) }
    }

    #[test]
    fn bytes_once_assigned_never_change() {
        let bytes = key(1, 0xab).to_bytes();
        assert_eq!(bytes[..5], [0x80, 0, 0, 1, 0xab]);
        assert_eq!(bytes.len(), 16);
    }

    #[test]
    fn an_object_is_looked_for_as_long_as_it_is_promised() {
        let now = Timestamp::from_seconds(20_009 * 86_400);
        let periods = EntityKey::periods(now);
        assert_eq!(periods, 1997..=2000);
        assert!(periods.contains(EntityKey::periods(now.minus(ENTITIES_FOR)).end()));
    }

    proptest! {
        #[test]
        fn keys_come_back_and_sort_as_their_values_do(
            a in any::<(i32, u8)>(), b in any::<(i32, u8)>(), bytes in any::<Vec<u8>>(),
        ) {
            let (x, y) = (key(a.0, a.1), key(b.0, b.1));
            prop_assert_eq!(EntityKey::decode(&x.to_bytes()), Some(x));
            prop_assert_eq!(x.to_bytes().cmp(&y.to_bytes()), x.cmp(&y));
            let _ = EntityKey::decode(&bytes);
        }
    }
}
