//! Missed events: compares the estimate with the simulated GitHub's own list, at shares of 0 to 90
//! %. A run reads all three pages twenty times; the truth is what the pages never showed.

use crate::missing;

/// Runs for each share.
const RUNS: u64 = 25;
const SHARES: [f64; 6] = [0.0, 0.1, 0.25, 0.5, 0.75, 0.9];

/// Measures and prints.
pub fn run() {
    println!("missed: how often the truth lies in the interval, and how wide that is");
    println!("| missed | all | page 1 | page 2 | page 3 | half the width, all |");
    println!("|---|---|---|---|---|---|");
    let runtime = tokio::runtime::Runtime::new().expect("it is Linux");
    let (mut inside, mut all) = (0, 0);
    for share in SHARES {
        let mut counts = [0_u64; 4];
        let (mut width, mut truths) = (0.0, 0.0);
        for seed in 0..RUNS {
            let figures = runtime.block_on(missing::run(seed, share));
            for (count, figure) in counts.iter_mut().zip(&figures) {
                *count += u64::from(missing::holds(figure));
            }
            let (missed, truth) = figures[0];
            width += (missed.high - missed.low) / 2.0;
            truths += truth;
        }
        let cells = counts.map(|count| format!("{count} of {RUNS}")).join(" | ");
        let width = if truths > 0.0 { width / truths * 100.0 } else { 0.0 };
        println!("| {:.0} % | {cells} | {width:.1} % of the truth |", share * 100.0);
        inside += counts.iter().sum::<u64>();
        all += 4 * RUNS;
    }
    println!("in all {inside} of {all}");
}
