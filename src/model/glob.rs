//! Patterns in which `*` matches any text, also none.

use memchr::memmem;

/// Whether `glob` matches all of `text`, byte by byte. The time is linear in both lengths: the
/// parts between stars are looked for from left to right with `memchr`'s substring search.
#[must_use]
pub fn matches(glob: &str, text: &[u8]) -> bool {
    let Some((begin, rest)) = glob.split_once('*') else { return glob.as_bytes() == text };
    let (between, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    let inside = text.strip_prefix(begin.as_bytes());
    let inside = inside.and_then(|rest| rest.strip_suffix(end.as_bytes()));
    let Some(mut rest) = inside else { return false };
    for part in between.split('*').filter(|part| !part.is_empty()) {
        // The first occurrence leaves the most for the parts that follow.
        match memmem::find(rest, part.as_bytes()) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition, in the simplest form.
    fn expected(glob: &[u8], text: &[u8]) -> bool {
        match (glob.split_first(), text.split_first()) {
            (None, _) => text.is_empty(),
            (Some((b'*', rest)), None) => expected(rest, text),
            (Some((b'*', rest)), Some((_, tail))) => expected(rest, text) || expected(glob, tail),
            (Some(_), None) => false,
            (Some((byte, rest)), Some((first, tail))) => byte == first && expected(rest, tail),
        }
    }

    #[test]
    fn star_matches_any_text_also_none() {
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
            assert_eq!(matches(glob, text.as_bytes()), is_match, "{glob} {text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn glob_matches_like_its_definition(glob in "[ab*]{0,9}", text in "[ab]{0,14}") {
            let (glob, text) = (glob.as_str(), text.as_bytes());
            prop_assert_eq!(matches(glob, text), expected(glob.as_bytes(), text));
        }
    }
}
