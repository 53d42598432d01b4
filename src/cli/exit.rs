//! Exit codes.

use std::process::ExitCode;

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
    /// Ended by SIGINT: 128 and the signal's number, as shells count.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Exit {
    /// The exit code of that number; an unknown one means a failed stage.
    pub(super) fn of(code: u8) -> Self {
        [Self::Unavailable, Self::Stage, Self::Io, Self::StoreInUse, Self::Config]
            .into_iter()
            .find(|exit| *exit as u8 == code)
            .unwrap_or(Self::Stage)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
