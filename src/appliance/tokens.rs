//! Tokens in a separate file (`github.tokensFile`), read at the start, on SIGHUP, and when the
//! file changes, so that tokens can be replaced without a restart.
//!
//! The file is read about twice a second, and new content is used when two reads agree, so that a
//! partially written file is never used. Reads follow the path: editors replace the file by
//! renaming another over it, and Kubernetes swaps a symbolic link above it. On SIGHUP the content
//! is used at once.
//!
//! Each line contains a token; empty lines and those that begin with `#` are skipped. At the start
//! an unreadable file is an error; later the tokens stay as they are, and `renewed` reports it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{GitHubConfig, Secret, read_tokens};
use crate::github::tokens::TokenPool;
use crate::reload;
use crate::supervise::{Exit, ProcessFailure};

/// Maximum size of the file in bytes: more than a thousand tokens.
const FILE_BYTES: u64 = 1 << 20;
/// Interval between two reads of the file.
const LOOK: Duration = Duration::from_millis(400);

/// The configured tokens, then those of the file.
pub(super) fn all(github: &GitHubConfig) -> Result<Vec<Secret>, ProcessFailure> {
    let tokens = joined(github).map_err(|error| ProcessFailure { exit: Exit::Config, error })?;
    if let Some(path) = &github.tokens_file {
        let of_file = tokens.len() - github.tokens.len();
        tracing::info!(file = %path.display(), tokens = of_file, "tokens read");
    }
    Ok(tokens)
}

/// Uses the tokens in the file when it changes and on each SIGHUP, until `stop` is cancelled. Does
/// nothing without a file.
pub(super) async fn follow(
    github: GitHubConfig,
    pool: Arc<TokenPool>,
    clock: Clock,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let wait = if github.tokens_file.is_some() { LOOK } else { Duration::MAX };
    let mut followed = Followed::default();
    let look = move |is_asked| {
        if let Some(tokens) = followed.look(joined(&github), is_asked) {
            pool.replace(tokens);
        }
        wait
    };
    reload::follow(look, clock, stop).await
}

/// The results of the last reads.
#[derive(Default)]
struct Followed {
    /// The last content; `None` when it could not be read, or before the first read.
    last: Option<Vec<Secret>>,
    taken: Option<Vec<Secret>>,
}

impl Followed {
    /// The tokens to use after a read; `asked` is whether a signal requires it at once.
    fn look(&mut self, read: anyhow::Result<Vec<Secret>>, asked: bool) -> Option<Vec<Secret>> {
        // `renewed` reports the error.
        let Ok(tokens) = read else {
            self.last = None;
            return None;
        };
        let is_whole = asked || self.last.as_ref() == Some(&tokens);
        self.last = Some(tokens.clone());
        if !is_whole || (!asked && self.taken.as_ref() == Some(&tokens)) {
            return None;
        }
        // The content read at the start is not known here; the pool ignores a list that it already
        // has.
        if asked || self.taken.is_some() {
            tracing::info!(tokens = tokens.len(), "tokens read again");
        }
        self.taken = Some(tokens.clone());
        Some(tokens)
    }
}

fn joined(github: &GitHubConfig) -> anyhow::Result<Vec<Secret>> {
    let mut tokens = github.tokens.clone();
    if let Some(path) = &github.tokens_file {
        tokens.extend(read(path)?);
    }
    Ok(tokens)
}

/// Checks the content of a file of tokens. The error quotes none.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    let wrong = read_tokens(text).wrong.into_iter().map(|(line, why)| format!("line {line} {why}"));
    let wrong = wrong.collect::<Vec<_>>().join("; ");
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn read(path: &Path) -> anyhow::Result<Vec<Secret>> {
    let about = |reason: String| {
        anyhow::anyhow!("github.tokensFile: {} cannot be read: {reason}", path.display())
    };
    let bytes = reload::read_within(path, FILE_BYTES).map_err(about)?;
    let text = String::from_utf8(bytes).map_err(|_| about("not UTF-8 text".to_owned()))?;
    let found = read_tokens(&text);
    let path = path.display();
    if !found.wrong.is_empty() {
        let wrong = found.wrong.iter().map(|(line, why)| format!("{path}:{line} {why}"));
        let wrong = wrong.collect::<Vec<_>>().join("; ");
        return Err(anyhow::anyhow!("github.tokensFile: {wrong}"));
    }
    for line in found.placeholders {
        tracing::warn!("github.tokensFile: {path}:{line} is a placeholder; it is not used");
    }
    Ok(found.tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_file_has_a_token_per_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "# of the team\none\n\n  two \n").unwrap();
        let read = read(&path).unwrap();
        assert_eq!(read, [Secret::new("one"), Secret::new("two")]);
    }

    #[test]
    fn a_line_that_can_be_no_token_is_named_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "one\nGITHUB_TOKEN=ghp_telltale\n").unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("tokens:2 is NAME=VALUE"), "{error}");
        assert!(!error.contains("telltale"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_its_key() {
        let error = read(Path::new("/nowhere/tokens")).unwrap_err().to_string();
        assert!(error.starts_with("github.tokensFile: /nowhere/tokens cannot be read"), "{error}");
    }

    #[test]
    fn changed_file_is_read_when_two_checks_agree() {
        let list = |names: &[&str]| names.iter().map(|name| Secret::new(*name)).collect::<Vec<_>>();
        let (old, half, new) = (list(&["a", "b"]), list(&["c"]), list(&["c", "d"]));
        let mut followed = Followed::default();
        let mut look = |read: Option<&Vec<Secret>>, asked| {
            followed.look(read.cloned().ok_or_else(|| anyhow::anyhow!("gone")), asked)
        };
        assert_eq!(look(Some(&old), false), None);
        assert_eq!(look(Some(&old), false), Some(old.clone()), "the pool knows whether it has it");
        assert_eq!(look(Some(&old), false), None);
        assert_eq!(look(Some(&half), false), None, "half a file");
        assert_eq!(look(Some(&new), false), None);
        assert_eq!(look(Some(&new), false), Some(new.clone()));
        assert_eq!(look(None, false), None, "a file that is swapped is away for a moment");
        assert_eq!(look(Some(&old), false), None);
        assert_eq!(look(Some(&old), false), Some(old));
        assert_eq!(look(Some(&new), true), Some(new));
    }
}
