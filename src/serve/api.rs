//! The table of endpoints, and the API documents that are made from it.

mod documents;
pub(crate) mod endpoint;
pub(crate) mod endpoints;
mod schema;
