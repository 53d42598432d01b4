//! Texts that are never printed.

use std::fmt;

use serde::{Serialize, Serializer};

/// Replaces a secret in logs, errors and machine-readable output.
pub(super) const HIDDEN: &str = "‹secret›";

/// A token, a password or a URL with one. Only [`Secret::expose`] returns the text, so a search for
/// that name finds every place where it leaves the process.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, to be sent.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

/// Prefixes by which credentials are recognised, wherever they were written by mistake.
const TELLING: &[&str] =
    &["ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "bearer ", "basic ", "sk-", "xox"];

/// A written value as an error may quote it: shortened, and hidden when it looks like a credential
/// or contains one (`user:password@host`).
#[must_use]
pub(super) fn quotable(text: &str) -> String {
    const LONGEST: usize = 60;
    let lower = text.to_ascii_lowercase();
    if text.contains('@') || TELLING.iter().any(|start| lower.contains(start)) {
        return HIDDEN.to_owned();
    }
    let mut shown: String = text.chars().take(LONGEST).collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    format!("{shown:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_a_secret_shows_its_text() {
        let secret = Secret::new("ghp_verysecret");
        let json = serde_json::to_string(&secret).unwrap();
        let holder = Some(vec![secret.clone()]);
        for shown in [format!("{secret}"), format!("{secret:?}"), format!("{holder:#?}"), json] {
            assert!(shown.contains(HIDDEN), "{shown}");
            assert!(!shown.contains("very"), "{shown}");
        }
        assert_eq!(secret.expose(), "ghp_verysecret");
    }

    #[test]
    fn credentials_in_quoted_values_are_hidden() {
        assert_eq!(quotable("ghp_abc"), HIDDEN);
        assert_eq!(quotable("amqp://me:pass@host/"), HIDDEN);
        assert_eq!(quotable("eighty"), "\"eighty\"");
        assert!(quotable(&"y".repeat(500)).len() < 100);
    }
}
