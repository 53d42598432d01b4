//! Tests of the windows, names and expiry of buckets, against plain sums.

use proptest::prelude::*;

use super::*;

fn counted(entries: &[(i64, &str, i64)]) -> Buckets {
    let mut buckets = Buckets::default();
    for &(second, name, n) in entries {
        buckets.add(Second(second), name, n).unwrap();
    }
    buckets
}

#[test]
fn snapshot_has_the_window_and_the_one_before() {
    let buckets = counted(&[(90, "Go", 1), (95, "Go", 2), (99, "C", 4), (100, "C", 8)]);
    let taken = buckets.snapshot(Window { from: Second(95), until: Second(100) });
    let seconds = |buckets: &[Arc<Bucket>]| buckets.iter().map(|b| b.at().0).collect::<Vec<_>>();
    assert_eq!(seconds(taken.buckets()), [95, 99]);
    assert_eq!(seconds(taken.previous()), [90]);
    assert_eq!(taken.sum(), [("C", 4), ("Go", 2)].into_iter().collect());
}

#[test]
fn inverted_window_is_empty() {
    let buckets = counted(&[(5, "Go", 1)]);
    let taken = buckets.snapshot(Window { from: Second(9), until: Second(3) });
    assert!(taken.buckets().is_empty() && taken.previous().is_empty() && taken.sum().is_empty());
}

#[test]
fn snapshot_never_changes() {
    let mut buckets = counted(&[(1, "Go", 1), (2, "C", 5)]);
    let window = Window { from: Second(0), until: Second(10) };
    let taken = buckets.snapshot(window);
    buckets.add(Second(1), "Go", 10).unwrap();
    buckets.expire(Second(2));
    // The number of "Go" is free now, and another name gets it.
    buckets.add(Second(3), "Zig", 7).unwrap();
    assert_eq!(taken.sum(), [("C", 5), ("Go", 1)].into_iter().collect());
    assert_eq!(buckets.snapshot(window).sum(), [("C", 5), ("Zig", 7)].into_iter().collect());
}

#[test]
fn clock_ahead_for_a_moment_does_not_empty_the_window() {
    let mut buckets = Buckets::default();
    for second in 0..50 {
        buckets.add(Second(second), "Go", 1).unwrap();
    }
    let mut sum_at = |now| {
        let window = Window::ending_with(Second(now), 10);
        buckets.expire_window(window.previous().from, window.until);
        buckets.snapshot(window).sum().get("Go")
    };
    assert_eq!((sum_at(49), sum_at(2_000_000), sum_at(-9)), (10, 0, 0));
    assert_eq!(sum_at(49), 10);
    // Buckets before both windows are dropped: twenty seconds are kept.
    assert_eq!(buckets.seconds(), 20);
}

#[test]
fn refused_names_are_not_counted_under_others() {
    let mut buckets = Buckets::default();
    let longest = "x".repeat(NAME_BYTES);
    assert_eq!(buckets.add(Second(1), &longest, 1), Ok(()));
    assert_eq!(buckets.add(Second(1), &"x".repeat(65), 1), Err(CountError::TooLong(65, 64)));
    assert_eq!(buckets.add(Second(1), "", 1), Err(CountError::Empty));
    for other in 1..NAMES {
        buckets.add(Second(2), &format!("language {other}"), 1).unwrap();
    }
    assert_eq!(buckets.add(Second(3), "one too many", 1), Err(CountError::TooMany(NAMES)));
    assert_eq!(buckets.add(Second(3), "language 1", 1), Ok(()), "a known name is still counted");
    let all = buckets.snapshot(Window { from: Second(0), until: Second(9) }).sum();
    assert_eq!((all.len(), all.get("language 1"), all.get("one too many")), (NAMES, 2, 0));
    buckets.expire(Second(2));
    assert_eq!(buckets.add(Second(3), "one too many", 1), Ok(()), "expiry makes room again");
}

#[test]
fn subtracted_counts_leave_nothing() {
    let mut buckets = counted(&[(1, "Go", 3), (1, "Go", -3), (2, "C", 0)]);
    assert_eq!((buckets.seconds(), buckets.names()), (0, 0));
    buckets.add(Second(1), "C", 1).unwrap();
    assert_eq!(buckets.snapshot(Window::ending_with(Second(1), 1)).sum().get("C"), 1);
}

#[test]
fn oldest_buckets_are_dropped_at_the_limit() {
    let mut buckets = Buckets::default();
    for second in 0..=i64::try_from(SECONDS).unwrap() {
        buckets.add(Second(second), "Go", 1).unwrap();
    }
    assert_eq!(buckets.seconds(), SECONDS);
    assert!(buckets.snapshot(Window::ending_with(Second(0), 1)).buckets().is_empty());
}

#[test]
fn wide_buckets_begin_at_multiples_of_their_width() {
    let mut buckets = Buckets::with_layout(BucketLayout { step: 24, ..BucketLayout::default() });
    for second in [47, 48, 71, 72] {
        buckets.add(Second(second), "Go", 1).unwrap();
    }
    let window = buckets.window(Second(50), 48);
    assert_eq!(window, Window { from: Second(24), until: Second(72) });
    let taken = buckets.snapshot(window);
    let counts: Vec<_> = taken.buckets().iter().map(|b| (b.at().0, b.total())).collect();
    assert_eq!(counts, [(24, 1), (48, 2)]);
    assert_eq!(taken.bucket_of(Second(71)), Second(48));
}

#[test]
fn dropped_buckets_are_recorded() {
    let mut buckets = Buckets::with_layout(BucketLayout { cells: 3, ..BucketLayout::default() });
    for (second, name) in [(1, "Go"), (1, "C"), (2, "Go")] {
        buckets.add(Second(second), name, 1).unwrap();
    }
    assert_eq!(buckets.dropped_before(), None);
    buckets.add(Second(3), "C", 1).unwrap();
    assert_eq!((buckets.dropped_before(), buckets.seconds()), (Some(Second(2)), 2));
    buckets.add(Second(3), "C", -1).unwrap();
    buckets.add(Second(4), "C", 1).unwrap();
    buckets.add(Second(4), "Go", 1).unwrap();
    assert_eq!((buckets.dropped_before(), buckets.seconds()), (Some(Second(2)), 2));
}

proptest! {
    #[test]
    fn sum_equals_additions_inside_the_window(
        entries in prop::collection::vec((0_i64..60, "[a-f]", -3_i64..9), 0..200),
        from in 0_i64..60, len in 0_i64..40, expired in 0_i64..60,
    ) {
        let window = Window { from: Second(from), until: Second(from + len) };
        let mut buckets = Buckets::default();
        let mut expected = Tally::default();
        for (second, name, n) in &entries {
            buckets.add(Second(*second), name, *n).unwrap();
            if window.contains(Second(*second)) && *second >= expired {
                expected.add(name.as_str(), *n);
            }
        }
        buckets.expire(Second(expired));
        let taken = buckets.snapshot(window);
        let positive = expected.iter().filter(|&(_, n)| n > 0);
        let positive: Tally = positive.map(|(name, n)| (Arc::clone(name), n)).collect();
        prop_assert_eq!(taken.sum(), positive);
        for bucket in taken.buckets() {
            let sum: i64 = bucket.counts().iter().map(|&(_, n)| n).sum();
            prop_assert_eq!(bucket.total(), sum);
            prop_assert!(!bucket.counts().is_empty());
        }
        buckets.expire(Second(1_000));
        prop_assert_eq!((buckets.seconds(), buckets.names()), (0, 0));
    }
}
