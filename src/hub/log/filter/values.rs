//! The values that a query names for one dimension, such as the repositories.
//!
//! All values are in lower case; `*` matches any text. Values without `*` are looked up, of those
//! with one `*` both ends are compared, and those with several go through one automaton. So the
//! time to match a text is bounded by the limits of a query, whatever the text is.

use super::automaton::{GlobAutomaton, states};
use super::texts::PackedTexts;

/// The most bytes of a text that are compared with values that have `*`.
const TEXT_BYTES: usize = 256;

/// The texts that a dimension takes: one of `any`, unless that is empty, and none of `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ValueSet {
    any: ValueList,
    none: ValueList,
    /// Finds what the lists leave open.
    automaton: Option<GlobAutomaton>,
}

/// A list of different values.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct ValueList {
    exact: PackedTexts,
    /// Values with `*`; no two `*` are adjacent.
    globs: PackedTexts,
    /// The bytes before the first `*` and after the last `*` of each of `globs`.
    ends: Vec<[u8; 2]>,
}

impl ValueSet {
    /// Compiles values of up to 255 bytes without their `!`, excluded ones marked. Returns the
    /// first with which the automaton has more than `room` states, or reduces `room`.
    pub(super) fn new<'a>(
        values: impl Iterator<Item = (&'a str, bool)>,
        room: &mut usize,
    ) -> Result<Self, &'a str> {
        let [mut any, mut none] = [ValueList::default(), ValueList::default()];
        for (value, is_excluded) in values {
            let list = if is_excluded { &mut none } else { &mut any };
            let needed = list.add(value);
            *room = room.checked_sub(needed).ok_or(value)?;
        }
        any.finish();
        none.finish();
        let (of_any, of_none) = (any.several_stars(), none.several_stars());
        let is_needed = of_any.clone().chain(of_none.clone()).next().is_some();
        let automaton = is_needed.then(|| {
            let automaton = GlobAutomaton::new(of_any, of_none);
            automaton.expect("there is room for no more states than it has")
        });
        Ok(Self { any, none, automaton })
    }

    /// Whether a text in lower case is taken. `None`, which an event without this field has, equals
    /// no value.
    pub(super) fn takes(&self, text: Option<&str>) -> bool {
        let Some(text) = text else { return self.any.is_empty() };
        let cut = &text.as_bytes()[..text.len().min(TEXT_BYTES)];
        let is_wanted = if self.any.is_empty() { Some(true) } else { self.any.have(text, cut) };
        if is_wanted == Some(false) {
            return false;
        }
        let is_excluded = self.none.have(text, cut);
        match (is_wanted, is_excluded, &self.automaton) {
            (_, Some(true), _) => false,
            (Some(true), Some(false), _) | (_, _, None) => true,
            (_, _, Some(automaton)) => {
                let found = automaton.find(cut);
                is_wanted.unwrap_or(found.any) && !is_excluded.unwrap_or(found.none)
            }
        }
    }
}

impl std::hash::Hash for ValueSet {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        // The automaton follows from the lists.
        (&self.any, &self.none).hash(state);
    }
}

impl ValueList {
    /// Adds a value. Returns the number of states that it adds to the automaton.
    fn add(&mut self, value: &str) -> usize {
        let mut value = value.to_ascii_lowercase();
        if !value.contains('*') {
            self.exact.insert(&value);
            return 0;
        }
        while value.contains("**") {
            value = value.replace("**", "*");
        }
        self.globs.insert(&value);
        if has_one_star(&value) { 0 } else { states(&value) }
    }

    /// To be called when all values have been added.
    fn finish(&mut self) {
        let ends = self.globs.iter().map(|glob| {
            let (begin, rest) = glob.split_once('*').unwrap_or((glob, ""));
            let end = rest.rsplit_once('*').map_or(rest, |(_, end)| end);
            [begin, end].map(|part| u8::try_from(part.len()).unwrap_or(u8::MAX))
        });
        self.ends = ends.collect();
        self.exact.shrink();
        self.globs.shrink();
    }

    /// The values for the automaton.
    fn several_stars(&self) -> impl Iterator<Item = &str> + Clone {
        self.globs.iter().filter(|glob| !has_one_star(glob))
    }

    /// Whether a text equals or matches one of the values; `None` when the automaton has to find
    /// out. `cut` has the bytes of the text that are compared with values that have `*`.
    fn have(&self, text: &str, cut: &[u8]) -> Option<bool> {
        if self.exact.have(text) {
            return Some(true);
        }
        let mut is_open = false;
        for (glob, [begin, end]) in self.globs.iter().zip(&self.ends) {
            let [begin, end] = [usize::from(*begin), usize::from(*end)];
            let has_one_star = begin + 1 + end == glob.len();
            if is_open && !has_one_star {
                continue;
            }
            let glob = glob.as_bytes();
            let has_ends = cut.len() >= begin + end
                && cut.starts_with(&glob[..begin])
                && cut.ends_with(&glob[glob.len() - end..]);
            if has_ends && has_one_star {
                return Some(true);
            }
            is_open |= has_ends;
        }
        (!is_open).then_some(false)
    }

    fn is_empty(&self) -> bool {
        self.exact.len() == 0 && self.globs.len() == 0
    }

    /// Bytes allocated on the heap.
    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.exact.bytes() + self.globs.bytes() + size_of_val(&*self.ends)
    }
}

fn has_one_star(glob: &str) -> bool {
    glob.find('*') == glob.rfind('*')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::automaton::STATES;
    use super::*;
    use crate::model::glob;

    fn set<'a>(values: impl IntoIterator<Item = &'a str>) -> ValueSet {
        let (values, mut room) = (values.into_iter().map(|value| (value, false)), STATES);
        ValueSet::new(values, &mut room).unwrap()
    }

    #[test]
    fn lists_of_the_same_values_are_equal() {
        assert_eq!(set(["B/c", "a", "a*", "*a*"]), set(["a*", "*A*", "A", "b/c", "a"]));
        assert_eq!(set(["a**b"]), set(["a*b"]));
        assert_ne!(set(["a*"]), set(["a"]));
    }

    #[test]
    fn long_text_is_compared_up_to_a_limit() {
        let text = "a".repeat(100_000);
        for values in [["a*"], ["*a"], ["*a*a"]] {
            assert!(set(values).takes(Some(&text)), "{values:?}");
        }
        for values in [["*b"], ["*a*b"]] {
            assert!(!set(values).takes(Some(&format!("{text}b"))), "{values:?}");
        }
    }

    #[test]
    fn list_takes_about_as_much_memory_as_its_values() {
        for stars in [1, 8] {
            let value = |i: usize| format!("{i:02}{}", "a*".repeat(stars));
            let values: Vec<String> = (0..32).map(value).collect();
            let set = set(values.iter().map(String::as_str));
            assert_eq!(set.any.globs.len(), 32);
            let written: usize = values.iter().map(String::len).sum();
            assert!(set.any.bytes() <= 2 * written, "{} for {written}", set.any.bytes());
            assert_eq!(set.automaton.is_some(), stars > 1);
            assert!(values.iter().all(|value| set.takes(Some(&value.replace('*', "")))));
        }
    }

    #[test]
    fn values_with_several_stars_are_limited_together() {
        let long = "x".repeat(250);
        let [long, longer] = [format!("*{long}*"), format!("*{long}y*")];
        let mut room = STATES;
        let taken = [(&*long, false), (&*longer, true), ("*a**a*", false), ("long*er", true)];
        assert!(ValueSet::new(taken.into_iter(), &mut room).is_ok());
        assert_eq!(room, 6);
        assert_eq!(ValueSet::new([("*abcdef*", false)].into_iter(), &mut room), Err("*abcdef*"));
        assert!(ValueSet::new([("a*", false), ("a", true)].into_iter(), &mut room).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn set_takes_what_its_lists_say(
            any in prop::collection::vec("[ab*]{1,5}", 0..8),
            none in prop::collection::vec("[ab*]{2,7}", 0..4),
            text in "[ab]{0,5}",
        ) {
            let values = any.iter().map(|value| (&**value, false));
            let values = values.chain(none.iter().map(|value| (&**value, true)));
            let mut room = STATES;
            let set = ValueSet::new(values, &mut room).unwrap();
            let have = |list: &[String]| {
                list.iter().any(|value| glob::matches(value, text.as_bytes()))
            };
            let expected = (any.is_empty() || have(&any)) && !have(&none);
            prop_assert_eq!(set.takes(Some(&text)), expected, "{:?}", text);
            prop_assert_eq!(set.takes(None), any.is_empty());
        }
    }
}
