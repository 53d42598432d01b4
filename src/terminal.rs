//! Text from elsewhere on its way to a terminal.
//!
//! A terminal acts on control characters (C0, DEL, C1), and readers are misled by characters that
//! change the direction of writing or are invisible. [`plain`] and [`lines`] remove them; [`json`]
//! writes them as `\u` escapes, so that the JSON keeps its value. Zero-width joiners stay: scripts
//! and emoji need them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a terminal acts on a character, or it deceives who reads it.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}')
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// One line without unsafe characters; a tab or a line end becomes a space.
#[must_use]
pub fn plain(text: &str) -> String {
    let shown = |c: char| match c {
        '\t' | '\n' => Some(' '),
        c if is_unsafe(c) => None,
        c => Some(c),
    };
    text.chars().filter_map(shown).collect()
}

/// Text of several lines without unsafe characters; line ends and tabs stay.
#[must_use]
pub fn lines(text: &str) -> Cow<'_, str> {
    let is_kept = |c: char| matches!(c, '\n' | '\t') || !is_unsafe(c);
    if text.chars().all(is_kept) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().filter(|c| is_kept(*c)).collect())
}

/// A line of a log: everything unsafe inside is written as an escape, so that text from elsewhere
/// can neither end a line nor deceive its reader. The line's own end stays, and so do tabs and the
/// escape character, which begins the log's own colours.
#[must_use]
pub fn log_line(line: &str) -> Cow<'_, str> {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let is_kept = |c: char| matches!(c, '\t' | '\u{1b}') || !is_unsafe(c);
    if text.chars().all(is_kept) {
        return Cow::Borrowed(line);
    }
    Cow::Owned(escaped(text, is_kept) + end)
}

/// Writes the characters that are not kept as JSON does.
fn escaped(text: &str, is_kept: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    for c in text.chars() {
        match c {
            c if is_kept(c) => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a string takes all");
                }
            }
        }
    }
    out
}

/// JSON of the same value without unsafe characters; line ends between values stay.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    let is_kept = |c: char| c == '\n' || !is_unsafe(c);
    if text.chars().all(is_kept) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(escaped(text, is_kept))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WILD: &str = "a\u{1b}]0;evil\u{7}b\r\u{9b}31mc\u{7f}\u{202e}d\u{2066}e\u{200b}f\u{e0041}";

    #[test]
    fn nothing_a_terminal_obeys_is_left() {
        assert_eq!(plain(&format!("{WILD}\n\tg \u{1f600}é")), "a]0;evilb31mcdef  g \u{1f600}é");
        assert_eq!(lines(&format!("{WILD}\n\tg")), "a]0;evilb31mcdef\n\tg");
        let family = "\u{1f468}\u{200d}\u{1f469}";
        assert_eq!(plain(family), family, "a joiner makes one emoji of two");
        assert!(matches!(lines("as it is\n"), Cow::Borrowed(_)));
    }

    #[test]
    fn json_is_escaped_and_keeps_its_value() {
        let value = serde_json::json!({ "name": WILD, "deep": ["\u{2069}", 1] });
        let text = value.to_string();
        let safe = json(&text);
        assert!(!safe.chars().any(is_unsafe), "{safe}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&safe).unwrap(), value);
        assert_eq!(json("{}\n{}\n"), "{}\n{}\n");
    }

    #[test]
    fn line_of_a_log_stays_one_line() {
        for plain in ["", "\n", "a\tb\n", "\u{1b}[31mred\n", "é😀\n"] {
            assert_eq!(log_line(plain), plain);
        }
        assert_eq!(log_line("a\nb\n"), "a\\nb\n");
        let line = log_line("a\r\n2026 ERROR b\u{202e}c\u{85}\n\n");
        assert_eq!(line, "a\\r\\n2026 ERROR b\\u202ec\\u0085\\n\n");
        let json = log_line("{\"a\":\"\u{e0041}\"}\n").into_owned();
        assert_eq!(json, "{\"a\":\"\\udb40\\udc41\"}\n");
    }
}
