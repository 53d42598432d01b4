//! The seen share with its 95 % interval: a ratio over clusters, the repositories.
//!
//! The estimate is the sum of what was seen over the sum of what GitHub's totals grew by, corrected
//! for what was undone. Its error has three parts, which are added in quadrature:
//!
//! - which of the events happened to be seen: Wilson's score interval for that many events, which
//!   keeps its meaning at 0 and 1;
//! - that events of one repository are seen or missed together, and what is undone: how far the
//!   repositories' own shares scatter around the common one (the linearised variance of a ratio);
//! - the error of the undone share.
//!
//! A few busy repositories have most of the events, so the quantile is Student's, for as many
//! repositories as would carry the same weight if all were equal.

use std::collections::HashMap;

/// The quantile of the normal distribution for 95 %.
const Z: f64 = 1.959_964;
/// Below this many repositories of equal weight, the interval is unknown.
const FEW_CLUSTERS: f64 = 8.0;
/// Below this many events, the interval is unknown.
const FEW_EVENTS: f64 = 20.0;
/// Changes by one that have to be known before the undone share is.
const FEW_STEPS: f64 = 20.0;
/// By how much of itself the undone share of busy repositories may differ from that of quiet ones,
/// where it is measured.
const UNDONE_VARIES: f64 = 0.25;
/// The least weight of all other repositories when one is left out.
const MOST_DRAWN: f64 = 0.25;

/// What happened in one repository while it was watched.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct ClusterSum {
    /// Events that were seen.
    pub(super) seen: f64,
    /// What GitHub's total grew by; negative when more was undone than done.
    pub(super) grown: f64,
}

/// The undone share: of all that was done, how much was taken back.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct UndoneShare {
    pub(super) ratio: f64,
    variance: f64,
}

impl UndoneShare {
    /// Estimates it from intervals in which a total changed by exactly one: where things are done
    /// and undone independently of each other, falls by one are to rises by one as all that was
    /// undone is to all that was done, however busy a repository is (the distribution of the
    /// difference of two Poisson variables). `None` while there are too few.
    pub(super) fn of_steps(rises: u64, falls: u64) -> Option<Self> {
        let (rises, falls) = (float(rises), float(falls));
        if rises < FEW_STEPS {
            return None;
        }
        let ratio = (falls / rises).min(0.9);
        Some(Self { ratio, variance: (falls + 1.0) * (1.0 + ratio) / (rises * rises) })
    }
}

/// The seen share: lower bound, estimate, upper bound; `None` while there is too little to tell.
pub(super) fn seen_share(
    clusters: impl Iterator<Item = ClusterSum> + Clone,
    undone: UndoneShare,
) -> Option<[f64; 3]> {
    let kept = 1.0 - undone.ratio;
    let (mut seen, mut grown, mut weight, mut squares) = (0.0, 0.0, 0.0, 0.0);
    for cluster in clusters.clone() {
        seen += cluster.seen;
        grown += cluster.grown;
        let size = cluster.grown.abs().max(cluster.seen);
        weight += size;
        squares += size * size;
    }
    let happened = grown / kept;
    if happened < FEW_EVENTS || squares <= 0.0 {
        return None;
    }
    let equals = weight * weight / squares;
    if equals < FEW_CLUSTERS {
        return None;
    }
    let share = (seen / happened).clamp(0.0, 1.0);
    let (mut count, mut scatter) = (0.0, 0.0);
    for cluster in clusters {
        // As if the repository were left out: a busy one draws the estimate to itself.
        let others = (1.0 - cluster.grown.abs() / grown).max(MOST_DRAWN);
        let rest = (cluster.seen * kept - share * cluster.grown) / others;
        scatter += rest * rest;
        count += 1.0;
    }
    let variance = scatter / (grown * grown) * count / (count - 1.0_f64).max(1.0);
    let chance = share * (1.0 - share) / happened;
    let undone_error = share * share * undone.variance / (kept * kept);
    let more = (variance - chance).max(0.0) + undone_error;
    let quantile = student(equals - 1.0);
    let [low, high] = wilson(share, happened, quantile);
    // Where little is seen, one more busy repository of which all is seen would make much of a
    // difference: the upper bound is further away than the lower one.
    let scattered = variance.max(chance);
    let alike = if scattered > 0.0 { share * (1.0 - share) / scattered } else { happened };
    let alike = alike.clamp(1.0, happened);
    let [_, farther] = wilson(share, alike, quantile);
    let widen = |bound: f64| ((bound - share).powi(2) + quantile * quantile * more).sqrt();
    let varies = UNDONE_VARIES * undone.ratio / kept;
    let low = (share - widen(low)).max(0.0) * (1.0 - varies);
    let high = share + widen(high);
    let high = if share < 0.5 { high.max(farther) } else { high }.min(1.0) * (1.0 + varies);
    Some([low.clamp(0.0, share), share, high.clamp(share, 1.0)])
}

/// Wilson's score interval for a share of `n` events (E. B. Wilson, 1927).
fn wilson(share: f64, n: f64, quantile: f64) -> [f64; 2] {
    let square = quantile * quantile;
    let middle = share + square / (2.0 * n);
    let half = quantile * (share * (1.0 - share) / n + square / (4.0 * n * n)).sqrt();
    let all = 1.0 + square / n;
    [((middle - half) / all).max(0.0), ((middle + half) / all).min(1.0)]
}

/// Student's quantile for 95 %, by the expansion of Cornish and Fisher; within 1 % from seven
/// degrees of freedom on.
fn student(freedom: f64) -> f64 {
    let cube = Z.powi(3);
    let first = (cube + Z) / 4.0;
    let second = (5.0 * Z.powi(5) + 16.0 * cube + 3.0 * Z) / 96.0;
    Z + first / freedom + second / (freedom * freedom)
}

/// Sums by repository.
#[derive(Debug, Default)]
pub(super) struct Clusters(HashMap<u64, ClusterSum>);

impl Clusters {
    /// Adds what happened in an interval.
    pub(super) fn add(&mut self, repository: u64, seen: u32, grown: i64) {
        let sum = self.0.entry(repository).or_default();
        sum.seen += f64::from(seen);
        sum.grown += signed(grown);
    }

    /// The sums.
    pub(super) fn sums(&self) -> impl Iterator<Item = ClusterSum> + Clone + '_ {
        self.0.values().copied()
    }

    /// The sum of one repository.
    pub(super) fn of(&self, repository: u64) -> Option<ClusterSum> {
        self.0.get(&repository).copied()
    }

    /// Everything seen, and everything that the totals grew by.
    pub(super) fn totals(&self) -> (u64, i64) {
        let seen: f64 = self.0.values().map(|sum| sum.seen).sum();
        let grown: f64 = self.0.values().map(|sum| sum.grown).sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "sums of whole numbers, far below 2^53"
        )]
        (seen as u64, grown as i64)
    }

    /// Number of repositories.
    pub(super) fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn signed(count: i64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
