//! Tokens in a file of their own (`github.tokensFile`), read at the start and again on SIGHUP, so
//! that one can be exchanged without a stop.
//!
//! A line holds a token; empty lines and those that begin with `#` are passed over. A file that
//! cannot be read ends the start; later it leaves the tokens as they are, and the log says so.

use std::path::Path;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{GitHub, Secret, read_tokens};
use crate::github::tokens::TokenPool;
use crate::supervise::{EXIT_CONFIG, Failure};

/// Largest file of tokens, bytes: more than a thousand of them.
const FILE_BYTES: u64 = 1 << 20;

/// The configured tokens, then those of the file.
pub(super) fn all(github: &GitHub) -> Result<Vec<Secret>, Failure> {
    let mut tokens = github.tokens.clone();
    if let Some(path) = &github.tokens_file {
        let read = read(path).map_err(|error| Failure { code: EXIT_CONFIG, error })?;
        tracing::info!(file = %path.display(), tokens = read.len(), "tokens read");
        tokens.extend(read);
    }
    Ok(tokens)
}

/// Reads the file again on each SIGHUP, until `stop` is called. Without a file it changes nothing.
pub(super) async fn reread(
    github: GitHub,
    pool: Arc<TokenPool>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = hangups.recv() => {}
        }
        let github = github.clone();
        let read = tokio::task::spawn_blocking(move || all(&github)).await?;
        match read {
            Ok(tokens) => pool.replace(tokens),
            Err(failure) => {
                let error = format!("{:#}", failure.error);
                tracing::error!(error, "SIGHUP: the tokens stay as they were");
            }
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<Secret>> {
    let about = |reason: String| {
        anyhow::anyhow!("github.tokensFile: {} cannot be read: {reason}", path.display())
    };
    let size = std::fs::metadata(path).map_err(|error| about(error.to_string()))?.len();
    if size > FILE_BYTES {
        return Err(about(format!("{size} bytes are more than any list of tokens")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| about(error.to_string()))?;
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
    fn a_file_holds_a_token_a_line() {
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
        assert!(error.contains("tokens:2 is a name and a value"), "{error}");
        assert!(!error.contains("telltale"), "{error}");
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_with_its_key() {
        let error = read(Path::new("/nowhere/tokens")).unwrap_err().to_string();
        assert!(error.starts_with("github.tokensFile: /nowhere/tokens cannot be read"), "{error}");
    }
}
