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
use crate::config::{GitHubConfig, Secret, TokenLines, read_tokens};
use crate::github::tokens::TokenPool;
use crate::reload;
use crate::supervise::{Exit, ProcessFailure};

/// Maximum size of the file in bytes: more than a thousand tokens.
const FILE_BYTES: u64 = 1 << 20;
/// Interval between two reads of the file.
const LOOK: Duration = Duration::from_millis(400);

/// The configured tokens, then those of the file.
pub(super) fn all(github: &GitHubConfig) -> Result<Vec<Secret>, ProcessFailure> {
    let Some(path) = &github.tokens_file else { return Ok(github.tokens.clone()) };
    let read = read(path).and_then(|text| Ok((parse(path, &text)?, text)));
    let (lines, text) = read.map_err(|error| ProcessFailure { exit: Exit::Config, error })?;
    reload::remember(path, &text);
    warn_of_placeholders(path, &lines);
    tracing::info!(file = %path.display(), tokens = lines.tokens.len(), "tokens read");
    Ok(joined(github, lines))
}

/// Uses the tokens in the file when it changes and on each SIGHUP, which also tries refused tokens
/// again, until `stop` is cancelled.
pub(super) fn follow(
    github: GitHubConfig,
    pool: Arc<TokenPool>,
    clock: Clock,
    stop: CancellationToken,
) -> impl Future<Output = anyhow::Result<()>> + Send {
    let wait = if github.tokens_file.is_some() { LOOK } else { Duration::MAX };
    // This takes the content that the start read, before `renewed` finds newer content in the file.
    let mut followed = Followed::new(github.tokens_file.as_deref());
    let look = move |is_asked| {
        if let Some(tokens) = look(&mut followed, &github, is_asked) {
            pool.replace(tokens);
        }
        if is_asked {
            pool.retry_refused();
        }
        wait
    };
    reload::follow(look, clock, stop)
}

/// Reads the file. Returns all tokens if they are to be used from now on; `asked` is whether a
/// signal requires that at once.
fn look(followed: &mut Followed, github: &GitHubConfig, asked: bool) -> Option<Vec<Secret>> {
    let path = github.tokens_file.as_deref();
    let read = path.map_or_else(|| Ok(TokenLines::default()), |path| parse(path, &read(path)?));
    let lines = followed.take(read, asked)?;
    if let Some(path) = path {
        warn_of_placeholders(path, &lines);
    }
    let tokens = joined(github, lines);
    tracing::info!(tokens = tokens.len(), "tokens read again");
    Some(tokens)
}

/// The results of the last reads.
struct Followed {
    /// The last content; `None` when it could not be read, or before the first read.
    last: Option<TokenLines>,
    /// The content in use.
    taken: Option<TokenLines>,
}

impl Followed {
    /// The file has the content that the start read.
    fn new(path: Option<&Path>) -> Self {
        let text = path.and_then(|path| Some((path, reload::last_good(path)?)));
        let taken = text.and_then(|(path, text)| parse(path, &text).ok());
        Self { last: None, taken }
    }

    /// The content to use after a read; `asked` is whether a signal requires it at once.
    fn take(&mut self, read: anyhow::Result<TokenLines>, asked: bool) -> Option<TokenLines> {
        // `renewed` reports the error.
        let Ok(lines) = read else {
            self.last = None;
            return None;
        };
        let is_whole = asked || self.last.as_ref() == Some(&lines);
        self.last = Some(lines.clone());
        if !is_whole || (!asked && self.taken.as_ref() == Some(&lines)) {
            return None;
        }
        self.taken = Some(lines.clone());
        Some(lines)
    }
}

fn joined(github: &GitHubConfig, lines: TokenLines) -> Vec<Secret> {
    let mut tokens = github.tokens.clone();
    tokens.extend(lines.tokens);
    tokens
}

/// Checks the content of a file of tokens. The error quotes none.
pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "not UTF-8 text".to_owned())?;
    let wrong = read_tokens(text).wrong.into_iter().map(|(line, why)| format!("line {line} {why}"));
    let wrong = wrong.collect::<Vec<_>>().join("; ");
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    reload::read_within(path, FILE_BYTES).map_err(|reason| unreadable(path, &reason))
}

/// The lines of a text; each wrong one is named in the error.
fn parse(path: &Path, text: &[u8]) -> anyhow::Result<TokenLines> {
    let text = std::str::from_utf8(text).map_err(|_| unreadable(path, "not UTF-8 text"))?;
    let lines = read_tokens(text);
    if !lines.wrong.is_empty() {
        let path = path.display();
        let wrong = lines.wrong.iter().map(|(line, why)| format!("{path}:{line} {why}"));
        let wrong = wrong.collect::<Vec<_>>().join("; ");
        return Err(anyhow::anyhow!("github.tokensFile: {wrong}"));
    }
    Ok(lines)
}

fn unreadable(path: &Path, reason: &str) -> anyhow::Error {
    anyhow::anyhow!("github.tokensFile: {} cannot be read: {reason}", path.display())
}

/// To be called once for each content.
fn warn_of_placeholders(path: &Path, lines: &TokenLines) {
    let path = path.display();
    for line in &lines.placeholders {
        tracing::warn!("github.tokensFile: {path}:{line} is a placeholder; it is not used");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging;

    fn tokens_in(path: &Path) -> anyhow::Result<Vec<Secret>> {
        Ok(parse(path, &read(path)?)?.tokens)
    }

    #[test]
    fn token_file_has_a_token_per_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "# of the team\none\n\n  two \n").unwrap();
        let read = tokens_in(&path).unwrap();
        assert_eq!(read, [Secret::new("one"), Secret::new("two")]);
    }

    #[test]
    fn a_line_that_can_be_no_token_is_named_and_not_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        std::fs::write(&path, "one\nGITHUB_TOKEN=ghp_telltale\n").unwrap();
        let error = tokens_in(&path).unwrap_err().to_string();
        assert!(error.contains("tokens:2 is NAME=VALUE"), "{error}");
        assert!(!error.contains("telltale"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_its_key() {
        let error = tokens_in(Path::new("/nowhere/tokens")).unwrap_err().to_string();
        assert!(error.starts_with("github.tokensFile: /nowhere/tokens cannot be read"), "{error}");
    }

    #[test]
    fn changed_file_is_read_when_two_checks_agree() {
        let [old, half, new] = ["a\nb\n", "c\n", "c\nd\n"].map(read_tokens);
        let mut followed = Followed { last: None, taken: Some(old.clone()) };
        let mut look = |read: Option<&TokenLines>, asked| {
            followed.take(read.cloned().ok_or_else(|| anyhow::anyhow!("gone")), asked)
        };
        assert_eq!(look(Some(&old), false), None);
        assert_eq!(look(Some(&old), false), None, "it is in use");
        assert_eq!(look(Some(&half), false), None, "half a file");
        assert_eq!(look(Some(&new), false), None);
        assert_eq!(look(Some(&new), false), Some(new.clone()));
        assert_eq!(look(None, false), None, "a file that is swapped is away for a moment");
        assert_eq!(look(Some(&old), false), None);
        assert_eq!(look(Some(&old), false), Some(old));
        assert_eq!(look(Some(&new), true), Some(new));
    }

    #[test]
    fn placeholder_is_reported_once_for_each_content() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tokens");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let github =
            GitHubConfig { tokens_file: Some(path.clone()), ..crate::config::defaults().github };
        let ((), log) = logging::captured(|| {
            write("one\nghp_XXXX\n");
            assert_eq!(all(&github).unwrap_or_default(), [Secret::new("one")]);
            let mut followed = Followed::new(Some(&path));
            let mut looks = || [(); 4].map(|()| look(&mut followed, &github, false).is_some());
            assert_eq!(looks(), [false; 4]);
            write("ghp_XXXX\none\n");
            assert_eq!(looks(), [false, true, false, false]);
        });
        let of_line = |line: &str| log.matches(&format!("tokens:{line} is a placeholder")).count();
        assert_eq!((of_line("2"), of_line("1")), (1, 1), "{log}");
    }
}
