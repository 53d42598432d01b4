//! The patterns of keys of a query.
//!
//! Keys have three words, of which the first and the third are one of three pairs
//! ([`RoutingKey`]). So the patterns are compiled into the second words that they take with each
//! pair, and a key costs one look-up, however many patterns there are.
//!
//! [`RoutingKey`]: crate::model::routing::RoutingKey

use super::texts::PackedTexts;
use crate::model::routing::{KEY_BYTES, RoutingPattern};

/// What a key begins and ends with.
const FORMS: [(&str, &str); 3] = [("evt.", ".insert"), ("ent.", ".insert"), ("ent.", ".update")];

/// Patterns of keys: a key has to match one of `any`, and none of `none`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyPatterns {
    any: TakenKeys,
    none: TakenKeys,
}

/// The keys that one of some patterns matches.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct TakenKeys {
    forms: [SecondWords; FORMS.len()],
    /// Whether the empty key is matched, which an event has that cannot be parsed.
    empty: bool,
}

/// Second words of keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum SecondWords {
    All,
    Only(PackedTexts),
}

impl KeyPatterns {
    /// Compiles patterns. Without any, `any` takes all keys of events.
    pub(super) fn new(any: &[RoutingPattern], none: &[RoutingPattern]) -> Self {
        let mut patterns = Self { any: TakenKeys::new(any), none: TakenKeys::new(none) };
        if any.is_empty() {
            patterns.any.forms[0] = SecondWords::All;
        }
        patterns
    }

    /// Whether a routing key matches.
    pub(super) fn take(&self, key: &str) -> bool {
        let Self { any, none } = self;
        let second = |&(begin, end): &(&str, &str)| key.strip_prefix(begin)?.strip_suffix(end);
        let form = FORMS.iter().enumerate().find_map(|(form, ends)| Some((form, second(ends)?)));
        match form {
            Some((form, word)) => any.forms[form].have(word) && !none.forms[form].have(word),
            None => key.is_empty() && any.empty && !none.empty,
        }
    }
}

impl TakenKeys {
    fn new(patterns: &[RoutingPattern]) -> Self {
        let forms = FORMS.map(|form| SecondWords::of(patterns, form));
        Self { forms, empty: patterns.iter().any(|pattern| pattern.matches("")) }
    }
}

impl SecondWords {
    /// The second words with which keys of this form match one of the patterns.
    fn of(patterns: &[RoutingPattern], (begin, end): (&str, &str)) -> Self {
        // No pattern has a word as long as this.
        let new = "x".repeat(KEY_BYTES + 1);
        let mut only = PackedTexts::default();
        for pattern in patterns {
            // Every word except `#` has to match one of the key's three.
            if pattern.words().filter(|word| *word != "#").count() > 3 {
                continue;
            }
            // A word that the pattern does not have matches by wildcards only; so does every word.
            if pattern.matches(&format!("{begin}{new}{end}")) {
                return Self::All;
            }
            for word in pattern.words().filter(|word| !matches!(*word, "*" | "#")) {
                if pattern.matches(&format!("{begin}{word}{end}")) {
                    only.insert(word);
                }
            }
        }
        only.shrink();
        Self::Only(only)
    }

    fn have(&self, word: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(words) => words.have(word),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::routing::{RoutingKey, known_keys};

    fn patterns() -> impl Strategy<Value = Vec<RoutingPattern>> {
        let word = "evt|ent|insert|update|push|commits|a|_|[*]|#|";
        let text = prop::collection::vec(word, 0..5).prop_map(|words| words.join("."));
        let pattern = text.prop_filter_map("too many `#`", |text| RoutingPattern::read(&text).ok());
        prop::collection::vec(pattern, 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn keys_match_like_single_patterns(
            any in patterns(), none in patterns(), kind in "(a|_|push|Watch|.{0,5})(Event)?",
        ) {
            let compiled = KeyPatterns::new(&any, &none);
            let of_event = RoutingKey::of_event(&kind);
            let keys: Vec<RoutingKey> = known_keys().chain([of_event]).collect();
            for key in keys.iter().map(RoutingKey::as_str).chain([""]) {
                let have = |list: &[RoutingPattern]| list.iter().any(|one| one.matches(key));
                let is_wanted = if any.is_empty() { key.starts_with("evt.") } else { have(&any) };
                let expected = is_wanted && !have(&none);
                prop_assert_eq!(compiled.take(key), expected, "{} {:?} {:?}", key, any, none);
            }
        }
    }
}
