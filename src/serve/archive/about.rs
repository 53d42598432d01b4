//! What is known of an hour of the archive, for headers and the list.

use std::io;
use std::path::Path;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::private;
use crate::serve::http::simulated::SIMULATED;

/// The largest file about completeness that is read, bytes; one has about 2 KiB.
const LARGEST_ABOUT: u64 = 1 << 20;

const COVERAGE: HeaderName = HeaderName::from_static("x-coverage");
const MINUTES_KNOWN: HeaderName = HeaderName::from_static("x-minutes-known");
const CUT: HeaderName = HeaderName::from_static("x-cut");

/// What the file beside an hour says of it; `None` is not known.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct HourAbout {
    /// The part of all events of the known minutes that was seen, 0 to 1.
    pub(super) coverage: Option<f64>,
    /// Minutes of the hour for which the coverage is known, 0 to 60.
    pub(super) minutes_known: Option<u8>,
    /// Whether the beginning of the hour may be missing.
    pub(super) cut: Option<bool>,
    /// Whether events of the simulated GitHub are in it.
    pub(super) simulated: bool,
}

impl HourAbout {
    /// Reads the file; all is unknown without one, or when it cannot be understood. Blocks.
    pub(super) fn read(path: &Path) -> Self {
        #[derive(Default, Deserialize)]
        struct WrittenAbout {
            missed_share: Option<[f64; 3]>,
            minutes_known: Option<u8>,
            cut: Option<bool>,
            #[serde(default)]
            simulated: bool,
        }
        let read = || -> io::Result<WrittenAbout> {
            let file = io::Read::take(private::open_plain(path)?, LARGEST_ABOUT);
            serde_json::from_reader(io::BufReader::new(file)).map_err(io::Error::from)
        };
        let WrittenAbout { missed_share, minutes_known, cut, simulated } =
            read().unwrap_or_default();
        let seen = missed_share.map(|[_, estimate, _]| 1.0 - estimate);
        let coverage = seen.filter(|seen| (0.0..=1.0).contains(seen));
        let minutes_known = minutes_known.filter(|minutes| *minutes <= 60);
        Self { coverage, minutes_known, cut, simulated }
    }

    /// The values of the headers.
    pub(super) fn headers(self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let value = |text: Option<String>| {
            let unknown = HeaderValue::from_static("unknown");
            text.and_then(|text| HeaderValue::from_str(&text).ok()).unwrap_or(unknown)
        };
        [
            (COVERAGE, value(self.coverage.map(|share| format!("{share:.4}")))),
            (MINUTES_KNOWN, value(self.minutes_known.map(|minutes| minutes.to_string()))),
            (CUT, value(self.cut.map(|cut| cut.to_string()))),
        ]
        .into_iter()
        .chain(self.simulated.then_some(SIMULATED))
    }
}
