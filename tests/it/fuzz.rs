//! Fuzzing: mutations of small seeds, for every parser of outside input.
//!
//! ```sh
//! make fuzz SECONDS=60        # each target for a minute, with libFuzzer
//! ```
//!
//! In `make test`, each target runs 100 to 2,000 inputs, the same in every run, without coverage:
//! an input is kept and mutated further if its outcome (accepted or not, which error, how much) was
//! not seen before. In `make fuzz`, libFuzzer makes the inputs (feature `guided`), and keeps those
//! that reach new code. A panic, a violated property, or, without a server, an input that takes
//! longer than [`LONGEST`] fails the target and prints the command that repeats it.

#[cfg(feature = "guided")]
mod guided;
mod peers;
mod served;
mod stored;
mod texts;

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ghpulse::clock::{Clock, CpuStopwatch};

/// Inputs per target in `make test`.
const INPUTS: u64 = 2_000;
/// Most CPU time of the thread for one input of a target without a server; waiting for the machine
/// does not count.
const LONGEST: Duration = Duration::from_secs(10);
/// Most inputs kept for further mutation; the oldest are dropped first.
const KEPT: usize = 2_000;
/// Largest input in bytes.
const LARGEST: usize = 64 << 10;
/// Bytes and fragments that often break parsers.
const PIECES: &[&[u8]] = &[
    b"\0",
    b"\xff",
    b"\x7f",
    b"\x80",
    b"\"",
    b"\\",
    b"\\u",
    b"\\ud83d",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"null",
    b"true",
    b"-1",
    b"1e999",
    b"18446744073709551616",
    b"\r\n",
    b"\r\n\r\n",
    b"#",
    b"*",
    b"!",
    b".",
    b"..",
    b"/",
    b"%00",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b" ",
    b"\t",
    b"{\"id\":\"1\",\"type\":\"PushEvent\"}",
    b"payload",
    b"pull_request",
    b"language",
];

/// A source of inputs.
pub(super) struct Fuzz {
    name: &'static str,
    seed: u64,
    rng: fastrand::Rng,
    kept: Vec<Vec<u8>>,
    /// How many of those kept are seeds, which come first, as they are.
    seeds: usize,
    seen: HashSet<u64>,
    inputs: u64,
    until: Until,
    #[cfg(feature = "guided")]
    guided: Option<guided::Guided>,
}

enum Until {
    Inputs(u64),
    Time(tokio::time::Instant),
}

impl Fuzz {
    /// A source that mutates these seeds.
    pub(super) fn new(name: &'static str, seeds: &[&[u8]]) -> Self {
        Self::slow(name, seeds, 1)
    }

    /// For slow targets: divides the usual number of inputs by `times`.
    pub(super) fn slow(name: &'static str, seeds: &[&[u8]], times: u64) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
        let seed = number("TEST_FUZZ_SEED").unwrap_or(1);
        let time = number("TEST_FUZZ_SECONDS").map(Duration::from_secs);
        let until = match time {
            Some(time) => Until::Time(Clock::system().instant() + time),
            None => Until::Inputs(INPUTS / times),
        };
        let mut kept: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.to_vec()).collect();
        kept.extend(files(&corpus(name)));
        Self {
            name,
            seed,
            rng: fastrand::Rng::with_seed(seed),
            seeds: kept.len(),
            kept,
            seen: HashSet::new(),
            inputs: 0,
            until,
            #[cfg(feature = "guided")]
            guided: time.and_then(|time| guided::Guided::start(name, seeds, seed, time)),
        }
    }

    /// The next input; `None` at the end.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        #[cfg(feature = "guided")]
        if let Some(guided) = &mut self.guided {
            let next = guided.next();
            match next {
                Some(_) => self.inputs += 1,
                None => self.report(),
            }
            return next;
        }
        let is_running = match self.until {
            Until::Inputs(inputs) => self.inputs < inputs,
            Until::Time(end) => Clock::system().instant() < end,
        };
        if !is_running {
            self.report();
            return None;
        }
        let seed = usize::try_from(self.inputs).ok().filter(|seed| *seed < self.seeds);
        let at = seed.unwrap_or_else(|| self.rng.usize(..self.kept.len()));
        let mut input = self.kept[at].clone();
        if seed.is_none() {
            for _ in 0..=self.rng.u8(..6) {
                self.mutate(&mut input);
            }
        }
        input.truncate(LARGEST);
        self.inputs += 1;
        Some(input)
    }

    fn report(&self) {
        let Self { name, inputs, .. } = self;
        println!("{name}: {inputs} inputs, {} outcomes", self.seen.len());
    }

    /// Keeps an input whose outcome is new.
    pub(super) fn came(&mut self, input: Vec<u8>, outcome: u64) {
        if self.seen.insert(outcome) {
            if self.kept.len() >= KEPT {
                self.kept.swap_remove(0);
            }
            self.kept.push(input);
        }
    }

    fn mutate(&mut self, input: &mut Vec<u8>) {
        let rng = &mut self.rng;
        let at = rng.usize(..=input.len());
        let end = rng.usize(at..=input.len().min(at + 40));
        match rng.u8(..8) {
            0 if !input.is_empty() => {
                let at = rng.usize(..input.len());
                input[at] ^= 1 << rng.u8(..8);
            }
            1 if !input.is_empty() => {
                let at = rng.usize(..input.len());
                input[at] = rng.u8(..);
            }
            2 => drop(input.drain(at..end)),
            3 => {
                // Nested deeply, or long.
                let piece = input[at..end].repeat(1 << rng.u8(..10));
                drop(input.splice(at..at, piece));
            }
            4 => {
                let other = self.kept[rng.usize(..self.kept.len())].clone();
                let from = rng.usize(..=other.len());
                drop(input.splice(at..end, other[from..].iter().copied()));
            }
            5 => input.truncate(at),
            6 => {
                let piece = PIECES[rng.usize(..PIECES.len())].repeat(1 << rng.u8(..8));
                drop(input.splice(at..at, piece));
            }
            _ => {
                let piece = PIECES[rng.usize(..PIECES.len())];
                drop(input.splice(at..end, piece.iter().copied()));
            }
        }
    }

    /// The message printed for a failing input.
    pub(super) fn words(&self, input: &[u8]) -> String {
        let Self { name, seed, inputs, .. } = self;
        let short = &input[..input.len().min(2_000)];
        format!(
            "{name}, input {inputs}: \"{}\" ({} bytes); again: TEST_FUZZ_SEED={seed} cargo \
             test --release --locked --test it -- {name}",
            short.escape_ascii(),
            input.len()
        )
    }
}

/// Runs a parser on all inputs: `check` panics on an error, and returns a number that distinguishes
/// outcomes.
pub(super) fn fuzz(name: &'static str, seeds: &[&[u8]], check: impl Fn(&[u8]) -> u64) {
    fuzz_with(Fuzz::new(name, seeds), check);
}

pub(super) fn fuzz_with(mut fuzz: Fuzz, check: impl Fn(&[u8]) -> u64) {
    while let Some(input) = fuzz.next() {
        let watch = CpuStopwatch::start();
        let Ok(outcome) = catch_unwind(AssertUnwindSafe(|| check(&input))) else {
            panic!("{}", fuzz.words(&input));
        };
        assert!(!watch.has_reached(LONGEST), "{LONGEST:?}: {}", fuzz.words(&input));
        fuzz.came(input, outcome);
    }
}

/// Where the repository keeps inputs of a target, found by earlier runs of `make fuzz`.
fn corpus(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name)
}

/// The contents of the files of a directory, in the order of their names.
fn files(dir: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Hashes an outcome.
pub(super) fn outcome(of: impl std::hash::Hash) -> u64 {
    use std::hash::{DefaultHasher, Hasher as _};
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// The text of an input; invalid UTF-8 is replaced.
pub(super) fn text(input: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(input)
}
