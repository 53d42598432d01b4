//! Values with several `*`, matched all at once in one pass over a text.
//!
//! A nondeterministic automaton with one bit per state (Shift-And by Baeza-Yates and Gonnet, 1992,
//! with states that stay set, by Navarro and Raffinot): a step costs a few instructions per word of
//! states, whatever the values and the text are. So the time is the length of the text times the
//! number of words, never the length of the text times the number of values, and no text takes
//! longer than another of its length.

use std::ops::{BitAnd, BitOr, Shl};

/// The most states of the automata of one query.
pub(super) const STATES: usize = 512;

/// The automaton of the values of one dimension. It takes 256 bytes and, for each different byte
/// of its values, a row of up to 64: less than 1 KB as usual queries go, 17 KB at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct GlobAutomaton {
    /// The number of the row of each byte; 0 is that of bytes which are in no value.
    rows: Box<[u8; 256]>,
    masks: SizedMasks,
}

/// The masks, in the smallest size that has a bit for each state. More sizes are not faster: the
/// compiler keeps these in registers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SizedMasks {
    UpTo64(StateMasks<u64, 1>),
    UpTo128(StateMasks<u128, 1>),
    UpTo256(StateMasks<u128, 2>),
    UpTo512(StateMasks<u64, 8>),
}

/// Sets of states, [`KINDS`] of them and then a row for each different byte: the states that may be
/// entered with it.
///
/// State `i` is bit `i / N` of word `i % N`. So the successors of all states in one word are the
/// same bits of the next word, and only the last word has to be shifted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct StateMasks<W, const N: usize>(Box<[[W; N]]>);

const KINDS: usize = 4;
/// The states before the first byte.
const START: usize = 0;
/// Those that stay set, because `*` follows.
const KEPT: usize = 1;
/// Those that, after the last byte, mean that a value of `any` matches.
const ANY: usize = 2;
/// The same of `none`.
const NONE: usize = 3;

/// Which lists have a value that matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MatchingLists {
    pub(super) any: bool,
    pub(super) none: bool,
}

/// Number of states of a value: one for each byte except `*`, and one before the first.
pub(super) fn states(glob: &str) -> usize {
    glob.bytes().filter(|byte| *byte != b'*').count() + 1
}

impl GlobAutomaton {
    /// The automaton of these values in lower case, or `None` when they have more than [`STATES`]
    /// states.
    pub(super) fn new<'a>(
        any: impl Iterator<Item = &'a str> + Clone,
        none: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<Self> {
        let globs = any.map(|glob| (glob, ANY)).chain(none.map(|glob| (glob, NONE)));
        let mut rows = Box::new([0; 256]);
        let (mut count, mut size) = (0_u8, 0);
        for (glob, _) in globs.clone() {
            size += states(glob);
            for byte in glob.bytes().filter(|byte| *byte != b'*') {
                let row = &mut rows[usize::from(byte)];
                if *row == 0 {
                    // UTF-8 has fewer than 256 different bytes.
                    count = count.checked_add(1)?;
                    *row = count;
                }
            }
        }
        let masks = match size {
            0..=64 => SizedMasks::UpTo64(StateMasks::new(globs, &rows, count)),
            65..=128 => SizedMasks::UpTo128(StateMasks::new(globs, &rows, count)),
            129..=256 => SizedMasks::UpTo256(StateMasks::new(globs, &rows, count)),
            257..=STATES => SizedMasks::UpTo512(StateMasks::new(globs, &rows, count)),
            _ => return None,
        };
        Some(Self { rows, masks })
    }

    /// Which lists have a value that matches the whole text, which is in lower case.
    pub(super) fn find(&self, text: &[u8]) -> MatchingLists {
        match &self.masks {
            SizedMasks::UpTo64(masks) => masks.run(&self.rows, text),
            SizedMasks::UpTo128(masks) => masks.run(&self.rows, text),
            SizedMasks::UpTo256(masks) => masks.run(&self.rows, text),
            SizedMasks::UpTo512(masks) => masks.run(&self.rows, text),
        }
    }

    /// Bytes allocated on the heap.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        let masks = match &self.masks {
            SizedMasks::UpTo64(masks) => size_of_val(&*masks.0),
            SizedMasks::UpTo128(masks) => size_of_val(&*masks.0),
            SizedMasks::UpTo256(masks) => size_of_val(&*masks.0),
            SizedMasks::UpTo512(masks) => size_of_val(&*masks.0),
        };
        size_of_val(&*self.rows) + masks
    }
}

impl<W, const N: usize> StateMasks<W, N>
where
    W: Copy + Default + PartialEq + From<bool>,
    W: BitAnd<Output = W> + BitOr<Output = W> + Shl<usize, Output = W>,
{
    /// The masks of these values, each with the kind of mask that says that it matches. `rows` has
    /// `count` different rows besides row 0.
    fn new<'a>(globs: impl Iterator<Item = (&'a str, usize)>, rows: &[u8; 256], count: u8) -> Self {
        let mut masks = vec![[W::default(); N]; KINDS + 1 + usize::from(count)];
        let mut set = |mask: usize, state: usize| {
            let word = &mut masks[mask][state % N];
            *word = *word | (W::from(true) << (state / N));
        };
        let mut state = 0;
        for (glob, kind) in globs {
            set(START, state);
            for byte in glob.bytes() {
                if byte == b'*' {
                    set(KEPT, state);
                } else {
                    state += 1;
                    set(KINDS + usize::from(rows[usize::from(byte)]), state);
                }
            }
            set(kind, state);
            // No row has the first state of the next value: it is never entered from this one.
            state += 1;
        }
        Self(masks.into())
    }

    fn run(&self, rows: &[u8; 256], text: &[u8]) -> MatchingLists {
        let nothing = MatchingLists { any: false, none: false };
        let [start, kept, any, none, masks @ ..] = &*self.0 else { return nothing };
        let mut states = *start;
        for byte in text {
            let Some(row) = masks.get(usize::from(rows[usize::from(*byte)])) else { break };
            let mut before = states[N - 1] << 1;
            for ((state, row), kept) in states.iter_mut().zip(row).zip(kept) {
                let next = (before & *row) | (*state & *kept);
                before = std::mem::replace(state, next);
            }
        }
        let meets = |mask: &[W; N]| {
            states.iter().zip(mask).any(|(state, bits)| *state & *bits != W::default())
        };
        MatchingLists { any: meets(any), none: meets(none) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::glob;

    /// Values with two `*` or more, as many as there are words or more.
    fn globs() -> impl Strategy<Value = Vec<String>> {
        let short = "[ab]{0,2}(\\*[abé]{1,3}){1,4}\\*?";
        let long = "(a|ab|b){0,9}\\*(a|ab){1,30}\\*(b|ba){1,9}";
        prop_oneof![
            prop::collection::vec(short, 0..12),
            prop::collection::vec(short, 20..32),
            prop::collection::vec(long, 0..6),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn automaton_matches_like_single_values(
            any in globs(), none in globs(), text in "[ab]{0,12}(é|[ab]{0,40})",
        ) {
            let [any, none] = [&any, &none].map(|globs| globs.iter().map(String::as_str));
            let size: usize = any.clone().chain(none.clone()).map(states).sum();
            let automaton = GlobAutomaton::new(any.clone(), none.clone());
            prop_assert_eq!(automaton.is_some(), size <= STATES, "{}", size);
            let Some(automaton) = automaton else { return Ok(()) };
            let matches = |glob| glob::matches(glob, text.as_bytes());
            let [any, none] = [any, none].map(|mut globs| globs.any(matches));
            prop_assert_eq!(automaton.find(text.as_bytes()), MatchingLists { any, none });
        }
    }

    #[test]
    fn automaton_takes_limited_memory() {
        // The most different bytes, in the largest size.
        let every: String = ('\0'..'\u{80}').filter(|c| *c != '*').collect();
        let others: String = ('\u{80}'..'\u{c0}').chain(['Ā', 'ख', '🦀']).collect();
        let globs = [format!("*{every}*"), format!("*{others}*")];
        let all = globs.iter().map(String::as_str);
        let large = GlobAutomaton::new(all, [].into_iter()).unwrap();
        assert!(large.bytes() <= 17 << 10, "{}", large.bytes());
        let usual = GlobAutomaton::new(["*bot*", "*/*-js"].into_iter(), [].into_iter()).unwrap();
        assert!(usual.bytes() < 1 << 10, "{}", usual.bytes());
    }
}
