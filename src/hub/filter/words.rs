//! Values with `*` in them, and lists of values: what one dimension of a query takes.
//!
//! Everything is in lower case. A text is looked through once a value, whatever the value is:
//! what lies between two stars is looked for by Knuth, Morris and Pratt's table, made beforehand.

/// Of a longer text only so many bytes are compared with values that have stars.
pub(super) const TEXT_BYTES: usize = 256;

/// Which texts are taken: any of the first, if there are any, and none of the second.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Choice {
    pub(super) any: Words,
    pub(super) none: Words,
}

/// A list of values, each once, in an order of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Words {
    /// By length, then by bytes.
    exact: Vec<Box<str>>,
    globs: Vec<Glob>,
}

/// A value with stars.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Glob {
    begin: Box<[u8]>,
    between: Box<[Needle]>,
    end: Box<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Needle {
    bytes: Box<[u8]>,
    /// How much of the beginning is also the end, for each beginning.
    overlaps: Box<[u8]>,
}

impl Choice {
    /// Whether a text is taken; what an event does not have is none of any values.
    pub(super) fn takes(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return self.any.is_empty() };
        (self.any.is_empty() || self.any.have(text)) && !self.none.have(text)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.any.is_empty() && self.none.is_empty()
    }
}

impl Words {
    /// Puts a value in; `true` when it has stars.
    pub(super) fn add(&mut self, value: &str) -> bool {
        let value = value.to_ascii_lowercase();
        if let Some(glob) = Glob::read(&value) {
            if let Err(at) = self.globs.binary_search(&glob) {
                self.globs.insert(at, glob);
            }
            return true;
        }
        if let Err(at) = self.exact.binary_search_by(|known| order(known, &value)) {
            self.exact.insert(at, value.into());
        }
        false
    }

    /// Whether a text in lower case is one of them.
    pub(super) fn have(&self, text: &str) -> bool {
        self.exact.binary_search_by(|value| order(value, text)).is_ok()
            || self.globs.iter().any(|glob| glob.takes(text.as_bytes()))
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.globs.is_empty()
    }
}

fn order(a: &str, b: &str) -> std::cmp::Ordering {
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

impl Glob {
    /// Reads a value; `None` when it has no star. It has less than 256 bytes.
    fn read(value: &str) -> Option<Self> {
        let (begin, rest) = value.split_once('*')?;
        let (between, end) = rest.rsplit_once('*').unwrap_or(("", rest));
        let between = between.split('*').filter(|part| !part.is_empty());
        Some(Self {
            begin: begin.as_bytes().into(),
            between: between.map(|part| Needle::new(part.as_bytes())).collect(),
            end: end.as_bytes().into(),
        })
    }

    fn takes(&self, text: &[u8]) -> bool {
        let text = &text[..text.len().min(TEXT_BYTES)];
        let inside = text.strip_prefix(&*self.begin).and_then(|rest| rest.strip_suffix(&*self.end));
        let Some(mut rest) = inside else { return false };
        for needle in &self.between {
            match needle.end_in(rest) {
                Some(end) => rest = &rest[end..],
                None => return false,
            }
        }
        true
    }
}

impl Needle {
    fn new(bytes: &[u8]) -> Self {
        let mut overlaps = vec![0_u8; bytes.len()];
        let mut overlap = 0_u8;
        for i in 1..bytes.len() {
            while overlap > 0 && bytes[usize::from(overlap)] != bytes[i] {
                overlap = overlaps[usize::from(overlap) - 1];
            }
            if bytes[usize::from(overlap)] == bytes[i] {
                overlap += 1;
            }
            overlaps[i] = overlap;
        }
        Self { bytes: bytes.into(), overlaps: overlaps.into() }
    }

    /// The place behind the first of them in a text.
    fn end_in(&self, text: &[u8]) -> Option<usize> {
        let mut matched = 0;
        for (i, byte) in text.iter().enumerate() {
            while matched > 0 && self.bytes[matched] != *byte {
                matched = usize::from(self.overlaps[matched - 1]);
            }
            if self.bytes[matched] == *byte {
                matched += 1;
            }
            if matched == self.bytes.len() {
                return Some(i + 1);
            }
        }
        None
    }
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
