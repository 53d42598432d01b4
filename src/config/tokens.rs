//! Parses a file of tokens (`github.tokensFile`): one per line; empty lines and lines that begin
//! with `#` are ignored.

use super::secret::Secret;
use super::{impossible, peer};

/// Contents of a file of tokens. Lines are counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenLines {
    /// The tokens, in order.
    pub tokens: Vec<Secret>,
    /// Lines with a placeholder instead of a token, which are not used.
    pub placeholders: Vec<usize>,
    /// Lines that cannot be a token, with the reason, which does not quote the line.
    pub wrong: Vec<(usize, &'static str)>,
}

/// Parses a file of tokens.
#[must_use]
pub fn read_tokens(text: &str) -> TokenLines {
    let mut found = TokenLines::default();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if peer::is_placeholder_token(line) {
            found.placeholders.push(at + 1);
        } else if let Some(why) = impossible::token(line) {
            found.wrong.push((at + 1, why));
        } else {
            found.tokens.push(Secret::new(line));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_token_or_is_named() {
        let text = "\u{feff}# team\none\n\n  two \nNAME=ghp_telltale\n\"ghp_telltale\"\nghp_XXXX\n";
        let found = read_tokens(text);
        assert_eq!(found.tokens, [Secret::new("one"), Secret::new("two")]);
        assert_eq!(found.placeholders, [7]);
        let lines: Vec<usize> = found.wrong.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [5, 6]);
        assert!(!format!("{found:?}").contains("telltale"));
    }
}
