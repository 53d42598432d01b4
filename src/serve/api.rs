//! The table of endpoints, and the API documents that are made from it.

pub(crate) mod documents;
pub(crate) mod endpoints;
