//! How responses say that events are simulated.

use http::{HeaderName, HeaderValue};

/// The header, and its value, as the simulated GitHub sends it.
pub(crate) const SIMULATED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-simulated"), HeaderValue::from_static("ghpulse"));

/// Marks a response whose headers are about a file, not about the events that are received now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AboutFile;
