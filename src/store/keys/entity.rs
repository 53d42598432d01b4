//! Keys of objects whose documents were seen, by the period in which they were last seen.

use std::time::Duration;

use super::keys;
use crate::model::entity::ObjectId;
use crate::model::window::Timestamp;

/// Days in a period.
const DAYS: i32 = 10;
/// Earlier periods in which an event's objects are still looked up.
const PERIODS: i32 = 3;

/// How long an object is remembered after it was last seen, at least. The set must stay bounded, so
/// an object that was not seen for longer counts as new when an event says so.
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
    /// The periods to look up for an event received then; the last one is its own.
    #[must_use]
    pub fn periods(received_at: Timestamp) -> std::ops::RangeInclusive<i32> {
        let period = received_at.day().0.div_euclid(DAYS);
        period - PERIODS..=period
    }
}

keys! {
    EntityKey Entities (period, id);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::keys::Key as _;

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
    fn object_is_remembered_for_the_promised_time() {
        let now = Timestamp::from_seconds(20_009 * 86_400);
        let periods = EntityKey::periods(now);
        assert_eq!(periods, 1997..=2000);
        assert!(periods.contains(EntityKey::periods(now.minus(ENTITIES_FOR)).end()));
    }

    proptest! {
        #[test]
        fn keys_decode_and_sort_as_their_values_do(
            a in any::<(i32, u8)>(), b in any::<(i32, u8)>(), bytes in any::<Vec<u8>>(),
        ) {
            let (x, y) = (key(a.0, a.1), key(b.0, b.1));
            prop_assert_eq!(EntityKey::decode(&x.to_bytes()), Some(x));
            prop_assert_eq!(x.to_bytes().cmp(&y.to_bytes()), x.cmp(&y));
            let _ = EntityKey::decode(&bytes);
        }
    }
}
