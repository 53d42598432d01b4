//! The number of missed events: compares the estimate with the simulated GitHub's own record.

use crate::common::missed;

/// Runs at each share; `GHPULSE_SIM_RUNS` makes more.
const RUNS: u64 = 5;

#[tokio::test(flavor = "multi_thread")]
async fn the_truth_lies_within_the_interval_of_all_and_of_each_page() {
    let runs = super::number("GHPULSE_SIM_RUNS").unwrap_or(RUNS);
    let (mut all, mut inside) = (0, 0);
    for share in [0.0, 0.3, 0.7, 0.9] {
        for seed in 0..runs {
            let figures = missed::run(seed, share).await;
            for (part, figure) in ["all", "page 1", "page 2", "page 3"].iter().zip(&figures) {
                let holds = missed::holds(figure);
                (all, inside) = (all + 1, inside + u64::from(holds));
                if !holds {
                    let (missed, truth) = figure;
                    println!("seed {seed} at {share}, {part}: {missed:?}, truly {truth}");
                }
                // If nothing was missed, the number is known rather than estimated.
                assert!(share > 0.0 || figure.0.high < 1.0, "{part}: {figure:?}");
            }
            let (missed, truth) = figures[0];
            let width = (missed.high - missed.low) / (truth + 100.0);
            assert!(width < 0.5, "an interval that says nothing: {missed:?}, truly {truth}");
        }
    }
    assert!(inside * 100 >= all * 95, "{inside} of {all}");
}
