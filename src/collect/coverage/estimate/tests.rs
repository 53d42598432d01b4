use super::*;

/// Draws a sequence of ids like GitHub's: steps of many sizes and a few inversions.
fn draw(rng: &mut fastrand::Rng, n: usize) -> Vec<u64> {
    let mut id = 10_000_000_000_u64;
    let mut ids: Vec<u64> = (0..n)
        .map(|_| {
            let burst = if rng.u8(0..10) == 0 { 12 } else { 1 };
            id += 1 + rng.u64(0..8) * burst;
            id
        })
        .collect();
    for at in 1..ids.len() {
        if rng.u16(0..400) == 0 {
            ids.swap(at - 1, at);
        }
    }
    ids
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_seconds(1_800_000_000 + second)
}

/// Reads the newest hundred after every `moved` ids, to the end. Returns the estimate and the true
/// number.
fn read(rng: &mut fastrand::Rng, moved: impl Fn(&mut fastrand::Rng) -> usize) -> (Missed, f64) {
    let ids = draw(rng, 12_000);
    let mut coverage = IdCoverage::default();
    let (mut end, mut second) = (100, 0);
    let (mut missed, mut read_to) = (0, 0);
    while end <= ids.len() {
        missed += (end - 100).saturating_sub(read_to);
        read_to = end;
        coverage.take(ids[end - 100..end].to_vec(), at(second));
        (end, second) = (end + moved(rng), second + 1);
    }
    (coverage.missed(), count(missed))
}

#[test]
fn the_truth_lies_within_the_interval_at_any_share_missed() {
    for share in [0_u16, 10, 25, 50, 75, 90] {
        let inside = (0..100).filter(|seed| {
            let mut rng = fastrand::Rng::with_seed(u64::from(share) * 1_000 + seed);
            let mean = 100.0 / (1.0 - f64::from(share) / 100.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let mean = mean as usize;
            let (missed, truth) =
                read(&mut rng, |rng| rng.usize(mean - mean / 5..=mean + mean / 5));
            assert!(missed.high - missed.low < 0.6 * (truth + 200.0), "{missed:?}, truly {truth}");
            (missed.low..=missed.high).contains(&truth)
        });
        let inside = inside.count();
        assert!(inside >= 95, "at {share} %: {inside} of 100");
    }
}

#[test]
fn reads_that_meet_missed_nothing() {
    let (missed, truth) = read(&mut fastrand::Rng::with_seed(1), |rng| rng.usize(1..90));
    assert_eq!((missed.low, missed.estimate, missed.high, truth), (0.0, 0.0, 0.0, 0.0));
    assert!((11_800.0..=12_100.0).contains(&missed.seen), "{missed:?}");
}

#[test]
fn ids_that_jump_ahead_are_a_new_sequence() {
    let ids = draw(&mut fastrand::Rng::with_seed(3), 6_000);
    for jump in [1_u64 << 32, 10_u64.pow(15), 1 << 62] {
        let mut coverage = IdCoverage::default();
        for (second, end) in (100..=ids.len()).step_by(80).enumerate() {
            let by = if end > 3_000 { jump } else { 0 };
            let shown = ids[end - 100..end].iter().map(|id| id + by).collect();
            coverage.take(shown, at(i64::try_from(second).unwrap()));
        }
        let missed = coverage.missed();
        assert!(missed.high < 10.0, "{jump}: {missed:?}");
        let since = coverage.missed_since(at(30)).unwrap();
        assert!(since.high < 10.0, "{jump}: {since:?}");
    }
}

#[test]
fn one_read_a_minute_of_a_busy_feed_is_no_jump() {
    let ids = draw(&mut fastrand::Rng::with_seed(4), 12_000);
    let mut coverage = IdCoverage::default();
    // Of 5,900 events a minute one read shows the newest hundred.
    for (minute, end) in [100, 6_000, 11_900].into_iter().enumerate() {
        coverage.take(ids[end - 100..end].to_vec(), at(60 * i64::try_from(minute).unwrap()));
    }
    let missed = coverage.missed();
    assert!((missed.low..=missed.high).contains(&11_600.0), "{missed:?}");
}

#[test]
fn ids_shown_by_another_page_are_not_missed() {
    let ids = draw(&mut fastrand::Rng::with_seed(2), 5_000);
    let (mut all, mut page) = (IdCoverage::default(), IdCoverage::default());
    for (second, end) in (200..=ids.len()).step_by(150).enumerate() {
        let second = at(i64::try_from(second).unwrap());
        // The page shows the second hundred, another one the first; half of what passes the page
        // is shown only there.
        for shown in [&ids[end - 100..end], &ids[end - 200..end - 100]] {
            all.take(shown.to_vec(), second);
        }
        page.take(ids[end - 200..end - 100].to_vec(), second);
    }
    assert!(page.missed().low > 1_000.0, "{:?}", page.missed());
    let missed = all.missed_on(&page);
    assert!(missed.low <= 0.0 && missed.high < 0.01 * missed.seen, "{missed:?}");
    assert!(missed.seen > 2_500.0, "{missed:?}");
    // Events that no page shows passed it all the same.
    all.take(ids[4_000..].iter().map(|id| id + 20_000).collect(), at(60));
    page.take(ids[4_000..].iter().map(|id| id + 20_000).collect(), at(60));
    let (whole, own) = (all.missed(), all.missed_on(&page));
    assert!(own.low > 0.0 && (own.estimate - whole.estimate).abs() < 1.0, "{own:?} {whole:?}");
}

#[test]
fn partial_reads_are_estimated_by_their_overlap() {
    let inside = (0..100).filter(|seed| {
        let mut rng = fastrand::Rng::with_seed(*seed);
        let ids = draw(&mut rng, 6_000);
        let mut coverage = IdCoverage::default();
        let mut seen = std::collections::HashSet::new();
        for (second, end) in (300..=ids.len()).step_by(100).enumerate() {
            // Each id of the last three hundred is shown by one read of two.
            let shown: Vec<u64> =
                ids[end - 300..end].iter().copied().filter(|_| rng.bool()).collect();
            seen.extend(shown.iter().copied());
            coverage.take(shown, at(i64::try_from(second).unwrap()));
        }
        let truth = count(ids.len() - seen.len());
        let missed = coverage.missed();
        (missed.low..=missed.high).contains(&truth)
    });
    let inside = inside.count();
    assert!(inside >= 90, "{inside} of 100");
}

#[test]
fn late_events_new_sequences_and_old_pages_are_no_gaps() {
    let mut rng = fastrand::Rng::with_seed(5);
    let ids = draw(&mut rng, 400);
    let mut coverage = IdCoverage::default();
    // Two events of last week among the new ones.
    let mut first = ids[100..200].to_vec();
    first.extend([9_000_000_000, 9_500_000_000]);
    coverage.take(first, at(0));
    coverage.take(ids[150..250].to_vec(), at(1));
    assert!(coverage.missed().high <= 0.0);
    // An old page again, and ids that start again.
    coverage.take(ids[0..90].to_vec(), at(2));
    coverage.take((1..100).map(|id| id * 7).collect(), at(3));
    assert!(coverage.missed().high <= 0.0);
}

#[test]
fn ids_older_than_the_window_are_forgotten() {
    let mut rng = fastrand::Rng::with_seed(6);
    let ids = draw(&mut rng, 1_000);
    let mut coverage = IdCoverage::default();
    coverage.take(ids[0..100].to_vec(), at(0));
    coverage.take(ids[800..900].to_vec(), at(500));
    coverage.take(ids[850..950].to_vec(), at(550));
    let missed = coverage.missed();
    assert!(missed.low > 200.0 && missed.high > 600.0, "{missed:?}");
    coverage.roll(at(700));
    assert!(coverage.missed().high <= 0.0);
    for second in 0..2 * i64::try_from(MOST_RUNS).unwrap() {
        coverage.take(ids[..20].to_vec(), at(second));
    }
    assert_eq!(coverage.runs.len(), MOST_RUNS);
    coverage.roll(at(100_000));
    assert_eq!(coverage.missed(), Missed::default());
    coverage.take(vec![u64::MAX, 0, 5, 5], at(100_001));
    coverage.take(Vec::new(), at(100_001));
    assert_eq!(coverage.missed(), Missed::default());
}

#[test]
fn ids_at_the_ends_of_their_range_are_numbers_like_others() {
    let ends: Vec<u64> = (0..60).chain(u64::MAX - 60..=u64::MAX).collect();
    let spread: Vec<u64> = (0..=100).map(|n| n * (u64::MAX / 100)).collect();
    let mut coverage = IdCoverage::default();
    for (second, ids) in [&ends, &spread, &ends[..60].to_vec(), &vec![u64::MAX; 100], &spread]
        .into_iter()
        .enumerate()
    {
        coverage.take(ids.clone(), at(i64::try_from(second).unwrap()));
        let missed = coverage.missed();
        assert!(missed.low <= missed.high, "{missed:?}");
    }
}
