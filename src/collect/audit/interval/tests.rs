use super::*;

fn clusters(count: usize, seen: f64, grown: f64) -> Vec<ClusterSum> {
    vec![ClusterSum { seen, grown }; count]
}

fn share(all: &[ClusterSum]) -> Option<[f64; 3]> {
    seen_share(all.iter().copied(), UndoneShare::default())
}

#[test]
fn few_samples_give_no_share() {
    assert_eq!(share(&[]), None);
    assert_eq!(share(&clusters(19, 1.0, 1.0)), None, "too few events");
    assert_eq!(share(&clusters(7, 50.0, 100.0)), None, "too few repositories");
    let mut one_leads = clusters(100, 1.0, 1.0);
    one_leads.push(ClusterSum { seen: 0.0, grown: 10_000.0 });
    assert_eq!(share(&one_leads), None, "one repository has nearly all events");
    assert_eq!(share(&clusters(100, 0.0, -1.0)), None, "all totals fell");
    assert_eq!(share(&clusters(100, f64::MIN_POSITIVE, 0.0)), None);
}

#[test]
fn bounds_keep_their_meaning_at_the_ends() {
    let [low, estimate, high] = share(&clusters(100, 1.0, 1.0)).unwrap();
    assert!((estimate, high) == (1.0, 1.0) && (0.94..0.97).contains(&low), "{low}");
    let [low, estimate, high] = share(&clusters(100, 0.0, 1.0)).unwrap();
    assert!((low, estimate) == (0.0, 0.0) && (0.03..0.06).contains(&high), "{high}");
    // More seen than the totals grew by: they were read a little too early.
    let [low, estimate, high] = share(&clusters(100, 1.1, 1.0)).unwrap();
    assert!((estimate, high) == (1.0, 1.0) && low > 0.8, "{low}");
}

#[test]
fn independent_events_give_wilsons_interval() {
    let all: Vec<_> =
        (0..400).map(|n| ClusterSum { seen: f64::from(n % 4 / 3), grown: 1.0 }).collect();
    let [low, estimate, high] = share(&all).unwrap();
    let [wilson_low, wilson_high] = wilson(0.25, 400.0, student(399.0));
    assert!((estimate - 0.25).abs() < 1e-9);
    assert!((low - wilson_low).abs() < 1e-3 && (high - wilson_high).abs() < 1e-3);
    // Seen or missed together, 400 events in 20 repositories say far less.
    let all: Vec<_> =
        (0..20).map(|n| ClusterSum { seen: 20.0 * f64::from(n % 4 / 3), grown: 20.0 }).collect();
    let [low, _, high] = share(&all).unwrap();
    assert!(high - low > 3.0 * (wilson_high - wilson_low), "{low} to {high}");
}

#[test]
fn quantile_is_students() {
    // From a table: 10, 30 and infinitely many degrees of freedom.
    for (freedom, wanted) in [(7.0, 2.365), (10.0, 2.228), (30.0, 2.042), (1e9, 1.960)] {
        assert!((student(freedom) / wanted - 1.0).abs() < 0.01, "{freedom}");
    }
}

#[test]
fn undone_share_needs_enough_steps() {
    assert_eq!(UndoneShare::of_steps(19, 0), None);
    let undone = UndoneShare::of_steps(1_000, 80).unwrap();
    assert!((undone.ratio - 0.08).abs() < 1e-9);
    assert!(undone.variance.sqrt() < 0.01);
    let all = clusters(1_000, 0.46, 0.92);
    let [low, estimate, high] = seen_share(all.iter().copied(), undone).unwrap();
    assert!((estimate - 0.46).abs() < 1e-9, "half of the net growth is less of all: {estimate}");
    assert!(low < 0.44 && high > 0.48);
}
