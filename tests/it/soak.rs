//! One appliance with all of its parts, while everything around it fails at random: GitHub, brokers
//! and the database are away, slow and wrong, the clock steps, the disk fills up, clients attack,
//! and the process is killed. An independent model checks every reader all the while.
//!
//! `make soak MINUTES=20` runs it with fresh seeds; a failure prints the command that repeats its
//! seed. What happens is drawn from the seed; when exactly is up to the machine.

mod hostile;
mod process;
mod readers;
mod servers;
mod site;
mod troubles;

use std::time::Duration;

use ghpulse::clock::Clock;

use servers::Servers;
use site::Site;

/// The deadline of every wait; brokers that were killed need a minute on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(240);
/// Rounds of a seed in `make test`, and in a long run.
const ROUNDS: [u32; 2] = [4, 12];

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_at_once_loses_and_doubles_nothing() {
    let minutes = number("TEST_SOAK_MINUTES");
    let first = number("TEST_SOAK_SEED").unwrap_or(1);
    let rounds = ROUNDS[usize::from(minutes.is_some())];
    let time = Duration::from_secs(60 * minutes.unwrap_or(0));
    let clock = Clock::system();
    let (began, mut seed) = (clock.instant(), first);
    let mut servers = Servers::start(minutes.is_some()).await;
    let (mut events, mut kills) = (0, 0);
    loop {
        println!("seed {seed}: TEST_SOAK_SEED={seed} make soak MINUTES=0");
        let mut site = Site::start(&mut servers, seed).await;
        for round in 1..=rounds {
            site.round(round).await;
        }
        let done = site.end().await;
        events += done.events;
        kills += done.kills;
        seed += 1;
        let lasted = clock.instant() - began;
        if lasted >= time {
            let seeds = seed - first;
            println!(
                "report: {seeds} seeds, {events} events, {kills} kills in {lasted:.0?}: all is right"
            );
            return;
        }
    }
}
