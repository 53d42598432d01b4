//! Excerpts of text from outside, for display.

/// Maximum number of characters shown.
const SHOWN_CHARS: usize = 160;

/// The beginning of a text as one printable line; `None` when it is empty.
pub(super) fn first_words(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * SHOWN_CHARS)]);
    let text: String = text.chars().take(SHOWN_CHARS).collect();
    let words: Vec<_> = text
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_one_printable_line() {
        let shown = |text: &str| first_words(text.as_bytes());
        assert_eq!(shown("<p>\r\n\tno \u{1b}[1mway\0</p>\n").unwrap(), "<p> no [1mway </p>");
        assert_eq!(shown(&"é".repeat(1_000)).unwrap(), "é".repeat(SHOWN_CHARS));
        assert_eq!(shown(" \n\0"), None);
        assert!(first_words(&[0xff; 10]).is_some());
    }
}
