//! `kill -9` at seeded moments, repeatedly on the same directory: while the process starts,
//! recovers, polls, waits for GitHub's responses and stops.
//!
//! `make kills N=10000` runs more, with fresh seeds; a failure prints the command that repeats it.

use super::*;

/// Kills in `make test`.
const KILLS: u64 = 200;
/// Kills per directory before all events are applied and compared with the model.
const OF_A_SITE: u64 = 50;
/// Events per kill: GitHub's pages show those of a hundred kills.
const EMITTED: usize = 3;
/// Latest kill, in milliseconds after the start of the process.
const LATEST: u64 = 900;

impl Site {
    /// Starts processes on one directory and kills each at a random moment, while it starts,
    /// recovers, polls, or waits for responses.
    pub(crate) async fn kill_at_random(
        &self,
        rng: &mut fastrand::Rng,
        kills: u64,
        settings: &[(&str, &str)],
    ) {
        let clock = Clock::system();
        for _ in 0..kills {
            self.control.emit(EMITTED);
            let mut child = self.start_with(None, settings);
            let requests = self.control.requests();
            // At a moment after the start, or after some responses, whichever comes first.
            let moment = Duration::from_micros(rng.u64(..LATEST * 1_000));
            let answers = rng.u64(1..12);
            tokio::select! {
                () = clock.sleep(moment) => {}
                () = self.control.until(|c| c.requests() > requests + answers) => {
                    clock.sleep(Duration::from_micros(rng.u64(..20_000))).await;
                }
            }
            child.kill().await.unwrap();
        }
    }
}

pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a whole number"))
}

/// Kills processes on one directory, and compares the final store with the model.
async fn killed_again_and_again(seed: u64, kills: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    // Today's events wait for GitHub's responses; older ones are complete.
    let shape = if seed.is_multiple_of(2) { Shape::Today } else { Shape::Old };
    let sync = ["batch", "1s"][usize::from(rng.bool())];
    let site = Site::new(seed, shape).await;
    if shape == Shape::Today {
        site.control.set_fault(Fault::new(FaultKind::QuerySlow).share(0.3));
    }
    site.kill_at_random(&mut rng, kills, &[("GHPULSE_STORE_SYNC", sync)]).await;
    site.control.clear_faults();
    assert_eq!(site.control.forgotten(), 0, "GitHub shows what no process has read");
    site.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_at_seeded_moments_lose_and_double_nothing() {
    let kills = number("TEST_KILLS").unwrap_or(KILLS);
    let first = number("TEST_KILLS_SEED").unwrap_or(1);
    let clock = Clock::system();
    let (began, mut done, mut seed) = (clock.instant(), 0, first);
    while done < kills {
        // Two directories in parallel: a process waits most of the time.
        let sites = [seed, seed + 1];
        let each = OF_A_SITE.min((kills - done).div_ceil(2));
        for seed in sites {
            println!("seed {seed}: TEST_KILLS_SEED={seed} make kills N={}", 2 * each);
        }
        tokio::join!(
            killed_again_and_again(sites[0], each),
            killed_again_and_again(sites[1], each)
        );
        done += 2 * each;
        seed += 2;
    }
    println!("report: {done} kills in {:?}: nothing lost, nothing twice", clock.instant() - began);
}
