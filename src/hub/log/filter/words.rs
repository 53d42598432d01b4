//! Values with `*` in them, and lists of values: what one dimension of a query takes.
//!
//! Everything is in lower case. A list is one text and the places where its values end, so it takes
//! about as much memory as it was written with. What lies between two stars is looked for by
//! `memchr`'s substring search, which is linear whatever the value is.

use memchr::memmem;

/// Of a longer text only so many bytes are compared with values that have stars.
pub(in crate::hub) const TEXT_BYTES: usize = 256;

/// Which texts are taken: any of the first, if there are any, and none of the second.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(in crate::hub) struct Choice {
    pub(in crate::hub) any: Words,
    pub(in crate::hub) none: Words,
}

/// A list of values, each once, in an order of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(in crate::hub) struct Words {
    exact: Packed,
    /// No two stars stand side by side in them.
    globs: Packed,
}

/// Texts one behind the other, each once: by length, then by bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Packed {
    text: String,
    /// Where each ends. A query has fewer bytes of values than 65,536.
    ends: Vec<u16>,
}

impl Choice {
    /// Whether a text is taken; what an event does not have is none of any values.
    pub(in crate::hub) fn takes(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return self.any.is_empty() };
        (self.any.is_empty() || self.any.have(text)) && !self.none.have(text)
    }

    pub(in crate::hub) fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }

    /// How many values have stars.
    pub(in crate::hub) fn globs(&self) -> usize {
        self.any.globs.ends.len() + self.none.globs.ends.len()
    }

    /// Gives back the room that adding values took.
    pub(in crate::hub) fn shrink(&mut self) {
        for words in [&mut self.any, &mut self.none] {
            words.exact.shrink();
            words.globs.shrink();
        }
    }
}

impl Words {
    /// Puts a value in; `true` when it has stars.
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

    /// Whether a text in lower case is one of them.
    pub(in crate::hub) fn have(&self, text: &str) -> bool {
        self.exact.find(text).is_ok() || self.globs.iter().any(|glob| is_taken(glob, text))
    }

    fn is_empty(&self) -> bool {
        self.exact.ends.is_empty() && self.globs.ends.is_empty()
    }

    /// Bytes that it takes outside of itself.
    #[cfg(test)]
    pub(in crate::hub) fn bytes(&self) -> usize {
        let bytes = |packed: &Packed| packed.text.capacity() + 2 * packed.ends.capacity();
        bytes(&self.exact) + bytes(&self.globs)
    }
}

impl Packed {
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

    /// Where a text is, or where it belongs.
    fn find(&self, text: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            let known = self.get(middle);
            match known.len().cmp(&text.len()).then_with(|| known.cmp(text)) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn insert(&mut self, text: &str) {
        let Err(at) = self.find(text) else { return };
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        // What has no room is left out; limits of a query are far below it.
        let length = u16::try_from(text.len()).ok();
        let fits = length.filter(|_| u16::try_from(self.text.len() + text.len()).is_ok());
        let Some(length) = fits else { return };
        self.text.insert_str(usize::from(begin), text);
        self.ends.insert(at, begin);
        self.ends[at..].iter_mut().for_each(|end| *end += length);
    }
}

/// Whether a text is one of those that a value with stars stands for.
fn is_taken(glob: &str, text: &str) -> bool {
    let text = &text.as_bytes()[..text.len().min(TEXT_BYTES)];
    let Some((begin, rest)) = glob.split_once('*') else { return glob.as_bytes() == text };
    let (between, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inside = text.strip_prefix(begin.as_bytes());
    let inside = inside.and_then(|rest| rest.strip_suffix(end.as_bytes()));
    let Some(mut rest) = inside else { return false };
    for needle in between.split('*').filter(|needle| !needle.is_empty()) {
        match memmem::find(rest, needle.as_bytes()) {
            Some(at) => rest = &rest[at + needle.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(values: &[&str]) -> Words {
        let mut words = Words::default();
        for value in values {
            words.add(value);
        }
        words
    }

    /// The definition, as plainly as it can be said.
    fn model(glob: &[u8], text: &[u8]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some((b'*', rest)), None) => model(rest, text),
            (Some((b'*', rest)), Some((_, tail))) => model(rest, text) || model(glob, tail),
            (Some(_), None) => false,
            (Some((byte, rest)), Some((first, tail))) => byte == first && model(rest, tail),
        }
    }

    #[test]
    fn a_star_is_any_text_also_none() {
        for (glob, text, is_match) in [
            ("rust-lang/*", "rust-lang/rust", true),
            ("rust-lang/*", "rust-lang/", true),
            ("rust-lang/*", "rust-lang", false),
            ("*/linux", "torvalds/linux", true),
            ("*[bot]", "renovate[bot]", true),
            ("a*a", "a", false),
            ("*", "", true),
            ("**", "x", true),
            ("a*b*c", "abbc", true),
        ] {
            assert_eq!(words(&[glob]).have(text), is_match, "{glob} {text}");
        }
    }

    #[test]
    fn lists_of_the_same_are_equal() {
        assert_eq!(words(&["B/c", "a", "a*"]), words(&["a*", "A", "b/c", "a"]));
        assert_eq!(words(&["a**b"]), words(&["a*b"]));
        assert_ne!(words(&["a*"]), words(&["a"]));
    }

    #[test]
    fn a_long_text_is_looked_at_to_a_limit() {
        let text = "a".repeat(100_000);
        assert!(words(&["a*"]).have(&text) && words(&["*a"]).have(&text));
        assert!(!words(&["*b"]).have(&format!("{text}b")));
    }

    #[test]
    fn a_list_takes_about_as_much_as_was_written() {
        for stars in [1, 8] {
            let value = |i: usize| format!("{i:02}{}", "a*".repeat(stars));
            let mut choice = Choice::default();
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
        fn it_takes_what_the_definition_takes(glob in "[ab*]{0,9}", text in "[ab]{0,14}") {
            let expected = model(glob.as_bytes(), text.as_bytes());
            prop_assert_eq!(words(&[&glob]).have(&text), expected);
        }

        #[test]
        fn many_values_take_what_one_of_them_takes(
            values in prop::collection::vec("[ab*]{0,4}", 0..8), text in "[ab]{0,5}",
        ) {
            let refs: Vec<&str> = values.iter().map(String::as_str).collect();
            let expected = values.iter().any(|v| model(v.as_bytes(), text.as_bytes()));
            prop_assert_eq!(words(&refs).have(&text), expected);
        }
    }
}
