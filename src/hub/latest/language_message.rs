//! The messages of `/language/latest` and `/language/watch`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::model::tally::Tally;

/// A message of `/language/latest`: pull-request events by language.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct LanguageMap<'a>(
    #[schemars(with = "BTreeMap<String, u64>")] pub(in crate::hub) &'a Tally,
);

/// The first message of `/language/watch`.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct FirstOfWatch<'a> {
    #[schemars(extend("const" = true))]
    first_message_tag: bool,
    api_version: u64,
    /// Pull-request events by language, at the last tick.
    language_map: LanguageMap<'a>,
}

/// A message of `/language/watch` after the first: the difference between two ticks, in both
/// spellings that clients are known to read.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub struct LanguageDifference<'a> {
    #[serde(rename = "Deletions")]
    capital_deletions: TextByName<'a>,
    #[serde(rename = "Additions")]
    capital_additions: TextByName<'a>,
    deletions: TextByName<'a>,
    additions: TextByName<'a>,
}

/// A count as text.
#[derive(Serialize, JsonSchema)]
#[schemars(inline)]
pub(super) struct CountText(#[schemars(regex(pattern = "^-?[0-9]+$"))] String);

impl CountText {
    pub(super) fn of(count: i64) -> Self {
        Self(count.to_string())
    }
}

/// The schema of counts as text.
pub(super) type TextMap = BTreeMap<String, CountText>;

/// Counts by name, as text.
#[derive(Clone, Copy, JsonSchema)]
#[schemars(inline)]
struct TextByName<'a>(#[schemars(with = "TextMap")] &'a Tally);

impl<'a> FirstOfWatch<'a> {
    pub(in crate::hub) fn new(api_version: u64, map: &'a Tally) -> Self {
        Self { first_message_tag: true, api_version, language_map: LanguageMap(map) }
    }
}

impl<'a> LanguageDifference<'a> {
    pub(in crate::hub) fn new(deletions: &'a Tally, additions: &'a Tally) -> Self {
        let (deletions, additions) = (TextByName(deletions), TextByName(additions));
        Self { capital_deletions: deletions, capital_additions: additions, deletions, additions }
    }
}

impl Serialize for TextByName<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, count)| (name, CountText::of(count))))
    }
}
