//! How the process stops, and why.
//!
//! Two tokens: `soft` asks everyone to end where they wait, `hard` ends them where they are. The
//! first signal, or the first stage that ends by itself, is soft; the second signal, or the end of
//! the grace, is hard. Nothing is restarted inside the process: a stage that ends is a reason to
//! stop, and whoever runs us starts us again.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::StoreError;

/// The two ways to be asked to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// End where you wait.
    pub soft: CancellationToken,
    /// End where you are.
    pub hard: CancellationToken,
}

/// Why the appliance stopped without being asked, and what its process exits with.
#[derive(Debug)]
pub struct ProcessFailure {
    /// Exit code of PROTOCOL 7.
    pub code: u8,
    /// The whole story.
    pub error: anyhow::Error,
}

/// A server that is needed is not there.
pub const EXIT_UNAVAILABLE: u8 = 69;
/// A stage failed.
pub const EXIT_STAGE: u8 = 70;
/// A file or the disk fails.
pub const EXIT_IO: u8 = 74;
/// Another process has the store.
pub const EXIT_IN_USE: u8 = 75;
/// The configuration does not hold.
pub const EXIT_CONFIG: u8 = 78;

/// Context of an error that only another configuration helps against, wherever it was found.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the configuration does not hold")]
pub struct Misconfigured;

impl From<anyhow::Error> for ProcessFailure {
    fn from(error: anyhow::Error) -> Self {
        let store = error.chain().find_map(|cause| cause.downcast_ref::<StoreError>());
        let code = match store {
            _ if error.downcast_ref::<Misconfigured>().is_some() => EXIT_CONFIG,
            Some(StoreError::InUse { .. }) => EXIT_IN_USE,
            Some(
                StoreError::Version { .. }
                | StoreError::File { .. }
                | StoreError::NoDatabase { .. }
                | StoreError::Damaged { .. }
                | StoreError::Database { .. }
                | StoreError::Full { .. },
            ) => EXIT_IO,
            _ if error.chain().any(<dyn std::error::Error>::is::<std::io::Error>) => EXIT_IO,
            _ => EXIT_STAGE,
        };
        Self { code, error }
    }
}

/// The stages that run, by name.
pub struct Stages {
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: Stop,
}

impl Stages {
    /// None yet.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self { running: JoinSet::new(), stop }
    }

    /// Starts a stage. It ends when the soft token is cancelled, and not before.
    pub fn start(
        &mut self,
        name: &'static str,
        stage: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let hard = self.stop.hard.clone();
        self.running.spawn(async move {
            tokio::select! {
                ended = stage => (name, ended),
                () = hard.cancelled() => (name, Ok(())),
            }
        });
    }

    /// Waits for all of them. Once the first has ended, the others have `grace` to follow.
    pub async fn end(mut self, grace: Duration, clock: Clock) -> Result<(), ProcessFailure> {
        let mut failure = None;
        let stop = self.stop.clone();
        let late = tokio::spawn(async move {
            stop.soft.cancelled().await;
            clock.sleep(grace).await;
            if !stop.hard.is_cancelled() {
                tracing::warn!(?grace, "the grace is over; what still runs is cut off");
                stop.hard.cancel();
            }
        });
        while let Some(ended) = self.running.join_next().await {
            let asked = self.stop.soft.is_cancelled();
            let error = match ended {
                Ok((name, Err(error))) => Some(error.context(format!("stage `{name}` failed"))),
                Ok((name, Ok(()))) if !asked => {
                    Some(anyhow::anyhow!("stage `{name}` ended although nobody asked it to"))
                }
                Ok((_, Ok(()))) => None,
                Err(error) => Some(anyhow::anyhow!(error).context("a stage panicked")),
            };
            if let Some(error) = error {
                tracing::error!(error = format!("{error:#}"), "stopping");
                self.stop.soft.cancel();
                failure.get_or_insert(error);
            }
        }
        late.abort();
        failure.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Lets SIGHUP end nothing from now on, also while no part listens to it: it asks parts to read
/// their files again.
pub fn outlive_hangups() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    // Heard once, it never again does what the system would do.
    signal(SignalKind::hangup()).map(drop)
}

/// Turns SIGTERM and SIGINT into the two tokens: the first is soft, the second hard.
pub fn listen_to_signals(stop: &Stop) -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = stop.clone();
    tokio::spawn(async move {
        loop {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if stop.soft.is_cancelled() {
                tracing::warn!(signal = name, "stopping at once");
                stop.hard.cancel();
            } else {
                tracing::info!(signal = name, "stopping; once more stops at once");
                stop.soft.cancel();
            }
        }
    });
    Ok(())
}

/// Tells systemd, when it started us, that everything is up.
pub fn tell_ready() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "systemd cannot be told that we are ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn the_first_stage_that_fails_ends_all_and_is_the_reason() {
        let stop = Stop::default();
        let mut stages = Stages::new(stop.clone());
        let soft = stop.soft.clone();
        stages.start("waits", async move {
            soft.cancelled().await;
            Ok(())
        });
        stages.start("fails", async { Err(StoreError::Closed.into()) });
        let failure = stages.end(GRACE, Clock::system()).await.unwrap_err();
        assert_eq!(failure.code, EXIT_STAGE);
        assert!(format!("{:#}", failure.error).contains("stage `fails` failed"));
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_follow_is_cut_off_after_the_grace() {
        let stop = Stop::default();
        let mut stages = Stages::new(stop.clone());
        stages.start("never ends", std::future::pending());
        stop.soft.cancel();
        stages.end(GRACE, Clock::system()).await.unwrap();
        assert!(stop.hard.is_cancelled());
    }

    #[tokio::test]
    async fn a_panic_ends_the_appliance() {
        let mut stages = Stages::new(Stop::default());
        stages.start("panics", async { panic!("on purpose") });
        assert_eq!(stages.end(GRACE, Clock::system()).await.unwrap_err().code, EXIT_STAGE);
    }

    #[test]
    fn the_exit_code_says_what_is_wrong_with_the_store() {
        let in_use = StoreError::InUse { dir: "d".into(), holder: "h".into() };
        let error = anyhow::Error::from(in_use).context("opening");
        assert_eq!(ProcessFailure::from(error).code, EXIT_IN_USE);
    }

    #[test]
    fn what_was_found_to_be_configuration_is_told_as_such_below_any_context() {
        let error = anyhow::anyhow!("a topic that cannot be").context(Misconfigured);
        let failure = ProcessFailure::from(error.context("stage `apply` failed"));
        assert_eq!(failure.code, EXIT_CONFIG);
        assert!(format!("{:#}", failure.error).ends_with("a topic that cannot be"));
    }
}
