//! The table of all configuration keys, generated from the rows in `keys`: parser, defaults,
//! reference and environment names use it, so they cannot differ.

use std::time::Duration;

use super::keys::keys;
use super::typed::{AlertFormat, Compression, HashEmails, HourFormat, LogFormat};
use super::units::BareUnit;

/// What a key accepts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueKind {
    /// true or false; yes, no, on and off too.
    Switch,
    /// A whole number within bounds, both included.
    Whole(u64, u64),
    /// A TCP port; 0 takes a free one.
    Port,
    /// A number from 0 to 1.
    Share,
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A log level, or filter directives (`info,ghpulse::store=debug`).
    Filter,
    /// A file or a directory; relative ones count from the working directory.
    Path,
    /// An HTTP path that begins with `/`.
    Route,
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// A text that is never printed.
    Secret,
    /// A URL with one of these schemes that is never printed.
    SecretUrl(&'static [&'static str]),
    /// Tokens that are never printed.
    Tokens,
    /// Origins of web pages (`https://example.org`), or `*`.
    Origins,
    /// IP addresses or networks (`10.0.0.0/8`).
    Networks,
    /// Names of people, organizations and repositories; `*` stands for any text.
    Names,
    /// An IP address.
    Address,
    /// Address and port, or `off`.
    Listen,
    /// A duration: what a bare number means; bounds, both included.
    Span(BareUnit, Duration, Duration),
    /// A size in bytes; bounds, both included.
    Bytes(u64, u64),
    /// `batch`, or a duration.
    Sync,
    /// Accepted and not used; the text says why.
    Unused(&'static str),
}

impl ValueKind {
    /// Whether it accepts several values: a list, or one text with commas.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self, Self::Tokens | Self::Origins | Self::Networks | Self::Names)
    }
}

/// A configuration key.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ConfigKey {
    /// Whether the peer has it too, with this name, unit and meaning.
    pub peer: bool,
    /// Sections and name joined by dots, as the reference spells it; case-insensitive.
    pub path: &'static str,
    /// What it accepts.
    pub kind: ValueKind,
    /// The default in its written form; empty for none.
    pub default: &'static str,
    /// One or two sentences for authors of config files.
    pub meaning: &'static str,
}

impl ConfigKey {
    /// Name of the environment variable: the path in capitals, each dot an underscore.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{PREFIX}{}", self.path.replace('.', "_").to_ascii_uppercase())
    }

    /// Whether its value is secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        matches!(self.kind, ValueKind::Secret | ValueKind::SecretUrl(_) | ValueKind::Tokens)
    }
}

/// Prefix of all environment variables.
pub const PREFIX: &str = "GHPULSE_";

/// Variables with the prefix that are used by tests only: `GHPULSE_FAULT` names a fault point,
/// `GHPULSE_SIM_SEED` the seed that a failing test printed, `GHPULSE_SIM_RUNS` the number of runs.
pub const OTHER_VARIABLES: &[&str] = &["GHPULSE_FAULT", "GHPULSE_SIM_SEED", "GHPULSE_SIM_RUNS"];

/// Sections of the peer without a counterpart here: each causes one warning and is not used.
pub(super) const RETIRED: &[(&str, &str)] = &[
    (
        "redis",
        "not used: ghpulse keeps its state in RocksDB under data.dir and needs no Redis; \
         the section can be deleted",
    ),
    (
        "risingwave",
        "not used: ghpulse counts events itself and needs no RisingWave; the section can be \
         deleted",
    ),
];

/// Finds a key by its path, case-insensitively.
#[must_use]
pub(super) fn find(path: &str) -> Option<&'static ConfigKey> {
    KEYS.iter().find(|key| key.path.eq_ignore_ascii_case(path))
}

/// Whether the path is a section.
#[must_use]
pub(super) fn is_section(path: &str) -> bool {
    sections().any(|section| section.eq_ignore_ascii_case(path))
}

/// Every section's path, once per key.
pub(super) fn sections() -> impl Iterator<Item = &'static str> {
    let nested =
        KEYS.iter().flat_map(|key| key.path.match_indices('.').map(|(dot, _)| &key.path[..dot]));
    nested.chain(RETIRED.iter().map(|(section, _)| *section))
}

const MS: u64 = 1;
const S: u64 = 1000;
const M: u64 = 60 * S;
const H: u64 = 60 * M;
const DAY: u64 = 24 * H;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;
const COUNT: u64 = 1_000_000_000;

/// A duration with bounds in milliseconds; a bare number is refused.
const fn span(least: u64, most: u64) -> ValueKind {
    bare(BareUnit::Refused, least, most)
}

const fn bare(unit: BareUnit, least: u64, most: u64) -> ValueKind {
    ValueKind::Span(unit, Duration::from_millis(least), Duration::from_millis(most))
}

const HTTP: &[&str] = &["http", "https"];
const PULSAR: &[&str] = &["pulsar", "pulsar+ssl"];

/// The query of the day counts: one row a day of this year, columns in this order.
const DAILY_SQL: &str = "\
SELECT event_day,
       COUNT(DISTINCT actor_id) AS developers,
       COUNT(DISTINCT CASE WHEN action = 'opened' THEN pr_or_issue_id ELSE NULL END) AS opened_prs,
       COUNT(DISTINCT CASE WHEN action = 'closed' AND pr_merged = false
             THEN pr_or_issue_id ELSE NULL END) AS closed_prs,
       COUNT(DISTINCT CASE WHEN action = 'closed' AND pr_merged = true
             THEN pr_or_issue_id ELSE NULL END) AS merged_prs
FROM github_events ge
WHERE type = 'PullRequestEvent'
  AND action IN ('closed', 'opened')
  AND event_year = YEAR(NOW())
GROUP BY event_day
ORDER BY event_day
";

/// The query of the year's sums: one row, columns in this order.
const YEARLY_SQL: &str = "\
SELECT COUNT(DISTINCT actor_id) AS developers,
       COUNT(DISTINCT repo_id) AS repos,
       SUM(CASE WHEN action = 'closed' AND pr_merged = true
           THEN additions ELSE 0 END) AS additions,
       SUM(CASE WHEN action = 'closed' AND pr_merged = true
           THEN deletions ELSE 0 END) AS deletions
FROM github_events
WHERE type = 'PullRequestEvent'
  AND action IN ('closed', 'opened')
  AND event_year = YEAR(NOW())
";

macro_rules! whose {
    (peer) => {
        true
    };
    (ours) => {
        false
    };
}

macro_rules! table {
    ($(
        $(#[$about:meta])*
        $vis:vis struct $section:ident {
            $($whose:ident $path:literal $(=> $field:ident: $type:ty)?, $kind:expr, $default:expr,
                $meaning:literal;)*
            $(+ $below:ident: $part:ty, $what:literal;)*
        }
    )*) => {
        /// All keys, by section, in the order in which they are printed.
        pub const KEYS: &[ConfigKey] = &[$($(
            ConfigKey {
                peer: whose!($whose),
                path: $path,
                kind: $kind,
                default: $default,
                meaning: $meaning,
            },
        )*)*];
    };
}

keys!(table);
