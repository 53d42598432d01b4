use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[test]
fn slots_of_a_day_come_back_from_their_numbers() {
    let mut known = 0;
    for number in 0..2_048 {
        if let Some(slot) = DaySlot::of_number(number) {
            assert_eq!(slot.number(), number);
            known += 1;
        }
    }
    assert_eq!(known, (2 * 24 + 1) * METRICS);
    let slot = DaySlot { origin: LedgerOrigin::Live, hour: 0, metric: LedgerMetric::Stars };
    assert_eq!(slot.number(), 0);
    let slot = DaySlot { origin: LedgerOrigin::Archive, hour: 23, metric: LedgerMetric::Pushes };
    assert_eq!(slot.number(), 512 + 23 * 16 + 8);
    let slot = DaySlot { origin: LedgerOrigin::Database, hour: 0, metric: LedgerMetric::Forks };
    assert_eq!(slot.number(), 512 + 31 * 16 + 1);
}

#[test]
fn slots_of_a_month_come_back_from_their_numbers() {
    let known: Vec<_> = (0..2_048).filter_map(|n| Some((n, of_month_slot(n)?))).collect();
    assert_eq!(known.len(), 31 * METRICS);
    assert!(known.iter().all(|(n, (day, metric))| month_slot(*day, *metric) == *n));
}

#[test]
fn rows_of_one_event_have_two_bytes() {
    let mut row = SlotCounts::default();
    let slot = DaySlot { origin: LedgerOrigin::Live, hour: 17, metric: LedgerMetric::Pushes };
    row.add(slot.number(), 1);
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    assert_eq!(bytes.len(), 2);
    assert_eq!(SlotCounts::decode(&bytes), Some(row));
}

#[test]
fn imported_hours_replace_live_ones() {
    let mut row = SlotCounts::default();
    for (origin, hour, n) in [
        (LedgerOrigin::Live, 3, 5),
        (LedgerOrigin::Archive, 3, 7),
        (LedgerOrigin::Live, 4, 11),
        (LedgerOrigin::Archive, 5, 13),
        (LedgerOrigin::Database, 0, 100),
    ] {
        row.add(DaySlot { origin, hour, metric: LedgerMetric::Stars }.number(), n);
    }
    let stars = |imported: u32| {
        let hours = DayHours { imported, ..DayHours::default() };
        hours.sum(&row).get(LedgerMetric::Stars)
    };
    assert_eq!((stars(0), stars(1 << 3), stars(1 << 3 | 1 << 5)), (16, 18, 31));
    let filled = |imported: u32| {
        let hours = DayHours { imported, is_filled: true, ..DayHours::default() };
        hours.sum(&row).get(LedgerMetric::Stars)
    };
    assert_eq!((filled(0), filled(1 << 3)), (100, 18), "a database counts the whole day");
}

#[test]
fn each_event_counts_as_one_metric_or_none() {
    let none = Flags::default();
    let of = |kind, flags, action: Option<&'static str>| LedgerMetric::of(kind, flags, || action);
    assert_eq!(of("WatchEvent", none, None), Some(LedgerMetric::Stars));
    assert_eq!(of("IssuesEvent", none, Some("closed")), Some(LedgerMetric::IssuesClosed));
    assert_eq!(of("IssuesEvent", none, Some("reopened")), None);
    assert_eq!(of("ReleaseEvent", none, Some("published")), Some(LedgerMetric::Releases));
    assert_eq!(of("ReleaseEvent", none, Some("edited")), None);
    let merged = Flags { pr: true, merge: true, ..none };
    assert_eq!(of("PullRequestEvent", merged, None), Some(LedgerMetric::PullsMerged));
    assert_eq!(of("PullRequestEvent", Flags { pr: true, ..none }, None), None);
    assert_eq!(of("IssueCommentEvent", none, Some("created")), None);
}

#[test]
fn names_of_repositories_have_two_plain_parts() {
    for good in ["a/b", "Ann-1/tool.js", "a/_x"] {
        assert!(is_repo_name(good), "{good}");
    }
    for bad in ["", "a", "/b", "a/", "a/b/c", "a/b c", "a/<b>", "ä/b", "a/\"b\""] {
        assert!(!is_repo_name(bad), "{bad}");
    }
}

proptest! {
    #[test]
    fn rows_are_maps_and_come_back(
        adds in prop::collection::vec((0_u16..1_024, 0_u64..400), 0..80)
    ) {
        let (mut row, mut plain) = (SlotCounts::default(), BTreeMap::new());
        for (slot, n) in adds {
            row.add(slot, n);
            if n > 0 {
                *plain.entry(slot).or_insert(0) += n;
            }
        }
        prop_assert_eq!(row.iter().collect::<Vec<_>>(), plain.into_iter().collect::<Vec<_>>());
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        prop_assert_eq!(SlotCounts::decode(&bytes), Some(row));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Some(row) = SlotCounts::decode(&bytes) {
            let _ = DayHours::default().sum(&row);
        }
    }
}
