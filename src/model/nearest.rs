//! The known name that a mistyped one is probably meant to be.

/// The known name that is nearest to `text`, ignoring case; `None` if it differs in more than a
/// quarter of the characters of `text` (1 to 4), or if `text` has more than 100 bytes.
#[must_use]
pub(crate) fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 100;
    if text.len() > LONGEST {
        return None;
    }
    let lower = text.to_lowercase();
    let length = lower.chars().count();
    let most = (length / 4).clamp(1, 4);
    // A comparison takes time in proportion to both lengths, and a client may send many texts.
    let is_about_as_long = |name: &&str| name.chars().count().abs_diff(length) <= most;
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let known = known.into_iter().filter(is_about_as_long).map(|name| (distance(name), name));
    let (found, name) = known.min_by_key(|(far, _)| *far)?;
    (found <= most).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn only_names_within_a_typing_error_are_near() {
        let known = ["types", "repos", "PullRequestEvent"];
        assert_eq!(nearest("type", known), Some("types"));
        assert_eq!(nearest("tpyes", known), Some("types"));
        assert_eq!(nearest("pullrequest", known), None);
        assert_eq!(nearest("PullRequest_Event", known), Some("PullRequestEvent"));
        assert_eq!(nearest("PullRequestEvents123", known), Some("PullRequestEvent"));
        assert_eq!(nearest("PullRequestEvents1234", known), None);
        assert_eq!(nearest("PullRequestE", known), None, "of 12 characters 3 may differ");
        assert_eq!(nearest("", ["ab"]), None);
        assert_eq!(nearest("", ["a"]), Some("a"));
        assert_eq!(nearest(&"x".repeat(101), known), None);
        assert_eq!(nearest("type", []), None);
        assert_eq!(nearest("t\u{65e5}p\u{65e5}s", known), None, "5 characters, 9 bytes");
    }
}
