//! Patterns of routing keys, as a topic exchange of AMQP 0-9-1 reads them.
//!
//! Words are split at `.`; `*` is exactly one word, `#` is none or more, each only as a whole word;
//! the empty text has no words. Bytes are compared: case counts. Matching takes no memory and
//! looks at each word of the key at most once per word of the pattern: the last `#` is the only
//! place worth going back to, as with `*` in file names.

use std::fmt;

use super::{KEY_BYTES, known_keys};

/// The most words `#` of a pattern, as in RabbitMQ since 4.3.5.
pub const MANY_WORDS: usize = 2;

/// A pattern. Two that match the same by their wildcards alone are equal: `#.#` is `#`, `#.*` is
/// `*.#`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutingPattern {
    /// Its words with points between, the wildcards beside each other in one order. Text, and no
    /// list of words, because a pattern of 128 words would take 24 times its length.
    text: Box<str>,
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// Longer than any key can be.
    #[error("a pattern of {0} bytes; at most {KEY_BYTES} are taken")]
    TooLong(usize),
    /// More `#` than [`MANY_WORDS`].
    #[error("`{pattern}` has {count} words `#`; at most {MANY_WORDS} are taken")]
    TooMany {
        /// As it was given.
        pattern: String,
        /// How many it has.
        count: usize,
    },
}

impl RoutingPattern {
    /// Reads a pattern.
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

    /// Whether a key is one of the pattern's. What looks like a wildcard in a key is none.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        let mut wanted = words(&self.text);
        let mut rest = words(key);
        // Behind the last `#` seen: the pattern's words, and what of the key they may begin with.
        let mut back: Option<(Words<'_>, Words<'_>)> = None;
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

    /// Whether it takes every key.
    #[must_use]
    pub fn takes_all(&self) -> bool {
        &*self.text == "#"
    }

    /// Whether a key that is known today is one of its own; a pattern without any is most likely a
    /// mistake, though GitHub may invent a type that it matches.
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

/// The words of a key or pattern; none of an empty text.
fn words(text: &str) -> Words<'_> {
    Words((!text.is_empty()).then_some(text))
}

#[derive(Debug, Clone)]
struct Words<'a>(Option<&'a str>);

impl<'a> Iterator for Words<'a> {
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

/// Brings the wildcards at the end into one order: each `*`, then one `#` when there is any.
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

    /// The definition, as plainly as it can be said.
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
    fn equal_by_their_wildcards_is_equal() {
        assert_eq!(read("#.#"), read("#"));
        assert_eq!(read("#.*.#").to_string(), "*.#");
        assert_eq!(read("a.#.*.b.#"), read("a.*.#.b.#"));
        assert_ne!(read("#.a.#"), read("#"));
        assert!(read("#.#").takes_all() && !read("*.#").takes_all());
    }

    #[test]
    fn what_is_too_much_is_refused_by_name() {
        let long = ".".repeat(255);
        assert!(read(&long).matches(&long));
        assert_eq!(RoutingPattern::read(&".".repeat(256)), Err(InvalidPattern::TooLong(256)));
        let error = RoutingPattern::read("#.a.#.#").unwrap_err().to_string();
        assert_eq!(error, "`#.a.#.#` has 3 words `#`; at most 2 are taken");
    }

    #[test]
    fn a_pattern_that_no_known_key_matches_is_known_as_such() {
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
        fn it_matches_what_the_definition_matches(
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
