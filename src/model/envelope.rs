//! An event with the facts that were added to it, as the bus carries it.
//!
//! The event stays text. [`written_back`] writes fields that GitHub no longer sends back to their
//! old place in that text, and never over a value that GitHub sent: `merged`, from the action
//! alone, and the fields that enrichment has queried. The bytes of [`Facts::encode`] are stored:
//! they begin with a version, and change only by a new version.

use std::borrow::Cow;
use std::sync::Arc;

use super::bytes::{take, take_text};
use super::event::Event;
use super::json;
use super::missing_fields::MissingFields;
use super::push::PushedCommits;
use super::tally;
use super::window::Timestamp;

/// An event with its facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The facts.
    pub facts: Facts,
    /// The event as compact JSON, with the facts written back.
    pub event: Arc<str>,
}

/// What is known about an event in addition to its text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// When it was first received; windows count by this time.
    pub received_at: Timestamp,
    /// The counts that it adds to.
    pub flags: Flags,
    /// Whether no field is missing that an event about a pull request should have.
    pub enriched: bool,
    /// The language of the base repository, of events about pull requests.
    pub language: Option<String>,
    /// Lines added, of pull-request events.
    pub additions: Option<u64>,
    /// Lines deleted, of pull-request events.
    pub deletions: Option<u64>,
    /// Files changed, by enrichment; `None` once it is written back.
    pub changed_files: Option<u64>,
    /// The title, by enrichment; `None` once it is written back.
    pub title: Option<String>,
    /// Whether it is a draft, by enrichment; `None` once it is written back.
    pub draft: Option<bool>,
    /// The documents of the event that are new: one bit for each, in the order of
    /// [`super::entity::entities`]. Set where the event is applied.
    pub inserted: u64,
    /// The commits of a push, by enrichment; `None` once they are written back.
    pub push: Option<Box<PushedCommits>>,
    /// Whether it comes from the simulated GitHub.
    pub simulated: bool,
}

/// The seven flags of the payload, each of which counts 1 or 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the wire format has seven flags")]
pub struct Flags {
    /// A pull-request event of any action.
    pub pr: bool,
    /// The pull request was opened.
    pub open: bool,
    /// The pull request was merged.
    pub merge: bool,
    /// The pull request was closed without a merge.
    pub close: bool,
    /// This developer's first pull-request event of the UTC day.
    pub dev_day: bool,
    /// This developer's first pull-request event of the UTC year.
    pub dev_year: bool,
    /// This repository's first pull-request event of the UTC year.
    pub repo_year: bool,
}

/// The version, which is the first byte of encoded facts. Version 1 is version 2 without the fields
/// from `changed_files` on. Version 3 is version 2 followed by `inserted`, and is written only when
/// that is not 0. Version 4 is version 3 followed by the commits of a push.
const VERSION: u8 = 2;
const WITH_INSERTED: u8 = 3;
const WITH_PUSH: u8 = 4;
const VERSIONS: std::ops::RangeInclusive<u8> = 1..=WITH_PUSH;

/// The bit beside the seven flags that says that the event is simulated.
const SIMULATED: u8 = 1 << 7;

/// Bits for the fields that are present in the bytes, and for boolean values.
mod present {
    pub(super) const ENRICHED: u8 = 1;
    pub(super) const LANGUAGE: u8 = 1 << 1;
    pub(super) const ADDITIONS: u8 = 1 << 2;
    pub(super) const DELETIONS: u8 = 1 << 3;
    pub(super) const CHANGED_FILES: u8 = 1 << 4;
    pub(super) const TITLE: u8 = 1 << 5;
    pub(super) const DRAFT: u8 = 1 << 6;
    pub(super) const IS_DRAFT: u8 = 1 << 7;
}

impl Facts {
    /// The language under which a pull-request event is counted; `None` when it is unknown, empty,
    /// or longer than [`tally::NAME_BYTES`].
    #[must_use]
    pub fn counted_language(&self) -> Option<&str> {
        let language = self.language.as_deref()?;
        (self.flags.pr && (1..=tally::NAME_BYTES).contains(&language.len())).then_some(language)
    }

    /// The facts that the event itself contains: the flags of its action, and the language and
    /// lines that GitHub sent. First-time flags are claimed later.
    #[must_use]
    pub fn of(event: &Event<'_>, received_at: Timestamp) -> Self {
        let complete = MissingFields::of(event).is_none_or(|missing| !missing.is_wanting());
        let Some(pull) = event.pull_request() else {
            return Self { received_at, enriched: complete, ..Self::default() };
        };
        let flags = Flags {
            pr: true,
            open: pull.is_open(),
            merge: pull.is_merge(),
            close: pull.is_close(),
            ..Flags::default()
        };
        Self {
            received_at,
            flags,
            enriched: complete && pull.additions.is_some() && pull.deletions.is_some(),
            language: pull.language.map(Cow::into_owned),
            additions: pull.additions,
            deletions: pull.deletions,
            ..Self::default()
        }
    }

    /// Drops the fields that are needed only until they are written back.
    pub fn forget_written(&mut self) {
        (self.changed_files, self.title, self.draft, self.push) = (None, None, None, None);
    }

    /// Appends the facts, encoded for the store.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(match (&self.push, self.inserted) {
            (Some(_), _) => WITH_PUSH,
            (None, 0) => VERSION,
            (None, _) => WITH_INSERTED,
        });
        out.extend_from_slice(&self.received_at.micros().to_be_bytes());
        let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
        out.push(self.flags.to_bits() | bit(self.simulated, SIMULATED));
        out.push(
            bit(self.enriched, present::ENRICHED)
                | bit(self.language.is_some(), present::LANGUAGE)
                | bit(self.additions.is_some(), present::ADDITIONS)
                | bit(self.deletions.is_some(), present::DELETIONS)
                | bit(self.changed_files.is_some(), present::CHANGED_FILES)
                | bit(self.title.is_some(), present::TITLE)
                | bit(self.draft.is_some(), present::DRAFT)
                | bit(self.draft == Some(true), present::IS_DRAFT),
        );
        for number in [self.additions, self.deletions, self.changed_files].into_iter().flatten() {
            out.extend_from_slice(&number.to_be_bytes());
        }
        let text = |out: &mut Vec<u8>, text: &str| {
            let length = u32::try_from(text.len()).expect("an event is smaller than 4 GiB");
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        };
        for known in [&self.language, &self.title].into_iter().flatten() {
            text(out, known);
        }
        if self.inserted != 0 || self.push.is_some() {
            out.extend_from_slice(&self.inserted.to_be_bytes());
        }
        if let Some(push) = &self.push {
            out.push(u8::from(push.size.is_some()));
            out.extend_from_slice(&push.size.unwrap_or_default().to_be_bytes());
            text(out, &push.commits);
        }
    }

    /// Decodes facts, and returns them with the bytes after them; `None` for other bytes.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if !VERSIONS.contains(&version) {
            return None;
        }
        let received_at = Timestamp::from_micros(i64::from_be_bytes(take(&mut rest)?));
        let [flags, present] = take(&mut rest)?;
        let has = |bit: u8| present & bit != 0;
        let mut number = |bit| {
            if !has(bit) {
                return Some(None);
            }
            Some(Some(u64::from_be_bytes(take(&mut rest)?)))
        };
        let additions = number(present::ADDITIONS)?;
        let deletions = number(present::DELETIONS)?;
        let changed_files = number(present::CHANGED_FILES)?;
        let mut text = |bit| if has(bit) { take_text(&mut rest).map(Some) } else { Some(None) };
        let language = text(present::LANGUAGE)?;
        let title = text(present::TITLE)?;
        let mut inserted = 0;
        if version >= WITH_INSERTED {
            inserted = u64::from_be_bytes(take(&mut rest)?);
        }
        let mut push = None;
        if version == WITH_PUSH {
            let [is_known] = take(&mut rest)?;
            let size = u64::from_be_bytes(take(&mut rest)?);
            let size = (is_known == 1).then_some(size);
            push = Some(Box::new(PushedCommits { size, commits: take_text(&mut rest)? }));
        }
        let facts = Self {
            received_at,
            flags: Flags::from_bits(flags),
            enriched: has(present::ENRICHED),
            language,
            additions,
            deletions,
            changed_files,
            title,
            draft: has(present::DRAFT).then(|| has(present::IS_DRAFT)),
            inserted,
            push,
            simulated: flags & SIMULATED != 0,
        };
        Some((facts, rest))
    }
}

impl Flags {
    /// Their names on the wire, in wire order, with their values.
    #[must_use]
    pub fn named(self) -> [(&'static str, bool); 7] {
        [
            ("pr", self.pr),
            ("open", self.open),
            ("merge", self.merge),
            ("close", self.close),
            ("devDay", self.dev_day),
            ("devYear", self.dev_year),
            ("repoYear", self.repo_year),
        ]
    }

    fn to_bits(self) -> u8 {
        self.named().iter().enumerate().fold(0, |bits, (i, (_, set))| bits | u8::from(*set) << i)
    }

    fn from_bits(bits: u8) -> Self {
        Self::from_named(std::array::from_fn(|i| bits & (1 << i) != 0))
    }

    /// Makes flags from values in the order of [`Self::named`].
    #[must_use]
    pub fn from_named(set: [bool; 7]) -> Self {
        let [pr, open, merge, close, dev_day, dev_year, repo_year] = set;
        Self { pr, open, merge, close, dev_day, dev_year, repo_year }
    }
}

/// The event as subscribers get it: compact, with the known values of missing fields at their old
/// place. `merged` is derived from the action.
#[must_use]
pub fn written_back<'a>(event: &Event<'a>, facts: &Facts) -> Cow<'a, str> {
    if let Some(written) = facts.push.as_ref().and_then(|push| push.written_into(event)) {
        return Cow::Owned(written);
    }
    let Some(missing) = MissingFields::of(event) else { return event.compact() };
    let number = |n: Option<u64>| n.map(|n| n.to_string());
    let merged = event.pull_request().map(|pull| pull.is_merge().to_string());
    // A queried language that does not exist is null, as in GitHub's old events. Reviews are not
    // queried.
    let no_language = (facts.enriched && facts.flags.pr).then(|| "null".to_owned());
    let language = facts.language.as_deref().map(json::encoded).or(no_language);
    let pull = [
        ("merged", missing.merged, merged),
        ("additions", missing.additions, number(facts.additions)),
        ("deletions", missing.deletions, number(facts.deletions)),
        ("changed_files", missing.changed_files, number(facts.changed_files)),
        ("title", missing.title, facts.title.as_deref().map(json::encoded)),
        ("draft", missing.draft, facts.draft.map(|draft| draft.to_string())),
    ];
    let repo = [("language", missing.language, language)];
    let base_repo = missing.base_repo.map(|object| (object, &repo[..]));
    // The repository is inside the pull request and ends before it.
    let objects: Vec<_> = base_repo.into_iter().chain([(missing.object, &pull[..])]).collect();
    Cow::Owned(event.with_members(&objects))
}

#[cfg(test)]
mod tests;
