//! What operators see and do: readiness, status, backups, archives.

pub(crate) mod operate;
pub(crate) mod ops;
pub(crate) mod redaction;
pub(crate) mod report;
mod screen;
pub(crate) mod status;
