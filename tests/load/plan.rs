//! How complete polling can be, by the number of tokens and the rate of events: the model of
//! `tests/common/plan.rs`.

use crate::planned;

const TOKENS: [usize; 4] = [0, 1, 3, 10];
const RATES: [u32; 4] = [50, 100, 160, 250];

pub fn run() {
    println!("plan: share of pushes / of pull requests on pages that are read");
    println!("| events a second | {} |", TOKENS.map(|n| format!("{n} tokens")).join(" | "));
    println!("|---|{}", "---|".repeat(TOKENS.len()));
    for rate in RATES {
        let cells = TOKENS.map(|tokens| {
            let (pushes, rest) = planned::shares(tokens, f64::from(rate));
            format!("{:.0} % / {:.0} %", pushes * 100.0, rest * 100.0)
        });
        println!("| {rate} | {} |", cells.join(" | "));
    }
}
