//! Runs the stages, and stops the process.
//!
//! There are two tokens: `soft` asks each stage to return at its next wait, `hard` drops it where
//! it is. The first signal, or the first stage that ends on its own, triggers `soft`; a second
//! signal, or the end of the grace period, triggers `hard`. Then the store is closed, whatever
//! signals arrive; if something still uses it after five seconds, the process ends with it open.
//! Nothing is restarted inside the process: when a stage ends, the process stops, and the service
//! manager starts it again.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::store::StoreError;
use crate::sync::blocking;

/// The two requests to stop.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    /// Return at the next wait.
    pub soft: CancellationToken,
    /// The stage is dropped where it is.
    pub hard: CancellationToken,
}

/// Why the appliance failed, and the exit code of its process.
#[derive(Debug)]
pub struct ProcessFailure {
    /// The exit code.
    pub exit: Exit,
    /// The error with its causes.
    pub error: anyhow::Error,
}

/// Exit codes of commands, by the convention of sysexits; part of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Success.
    Fine = 0,
    /// Invalid command line.
    Usage = 64,
    /// Invalid input data.
    Data = 65,
    /// A required server is unavailable.
    Unavailable = 69,
    /// A stage failed.
    Stage = 70,
    /// Reading or writing failed.
    Io = 74,
    /// Another process has the store open.
    StoreInUse = 75,
    /// Invalid configuration.
    Config = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Marks an error, as its context, that only a change of the configuration cures.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("invalid configuration")]
pub struct Misconfigured;

impl From<anyhow::Error> for ProcessFailure {
    fn from(error: anyhow::Error) -> Self {
        let store = error.chain().find_map(|cause| cause.downcast_ref::<StoreError>());
        let exit = match store {
            _ if error.downcast_ref::<Misconfigured>().is_some() => Exit::Config,
            Some(StoreError::InUse { .. }) => Exit::StoreInUse,
            Some(
                StoreError::Version { .. }
                | StoreError::File { .. }
                | StoreError::NoDatabase { .. }
                | StoreError::Removed { .. }
                | StoreError::Damaged { .. }
                | StoreError::Database { .. }
                | StoreError::Full { .. },
            ) => Exit::Io,
            _ if error.chain().any(<dyn std::error::Error>::is::<std::io::Error>) => Exit::Io,
            _ => Exit::Stage,
        };
        Self { exit, error }
    }
}

/// The running stages, by name.
pub struct Stages {
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
    stop: Stop,
}

impl Stages {
    /// Without any stage.
    #[must_use]
    pub fn new(stop: Stop) -> Self {
        Self { running: JoinSet::new(), stop }
    }

    /// Starts a stage. It must run until the soft token is cancelled.
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

    /// Waits until all stages have ended. After the first has ended, the others have `grace`.
    ///
    /// # Errors
    /// The failure of the first stage that failed, or ended without being asked to.
    pub async fn end(mut self, grace: Duration, clock: Clock) -> Result<(), ProcessFailure> {
        let mut failure = None;
        let stop = self.stop.clone();
        let late = tokio::spawn(async move {
            stop.soft.cancelled().await;
            clock.sleep(grace).await;
            if !stop.hard.is_cancelled() {
                tracing::warn!(
                    ?grace,
                    "stages are still running after the grace period; dropping them"
                );
                stop.hard.cancel();
            }
        });
        while let Some(ended) = self.running.join_next().await {
            let asked = self.stop.soft.is_cancelled();
            let error = match ended {
                Ok((name, Err(error))) => Some(error.context(format!("stage `{name}` failed"))),
                Ok((name, Ok(()))) if !asked => {
                    Some(anyhow::anyhow!("stage `{name}` ended without being asked to"))
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

/// Keeps SIGHUP from ending the process, also while no part listens to it: it asks parts to reload
/// their files. Calls `report` on the blocking pool after each.
pub fn report_hangups(report: impl Fn() + Send + Sync + 'static) -> std::io::Result<()> {
    // A handler replaces the system's default for good.
    let mut hangups = signal(SignalKind::hangup())?;
    let report = Arc::new(report);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let report = Arc::clone(&report);
            if blocking(move || report()).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Turns SIGTERM and SIGINT into the two tokens: the first is soft, the second hard.
pub fn listen_to_signals(stop: &Stop) -> std::io::Result<()> {
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
                let words = "stopping at once; the process ends when the store is closed";
                tracing::warn!(signal = name, "{words}");
                stop.hard.cancel();
            } else {
                tracing::info!(signal = name, "stopping; send the signal again to stop at once");
                stop.soft.cancel();
            }
        }
    });
    Ok(())
}

/// Notifies systemd, when it started this process, that everything is up.
pub fn tell_ready() {
    if let Err(error) = sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        tracing::warn!(%error, "cannot notify systemd that the service is ready");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn first_failing_stage_ends_all_and_is_reported() {
        let stop = Stop::default();
        let mut stages = Stages::new(stop.clone());
        let soft = stop.soft.clone();
        stages.start("waits", async move {
            soft.cancelled().await;
            Ok(())
        });
        stages.start("fails", async { Err(StoreError::Closed.into()) });
        let failure = stages.end(GRACE, Clock::system()).await.unwrap_err();
        assert_eq!(failure.exit, Exit::Stage);
        assert!(format!("{:#}", failure.error).contains("stage `fails` failed"));
    }

    #[tokio::test(start_paused = true)]
    async fn stage_that_keeps_running_is_dropped_after_the_grace() {
        let stop = Stop::default();
        let mut stages = Stages::new(stop.clone());
        stages.start("never ends", std::future::pending());
        stop.soft.cancel();
        stages.end(GRACE, Clock::system()).await.unwrap();
        assert!(stop.hard.is_cancelled());
    }

    #[tokio::test]
    async fn panic_ends_the_appliance() {
        let mut stages = Stages::new(Stop::default());
        stages.start("panics", async { panic!("on purpose") });
        assert_eq!(stages.end(GRACE, Clock::system()).await.unwrap_err().exit, Exit::Stage);
    }

    #[test]
    fn exit_code_depends_on_the_store_error() {
        let in_use = StoreError::InUse { dir: "d".into(), holder: "h".into() };
        let error = anyhow::Error::from(in_use).context("opening");
        assert_eq!(ProcessFailure::from(error).exit, Exit::StoreInUse);
    }

    #[test]
    fn misconfiguration_is_recognized_below_any_context() {
        let error = anyhow::anyhow!("a topic that cannot be").context(Misconfigured);
        let failure = ProcessFailure::from(error.context("stage `apply` failed"));
        assert_eq!(failure.exit, Exit::Config);
        assert!(format!("{:#}", failure.error).ends_with("a topic that cannot be"));
    }
}
