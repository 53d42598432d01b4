//! What a reader of each endpoint receives, and the parameters that it may send.

pub(crate) mod gauges;
pub(crate) mod params;
pub(crate) mod sampling;
pub(crate) mod stream;
