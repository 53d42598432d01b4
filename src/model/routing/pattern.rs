//! Patterns of routing keys, as in a topic exchange of AMQP 0-9-1.
//!
//! Words are separated by `.`. The word `*` matches exactly one word, and `#` matches any number of
//! words, also none. The empty text has no words. Comparison is bytewise and case-sensitive.
//! Matching allocates nothing, and compares each word of the key at most once per word of the
//! pattern: it only ever backtracks to the last `#`, as with `*` in file names.

use std::fmt;

use super::catalogue::known_keys;
use super::key::KEY_BYTES;

/// The most `#` in a pattern, as in RabbitMQ since 4.3.5.
pub const MANY_WORDS: usize = 2;

/// A pattern. Patterns that differ only in equivalent wildcards are equal: `#.#` is `#`, and `#.*`
/// is `*.#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutingPattern {
    /// The normalized text. It is not a list of words, because that would take 24 times the memory
    /// for a pattern of 128 words.
    text: Box<str>,
}

/// Why a pattern is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// It is longer than any key.
    #[error("a pattern of {0} bytes; the limit is {KEY_BYTES}")]
    TooLong(usize),
    /// It has more `#` than [`MANY_WORDS`].
    #[error("`{pattern}` has {count} words `#`; the limit is {MANY_WORDS}")]
    TooMany {
        /// The pattern.
        pattern: String,
        /// The number of its `#`.
        count: usize,
    },
}

impl RoutingPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When it is too long or has too many `#`.
    pub fn read(text: &str) -> Result<Self, InvalidPattern> {
        if text.len() > KEY_BYTES {
            return Err(InvalidPattern::TooLong(text.len()));
        }
        let count = words(text).filter(|word| *word == "#").count();
        if count > MANY_WORDS {
            return Err(InvalidPattern::TooMany { pattern: text.to_owned(), count });
        }
        let mut read: Vec<&str> = Vec::new();
        for word in words(text) {
            if !is_wildcard(word) {
                order_wildcards(&mut read);
            }
            read.push(word);
        }
        order_wildcards(&mut read);
        Ok(Self { text: read.join(".").into() })
    }

    /// Whether a key matches. Wildcards in the key have no special meaning.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        let mut wanted = words(&self.text);
        let mut rest = words(key);
        // After the last `#`: the rest of the pattern, and where in the key it may begin.
        let mut back: Option<(PatternWords<'_>, PatternWords<'_>)> = None;
        loop {
            let mut ahead = wanted.clone();
            let next = ahead.next();
            if next == Some("#") {
                wanted = ahead;
                if wanted.0.is_none() {
                    return true;
                }
                back = Some((wanted.clone(), rest.clone()));
                continue;
            }
            let Some(word) = rest.next() else { return next.is_none() };
            if next.is_some_and(|next| next == "*" || next == word) {
                wanted = ahead;
            } else if let Some((behind, from)) = &mut back {
                from.next();
                wanted = behind.clone();
                rest = from.clone();
            } else {
                return false;
            }
        }
    }

    /// Its words, wildcards too.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        words(&self.text)
    }

    /// Whether it matches a key that is known today. A pattern that does not is probably a mistake,
    /// unless GitHub adds a type.
    #[must_use]
    pub fn can_match_a_known_key(&self) -> bool {
        known_keys().any(|key| self.matches(key.as_str()))
    }
}

impl fmt::Display for RoutingPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn is_wildcard(word: &str) -> bool {
    matches!(word, "*" | "#")
}

/// The words of a key or pattern; none for an empty text.
fn words(text: &str) -> PatternWords<'_> {
    PatternWords((!text.is_empty()).then_some(text))
}

#[derive(Debug, Clone)]
struct PatternWords<'a>(Option<&'a str>);

impl<'a> Iterator for PatternWords<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0?;
        match rest.bytes().position(|byte| byte == b'.') {
            Some(dot) => {
                self.0 = Some(&rest[dot + 1..]);
                Some(&rest[..dot])
            }
            None => self.0.take(),
        }
    }
}

/// Normalizes the wildcards at the end: all `*`, then one `#` if there is any.
fn order_wildcards(words: &mut Vec<&str>) {
    let begin = words.iter().rposition(|word| !is_wildcard(word)).map_or(0, |at| at + 1);
    let before = words.len();
    let mut seen = 0;
    words.retain(|word| {
        seen += 1;
        seen <= begin || *word != "#"
    });
    if words.len() < before {
        words.push("#");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> RoutingPattern {
        RoutingPattern::read(text).unwrap()
    }

    /// The definition, as a recursive function.
    fn model(pattern: &[&str], key: &[&str]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, _) => key.is_empty(),
            (Some((&"#", rest)), None) => model(rest, key),
            (Some((&"#", rest)), Some((_, tail))) => model(rest, key) || model(pattern, tail),
            (Some(_), None) => false,
            (Some((word, rest)), Some((first, tail))) => {
                (*word == "*" || word == first) && model(rest, tail)
            }
        }
    }

    fn plain_words(text: &str) -> Vec<&str> {
        if text.is_empty() { Vec::new() } else { text.split('.').collect() }
    }

    #[test]
    fn wildcards_are_whole_words() {
        for (pattern, key, is_match) in [
            ("evt.push.insert", "evt.push.insert", true),
            ("evt.push.insert", "evt.Push.insert", false),
            ("evt.*.insert", "evt.push.insert", true),
            ("evt.*", "evt.push.insert", false),
            ("*.*.*", "ent.commits.insert", true),
            ("evt.#", "evt", true),
            ("evt.#", "evt.push.insert", true),
            ("#.insert", "evt.push.insert", true),
            ("#.push.#", "evt.push.insert", true),
            ("evt.p*.insert", "evt.push.insert", false),
            ("evt.p*.insert", "evt.p*.insert", true),
            ("##", "evt.push.insert", false),
            ("a.b", "a.*", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", false),
            ("#", "", true),
            ("a.*", "a.", true),
            ("a.*", "a", false),
            (".", ".", true),
            ("*.*", ".", true),
        ] {
            assert_eq!(read(pattern).matches(key), is_match, "{pattern} {key}");
        }
    }

    #[test]
    fn equivalent_wildcards_are_equal() {
        assert_eq!(read("#.#"), read("#"));
        assert_eq!(read("#.*.#").to_string(), "*.#");
        assert_eq!(read("a.#.*.b.#"), read("a.*.#.b.#"));
        assert_ne!(read("#.a.#"), read("#"));
        assert_ne!(read("#.#"), read("*.#"));
    }

    #[test]
    fn too_long_pattern_is_refused_with_the_reason() {
        let long = ".".repeat(255);
        assert!(read(&long).matches(&long));
        assert_eq!(RoutingPattern::read(&".".repeat(256)), Err(InvalidPattern::TooLong(256)));
        let error = RoutingPattern::read("#.a.#.#").unwrap_err().to_string();
        assert_eq!(error, "`#.a.#.#` has 3 words `#`; the limit is 2");
    }

    #[test]
    fn pattern_without_a_known_key_is_recognized() {
        for good in ["evt.push.insert", "#", "ent.commits.*", "*.*.update", "evt.#"] {
            assert!(read(good).can_match_a_known_key(), "{good}");
        }
        for odd in ["evt.repos.insert", "evt.gist.*", "evt.*", "ent.users.insert", "", "*.delete"] {
            assert!(!read(odd).can_match_a_known_key(), "{odd}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn matching_agrees_with_the_definition(
            pattern in "([ab*#]{0,2}(\\.[ab*#]{0,1}){0,6})?",
            key in "([ab*#]{0,2}(\\.[ab*]{0,1}){0,6})?",
        ) {
            let hashes = plain_words(&pattern).iter().filter(|word| **word == "#").count();
            match RoutingPattern::read(&pattern) {
                Err(error) => prop_assert!(hashes > MANY_WORDS, "{error}"),
                Ok(read) => {
                    let expected = model(&plain_words(&pattern), &plain_words(&key));
                    prop_assert_eq!(read.matches(&key), expected, "{} {}", pattern, key);
                    let again = RoutingPattern::read(&read.to_string()).unwrap();
                    prop_assert_eq!(again, read);
                }
            }
        }
    }
}
