//! The values that a query names for one dimension, such as the repositories.
//!
//! All values are in lower case; `*` matches any text. A list is kept as one text and the offsets
//! at which its values end, so it takes about as much memory as the values have bytes.

use std::cmp::Ordering;

use crate::model::glob;

/// The most bytes of a text that are compared with values that have `*`.
pub(in crate::hub) const TEXT_BYTES: usize = 256;

/// The texts that a dimension takes: one of `any`, unless that is empty, and none of `none`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(in crate::hub) struct ValueSet {
    pub(in crate::hub) any: ValueList,
    pub(in crate::hub) none: ValueList,
}

/// A list of different values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(in crate::hub) struct ValueList {
    exact: PackedTexts,
    /// Values with `*`; no two `*` are adjacent.
    globs: PackedTexts,
}

/// Different texts in one string, sorted by length and then by bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct PackedTexts {
    text: String,
    /// The offset at which each ends. A query has fewer than 65,536 bytes of values.
    ends: Vec<u16>,
}

impl ValueSet {
    /// Whether a text is taken. `None`, which an event without this field has, equals no value.
    pub(in crate::hub) fn takes(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return self.any.is_empty() };
        (self.any.is_empty() || self.any.have(text)) && !self.none.have(text)
    }

    pub(in crate::hub) fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// Number of values with `*`.
    pub(in crate::hub) fn globs(&self) -> usize {
        self.any.globs.ends.len() + self.none.globs.ends.len()
    }

    /// Frees the capacity that adding values has left.
    pub(in crate::hub) fn shrink(&mut self) {
        for words in [&mut self.any, &mut self.none] {
            words.exact.shrink();
            words.globs.shrink();
        }
    }
}

impl ValueList {
    /// Adds a value. Returns whether it has `*`.
    pub(in crate::hub) fn add(&mut self, value: &str) -> bool {
        let mut value = value.to_ascii_lowercase();
        let has_stars = value.contains('*');
        if has_stars {
            while value.contains("**") {
                value = value.replace("**", "*");
            }
            self.globs.insert(&value);
        } else {
            self.exact.insert(&value);
        }
        has_stars
    }

    /// Whether a text in lower case equals or matches one of the values.
    pub(in crate::hub) fn have(&self, text: &str) -> bool {
        self.exact.find(text).is_ok() || self.globs.iter().any(|glob| is_match(glob, text))
    }

    fn is_empty(&self) -> bool {
        self.exact.ends.is_empty() && self.globs.ends.is_empty()
    }

    /// Bytes allocated on the heap.
    #[cfg(test)]
    pub(in crate::hub) fn bytes(&self) -> usize {
        let bytes = |packed: &PackedTexts| packed.text.capacity() + 2 * packed.ends.capacity();
        bytes(&self.exact) + bytes(&self.globs)
    }
}

impl PackedTexts {
    fn get(&self, at: usize) -> &str {
        let begin = at.checked_sub(1).map_or(0, |before| usize::from(self.ends[before]));
        &self.text[begin..usize::from(self.ends[at])]
    }

    fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map(|at| self.get(at))
    }

    /// The index of a text, or where to insert it.
    fn find(&self, text: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let known = self.get(middle);
            match known.len().cmp(&text.len()).then_with(|| known.cmp(text)) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn insert(&mut self, text: &str) {
        let Err(at) = self.find(text) else { return };
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        // The limits of a query are far below 65,536 bytes; more would be left out.
        let length = u16::try_from(text.len()).ok();
        let fits = length.filter(|_| u16::try_from(self.text.len() + text.len()).is_ok());
        let Some(length) = fits else { return };
        self.text.insert_str(usize::from(begin), text);
        self.ends.insert(at, begin);
        self.ends[at..].iter_mut().for_each(|end| *end += length);
    }
}

/// Whether a value with `*` matches a text.
fn is_match(pattern: &str, text: &str) -> bool {
    glob::matches(pattern, &text.as_bytes()[..text.len().min(TEXT_BYTES)])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(values: &[&str]) -> ValueList {
        let mut words = ValueList::default();
        for value in values {
            words.add(value);
        }
        words
    }

    #[test]
    fn lists_of_the_same_values_are_equal() {
        assert_eq!(words(&["B/c", "a", "a*"]), words(&["a*", "A", "b/c", "a"]));
        assert_eq!(words(&["a**b"]), words(&["a*b"]));
        assert_ne!(words(&["a*"]), words(&["a"]));
    }

    #[test]
    fn long_text_is_compared_up_to_a_limit() {
        let text = "a".repeat(100_000);
        assert!(words(&["a*"]).have(&text) && words(&["*a"]).have(&text));
        assert!(!words(&["*b"]).have(&format!("{text}b")));
    }

    #[test]
    fn list_takes_about_as_much_memory_as_its_values() {
        for stars in [1, 8] {
            let value = |i: usize| format!("{i:02}{}", "a*".repeat(stars));
            let mut choice = ValueSet::default();
            let values: Vec<String> = (0..32).map(value).collect();
            for value in &values {
                assert!(choice.any.add(value));
            }
            choice.shrink();
            let written: usize = values.iter().map(String::len).sum();
            assert!(choice.any.bytes() <= 2 * written, "{} for {written}", choice.any.bytes());
            assert!(values.iter().all(|value| choice.takes(Some(&value.replace('*', "")))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn list_matches_if_one_of_its_values_does(
            values in prop::collection::vec("[ab*]{0,4}", 0..8), text in "[ab]{0,5}",
        ) {
            let refs: Vec<&str> = values.iter().map(String::as_str).collect();
            let expected = values.iter().any(|value| glob::matches(value, text.as_bytes()));
            prop_assert_eq!(words(&refs).have(&text), expected);
        }
    }
}
