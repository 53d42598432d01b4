//! Inputs of `make fuzz`: from libFuzzer, which mutates those that reached new code of the crate.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ghpulse::clock::Clock;
use ghpulse_fuzz::{Inputs, Options};

use super::{LARGEST, PIECES, corpus};

/// Most memory of a target in MiB, with an appliance in it.
const MEMORY: u32 = 4_096;

/// Where the inputs of a target come from, and until when.
pub(super) struct Guided {
    inputs: Inputs,
    end: tokio::time::Instant,
}

impl Guided {
    /// Starts libFuzzer with the seeds of a target in `TEST_FUZZ_DIR`; `None` if that is not set.
    pub(super) fn start(name: &str, seeds: &[&[u8]], seed: u64, time: Duration) -> Option<Self> {
        let dir = PathBuf::from(std::env::var_os("TEST_FUZZ_DIR")?);
        let made = |kind: &str| {
            let dir = dir.join(kind).join(name);
            std::fs::create_dir_all(&dir).unwrap();
            dir
        };
        let (corpus_dir, crashes, first) = (made("corpus"), made("crashes"), made("seeds"));
        for (at, seed) in seeds.iter().enumerate() {
            std::fs::write(first.join(at.to_string()), seed).unwrap();
        }
        let dictionary = first.with_extension("dict");
        std::fs::write(&dictionary, words()).unwrap();
        let kept = corpus(name);
        let seeds: Vec<&Path> =
            [&*first, &*crashes, &*kept].into_iter().filter(|dir| dir.is_dir()).collect();
        let inputs = Inputs::start(&Options {
            corpus: &corpus_dir,
            seeds: &seeds,
            crashes: &crashes,
            dictionary: &dictionary,
            seed: u32::try_from(seed % (1 << 31)).unwrap(),
            largest: LARGEST,
            memory: MEMORY,
        });
        Some(Self { inputs, end: Clock::system().instant() + time })
    }

    /// The next input; `None` at the end of the time.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        (Clock::system().instant() < self.end).then(|| self.inputs.next())
    }
}

/// The fragments in the form of libFuzzer's dictionaries.
fn words() -> String {
    let mut text = String::new();
    for piece in PIECES {
        text.push('"');
        for byte in *piece {
            write!(text, "\\x{byte:02x}").unwrap();
        }
        text.push_str("\"\n");
    }
    text
}
