//! The interval against the truth, over many seeded worlds: repositories whose activity is spread
//! as GitHub's (a few have most of it), whose stars are taken back to different parts, and of which
//! events are hidden one by one or all of a repository.

use super::*;

/// Looks in the horizon.
const LOOKS: i64 = 24;
/// Repositories of the sample, and how many more there are for each of it.
const SAMPLED: u64 = 1_500;
const OTHERS: u64 = 3;

/// What is hidden.
#[derive(Debug, Clone, Copy)]
enum Hidden {
    /// Each event independently.
    Events,
    /// All events of a repository, or none.
    Repositories,
}

/// A number of events with this mean (Knuth's method in pieces, so that no product vanishes).
fn poisson(rng: &mut Rng, mean: f64) -> u32 {
    let (mut left, mut count) = (mean, 0);
    while left > 0.0 {
        let piece = left.min(20.0);
        left -= piece;
        let (limit, mut product) = ((-piece).exp(), rng.f64());
        while product > limit {
            product *= rng.f64();
            count += 1;
        }
    }
    count
}

/// Events a day of a repository: Pareto with a tail of 1.2, cut at 1,500.
fn events_a_day(rng: &mut Rng) -> f64 {
    (0.1 * (1.0 - rng.f64()).powf(-1.0 / 1.2)).min(1_500.0)
}

/// Lets a day pass for one repository. Returns what happened and what of it was shown.
fn live(
    rng: &mut Rng,
    panel: Option<&mut AuditSample>,
    hash: u64,
    hide: f64,
    how: Hidden,
) -> [u32; 2] {
    let mean = events_a_day(rng);
    let stars = poisson(rng, mean);
    let undone_part = rng.f64() * 0.14;
    let is_hidden = rng.f64() < hide;
    let mut intervals: BTreeMap<i64, (u32, i32)> = BTreeMap::new();
    let mut shown = 0;
    for _ in 0..stars {
        let at = rng.i64(0..LOOKS);
        let is_seen = match how {
            Hidden::Events => rng.f64() >= hide,
            Hidden::Repositories => !is_hidden,
        };
        let interval = intervals.entry(at).or_default();
        interval.0 += u32::from(is_seen);
        interval.1 += 1;
        shown += u32::from(is_seen);
        if rng.f64() < undone_part {
            intervals.entry(rng.i64(at..LOOKS)).or_default().1 -= 1;
        }
    }
    // Stars of earlier days are taken back too.
    for _ in 0..poisson(rng, 0.01) {
        intervals.entry(rng.i64(0..LOOKS)).or_default().1 -= 1;
    }
    if let Some(panel) = panel {
        for (at, (seen, grown)) in intervals {
            panel.closed.push_back(ClosedInterval(at, hash, 0, seen, grown));
        }
    }
    [stars, shown]
}

/// How often of all trials the truth was within the interval, and the mean length of the interval.
fn trials(first: u64, count: u32, hide: f64, how: Hidden) -> (u32, f64) {
    let (mut within, mut length) = (0, 0.0);
    for trial in 0..count {
        let mut rng = Rng::with_seed(first + u64::from(trial));
        let mut panel = AuditSample::default();
        let (mut happened, mut shown) = (0, 0);
        for hash in 0..SAMPLED * (1 + OTHERS) {
            let sampled = (hash < SAMPLED).then_some(&mut panel);
            if sampled.is_none() && matches!(how, Hidden::Events) {
                continue;
            }
            let [all, seen] = live(&mut rng, sampled, hash, hide, how);
            happened += all;
            shown += seen;
        }
        // Of single events the law is known; of repositories, what happened in all of them.
        let truth = match how {
            Hidden::Events => 1.0 - hide,
            Hidden::Repositories => f64::from(shown) / f64::from(happened),
        };
        let Some([low, _, high]) = panel.share(AuditedKind::Stars).share else {
            within += 1;
            continue;
        };
        within += u32::from(low <= truth && truth <= high);
        length += high - low;
    }
    (within, length / f64::from(count))
}

#[test]
fn truth_is_within_95_of_100_times_events_hidden() {
    for hide in [0.0, 0.1, 0.25, 0.5, 0.75, 0.9] {
        let (within, length) = trials(100, 100, hide, Hidden::Events);
        println!("{hide}: {within} of 100, {length:.3}");
        assert!(within >= 92, "{hide}: {within} of 100");
        assert!(length < 0.25, "{hide}: an interval of {length} says nothing");
    }
}

#[test]
fn truth_is_within_95_of_100_times_repositories_hidden() {
    for hide in [0.1, 0.5, 0.9] {
        let (within, length) = trials(900, 60, hide, Hidden::Repositories);
        println!("{hide}: {within} of 60, {length:.3}");
        assert!(within >= 54, "{hide}: {within} of 60");
        assert!(length < 0.6, "{hide}: an interval of {length} says nothing");
    }
}
