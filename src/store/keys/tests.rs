//! Golden bytes, round trips and order of every key.

use proptest::prelude::*;

use super::ledger::{LedgerKey, LedgerMonthKey, RepoNameKey};
use super::*;
use crate::model::window::Month;

fn hex(key: &impl Key) -> String {
    use std::fmt::Write as _;
    let mut text = String::new();
    for byte in key.to_bytes() {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

fn event(id: u64) -> EventKey {
    EventKey { id: EventId::Number(id), kind: "PushEvent".to_owned() }
}

#[test]
fn bytes_once_assigned_never_change() {
    let position = Position { ledger: 1, entry: 2, index: 3 };
    let tag = BusTag(0x0a0b_0c0d);
    let push = "50757368_4576656e74".replace('_', "");
    let seen = SeenKey::new(Day(20_000), &event(0x0102));
    assert_eq!(hex(&seen), format!("80004e20000000000000000102{push}"));
    assert_eq!(hex(&AppliedKey(seen)), format!("80004e20000000000000000102{push}"));
    let odd = EventKey { id: EventId::Text("ab".to_owned()), kind: "X".to_owned() };
    assert_eq!(hex(&SeenKey::new(Day(-1), &odd)), "7fffffff0100000002616258");
    assert_eq!(hex(&BodyKey(5)), "0000000000000005");
    assert_eq!(hex(&InboxKey(5)), "0000000000000005");
    assert_eq!(hex(&OutboxKey(5)), "0000000000000005");
    assert_eq!(hex(&RepoKey(5)), "0000000000000005");
    assert_eq!(hex(&RejectKey(5)), "0000000000000005");
    assert_eq!(hex(&DeadKey(5)), "0000000000000005");
    assert_eq!(hex(&MetaKey("a".to_owned())), "61");
    assert_eq!(hex(&CursorKey("a".to_owned())), "61");
    let first = FirstKey { scope: Scope::RepositoryYear, period: 2026, id: 9 };
    assert_eq!(hex(&first), "03800007ea0000000000000009");
    assert_eq!(hex(&SizeKey { scope: Scope::DeveloperDay, period: 1 }), "0180000001");
    let bucket = BucketKey { second: Second(1), language: "C".to_owned() };
    assert_eq!(hex(&bucket), "800000000000000143");
    let hour = HourKey { hour: Hour(1), origin: HourSource::Live, metric: HourMetric::Merged };
    assert_eq!(hex(&hour), "80000000000000010102");
    let hour = HourKey { origin: HourSource::Archive, metric: HourMetric::Events, ..hour };
    assert_eq!(hex(&hour), "80000000000000010207");
    assert_eq!(
        hex(&JournalKey { tag, position }),
        "0a0b0c0d0000000000000001000000000000000200000003"
    );
    assert_eq!(hex(&MinuteKey { tag, minute: Minute(1) }), "0a0b0c0d8000000000000001");
}

#[test]
fn bytes_of_the_ledger_never_change() {
    assert_eq!(hex(&LedgerKey::Repo(Day(1), 9)), "01800000010000000000000009");
    assert_eq!(hex(&LedgerKey::Language(Day(1), "C".to_owned())), "028000000143");
    assert_eq!(hex(&LedgerKey::All(Day(1))), "0380000001");
    assert_eq!(hex(&LedgerKey::Hours(Day(1))), "0480000001");
    let month = LedgerMonthKey { month: Month(24_322), repo: 9 };
    assert_eq!(hex(&month), "80005f020000000000000009");
    assert_eq!(hex(&RepoNameKey::Of(9)), "010000000000000009");
    assert_eq!(hex(&RepoNameKey::named("A/b")), "02612f62");
}

#[test]
fn long_names_are_replaced_by_their_hash() {
    let long = "x".repeat(NAME_BYTES + 1);
    assert_eq!(short_name(&long).len(), 33);
    assert_ne!(short_name(&long), short_name(&"y".repeat(NAME_BYTES + 1)));
    assert_eq!(short_name("PushEvent"), "PushEvent");
}

fn round_trip<K: Key + PartialEq + std::fmt::Debug>(key: &K) {
    assert_eq!(K::decode(&key.to_bytes()).as_ref(), Some(key));
}

proptest! {
    #[test]
    fn keys_are_decoded_as_encoded(
        (a, b, c) in any::<(i32, i64, u64)>(), text in ".{0,20}", kind in ".{0,20}"
    ) {
        let event = EventKey { id: EventId::Text(text.clone()), kind: kind.clone() };
        round_trip(&SeenKey::new(Day(a), &event));
        let event = EventKey { id: EventId::Number(c), kind };
        round_trip(&AppliedKey(SeenKey::new(Day(a), &event)));
        round_trip(&FirstKey { scope: Scope::DeveloperYear, period: a, id: c });
        round_trip(&SizeKey { scope: Scope::DeveloperDay, period: a });
        round_trip(&BucketKey { second: Second(b), language: text.clone() });
        for metric in HourMetric::ALL {
            for origin in HourSource::ALL {
                round_trip(&HourKey { hour: Hour(b), origin, metric });
            }
        }
        round_trip(&MinuteKey { tag: BusTag(7), minute: Minute(b) });
        round_trip(&LedgerKey::Repo(Day(a), c));
        round_trip(&LedgerKey::Language(Day(a), text.clone()));
        round_trip(&LedgerKey::All(Day(a)));
        round_trip(&LedgerKey::Hours(Day(a)));
        round_trip(&LedgerMonthKey { month: Month(a), repo: c });
        round_trip(&RepoNameKey::Of(c));
        round_trip(&RepoNameKey::named(&text));
        round_trip(&MetaKey(text));
        round_trip(&OutboxKey(c));
    }

    #[test]
    fn bytes_sort_as_the_values_do((a, b) in any::<((i32, u64), (i32, u64))>()) {
        let seen = |(day, id): (i32, u64)| SeenKey::new(Day(day), &event(id));
        prop_assert_eq!(seen(a).to_bytes().cmp(&seen(b).to_bytes()), a.cmp(&b));
        let first = |(period, id)| FirstKey { scope: Scope::DeveloperDay, period, id };
        prop_assert_eq!(first(a).to_bytes().cmp(&first(b).to_bytes()), a.cmp(&b));
        let bucket = |second: i32| {
            BucketKey { second: Second(i64::from(second)), language: String::new() }.to_bytes()
        };
        prop_assert_eq!(bucket(a.0).cmp(&bucket(b.0)), a.0.cmp(&b.0));
        let hour = |hour: i32| HourKey {
            hour: Hour(i64::from(hour)), origin: HourSource::Live, metric: HourMetric::Opened,
        }.to_bytes();
        prop_assert_eq!(hour(a.0).cmp(&hour(b.0)), a.0.cmp(&b.0));
        let minute = |minute: i32| MinuteKey {
            tag: BusTag(1), minute: Minute(i64::from(minute)),
        }.to_bytes();
        prop_assert_eq!(minute(a.0).cmp(&minute(b.0)), a.0.cmp(&b.0));
        prop_assert_eq!(InboxKey(a.1).to_bytes().cmp(&InboxKey(b.1).to_bytes()), a.1.cmp(&b.1));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in any::<Vec<u8>>()) {
        let _ = (SeenKey::decode(&bytes), AppliedKey::decode(&bytes), BodyKey::decode(&bytes));
        let _ = (InboxKey::decode(&bytes), OutboxKey::decode(&bytes), MetaKey::decode(&bytes));
        let _ = (FirstKey::decode(&bytes), SizeKey::decode(&bytes), BucketKey::decode(&bytes));
        let _ = (HourKey::decode(&bytes), JournalKey::decode(&bytes), MinuteKey::decode(&bytes));
        let _ = (LedgerKey::decode(&bytes), LedgerMonthKey::decode(&bytes));
        let _ = RepoNameKey::decode(&bytes);
        let _ = (CursorKey::decode(&bytes), RejectKey::decode(&bytes), DeadKey::decode(&bytes));
    }
}
